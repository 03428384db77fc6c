"""The metric of students by class and by group, over the test samples of all fits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mfh.metrics import AUTO, METRICS, Metric, find_metric
from mfh.results import MetricInfo, Record, StudyResult

MOST_ROWS = 20
"""Classes or groups that a table shows; of more, the worst ones."""


def by_part(result: StudyResult, records: Sequence[Record], info: MetricInfo) -> dict[str, Any]:
    """Return the metric by class and by group.

    Args:
        result: the study, with its test outputs.
        records: one student of each fit.
        info: the metric; within a class it is the task's own, such as accuracy.

    Returns:
        `by_class` and `by_group`, each a list of `name`, `samples` and `value`; None where not known.
    """
    found: dict[str, Any] = {"by_class": None, "by_group": None}
    task = str(result.data.get("task", "single-label"))
    if info.name.lower() not in METRICS or task == "dense":
        return found
    metric = find_metric(info.name, task)
    rows, outputs = _test_outputs(result, records)
    label = torch.from_numpy(result.predictions["label"])[rows]
    weight = None
    if "weight" in result.predictions:
        weight = torch.from_numpy(result.predictions["weight"])[rows]
    if task == "single-label":
        names = [str(name) for name in result.data.get("classes", ())]
        found["by_class"] = _rows(find_metric(AUTO, task), outputs, label, weight, label.numpy(), names)
    if "group" in result.predictions:
        groups, codes = np.unique(result.predictions["group"], return_inverse=True)
        found["by_group"] = _rows(metric, outputs, label, weight, codes[rows], [str(name) for name in groups])
    return found


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


def _test_outputs(result: StudyResult, records: Sequence[Record]) -> tuple[np.ndarray, torch.Tensor]:
    """Return the test samples of some students, and their outputs for these."""
    rows, outputs = [], []
    for record in records:
        fit = [r for r in result.records if r.seed == record.seed]
        rows.append(result.predictions[f"rows/{record.seed}"])
        outputs.append(result.predictions[f"outputs/{record.seed}"][fit.index(record)])
    return np.concatenate(rows), torch.from_numpy(np.concatenate(outputs))
