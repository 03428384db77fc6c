"""Training curves: validation metric and training loss by epoch, averaged over fits."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report import style
from mfh._report.section import Picture, Section, Summary
from mfh._report.view import StudyView
from mfh._report.wording import number, plural, shorten
from mfh.arms import BASELINE, TEACHERS, Look

MAX_POINTS = 120  # of a curve


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the mean curve of each main arm and of each teacher; empty where the run kept none.

    Returns:
        `curves`, with `students` and `teachers`: name -> `epoch`, mean `validation` and its `low`est and
        `high`est over fits, mean `loss`, mean number of `epochs`.
    """
    curves = view.result.curves
    teachers = {
        name: line
        for name in TEACHERS
        if (line := _line(curves.get(f"{name}_validation"), curves.get(f"{name}_loss")))
    }
    return {"curves": {"students": _students(view), "teachers": teachers}}


def _shown_arms(view: StudyView) -> list[str]:
    """Return the arms that are drawn: labels alone, ordinary teachers, and the source teacher focused."""
    ordinary = [arm.name for arm in view.ordinary_arms]
    return [arm for arm in view.arms if arm == BASELINE or arm in ordinary or arm in _at_ratio(view)]


def _at_ratio(view: StudyView) -> list[str]:
    return [
        arm.name
        for arm in view.arms.values()
        if arm.has_chosen and arm.teacher_name(view.source) == view.source
    ]


def _students(view: StudyView) -> dict[str, Any]:
    records = view.result.records
    validation, losses = (view.result.curves.get(f"students_{what}") for what in ("validation", "loss"))
    if validation is None or losses is None or len(validation) != len(records):
        return {}
    lines = {}
    for arm in _shown_arms(view):
        rows = [
            place
            for place, record in enumerate(records)
            if record.arm == arm
            and record.ratio in (None, view.ratio)
            and (view.loss is None or record.loss in (None, view.loss))
        ]
        if rows and (line := _line(validation[rows], losses[rows])):
            lines[arm] = line
    return lines


def _line(validation: np.ndarray | None, loss: np.ndarray | None) -> dict[str, Any] | None:
    """Return one line, over the epochs that at least one of the networks was trained for."""
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


def _teacher_look(_: Summary, name: str) -> dict[str, Any]:
    return style.line_look(TEACHERS[name].look if name in TEACHERS else Look())


def _draw(summary: Summary, *, group: str) -> Figure | None:
    """Draw validation metric and training loss of the `students` or the `teachers`, by epoch."""
    lines: Mapping[str, Mapping[str, Any]] = summary["curves"][group]
    if not lines:
        return None
    look_of = style.arm_look if group == "students" else _teacher_look
    figure, (top, bottom) = style.canvas(5.0, rows=2, sharex=True)
    for name, line in lines.items():
        look = look_of(summary, name)
        del look["marker"]
        top.fill_between(
            line["epoch"], line["low"], line["high"], color=look["color"], alpha=0.1, linewidth=0
        )
        top.plot(line["epoch"], line["validation"], label=shorten(name, 24), **look)
        bottom.plot(line["epoch"], line["loss"], **look)
    top.set_ylabel(style.metric_axis(summary, "validation"))
    bottom.set_ylabel("training loss")
    bottom.set_xlabel("epoch")
    bottom.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    style.legend_above(figure)
    return figure


def _caption(summary: Summary) -> str:
    bands = " Shaded: from the lowest to the highest fit." if summary["num_fits"] > 1 else ""
    at = f"; arms with a ratio at {summary['shown_ratio']:g}" if summary["shown_ratio"] else ""
    return (
        f"Students: mean over fits by epoch{at}.{bands} The losses of arms that learn from soft labels and "
        "of those that learn from labels are different quantities."
    )


def _teacher_caption(_: Summary) -> str:
    return (
        "Teachers: mean over fits by epoch. Where two networks are trained together, the metric is the mean "
        "of both."
    )


def _describe(summary: Summary, *, group: str) -> str:
    parts = [
        f"{name} ends at {number(line['validation'][-1], summary['digits'])} after "
        f"{plural(line['epoch'][-1], 'epoch')}"
        for name, line in summary["curves"][group].items()
    ]
    return f"Validation {summary['metric']} of the {group} by epoch: " + "; ".join(parts) + "."


SECTION = Section(
    name="curves",
    heading="Training curves",
    summarize=summarize,
    pictures=(
        Picture(
            name="curves",
            draw=partial(_draw, group="students"),
            caption=_caption,
            describe=partial(_describe, group="students"),
        ),
        Picture(
            name="teacher-curves",
            draw=partial(_draw, group="teachers"),
            caption=_teacher_caption,
            describe=partial(_describe, group="teachers"),
        ),
    ),
)
