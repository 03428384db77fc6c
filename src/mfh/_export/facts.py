"""What a model card says about a student: how good it is, by class and by group, and what it was made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mfh._export.choose import Chosen
from mfh.arms import BASELINE, CHOSEN, Arm
from mfh.comparing import source_arm
from mfh.metrics import AUTO, METRICS, Metric, find_metric
from mfh.results import MetricInfo, Record, StudyResult

MOST_ROWS = 20
"""Classes or groups that a table of the card shows; of more, the worst ones."""


def describe_score(result: StudyResult, chosen: Chosen) -> dict[str, Any]:
    """Return how good students like this one are on test data.

    Returns:
        `metric`, its `unit`, `mean`, `low` and `high` over `fits`, `gain` over the student without a teacher
        with its interval (None for that student itself), `test` of this student alone, and `by_class` and
        `by_group`, each a list of `name`, `samples` and `value`; None where they are not known.
    """
    info, names = result.metrics[0], _names(chosen.arm)
    row = next(
        (
            row
            for row in result.summary
            if (row.arm, row.ratio) in names
            and row.metric == info.name
            and row.loss in (None, chosen.record.loss)
        ),
        None,
    )
    return {
        "metric": info.name,
        "unit": info.unit,
        "higher_is_better": info.higher_is_better,
        "mean": None if row is None else row.mean,
        "low": None if row is None else row.low,
        "high": None if row is None else row.high,
        "fits": None if row is None else row.n,
        "test": chosen.record.test,
        "gain": _gain(result, chosen),
        "also": dict(chosen.record.also),
        **_by_part(result, chosen, info),
    }


def _names(arm: Arm) -> list[tuple[str, float | None]]:
    """Return the keys of an arm's row in tables; of its chosen ratio where it has one."""
    return [(arm.name + CHOSEN, None)] if arm.has_chosen else [(arm.name, None)]


def _gain(result: StudyResult, chosen: Chosen) -> dict[str, Any] | None:
    key = _names(chosen.arm)[0][0]
    for row in result.comparisons:
        if row.ratio is None and (row.a, row.b) == (key, BASELINE) and row.loss in (None, chosen.record.loss):
            return {"difference": row.difference, "low": row.low, "high": row.high}
    return None


def _by_part(result: StudyResult, chosen: Chosen, info: MetricInfo) -> dict[str, Any]:
    """Return the metric by class and by group, over the test samples of all fits."""
    nothing = {"by_class": None, "by_group": None}
    task = str(result.data.get("task", "single-label"))
    if "label" not in result.predictions or info.name.lower() not in METRICS or task == "dense":
        return nothing
    metric = find_metric(info.name, task)
    rows, outputs = _test_outputs(result, like_it(result, chosen))
    label = torch.from_numpy(result.predictions["label"])[rows]
    weight = None
    if "weight" in result.predictions:
        weight = torch.from_numpy(result.predictions["weight"])[rows]
    by_class = None
    if task == "single-label":
        recall = find_metric(AUTO, task)
        names = [str(name) for name in result.data.get("classes", ())]
        by_class = _rows(recall, outputs, label, weight, label.numpy(), names)
    by_group = None
    if "group" in result.predictions:
        groups, codes = np.unique(result.predictions["group"], return_inverse=True)
        by_group = _rows(metric, outputs, label, weight, codes[rows], [str(name) for name in groups])
    return {"by_class": by_class, "by_group": by_group}


def _rows(
    metric: Metric,
    outputs: torch.Tensor,
    label: torch.Tensor,
    weight: torch.Tensor | None,
    codes: np.ndarray,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the metric of each part of the samples; parts where it is undefined are left out."""
    found: list[dict[str, Any]] = []
    for code, name in enumerate(names):
        part = torch.from_numpy(np.flatnonzero(codes == code))
        each = None if weight is None else weight[part]
        value = metric(outputs[part], label[part], each) if len(part) else float("nan")
        if np.isfinite(value):
            found.append({"name": name, "samples": len(part), "value": value})
    worst = sorted(found, key=lambda row: metric.merit(row["value"]))[:MOST_ROWS]
    return found if len(found) <= MOST_ROWS else worst


def like_it(result: StudyResult, chosen: Chosen) -> list[Record]:
    """Return the students of all fits that validation chose as it chose this one: one for each fit."""
    ratios = {
        choice.seed: choice.ratio
        for choice in result.chosen
        if choice.arm == chosen.arm.name and choice.loss in (None, chosen.record.loss)
    }
    plain = source_arm(result.arms, str(result.config.get("teacher_source", "joint")))
    mine = {}
    for record in result.records:
        ratio = ratios.get(record.seed) if chosen.arm.has_chosen else chosen.record.ratio
        wanted = (plain.name, None) if plain and ratio == 0 else (chosen.arm.name, ratio)
        same = (record.arm, record.ratio) == wanted and record.loss in (None, chosen.record.loss)
        if same and not record.draw:
            mine[record.seed] = record
    return list(mine.values())


def _test_outputs(result: StudyResult, records: Sequence[Record]) -> tuple[np.ndarray, torch.Tensor]:
    """Return the test samples of some students, and their outputs for these."""
    rows, outputs = [], []
    for record in records:
        fit = [r for r in result.records if r.seed == record.seed]
        rows.append(result.predictions[f"rows/{record.seed}"])
        outputs.append(result.predictions[f"outputs/{record.seed}"][fit.index(record)])
    return np.concatenate(rows), torch.from_numpy(np.concatenate(outputs))


def describe_data(result: StudyResult) -> dict[str, Any]:
    """Return what the data of a run are, and how they were used."""
    data: Mapping[str, Any] = result.data
    config: Mapping[str, Any] = result.config
    return {
        "file": data.get("file"),
        "fingerprint": data.get("fingerprint"),
        "samples": data.get("num_samples"),
        "splits": data.get("splits"),
        "groups": data.get("num_groups"),
        "repeats": data.get("repeats"),
        "folds": data.get("folds"),
        "label": (config.get("sources") or {}).get("label"),
        "labelled": result.labels.get("labelled"),
        "hidden": result.labels.get("hidden"),
        "teacher": config.get("teacher"),
        "student": config.get("student"),
    }
