"""One fold of a diagnosis: teachers and short students trained without it, and their outputs for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from mfh._checks import listing, require
from mfh._diagnose.gamma import LEAST_PER_FOLD
from mfh._focus import channel_split
from mfh._saliency import linear_start
from mfh._study.networks import Networks
from mfh._study.outputs import StudentKey
from mfh._study.ranking import rank
from mfh._study.students import student_jobs
from mfh._study.task import Progress, SeedTask, predict_all
from mfh._study.teachers import Teachers, train_teachers
from mfh.arms import FUSED
from mfh.data.paired import PairedDataset
from mfh.data.splits import divide, draw_split
from mfh.results import Record, TeacherRecord
from mfh.training.evaluate import predict
from mfh.training.scores import make_record, make_teacher_record
from mfh.training.students import seeded

SAMPLES_PER_FOLD = 2


@dataclass(frozen=True, eq=False)
class FoldEvidence:
    """The results of one fold. Samples are those that the diagnosis may use: all but the test split.

    Attributes:
        repeat, fold: number of the repeat and of the fold.
        rows: the held-out samples.
        teacher: logits of the regular teacher for all samples, including those that it was trained on.
        unimodal: logits of the teacher of the student's modality for all samples.
        students: logits of each short student for the held-out samples.
        records: one per short student.
        teachers: one per teacher.
        overconfident: mean probability of the teacher's predicted class minus its accuracy, on the training
            samples, in points.
        features: inputs of the teacher's head for the held-out samples; None if the head is not one linear
            layer on channels.
        weight: weights of that head, (output, channel).
    """

    repeat: int
    fold: int
    rows: Int[np.ndarray, " held"]
    teacher: Float[np.ndarray, "sample output"]
    unimodal: Float[np.ndarray, "sample output"]
    students: Mapping[StudentKey, np.ndarray]
    records: tuple[Record, ...]
    teachers: tuple[TeacherRecord, ...]
    overconfident: float
    features: np.ndarray | None = field(repr=False)
    weight: np.ndarray | None = field(repr=False)


def usable_rows(data: PairedDataset, seed: int) -> Int[np.ndarray, " row"]:
    """Return all samples but those of the test split."""
    chosen = draw_split(data, seed)
    return np.sort(np.concatenate([chosen.train, chosen.validation]))


def take(data: PairedDataset, rows: Int[np.ndarray, " row"]) -> PairedDataset:
    """Return some samples of a data set, without its split."""
    index = torch.from_numpy(rows)
    held = data.read(list(data.modalities), index)
    group = None if data.group is None else data.group[rows]
    return replace(
        data, modalities=held, label=data.label[index], id=data.id[rows], group=group, split=None,
        weight=data.weight_of(index),
    )  # fmt: skip


def deal(data: PairedDataset, folds: int, seed: int) -> Int[np.ndarray, " sample"]:
    """Assign each sample to a fold, stratified by class; each group is within one fold.

    Raises:
        InputError: there are too few samples, samples of a class, or groups for this number of folds.
    """
    label = data.label.numpy()
    counts = np.bincount(label, minlength=data.num_classes)
    needed = SAMPLES_PER_FOLD * folds
    require(
        len(label) >= LEAST_PER_FOLD * folds,
        f"`folds` {folds} needs {LEAST_PER_FOLD * folds} samples or more outside the test split. There are "
        f"{len(label)}: add samples, or lower `folds` (at least 3).",
    )
    scarce = [f"{data.class_names[k]} ({counts[k]})" for k in np.flatnonzero(counts < needed)]
    require(
        not scarce,
        f"`folds` {folds} needs {needed} samples or more of every class outside the test split. There are "
        f"fewer of {listing(scarce)}: add samples, drop the class, or lower `folds` (at least 3).",
    )
    if data.group is not None:
        present = len(np.unique(data.group))
        require(
            present >= folds,
            f"`folds` {folds} needs at least {folds} groups outside the test split, because each group must "
            f"be within one fold. There {'is' if present == 1 else 'are'} {present}: lower `folds` (at least "
            "3), or leave the groups out if samples of one group have nothing in common.",
        )
    parts = divide(label, data.group, [1 / folds] * folds, np.random.default_rng([seed, folds]))
    result = np.empty(len(label), dtype=np.int64)
    for number, part in enumerate(parts):
        result[part] = number
        absent = np.setdiff1d(np.arange(data.num_classes), label[np.setdiff1d(np.arange(len(label)), part)])
        names = listing(data.class_names[k] for k in absent)
        require(
            not len(absent),
            f"`folds` {folds} must leave samples of every class when one fold is held out. None of class "
            f"{names} is left, because few groups contain it: add groups with this class, or drop it.",
        )
    return result


def evidence_of(task: SeedTask, repeat: int, fold: int) -> FoldEvidence:
    """Train the pilot's networks, and compute their outputs for the held-out samples.

    Args:
        task: the fold; its test split is the held-out samples, its arms are those of the pilot.
        repeat: number of the repeat.
        fold: number of the fold in this repeat.
    """
    teachers = train_teachers(task, task.train)
    ranked = rank(task, teachers)
    data, logits = teachers.data, ranked.outputs.logits
    jobs = {
        replace(key, loss=None): job
        for key, job in student_jobs(task, data, ranked).items()
        if key.loss in (None, task.config.loss)
    }
    fits = task.train_side_by_side({key.name: job for key, job in jobs.items()}, "pilot")
    model = seeded(task.networks.build_student, 0).to(task.device)
    students, records = {}, []
    for key, done in zip(jobs, fits, strict=True):
        model.load_state_dict(done.state)
        found = predict_all(model, data, task.student)
        students[key] = found[task.test].double().numpy()
        records.append(
            make_record(
                key.arm, task.networks.metrics[:1], found, data.label, task.split, seed=task.seed,
                best_epoch=done.best_epoch, seconds=done.seconds, ratio=key.ratio, weight=data.weight,
            )
        )  # fmt: skip
    records_of_teachers = tuple(
        make_teacher_record(
            name,
            task.metric,
            values,
            data.label,
            task.split,
            seed=task.seed,
            temperature=task.config.temperature,
            weight=data.weight,
        )
        for name, values in logits.items()
    )
    features, weight = _last_layer(task, teachers, ranked.layer)
    alone = logits[_alone(task)]
    return FoldEvidence(
        repeat, fold, task.split.test, alone.double().numpy(),
        logits["unimodal"].double().numpy(), students, tuple(records), records_of_teachers,
        _overconfidence(task, alone[task.train], data.label[task.train]), features, weight,
    )  # fmt: skip


def _alone(task: SeedTask) -> str:
    """Return the name of the teacher that is trained on its own, on labels."""
    return FUSED if task.networks.both else "regular"


def _overconfidence(task: SeedTask, logits: torch.Tensor, label: torch.Tensor) -> float:
    """Return by how much a teacher's confidence exceeds its accuracy on its training samples, in points."""
    soft = torch.softmax(logits.double() / task.config.temperature, dim=1)
    right = (logits.argmax(dim=1) == label).double()
    return 100 * float(soft.max(dim=1).values.mean() - right.mean())


