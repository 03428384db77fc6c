"""What all figures share: sizes, colours, looks of arms, rows of names and values."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report import wording
from mfh._report.wording import shorten
from mfh.arms import Look

WIDTH = 4.8  # inches, on the page; at 10 points the text stays legible where a phone scales the figure down

# After Okabe and Ito, for readers who do not see all colours; shapes and line styles differ as well. On the
# page each of these becomes a variable of the style sheet, so that a dark page has lighter ones.
INK, MUTED, FAINT, SURFACE = "#1c2024", "#687078", "#d5d9dd", "#fdfdfd"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#c85200", "#008a66", "#b0508c"

COLORS = {
    "ink": INK, "muted": MUTED, "blue": BLUE, "orange": ORANGE, "green": GREEN, "purple": PURPLE
}  # fmt: skip
"""The colours that a `Look` may name."""

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
    """Return a context with the look of all figures, free of the caller's settings; `more` are rcParams."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **STYLE, **more}
    del settings["backend"]  # the only one that the context would not put back
    return matplotlib.rc_context(settings)


def paper(width: float | int) -> dict[str, Any]:
    """Return the settings of a figure of `width` inches in a paper, with text of 7.5 points."""
    return {
        "figure.figsize": (width, 3.0),
        "font.size": 7.5,
        "legend.fontsize": 7.0,
        "lines.linewidth": 1.1,
        "lines.markersize": 4.0,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
    }


def line_look(look: Look) -> dict[str, Any]:
    """Return the colour, marker and line style of a look, as keywords of `Axes.plot`."""
    dashes = look.dashes if isinstance(look.dashes, str) else (0, tuple(look.dashes))
    return {"color": COLORS.get(look.color, INK), "marker": look.marker, "linestyle": dashes}


def arm_look(summary: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Return how an arm is drawn, as keywords of `Axes.plot`."""
    return line_look(Look(**summary["looks"].get(wording.base(arm), {})))


def canvas(height: float, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes below each other; `height` in inches for text of 10 points."""
    width, points = matplotlib.rcParams["figure.figsize"][0], matplotlib.rcParams["font.size"]
    figure = Figure(figsize=(width, height * points / 10), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **options)
    return figure, list(axes[:, 0])


def name_rows(ax: Axes, labels: list[str], values: list[str]) -> None:
    """Label rows on the left and write their values on the right, the first row on top."""
    ax.set_yticks(range(len(labels)), labels=labels)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.spines["left"].set_visible(False)
    twin = ax.secondary_yaxis("right")
    twin.set_yticks(range(len(values)), labels=values)
    twin.tick_params(axis="y", length=0)
    twin.spines["right"].set_visible(False)


def label_arm(arm: str, ratio: float | int | None) -> str:
    """Return an arm's name for a figure."""
    return shorten(arm, 20) + ("" if ratio is None else f" at {ratio:g}")


def size(points: float | int) -> float:
    """Return a length that is `points` where text has 10 points, and scales with the text."""
    return points * matplotlib.rcParams["font.size"] / 10


def columns(most: int = 3) -> int:
    """Return how many columns of a legend fit into the width."""
    return most if matplotlib.rcParams["figure.figsize"][0] > 4 else 2


def metric_axis(summary: Mapping[str, Any], split: str = "test") -> str:
    """Return the label of an axis of the metric."""
    unit = f", {summary['unit']}" if summary["unit"] else ""
    return f"{split} {shorten(summary['metric'])}{unit}"


def spread_dots(ax: Axes, values: Sequence[float | int], y: float | int, color: str) -> None:
    """Draw one small dot for each fit around height `y`; nothing for a single one."""
    if len(values) > 1:
        heights = [y + 0.042 * ((7 * i) % 5 - 2) for i in range(len(values))]
        ax.plot(values, heights, "o", color=color, markersize=size(2.3), alpha=0.45, markeredgewidth=0)


def draw_interval(ax: Axes, row: Mapping[str, Any], y: float | int, color: str) -> None:
    """Draw the 95% interval of a row at height `y`, where it has one."""
    if row["low"] is not None and row["high"] is not None:
        ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=1.6)


def draw_differences(
    ax: Axes, rows: Sequence[Mapping[str, Any]], filled: Sequence[bool], *, zone: float | int
) -> None:
    """Draw one difference in each line, with its interval, around the shaded zone of no effect.

    Args:
        ax: empty axes.
        rows: with `difference`, `low`, `high` and perhaps `dots`, one value for each fit.
        filled: which marks are filled.
        zone: half the width of the shaded zone.
    """
    ax.axvspan(-zone, zone, color=FAINT, alpha=0.45, linewidth=0)
    ax.axvline(0, color=MUTED, linewidth=0.9)
    for y, (row, fill) in enumerate(zip(rows, filled, strict=True)):
        draw_interval(ax, row, y, BLUE)
        spread_dots(ax, row.get("dots") or (), y + 0.3, INK)
        ax.plot(
            row["difference"], y, "D", color=BLUE, markerfacecolor=BLUE if fill else SURFACE,
            markersize=size(5.5), markeredgewidth=1.3,
        )  # fmt: skip
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, -1.3 * zone), max(high, 1.3 * zone))
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))


def legend_above(figure: Figure, most: int = 3) -> None:
    """Put the legend above the axes, in as many columns as fit, at most `most`."""
    figure.legend(loc="outside upper left", ncols=columns(most), handlelength=2.6, columnspacing=1.4)
