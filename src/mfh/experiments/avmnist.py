"""AV-MNIST (Table 1 of the paper): does a more accurate multimodal teacher make a better audio student?

    mfh avmnist prepare --fsdd v1.0.10.zip --out data/avmnist.npz
    mfh avmnist study --data data/avmnist.npz --out out/avmnist --seeds 10

Published: the student has 68.36% without distillation, 70.10% from an audio teacher, and 69.73% from a
teacher of both modalities, although that teacher is more accurate. Time: seconds per fit on one CPU core.
"""

import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

import mfh
from mfh._checks import require
from mfh._study.describe import describe_data, stack_curves
from mfh._study.kept import Kept, describe_build, describe_input
from mfh._study.outcome import SeedResult
from mfh._study.resume import Store
from mfh._study.summary import fits_of, predictions_of, summarize_seeds
from mfh._system.lock import holds
from mfh._system.progress import counted
from mfh.comparing import Resampling, compare_arms, is_better, is_none, is_worse
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.experiments.avmnist_config import AvmnistConfig
from mfh.experiments.avmnist_training import ARMS, FOLDS, STUDENT, design_of, run_seed
from mfh.metrics import find_metric, metrics_of
from mfh.results import Comparison, MetricInfo, StudyResult, TeacherRecord, Verdict, environment

COMPARISONS = (
    ("both", "audio"), ("both", "no-kd"), ("audio", "no-kd"), ("image", "no-kd"), ("both", "mismatched"),
    ("no-kd-smoothed", "no-kd"), ("image", "audio"),
)  # fmt: skip
"""Pairs of arms to compare; the first is the declared comparison, and the verdict is about it."""


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
        With `config.labelled` the result of `mfh.study` with few labels.

    Raises:
        InputError: `out` contains the results of another run, or cannot be written.
    """
    start = time.perf_counter()
    config = (config or AvmnistConfig()).settled()
    if config.labelled:
        return _study_few(data, config, out, progress)
    free = ("seeds", "device", "tracker", "labelled")
    identity = {name: value for name, value in config.to_dict().items() if name not in free}
    identity |= {"experiment": "avmnist", "data": data.fingerprint, "folds": FOLDS}
    store = Store.open(out, identity) if out is not None else None
    seeds, design = [], design_of(data, config)
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
        return replace(result, kept=Kept(store.folder))
    return replace(result, kept=Kept.in_memory({done.seed: done.weights for done in seeds}))


def _study_few(
    data: PairedDataset, config: AvmnistConfig, out: Path | str | None, progress: bool
) -> StudyResult:
    """Run `mfh.study` with few labels: its teachers see the image, the audio and both."""
    names = {spec.name for spec in fields(AvmnistConfig)} & {spec.name for spec in fields(StudyConfig)}
    values = {name: getattr(config, name) for name in names - {"label_weight", "distill_weight"}}
    few = StudyConfig(**values, teacher="image", student=STUDENT)
    return mfh.study(data, config=few, out=out, progress=progress)


def _assemble(
    data: PairedDataset, config: AvmnistConfig, seeds: list[SeedResult], elapsed: float
) -> StudyResult:
    metrics = metrics_of(data.task, find_metric(config.metric, data.task))
    design = design_of(data, config)
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
    build = describe_build(None, data, STUDENT, hidden=config.hidden)
    described = describe_input(data, STUDENT) | {"network": build}
    return StudyResult(
        config=config.to_dict()
        | {
            "experiment": "avmnist",
            "teacher": "both",
            "student": STUDENT,
            "networks": {"student": described},
        },
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
        curves=stack_curves(seeds),
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
