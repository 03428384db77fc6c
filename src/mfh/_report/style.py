"""What all figures share: sizes, colours, markers, rows with names on the left and values on the right."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mfh._report import wording
from mfh._report.wording import shorten

WIDTH = 4.8  # inches, on the page; at 10 points the text stays legible where a phone scales the figure down

# After Okabe and Ito, for readers who do not see all colours; shapes and line styles differ as well. On the
# page each of these becomes a variable of the style sheet, so that a dark page has lighter ones.
INK, MUTED, FAINT, SURFACE = "#1c2024", "#687078", "#d5d9dd", "#fdfdfd"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#c85200", "#008a66", "#b0508c"

LOOKS: dict[str, tuple[str, str, Any]] = {  # arm -> colour, marker, line style
    "general": (BLUE, "D", "-"),
    "important": (ORANGE, "s", (0, (4, 1.5))),
    "softened": (GREEN, "^", (0, (1, 1.2))),
    "softened-regular": (GREEN, "<", (0, (6, 2))),
    "specific": (PURPLE, "v", (0, (5, 1.5, 1, 1.5))),
    "random": (MUTED, "o", (0, (2, 2))),
}
OTHER = (INK, "o", "-")

STYLE: dict[str, Any] = {
    "figure.figsize": (WIDTH, 3.0),
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.4,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.hashsalt": "mfh",  # ids that do not change from run to run
    "pdf.fonttype": 42,
}


def style(**more: Any) -> AbstractContextManager[None]:
    """The look of all figures, whatever the caller's own settings; `more` are further rcParams."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **STYLE, **more}
    del settings["backend"]  # the only one that the context would not put back
    return matplotlib.rc_context(settings)


def paper(width: float | int) -> dict[str, Any]:
    """Settings of a figure of `width` inches in a paper, with text of 7.5 points."""
    return {
        "figure.figsize": (width, 3.0),
        "font.size": 7.5,
        "legend.fontsize": 7.0,
        "lines.linewidth": 1.1,
        "lines.markersize": 4.0,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
    }


def look(arm: str) -> tuple[str, str, Any]:
    """Colour, marker and line style of an arm."""
    return LOOKS.get(wording.base(arm), OTHER)


def canvas(height: float, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Axes below each other; `height` in inches for text of 10 points."""
    width, points = matplotlib.rcParams["figure.figsize"][0], matplotlib.rcParams["font.size"]
    figure = Figure(figsize=(width, height * points / 10), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **options)
    return figure, list(axes[:, 0])


def name_rows(ax: Axes, labels: list[str], values: list[str]) -> None:
    """Label rows on the left, write their values on the right, first row on top."""
    ax.set_yticks(range(len(labels)), labels=labels)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.spines["left"].set_visible(False)
    twin = ax.secondary_yaxis("right")
    twin.set_yticks(range(len(values)), labels=values)
    twin.tick_params(axis="y", length=0)
    twin.spines["right"].set_visible(False)


def label_arm(arm: str, ratio: float | int | None) -> str:
    """An arm's name in a figure."""
    return shorten(arm, 20) + ("" if ratio is None else f" at {ratio:g}")


def size(points: float | int) -> float:
    """A length that is `points` beside text of 10 points, and shrinks with it."""
    return points * matplotlib.rcParams["font.size"] / 10


def columns(most: int = 3) -> int:
    """Columns of a legend that fit into the width."""
    return most if matplotlib.rcParams["figure.figsize"][0] > 4 else 2


def metric_axis(summary: Mapping[str, Any], split: str = "test") -> str:
    """What an axis of the metric is called."""
    unit = f", {summary['unit']}" if summary["unit"] else ""
    return f"{split} {shorten(summary['metric'])}{unit}"
