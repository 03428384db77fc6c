"""One fold of a diagnosis: teachers and short students fitted without it, and what they answer to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from mfh._checks import listing, require
from mfh._diagnose.gamma import LEAST_PER_FOLD
from mfh._focus import channel_split
from mfh._saliency import linear_start
from mfh._study.arms import ArmKey
from mfh._study.design import Networks
from mfh._study.seed import SeedRun
from mfh._study.teachers import METRIC, Progress, accuracies, describe_teacher
from mfh.data.paired import PairedDataset
from mfh.data.splits import divide, draw_split
from mfh.results import Record, TeacherRecord
from mfh.training.loop import predict
from mfh.training.students import seeded

PILOT = ("no-kd", "regular", "joint", "general", "important", "softened", "softened-regular")
SAMPLES_PER_FOLD = 2


@dataclass(frozen=True, eq=False)
class FoldEvidence:
    """What one fold leaves. Rows are those of the data that the diagnosis may see.

    Attributes:
        repeat, fold: which.
        rows: the held-out samples.
        teacher: logits of the regular teacher on all samples, those it was fitted on included.
        unimodal: logits of the teacher of the student's modality on all samples.
        students: logits of each short student on them.
        records: one per short student.
        teachers: one per teacher.
        overconfident: mean probability of the teacher's first class minus its accuracy, on the samples that
            the student would see, in points.
        features: what the head of the teacher reads, on the held-out samples; None where the head is not one
            linear layer on channels.
        weight: of that head, (output, channel).
    """

    repeat: int
    fold: int
    rows: Int[np.ndarray, " held"]
    teacher: Float[np.ndarray, "sample output"]
    unimodal: Float[np.ndarray, "sample output"]
    students: Mapping[ArmKey, np.ndarray]
    records: tuple[Record, ...]
    teachers: tuple[TeacherRecord, ...]
    overconfident: float
    features: np.ndarray | None = field(repr=False)
    weight: np.ndarray | None = field(repr=False)


def usable_rows(data: PairedDataset, seed: int) -> Int[np.ndarray, " row"]:
    """All samples but those of the test split, which choose nothing."""
    chosen = draw_split(data, seed)
    return np.sort(np.concatenate([chosen.train, chosen.validation]))


def take(data: PairedDataset, rows: Int[np.ndarray, " row"]) -> PairedDataset:
    """Some samples of a data set, without its split."""
    index = torch.from_numpy(rows)
    held = data.read(list(data.modalities), index)
    group = None if data.group is None else data.group[rows]
    return replace(data, modalities=held, label=data.label[index], id=data.id[rows], group=group, split=None)


def deal(data: PairedDataset, folds: int, seed: int) -> Int[np.ndarray, " sample"]:
    """The fold of each sample, stratified by class, group-disjoint.

    Raises:
        InputError: too few groups, or too few samples of a class, for so many folds.
    """
    label = data.label.numpy()
    counts = np.bincount(label, minlength=data.num_classes)
    needed = SAMPLES_PER_FOLD * folds
    require(
        len(label) >= LEAST_PER_FOLD * folds,
        f"`folds` {folds} needs {LEAST_PER_FOLD * folds} samples or more outside of the test split. There "
        f"are {len(label)}: add samples, or lower `folds` (3 is the least).",
    )
    scarce = [f"{data.class_names[k]} ({counts[k]})" for k in np.flatnonzero(counts < needed)]
    require(
        not scarce,
        f"`folds` {folds} needs {needed} samples or more of every class outside of the test split. There are "
        f"fewer of {listing(scarce)}: add samples, drop the class, or lower `folds` (3 is the least).",
    )
    if data.group is not None:
        present = len(np.unique(data.group))
        require(
            present >= folds,
            f"`folds` {folds} needs as many groups outside of the test split, so that no group is in two "
            f"folds. There {'is' if present == 1 else 'are'} {present}: lower `folds` (3 is the least), or "
            "leave the groups out if samples of one group have nothing in common.",
        )
    parts = divide(label, data.group, [1 / folds] * folds, np.random.default_rng([seed, folds]))
    result = np.empty(len(label), dtype=np.int64)
    for number, part in enumerate(parts):
        result[part] = number
        absent = np.setdiff1d(np.arange(data.num_classes), label[np.setdiff1d(np.arange(len(label)), part)])
        names = listing(data.class_names[k] for k in absent)
        require(
            not len(absent),
            f"`folds` {folds}: without one of its folds, no sample of class {names} is left, because all of "
            "them are in few groups. Add groups with this class, or drop it.",
        )
    return result


class FoldRun(SeedRun):
    """The study's own machinery on one fold: its teachers, and the few arms of the pilot."""

    def evidence(self, repeat: int, fold: int) -> FoldEvidence:
        """Train, and answer the held-out samples."""
        trained = self.fit_teachers(self.data, self.train, fold="")
        tables = self.rank(trained, fold="").tables
        jobs = {
            replace(key, loss=None): job
            for key, job in self.jobs(tables).items()
            if key.arm in PILOT and key.loss in (None, self.config.loss)
        }
        fits = self.train_alone({key.name: job for key, job in jobs.items()}, "pilot")
        model = seeded(self.build_student, 0).to(self.device)
        students, records = {}, []
        for key, done in zip(jobs, fits, strict=True):
            model.load_state_dict(done.state)
            logits = self.answers(model, self.student)
            students[key] = logits[self.test].double().numpy()
            scores = accuracies(logits, self.data.label, self.split)
            records.append(
                Record(
                    arm=key.arm,
                    ratio=key.ratio,
                    seed=self.seed,
                    metric=METRIC,
                    **scores,
                    best_epoch=done.best_epoch,
                    seconds=done.seconds,
                    draw=None,
                    loss=None,
                    also={},
                )
            )
        regular, held = tables.logits["regular"], self.split.test
        answers = {name: tables.logits[name].double().numpy() for name in ("regular", "unimodal")}
        features, weight = self.last_layer(trained.regular)
        return FoldEvidence(
            repeat, fold, held, answers["regular"], answers["unimodal"], students, tuple(records),
            self.pilot_teachers(tables.logits), self.overconfidence(regular[self.train]), features, weight,
        )  # fmt: skip

    def pilot_teachers(self, logits: Mapping[str, torch.Tensor]) -> tuple[TeacherRecord, ...]:
        """Accuracy, entropy and saturation of the teachers that the pilot has."""
        return tuple(
            describe_teacher(
                name, self.seed, values, self.data.label, self.split, temperature=self.config.temperature
            )
            for name, values in logits.items()
        )

    def overconfidence(self, logits: torch.Tensor) -> float:
        """By how much a teacher is surer than right on the samples that it was fitted on, in points."""
        soft = torch.softmax(logits.double() / self.config.temperature, dim=1)
        right = (logits.argmax(dim=1) == self.data.label[self.train]).double()
        return 100 * float(soft.max(dim=1).values.mean() - right.mean())

    def last_layer(self, model: torch.nn.Module) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Features and weights of a linear head, on the held-out samples; None where it is no such head."""
        example = self.data.inputs(self.teacher, self.all[:2], device=self.device)
        trunk, head = channel_split(model, self.layer, example, self.config.channel_dim)
        features = predict(trunk, self.data, self.teacher, self.test)
        start = linear_start(head, features)
        if start is None or start.rest is not None or features.ndim != 2:
            return None, None
        return features.double().numpy(), start.weight.double().cpu().numpy()


def run_fold(
    networks: Networks, repeat: int, fold: int, folds: np.ndarray, progress: Progress, threads: int | None
) -> FoldEvidence:
    """One fold, in this process; the data of `networks` are those that the diagnosis may see."""
    mine = replace(networks.data, split=np.where(folds == fold, "test", "train"))
    number = networks.config.seed + repeat * (int(folds.max()) + 1) + fold
    before = torch.get_num_threads()
    threads = threads or before
    torch.set_num_threads(1 if networks.small() else threads)
    try:
        return FoldRun(
            mine, networks.build_teacher, networks.build_student, networks.config, number,
            transforms=networks.transforms, progress=progress, threads=threads,
        ).evidence(repeat, fold)  # fmt: skip
    finally:
        torch.set_num_threads(before)
