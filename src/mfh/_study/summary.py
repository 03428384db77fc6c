"""What the fits of a study have in common with those of a partial study: tables, units and test outputs."""

from collections.abc import Sequence

import numpy as np

from mfh._study.outcome import SeedResult
from mfh.arms import Arm
from mfh.comparing import Fit, Resampling, Table, summarize, summarize_further, tabulate
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric
from mfh.results import Record, Summary

MOST_OUTPUTS = 2**27
"""Numbers of test outputs above which `predictions.npz` is left out."""


def records_and_values(seeds: Sequence[SeedResult]) -> tuple[list[Record], list[np.ndarray | None]]:
    """Return the record of every student, and its values; None in a seed where a student has none."""
    records: list[Record] = []
    values: list[np.ndarray | None] = []
    for seed in seeds:
        records += seed.records
        values += [None] * len(seed.students) if seed.values is None else list(seed.values)
    return records, values


def summarize_seeds(
    seeds: Sequence[SeedResult],
    metrics: Sequence[Metric],
    resampling: Resampling,
    *,
    arms: Sequence[Arm],
    source: str = "",
) -> tuple[Table, tuple[Summary, ...]]:
    """Return the table of students that all have the same loss, and their summary by each metric."""
    records, values = records_and_values(seeds)
    higher = metrics[0].higher_is_better
    table = tabulate(records, values, arms=arms, source=source, higher_is_better=higher)
    losses = {record.loss for record in records if record.loss} or {"kl"}
    others = [metric.name for metric in metrics[1:]]
    further = summarize_further(
        records, list(losses), arms=arms, source=source, metrics=others, resampling=resampling,
        higher_is_better=higher,
    )  # fmt: skip
    return table, summarize(table, metrics[0].name, resampling) + further


def fits_of(data: PairedDataset, seeds: Sequence[SeedResult]) -> dict[int, Fit]:
    """Return the place of each fit, and the sample or group that each of its test samples belongs to."""
    unit = np.arange(len(data)) if data.group is None else np.unique(data.group, return_inverse=True)[1]
    return {seed.seed: Fit(seed.repeat, seed.fold, unit[seed.split.test]) for seed in seeds}


def predictions_of(data: PairedDataset, seeds: Sequence[SeedResult]) -> dict[str, np.ndarray]:
    """Return the students' outputs for the test samples; empty where they would be too large."""
    if sum(seed.outputs.size for seed in seeds) > MOST_OUTPUTS:
        return {}
    arrays = {"id": np.asarray(data.id, dtype=str), "label": data.label.numpy()}
    if data.weight is not None:
        arrays["weight"] = data.weight.numpy()
    if data.group is not None:
        arrays["group"] = np.asarray(data.group_names, dtype=str)[data.group]
    for seed in seeds:
        arrays |= {f"rows/{seed.seed}": seed.split.test, f"outputs/{seed.seed}": seed.outputs}
        if seed.split.labelled is not None:
            arrays[f"labelled/{seed.seed}"] = seed.split.labelled
        if seed.out_of_fold:
            arrays[f"out_of_fold_rows/{seed.seed}"] = seed.out_of_fold["rows"]
            arrays[f"out_of_fold/{seed.seed}"] = seed.out_of_fold["outputs"]
    return arrays
