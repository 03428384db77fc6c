"""AV-MNIST (Table 1 of the paper): does a more accurate multimodal teacher make a better audio student?

    mfh avmnist prepare --fsdd v1.0.10.zip --out data/avmnist.npz
    mfh avmnist study --data data/avmnist.npz --out out/avmnist --seeds 10

Published: the student has 68.36% without distillation, 70.10% from an audio teacher, and 69.73% from a
teacher of both modalities, although that teacher is more accurate. Time: seconds per fit on one CPU core.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh._study.describe import describe_data
from mfh._study.design import Design
from mfh._study.networks import Build
from mfh._study.outcome import SeedResult, Student
from mfh._study.resume import Store
from mfh._study.students import shuffle_within_classes
from mfh._study.summary import fits_of, predictions_of, summarize_seeds
from mfh._study.task import derived_seed
from mfh._system.lock import holds
from mfh._system.progress import counted
from mfh.arms import ARMS as STUDY_ARMS
from mfh.arms import Arm, Look, ShownArm
from mfh.comparing import Resampling, compare_arms, is_better, is_none, is_worse
from mfh.data.paired import PairedDataset
from mfh.data.standardize import Standardize
from mfh.experiments.avmnist_config import AvmnistConfig
from mfh.metrics import find_metric, metrics_of
from mfh.models.avmnist import LateFusion
from mfh.models.mlp import mlp
from mfh.results import Comparison, MetricInfo, StudyResult, TeacherRecord, Verdict, environment
from mfh.training.evaluate import predict
from mfh.training.objectives import Distill, learn_from
from mfh.training.scores import make_record, make_teacher_record
from mfh.training.students import StudentJob, seeded, train_students

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        STUDY_ARMS["no-kd"],
        STUDY_ARMS["no-kd-smoothed"],
        ShownArm(
            name="audio",
            teacher="audio",
            words="an audio teacher, which sees the student's own modality",
            look=Look(color="orange", marker="s"),
        ),
        ShownArm(
            name="both",
            teacher="both",
            words="a teacher of image and audio",
            look=Look(color="blue", marker="D"),
        ),
        ShownArm(
            name="image", teacher="image", words="an image teacher", look=Look(color="green", marker="^")
        ),
        ShownArm(
            name="mismatched",
            teacher="both",
            output="shuffled",
            words="control: the teacher of image and audio, its outputs shuffled among samples of the class",
        ),
    )
}
"""The arms of this study; their teachers are named after what they see."""
TEACHERS = tuple(arm.name for arm in ARMS.values() if arm.is_plain)
COMPARISONS = (
    ("both", "audio"), ("both", "no-kd"), ("audio", "no-kd"), ("image", "no-kd"), ("both", "mismatched"),
    ("no-kd-smoothed", "no-kd"), ("image", "audio"),
)  # fmt: skip
"""Pairs of arms to compare; the first is the declared comparison, and the verdict is about it."""
SMOOTHING = 0.1
"""Label smoothing of the arm `no-kd-smoothed`."""
STUDENT = "audio"
FOLDS = 5
"""Folds of each repeat; with fewer speakers each speaker is a fold."""


def load(path: Path | str) -> PairedDataset:
    """Read the file that `prepare` wrote; the speakers become groups.

    Raises:
        InputError: it is another file.
    """
    data = PairedDataset.from_npz(path, modalities=["image", "audio", "both"], group="speaker")
    count = len(data.group_names)
    require(count >= 3, f"`data` must have at least three speakers, one for each split. Got {count}.")
    return data


@holds()
def study(
    data: PairedDataset,
    *,
    config: AvmnistConfig | None = None,
    out: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train an audio student alone and from teachers of audio, of images and of both.

    The fits are those of repeated K-fold by speakers: each repeat tests each speaker once.

    Args:
        data: data that `load` read.
        config: how networks are trained.
        out: folder for results and finished seeds, from which the same call resumes; None writes nothing.
        progress: whether to show a progress bar on stderr.

    Returns:
        Records of the arms in `ARMS`, the differences in `COMPARISONS`, and a verdict on `both` - `audio`.

    Raises:
        InputError: `out` contains the results of another run, or cannot be written.
    """
    start = time.perf_counter()
    config = (config or AvmnistConfig()).settled()
    free = ("seeds", "device", "tracker")
    identity = {name: value for name, value in config.to_dict().items() if name not in free}
    identity |= {"experiment": "avmnist", "data": data.fingerprint, "folds": FOLDS}
    store = Store.open(out, identity) if out is not None else None
    seeds, design = [], _design(data, config)
    for seed in counted(design.seeds, "study", len(design.seeds), unit="fits", show=progress):
        done = store.load(seed) if store is not None else None
        if done is None:
            done = run_seed(data, config, seed)
            if store is not None:
                store.save(done)
        seeds.append(done)
    result = _assemble(data, config, seeds, time.perf_counter() - start)
    if store is not None:
        result.save(store.folder)
    return result


def _design(data: PairedDataset, config: AvmnistConfig) -> Design:
    """Return the folds: `config.seeds` fits, rounded up to whole repeats."""
    folds = min(FOLDS, len(data.group_names))
    return Design("kfold", folds, -(-config.seeds // folds), config.seed)


def run_seed(data: PairedDataset, config: AvmnistConfig, seed: int) -> SeedResult:
    """Train the teachers and then the students of one fit."""
    start = time.perf_counter()
    design = _design(data, config)
    split, (repeat, fold) = design.draw_fold(data, seed), design.place(seed)
    train, validation = torch.from_numpy(split.train), torch.from_numpy(split.validation)
    fitted = {name: Standardize.fit(data.inputs(name, train)) for name in data.modalities}
    data = data.with_transforms(fitted)
    batches, rows = derived_seed(seed, "batches"), torch.arange(len(data))
    metrics = metrics_of(data.task, find_metric(config.metric, data.task))
    jobs = [
        StudentJob(
            seeded(_teacher(data, config, name), derived_seed(seed, name)),
            Distill(),
            data,
            name,
            train,
            validation,
            batches,
            metric=metrics[0],
        )
        for name in TEACHERS
    ]
    logits = {}
    for job, done in zip(jobs, train_students(jobs, config), strict=True):
        job.model.load_state_dict(done.state)
        logits[job.modality] = predict(job.model, data, job.modality, rows)
    student = seeded(lambda: _student(data, config), derived_seed(seed, "student"))
    shuffled = shuffle_within_classes(data, split.train, derived_seed(seed, "mismatched"))
    jobs = [
        StudentJob(
            student, _objective(arm, logits, shuffled, config), data, STUDENT, train, validation, batches,
            metric=metrics[0],
        )
        for arm in ARMS.values()
    ]  # fmt: skip
    students = []
    for arm, done in zip(ARMS.values(), train_students(jobs, config), strict=True):
        student.load_state_dict(done.state)
        found = predict(student, data, STUDENT, rows)
        record = make_record(
            arm.name, metrics, found, data.label, split, seed=seed, best_epoch=done.best_epoch,
            seconds=done.seconds, loss=None if arm.teacher is None else config.loss,
        )  # fmt: skip
        record = replace(record, repeat=repeat, fold=fold)
        students.append(Student.of(record, metrics[0], found, data.label, split))
    teachers = tuple(
        make_teacher_record(
            name, metrics[0], table, data.label, split, seed=seed, temperature=config.temperature
        )
        for name, table in logits.items()
    )
    timings = {"training": time.perf_counter() - start}
    return SeedResult(seed, split, tuple(students), teachers, repeat=repeat, fold=fold, timings=timings)


def _teacher(data: PairedDataset, config: AvmnistConfig, name: str) -> Build:
    sizes = {part: int(np.prod(data.shape(part))) for part in data.modalities}
    if name == "both":
        parts = sizes["image"], sizes["audio"]
        return lambda: LateFusion(parts, data.num_classes, hidden=config.teacher_hidden)
    return lambda: mlp(sizes[name], data.num_classes, hidden=config.teacher_hidden)


def _student(data: PairedDataset, config: AvmnistConfig) -> nn.Module:
    return mlp(int(np.prod(data.shape(STUDENT))), data.num_classes, hidden=config.hidden)


def _objective(arm: Arm, logits: dict[str, Tensor], shuffled: Tensor, config: AvmnistConfig) -> Distill:
    if arm.teacher is None:
        return Distill(smoothing=SMOOTHING if arm.smoothing else 0.0)
    table = logits[arm.teacher]
    return learn_from(config, table[shuffled] if arm.output == "shuffled" else table)


def _assemble(
    data: PairedDataset, config: AvmnistConfig, seeds: list[SeedResult], elapsed: float
) -> StudyResult:
    metrics = metrics_of(data.task, find_metric(config.metric, data.task))
    design = _design(data, config)
    plan = Resampling(
        fits=fits_of(data, seeds),
        folds=design.folds,
        test_over_train=float(np.mean([len(done.split.test) / len(done.split.train) for done in seeds])),
        crossed=True,
        groups=data.group is not None,
        num_samples=len(data),
    )
    table, summary = summarize_seeds(seeds, metrics, plan, arms=tuple(ARMS.values()))
    metric, *others = (metric.info() for metric in metrics)
    rows = tuple(
        compare_arms(
            table.outcomes, (a, None), (b, None), plan, metric,
            question=1 if (a, b) == COMPARISONS[0] else None,
        )
        for a, b in COMPARISONS
    )  # fmt: skip
    teachers = tuple(teacher for done in seeds for teacher in done.teachers)
    return StudyResult(
        config=config.to_dict() | {"teacher": "both", "student": STUDENT},
        environment=environment(),
        timings={"training": sum(done.timings["training"] for done in seeds), "total": elapsed},
        records=tuple(record for done in seeds for record in done.records),
        summary=summary,
        comparisons=rows,
        teachers=teachers,
        verdict=judge(rows[0], *(_mean_test(teachers, name) for name in ("both", "audio")), metric=metric),
        arms=tuple(ARMS.values()),
        metrics=(metric, *others),
        data={
            **describe_data(data, seeds[0].split, teacher="both", student=STUDENT, redrawn=True),
            "repeats": design.repeats,
            "folds": design.folds,
        },
        predictions=predictions_of(data, seeds),
    )


def _mean_test(teachers: tuple[TeacherRecord, ...], name: str) -> float:
    return float(np.mean([teacher.test for teacher in teachers if teacher.teacher == name]))


def judge(both_minus_audio: Comparison, both: float, audio: float, *, metric: MetricInfo) -> Verdict:
    """Return the verdict on whether the teacher of both modalities makes the better student.

    Args:
        both_minus_audio: difference of their students.
        both: test metric of the teacher of both modalities.
        audio: test metric of the audio teacher.
        metric: the metric.
    """
    row, unit = both_minus_audio, metric.unit
    teachers = (
        f"The {metric.name} of the teacher of both modalities is {both:.1f}{unit}, that of the audio teacher "
        f"{audio:.1f}{unit}."
    )
    if row.low is None or row.high is None:
        text = f"One fit cannot decide which of them teaches better ({row.difference:+.2f} points)."
        return Verdict("abstain", None, f"{teachers} {text}")
    span = f"({row.difference:+.2f} points, 95% interval {row.low:+.2f} to {row.high:+.2f}, {row.n} fits)"
    if is_better(row, metric):
        return Verdict("help", None, f"{teachers} The student of both is better {span}.")
    if is_worse(row, metric):
        return Verdict("hurt", None, f"{teachers} The student of both is worse {span}.")
    if is_none(row, metric):
        text = f"Their students differ by less than {metric.margin:g} {span}."
        return Verdict("no-effect", None, f"{teachers} {text}")
    return Verdict("abstain", None, f"{teachers} It is open which student is better {span}.")