def _last_layer(
    task: SeedTask, teachers: Teachers, layer: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return features and weights of a linear head, on the held-out samples; None for any other head."""
    model = teachers.networks[_alone(task)]
    example = teachers.data.inputs_of(task.teacher, torch.arange(2), device=task.device)
    trunk, head = channel_split(model, layer, example, task.config.channel_dim)
    features = predict(trunk, teachers.data, task.teacher, task.test)
    start = linear_start(head, features)
    if start is None or start.rest is not None or features.ndim != 2:
        return None, None
    return features.double().numpy(), start.weight.double().cpu().numpy()


def run_fold(
    networks: Networks, repeat: int, fold: int, folds: np.ndarray, progress: Progress, threads: int | None
) -> FoldEvidence:
    """Run one fold in this process; `networks` has only the samples that the diagnosis may use."""
    before = torch.get_num_threads()
    threads = threads or before
    torch.set_num_threads(1 if networks.small() else threads)
    try:
        task = fold_task(networks, repeat, fold, folds, threads=threads, progress=progress)
        return evidence_of(task, repeat, fold)
    finally:
        torch.set_num_threads(before)


def fold_task(
    networks: Networks,
    repeat: int,
    fold: int,
    folds: np.ndarray,
    *,
    threads: int = 1,
    progress: Progress = lambda _stage, _count: None,
) -> SeedTask:
    """Return one fold as a task of a study, whose test split is the held-out samples.

    Args:
        networks: the networks to train, with the samples that the diagnosis may use.
        repeat: number of the repeat.
        fold: number of the fold in this repeat.
        folds: the fold of each sample.
        threads: for networks that are trained side by side.
        progress: counts finished trainings.
    """
    mine = replace(networks, data=replace(networks.data, split=np.where(folds == fold, "test", "train")))
    number = networks.config.seed + repeat * (int(folds.max()) + 1) + fold
    split = draw_split(mine.data, networks.config.seed if networks.config.fix_split else number)
    mine = mine.with_rate(number, torch.from_numpy(split.train))
    return SeedTask(
        mine, number, split, threads, progress=progress, arms=mine.arms, more_teachers=("unimodal",)
    )
