"""Training curves: how metric and loss changed with the epochs."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report.style import BLUE, GREEN, INK, MUTED, ORANGE, canvas, columns, look, metric_axis
from mfh._report.wording import shorten

TEACHERS = {"regular": (INK, "-"), "joint": (BLUE, (0, (4, 1.5))), "unimodal": (ORANGE, (0, (1, 1.2)))}
PLAIN = {"no-kd": (MUTED, (0, (3, 2))), "regular": (INK, "-"), "joint": (GREEN, (0, (6, 2)))}


def draw_curves(summary: Mapping[str, Any]) -> Figure | None:
    """Validation metric and training loss of the students, by epoch."""
    return _draw(summary, summary["curves"]["students"])


def draw_teacher_curves(summary: Mapping[str, Any]) -> Figure | None:
    """Validation metric and training loss of the teachers, by epoch."""
    return _draw(summary, summary["curves"]["teachers"])


def _draw(summary: Mapping[str, Any], lines: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    if not lines:
        return None
    figure, (top, bottom) = canvas(5.0, rows=2, sharex=True)
    for name, line in lines.items():
        if lines is summary["curves"]["teachers"]:
            colour, dashes = TEACHERS.get(name, (INK, "-"))
        else:
            colour, dashes = PLAIN.get(name) or look(name)[::2]
        style: dict[str, Any] = {"color": colour, "linestyle": dashes}
        top.fill_between(line["epoch"], line["low"], line["high"], color=colour, alpha=0.1, linewidth=0)
        top.plot(line["epoch"], line["validation"], label=shorten(name, 24), **style)
        bottom.plot(line["epoch"], line["loss"], **style)
    top.set_ylabel(metric_axis(summary, "validation"))
    bottom.set_ylabel("training loss")
    bottom.set_xlabel("epoch")
    bottom.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    figure.legend(loc="outside upper left", ncols=columns(), handlelength=2.6, columnspacing=1.4)
    return figure
