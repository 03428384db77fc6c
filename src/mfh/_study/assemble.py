"""From the results of the seeds to the result of the study: statistics, verdict and all that reports show."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mfh._checks import listing
from mfh._study.describe import describe_data, describe_saliency, stack_channels, stack_curves
from mfh._study.design import Design
from mfh._study.few.budget import Budget
from mfh._study.few.labels import describe_shortage
from mfh._study.given import describe_left_out
from mfh._study.kept import describe_networks
from mfh._study.networks import Networks
from mfh._study.outcome import SeedResult
from mfh._study.sentences import describe_failed, write_verdict
from mfh._study.summary import fits_of, predictions_of, records_and_values
from mfh._study.task import with_fixed_schedule
from mfh.arms import ARMS, DEFAULT, ShownArm, arms_of_both
from mfh.comparing import (
    Resampling,
    Table,
    compare_losses,
    decide,
    summarize_further,
    summarize_losses,
    tabulate_losses,
)
from mfh.config import LabelCount, StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.parts import join_names
from mfh.data.splits import absent_classes
from mfh.results import MetricInfo, StudyResult, environment
from mfh.stats import most_common

SCHEDULE = ("steps", "batch_size", "clip", "schedule")
"""Options of training that few labels replace."""


def assemble(
    networks: Networks,
    config: StudyConfig,
    seeds: Sequence[SeedResult],
    *,
    elapsed: float,
    level: float = 0.95,
) -> StudyResult:
    """Return the result of a study from those of its seeds.

    Args:
        networks: the data, arms and metrics of the study.
        config: its options, trackers included.
        seeds: what each finished fit gave.
        elapsed: seconds since the study began.
        level: coverage of the intervals, in (0, 1).
    """
    data, arms, metrics = networks.data, networks.arms, networks.metrics
    records, values = records_and_values(seeds)
    metric, source = metrics[0].info(), config.teacher_source
    if config.margin is not None:
        metric = replace(metric, margin=config.margin)
    resampling = _resampling(networks, config, seeds, level=level)
    tables = tabulate_losses(
        records, values, config.losses, arms=arms, source=source, higher_is_better=metric.higher_is_better
    )
    comparisons = compare_losses(tables, arms, source, resampling, metric)
    known = [ARMS[name] for name in DEFAULT]
    failed = tuple(student for seed in seeds for student in seed.failed)
    share, largest = _largest_class(data, seeds)
    one_output = _one_output(data, seeds)
    decision = decide(
        comparisons,
        arms=arms,
        source=source,
        metric=metric,
        loss=config.losses[0] if len(config.losses) > 1 else None,
        diverged={student.arm for student in failed if student.loss == config.losses[0]},
        known=arms_of_both(known, source) if networks.both else known,
        largest_class=share,
        one_output=one_output,
    )
    labels = _labels(networks, seeds)
    verdict = write_verdict(
        decision,
        arms=arms,
        source=source,
        metric=metric,
        modalities=(str(config.teacher), str(config.student)),
        alike=data.kind.alike,
        labels=labels,
        also=join_names([name for name in networks.sees if name != config.student]),
        softens=data.kind.softens,
        largest_class=largest,
        level=level,
    )
    left_out = describe_left_out(config, arms, few_labels=networks.few_labels)
    notes = [*describe_failed(failed, config.losses), *([left_out] if left_out else [])]
    notes += [*_notes(metric, seeds, resampling), *_absent(data, seeds), *_unweighted(networks)]
    if config.labelled:
        short = describe_shortage(data, LabelCount.of(config.labelled[0]), [seed.split for seed in seeds])
        notes += [short] if short else []
    further = summarize_further(
        records,
        config.losses,
        arms=arms,
        source=source,
        metrics=[other.name for other in metrics[1:]],
        resampling=replace(resampling, crossed=False),
        higher_is_better=metric.higher_is_better,
    )
    chosen = [choice for table in tables.values() for choice in table.chosen]
    return StudyResult(
        config=config.to_dict() | {"layer": seeds[0].layer, "networks": describe_networks(networks)},
        environment=environment(),
        timings=_timings(seeds) | {"total": elapsed},
        records=tuple(records),
        summary=summarize_losses(tables, arms, metric.name, resampling) + further,
        comparisons=comparisons,
        teachers=tuple(teacher for seed in seeds for teacher in seed.teachers),
        saliency=describe_saliency(config, seeds),
        verdict=replace(verdict, reasons=(*verdict.reasons, *notes)),
        arms=tuple(ShownArm.from_dict(arm.to_dict()) for arm in arms),
        metrics=(metric, *(other.info() for other in metrics[1:])),
        chosen=(*chosen, *(choice for seed in seeds for choice in seed.chosen)),
        labels=labels,
        sample_values=_sample_values(tables[config.losses[0]], seeds),
        data=describe_data(
            data,
            seeds[0].split,
            teacher=str(config.teacher),
            student=config.student,
            redrawn=data.split is None and not config.fix_split,
        )
        | _lacking(networks, seeds),
        channels=stack_channels(seeds),
        curves=stack_curves(seeds),
        predictions=predictions_of(data, seeds),
        failed=failed,
    )


def _resampling(
    networks: Networks, config: StudyConfig, seeds: Sequence[SeedResult], *, level: float
) -> Resampling:
    """Return how the fits were drawn, and what intervals are computed from."""
    data, student = networks.data, networks.present["student"]
    design = Design.of(data, config)
    ratios = [len(seed.split.test) / student[seed.split.train].sum() for seed in seeds]
    return Resampling(
        fits=fits_of(data, seeds),
        folds=design.folds,
        test_over_train=0.0 if design.kind == "fixed" else float(np.mean(ratios)),
        crossed=config.interval != "nadeau-bengio" and design.kind != "splits",
        groups=data.group is not None,
        num_samples=len(np.unique(np.concatenate([seed.split.test for seed in seeds]))),
        level=level,
    )


def _largest_class(data: PairedDataset, seeds: Sequence[SeedResult]) -> tuple[float, str]:
    """Return the share of the largest class in the test splits, and the class with its share in words."""
    if data.task != "single-label":
        return 0.0, ""
    rows = torch.from_numpy(np.concatenate([seed.split.test for seed in seeds]))
    weight = data.weight_of(rows)
    largest, share = most_common(data.label[rows].numpy(), None if weight is None else weight.numpy())
    return share, f"`{data.class_names[largest]}` with {100 * share:.1f}% of the test samples"


def _one_output(data: PairedDataset, seeds: Sequence[SeedResult]) -> dict[str, float]:
    """Return the share of the test samples that the students of each arm give to one class, on average."""
    if data.task != "single-label":
        return {}
    shares: dict[str, list[float]] = {}
    for seed in seeds:
        weight = data.weight_of(torch.from_numpy(seed.split.test))
        for student in seed.students:
            told = student.outputs.argmax(axis=1)
            shares.setdefault(student.record.arm, []).append(
                most_common(told, None if weight is None else weight.numpy())[1]
            )
    return {arm: float(np.mean(mine)) for arm, mine in shares.items()}


def _notes(metric: MetricInfo, seeds: Sequence[SeedResult], resampling: Resampling) -> list[str]:
    """Return what readers of the intervals must know."""
    notes = []
    if any(seed.values is None for seed in seeds):
        notes.append(
            f"Intervals are Nadeau and Bengio's: {metric.name} has no value for each sample, which crossed "
            "components need."
        )
    if metric.name != "accuracy":
        notes.append(
            f"Points are {metric.points}. A difference counts as none if its interval is within "
            f"{metric.margin:g} of 0."
        )
    if not resampling.test_over_train and len(seeds) > 1:
        notes.append("The split is the same in every fit: intervals are for this training set.")
    return notes


def _absent(data: PairedDataset, seeds: Sequence[SeedResult]) -> list[str]:
    """Return a sentence for each kind of split that lacks classes in some fits."""
    found: dict[str, list[list[str]]] = {}
    for seed in seeds:
        for name, classes in absent_classes(data, seed.split).items():
            found.setdefault(name, []).append(classes)
    sentences = []
    for name, lists in found.items():
        where = f"in the {name} split of {len(lists)} of {len(seeds)} fits"
        then = "networks do not learn them" if name == "train" else "metrics by class leave them out"
        shown = listing(sorted({one for classes in lists for one in classes}))
        sentences.append(f"These {data.kind.names} have no sample {where}: {shown}; {then}.")
    return sentences


def _unweighted(networks: Networks) -> list[str]:
    """Return a sentence on losses that weights of samples and classes do not change."""
    weighted = networks.data.weight is not None or networks.config.class_weight is not None
    others = [name for name in networks.losses if name != "kl"]
    if not weighted or not others:
        return []
    return [f"Weights of samples and classes do not change {listing(others)}: these take all samples alike."]


def _labels(networks: Networks, seeds: Sequence[SeedResult]) -> dict[str, Any]:
    """Return how many pairs of a fit have a label that it sees; empty where all have one."""
    if not networks.few_labels:
        return {}
    known, num_pairs = networks.data.labelled, len(seeds[0].split.train)
    training = with_fixed_schedule(networks, Budget.of(networks), num_pairs)
    splits = [seed.split.only(networks.present["student"]) for seed in seeds]
    labelled = np.mean([len(split.learnt) for split in splits])
    pairs = np.mean([len(split.train) for split in splits])
    return {
        "labelled": float(labelled),
        "unlabelled": float(pairs - labelled),
        "oracle": float(np.mean([known[split.train].sum() for split in splits])),
        "hidden": bool(networks.config.labelled),
        "known": int(known.sum()),
        "training": {name: getattr(training, name) for name in SCHEDULE},
    }


def _lacking(networks: Networks, seeds: Sequence[SeedResult]) -> dict[str, Any]:
    """Return what a fit learns from where samples lack a modality; empty where none does.

    Returns:
        `samples`: by modality, how many of all samples lack it; `labelled`: how many labelled training
        samples of a fit have what `teacher`, `student` and `both` see, the mean over fits.
    """
    if networks.present["both"].all():
        return {}
    sides = {side: str(getattr(networks.config, side)) for side in ("teacher", "student")}
    labelled = {
        side: float(np.mean([mask[seed.split.learnt].sum() for seed in seeds]))
        for side, mask in networks.present.items()
    }
    samples = {name: int((~networks.present[side]).sum()) for side, name in sides.items()}
    return {"lacking": {"samples": samples, "labelled": labelled}}


def _sample_values(table: Table, seeds: Sequence[SeedResult]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the mean over fits of the metric's value for each tested sample, by arm."""
    tested = {seed.seed: seed.split.test for seed in seeds}
    found = {}
    for (arm, ratio), outcomes in table.outcomes.items():
        values = [(tested[seed], outcome.values) for seed, outcome in outcomes.items()]
        if ratio is None and all(mine is not None for _, mine in values):
            rows, codes = np.unique(np.concatenate([rows for rows, _ in values]), return_inverse=True)
            sums = np.bincount(codes, np.concatenate([mine for _, mine in values if mine is not None]))
            found[arm] = rows, sums / np.bincount(codes)
    return found


def _timings(seeds: Sequence[SeedResult]) -> dict[str, float]:
    """Return the seconds of all seeds by stage."""
    stages: dict[str, float] = {}
    for seed in seeds:
        for stage, seconds in seed.timings.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages
