"""The figures of a study, drawn by matplotlib from its summary. No global state: `Figure` without pyplot."""

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report.channel_figures import draw_overlap, draw_saliency
from mfh._report.comparison_tables import draw_runs
from mfh._report.curve_figures import draw_curves, draw_teacher_curves
from mfh._report.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    SURFACE,
    canvas,
    columns,
    label_arm,
    look,
    metric_axis,
    name_rows,
    size,
)
from mfh._report.venn import draw_venn
from mfh._report.wording import number, shorten, signed


def draw_differences(summary: Mapping[str, Any]) -> Figure | None:
    """`general` minus every other arm, with intervals; primary comparisons are filled."""
    rows = [row for row in summary["differences"] if row["difference"] is not None]
    if not rows:
        return None
    figure, (ax,) = canvas(0.8 + 0.29 * len(rows))
    zone = summary["zone"]
    ax.axvspan(-zone, zone, color=FAINT, alpha=0.45, linewidth=0)
    ax.axvline(0, color=MUTED, linewidth=0.9)
    for y, row in enumerate(rows):
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y, y], color=BLUE, linewidth=1.6)
        dots = list(row.get("dots") or ())
        if len(dots) > 1:
            spread = [y + 0.3 + 0.04 * ((7 * i) % 5 - 2) for i in range(len(dots))]
            ax.plot(dots, spread, "o", color=INK, markersize=size(2.2), alpha=0.45, markeredgewidth=0)
        face = BLUE if row["primary"] else SURFACE
        ax.plot(
            row["difference"],
            y,
            "D",
            color=BLUE,
            markerfacecolor=face,
            markersize=size(5.5),
            markeredgewidth=1.3,
        )
    labels = [label_arm(row["name"], row["ratio"]) for row in rows]
    name_rows(ax, labels, [signed(row["difference"]) for row in rows])
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, -1.3 * zone), max(high, 1.3 * zone))
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.set_xlabel("points; right of 0, general is better")
    return figure


def draw_arms(summary: Mapping[str, Any]) -> Figure | None:
    """Test metric of every arm: one dot a seed, the mean and its interval."""
    rows = [row for row in summary["arms"] if row["main"] and row["mean"] is not None]
    if not rows:
        return None
    figure, (ax,) = canvas(0.8 + 0.29 * len(rows))
    baseline = next((row["mean"] for row in rows if row["arm"] == "no-kd"), None)
    if baseline is not None:
        ax.axvline(baseline, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    for y, row in enumerate(rows):
        colour, marker, _ = look(row["arm"])
        spread = [y + 0.22 + 0.045 * ((7 * i) % 5 - 2) for i in range(len(row["dots"]))]
        if len(row["dots"]) > 1:
            ax.plot(
                row["dots"], spread, "o", color=colour, markersize=size(2.3), alpha=0.45, markeredgewidth=0
            )
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y - 0.12] * 2, color=colour, linewidth=1.6)
        ax.plot(row["mean"], y - 0.12, marker, color=colour, markersize=size(5))
    labels = [label_arm(row["arm"], row["ratio"]) for row in rows]
    name_rows(ax, labels, [number(row["mean"]) for row in rows])
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.set_xlabel(metric_axis(summary))
    return figure


def draw_ratio(summary: Mapping[str, Any]) -> Figure | None:
    """Test metric against the share of channels removed."""
    lines = summary["sweep"]["lines"]
    if not lines or len({p["ratio"] for points in lines.values() for p in points}) < 2:
        return None
    figure, (ax,) = canvas(3.3)
    ratios = sorted({p["ratio"] for points in lines.values() for p in points})
    step = 0.012 * (ratios[-1] - ratios[0])
    for i, (arm, points) in enumerate(lines.items()):
        colour, marker, dashes = look(arm)
        shift = (i - (len(lines) - 1) / 2) * step
        points = [p for p in points if p["mean"] is not None]
        x = [p["ratio"] + (shift if p["ratio"] else 0) for p in points]
        ax.plot(
            x,
            [p["mean"] for p in points],
            color=colour,
            marker=marker,
            markersize=size(5),
            linestyle=dashes,
            label=shorten(arm, 24),
        )
        for at, p in zip(x, points, strict=True):
            if p["low"] is not None and p["high"] is not None and p["ratio"]:
                ax.plot([at, at], [p["low"], p["high"]], color=colour, linewidth=0.9, alpha=0.7)
    for arm, mean in summary["sweep"]["references"].items():
        if mean is not None:
            dashes = "-" if arm == "regular" else (0, (3, 2))
            ax.axhline(mean, color=MUTED, linewidth=0.9, linestyle=dashes, label=shorten(arm, 24))
    ax.set_xticks(ratios, labels=[f"{ratio:g}" for ratio in ratios])
    ax.set_xlabel("share of the teacher's channels removed (0: joint)")
    ax.set_ylabel(metric_axis(summary))
    figure.legend(loc="outside upper left", ncols=columns(), handlelength=2.6, columnspacing=1.4)
    return figure


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
    "differences": draw_differences,
    "arms": draw_arms,
    "ratio": draw_ratio,
    "saliency": draw_saliency,
    "overlap": draw_overlap,
    "curves": draw_curves,
    "teacher-curves": draw_teacher_curves,
    "venn": draw_venn,
}
BY_KIND: dict[str, dict[str, Callable[[Mapping[str, Any]], Figure | None]]] = {
    "study": FIGURES,
    "diagnosis": FIGURES,
    "comparison": {"runs": draw_runs},
}
