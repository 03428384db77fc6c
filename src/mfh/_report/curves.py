"""Training curves, averaged over seeds and thinned to what a figure can show."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mfh.results import StudyResult

ARMS = ("no-kd", "regular", "joint", "general", "important", "softened")
TEACHERS = ("regular", "joint", "unimodal")
MAX_POINTS = 120


def summarize_curves(
    result: StudyResult, *, ratio: float | None, loss: str | None
) -> dict[str, dict[str, Any]]:
    """Mean curve of each of the main arms and of each teacher; empty where the run kept none.

    Args:
        result: with `curves`.
        ratio: at which arms are shown that remove channels.
        loss: the distillation loss that is shown.

    Returns:
        `students` and `teachers`: name -> `epoch`, mean `validation` and its `low`est and `high`est over
        seeds, mean `loss`, mean number of `epochs`.
    """
    return {
        "students": _students(result, ratio, loss),
        "teachers": {
            name: line
            for name in TEACHERS
            if (line := _line(result.curves.get(f"{name}_validation"), result.curves.get(f"{name}_loss")))
        },
    }


def _students(result: StudyResult, ratio: float | None, loss: str | None) -> dict[str, Any]:
    validation, losses = (result.curves.get(f"students_{what}") for what in ("validation", "loss"))
    if validation is None or losses is None or len(validation) != len(result.records):
        return {}
    lines = {}
    for arm in ARMS:
        rows = [
            place
            for place, record in enumerate(result.records)
            if record.arm == arm
            and record.ratio in (None, ratio)
            and (loss is None or getattr(record, "loss", None) in (None, loss))
        ]
        if rows and (line := _line(validation[rows], losses[rows])):
            lines[arm] = line
    return lines


def _line(validation: np.ndarray | None, loss: np.ndarray | None) -> dict[str, Any] | None:
    """One line of the figure; over the epochs that at least one of the networks was trained for."""
    if validation is None or loss is None or validation.ndim != 2 or validation.shape != loss.shape:
        return None
    there = np.isfinite(loss) & np.isfinite(validation)
    last = int(there.any(axis=0).sum())
    if not last:
        return None
    at = np.unique(np.linspace(0, last - 1, min(last, MAX_POINTS)).round().astype(int))
    seen = np.ma.masked_array(validation, ~there)[:, at]
    return {
        "epoch": [int(epoch) + 1 for epoch in at],
        "validation": _short(seen.mean(axis=0)),
        "low": _short(seen.min(axis=0)),
        "high": _short(seen.max(axis=0)),
        "loss": _short(np.ma.masked_array(loss, ~there)[:, at].mean(axis=0)),
        "epochs": float(there.sum(axis=1).mean()),
    }


def _short(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
