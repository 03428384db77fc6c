"""From the results of the seeds to the result of the study: statistics, verdict and all that reports show."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mfh._study.describe import describe_data, describe_saliency, stack_channels, stack_curves
from mfh._study.outcome import SeedResult
from mfh._study.sentences import describe_failed, write_verdict
from mfh.arms import ARMS, DEFAULT, Arm, ShownArm
from mfh.comparing import (
    Groups,
    compare_losses,
    decide,
    summarize_further,
    summarize_losses,
    tabulate_losses,
)
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric
from mfh.results import MetricInfo, StudyResult, environment


def assemble(
    data: PairedDataset,
    config: StudyConfig,
    arms: Sequence[Arm],
    metrics: Sequence[Metric],
    seeds: Sequence[SeedResult],
    *,
    elapsed: float,
) -> StudyResult:
    """Return the result of a study from those of its seeds.

    Args:
        data: all samples.
        config: the design.
        arms: the arms of the study.
        metrics: its metrics; the first one carries the verdict.
        seeds: what each finished seed gave.
        elapsed: seconds since the study began.
    """
    records = [record for seed in seeds for record in seed.records]
    correct = [right for seed in seeds for right in seed.correct]
    metric, source = metrics[0].info(), config.teacher_source
    widening = _test_over_train(data, config, seeds)
    tables = tabulate_losses(
        records, correct, config.losses, arms=arms, source=source, higher_is_better=metric.higher_is_better
    )
    groups = _groups(data, metric, seeds)
    comparisons = compare_losses(tables, arms, source, groups, widening)
    failed = tuple(student for seed in seeds for student in seed.failed)
    share, largest = _largest_class(data, seeds)
    decision = decide(
        comparisons,
        arms=arms,
        source=source,
        metric=metric,
        loss=config.losses[0] if len(config.losses) > 1 else None,
        diverged={student.arm for student in failed if student.loss == config.losses[0]},
        known=[ARMS[name] for name in DEFAULT],
        largest_class=share,
    )
    verdict = write_verdict(
        decision,
        arms=arms,
        source=source,
        metric=metric,
        modalities=(str(config.teacher), str(config.student)),
        alike=data.kind.alike,
        softens=data.kind.softens,
        largest_class=largest,
    )
    notes = [*describe_failed(failed, config.losses), *_notes(data, config, metric, seeds, groups)]
    further = summarize_further(
        records,
        correct,
        config.losses,
        arms=arms,
        source=source,
        metrics=[other.name for other in metrics[1:]],
        test_over_train=widening,
        higher_is_better=metric.higher_is_better,
    )
    chosen = [choice for table in tables.values() for choice in table.chosen]
    return StudyResult(
        config=config.to_dict() | {"layer": seeds[0].layer},
        environment=environment(),
        timings=_timings(seeds) | {"total": elapsed},
        records=tuple(records),
        summary=summarize_losses(tables, arms, metric.name, widening) + further,
        comparisons=comparisons,
        teachers=tuple(teacher for seed in seeds for teacher in seed.teachers),
        saliency=describe_saliency(config, seeds),
        verdict=replace(verdict, reasons=(*verdict.reasons, *notes)),
        arms=tuple(ShownArm.from_dict(arm.to_dict()) for arm in arms),
        metrics=tuple(metric.info() for metric in metrics),
        chosen=(*chosen, *(choice for seed in seeds for choice in seed.chosen)),
        data=describe_data(
            data,
            seeds[0].split,
            teacher=config.teacher,
            student=config.student,
            redrawn=data.split is None and not config.fix_split,
        ),
        channels=stack_channels(seeds),
        curves=stack_curves(seeds),
        failed=failed,
    )


def _redrawn(data: PairedDataset, config: StudyConfig, seeds: Sequence[SeedResult]) -> bool:
    """Return whether each seed has a split of its own."""
    return all(seed.split.redrawn for seed in seeds) and data.split is None and not config.fix_split


def _test_over_train(data: PairedDataset, config: StudyConfig, seeds: Sequence[SeedResult]) -> float:
    """Return n_test / n_train, by which intervals are widened; 0 where the split is always the same."""
    ratios = [len(seed.split.test) / len(seed.split.train) for seed in seeds]
    return float(np.mean(ratios)) if _redrawn(data, config, seeds) else 0.0


def _groups(data: PairedDataset, metric: MetricInfo, seeds: Sequence[SeedResult]) -> Groups:
    """Return for each seed the group of each test sample; None without groups, or if no mean is compared."""
    if data.group is None or metric.name != "accuracy":
        return None
    return {seed.seed: data.group[seed.split.test] for seed in seeds}


def _largest_class(data: PairedDataset, seeds: Sequence[SeedResult]) -> tuple[float, str]:
    """Return the share of the largest class in the test splits, and the class with its share in words."""
    if data.task != "single-label":
        return 0.0, ""
    label = np.concatenate([data.label.numpy()[seed.split.test] for seed in seeds])
    counts = np.bincount(label, minlength=data.num_classes)
    share = float(counts.max() / counts.sum())
    return share, f"`{data.class_names[int(counts.argmax())]}` with {100 * share:.1f}% of the test samples"


def _notes(
    data: PairedDataset,
    config: StudyConfig,
    metric: MetricInfo,
    seeds: Sequence[SeedResult],
    groups: Groups,
) -> list[str]:
    """Return what readers of the intervals must know."""
    notes = []
    if data.group is not None and groups is None:
        notes.append(f"No groups were resampled: {metric.name} is not a mean over samples.")
    if metric.name != "accuracy":
        notes.append(
            f"Points are {metric.points}. A difference counts as none if its interval is within "
            f"{metric.margin:g} of 0."
        )
    if not _redrawn(data, config, seeds) and len(seeds) > 1:
        notes.append("The split is the same in every seed: the intervals do not cover the choice of samples.")
    return notes


def _timings(seeds: Sequence[SeedResult]) -> dict[str, float]:
    """Return the seconds of all seeds by stage."""
    stages: dict[str, float] = {}
    for seed in seeds:
        for stage, seconds in seed.timings.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages
