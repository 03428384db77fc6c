"""The metric of students by class and by group, over the test samples of all fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mfh._study.search.threshold import Decision
from mfh.metrics import AUTO, METRICS, Metric, find_metric, merit
from mfh.results import MetricInfo, Record, StudyResult

MOST_ROWS = 20
"""Classes or groups that a table shows; of more, the worst ones."""
OF_CLASSES = ("accuracy", "balanced-accuracy", "macro-f1")
"""Metrics that depend on the class that is decided, not on how likely it is."""
Row = dict[str, Any]


def by_part(
    result: StudyResult, records: Sequence[Record], info: MetricInfo, decision: Decision | None = None
) -> dict[str, Any]:
    """Return the metric of students by class and by group.

    Args:
        result: the study, with its test outputs.
        records: one student of each fit.
        info: the metric; within a class it is the task's own, such as accuracy.
        decision: how the students decide between two classes; None takes the likeliest class. With it, the
            rows of groups have `precision`, `recall` and `cost` too.

    Returns:
        `by_class` and `by_group`, each a list of `name`, `samples` and `value`; None where not known.
    """
    found: dict[str, Any] = {"by_class": None, "by_group": None}
    task = str(result.data.get("task", "single-label"))
    if info.name.lower() not in METRICS or task == "dense":
        return found
    metric = find_metric(info.name, task)
    tested = _Tested.of(result, records, decision)
    if task == "single-label":
        names = [str(name) for name in result.data.get("classes", ())]
        found["by_class"] = _rows(find_metric(AUTO, task), tested, tested.label.numpy(), names)
    if "group" in result.predictions:
        groups, codes = np.unique(result.predictions["group"], return_inverse=True)
        found["by_group"] = _rows(
            metric, tested, codes[tested.rows], [str(name) for name in groups], decision
        )
    return found


def worst(rows: Sequence[Row], *, higher_is_better: bool = True) -> list[Row]:
    """Return the parts that a table shows: all of a few, of many the worst ones, the worst first."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    return sorted(rows, key=lambda row: merit(row["value"], higher_is_better=higher_is_better))[:MOST_ROWS]


@dataclass(frozen=True, eq=False)
class _Tested:
    """The test samples of some students, one after the other.

    Attributes:
        rows: the samples.
        outputs: the students' outputs for these.
        decided: outputs of which the largest is that of the class that is decided; mostly the same.
        label: labels of these samples.
        weight: their weights; None lets all count alike.
    """

    rows: np.ndarray
    outputs: torch.Tensor
    decided: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor | None

    @classmethod
    def of(cls, result: StudyResult, records: Sequence[Record], decision: Decision | None) -> "_Tested":
        found = [test_outputs(result, record) for record in records]
        places = np.concatenate([result.predictions[f"rows/{record.seed}"] for record in records])
        weight = result.predictions.get("weight")
        outputs = decided = torch.from_numpy(np.concatenate(found))
        if decision is not None:
            told = [decision.positive(mine, record.seed) for mine, record in zip(found, records, strict=True)]
            decided = torch.from_numpy(decision.outputs(np.concatenate(told)))
        return cls(
            places,
            outputs,
            decided,
            torch.from_numpy(result.predictions["label"])[places],
            None if weight is None else torch.from_numpy(weight)[places],
        )


def test_outputs(result: StudyResult, record: Record) -> np.ndarray:
    """Return the outputs of a student for the test samples of its fit."""
    fit = [other for other in result.records if other.seed == record.seed]
    found: np.ndarray = result.predictions[f"outputs/{record.seed}"][fit.index(record)]
    return found


def _rows(
    metric: Metric, tested: _Tested, codes: np.ndarray, names: Sequence[str], decision: Decision | None = None
) -> list[Row]:
    """Return the metric of each part of the samples; parts where it is undefined are left out."""
    outputs = tested.decided if metric.name in OF_CLASSES else tested.outputs
    found: list[Row] = []
    for code, name in enumerate(names):
        part = torch.from_numpy(np.flatnonzero(codes == code))
        each = None if tested.weight is None else tested.weight[part]
        value = metric(outputs[part], tested.label[part], each) if len(part) else float("nan")
        if np.isfinite(value):
            row: Row = {"name": name, "samples": len(part), "value": value}
            if decision is not None:
                told = (tested.decided[part].argmax(dim=1) == decision.index).numpy()
                weight = None if each is None else each.double().numpy()
                row |= decision.judge(told, tested.label[part].numpy(), weight)
            found.append(row)
    return found
