"""The figures of a study, drawn by matplotlib from its summary. No global state: `Figure` without pyplot."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report import wording
from mfh._report.wording import number, shorten, signed

WIDTH = 4.8  # inches; at 10 points the text stays legible where a phone scales the figure to its width

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


def look(arm: str) -> tuple[str, str, Any]:
    """Colour, marker and line style of an arm."""
    return LOOKS.get(wording.base(arm), OTHER)


def _canvas(height: float, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **options)
    return figure, list(axes[:, 0])


def _name_rows(ax: Axes, labels: list[str], values: list[str]) -> None:
    """Label rows on the left, write their values on the right, first row on top."""
    ax.set_yticks(range(len(labels)), labels=labels)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.spines["left"].set_visible(False)
    twin = ax.secondary_yaxis("right")
    twin.set_yticks(range(len(values)), labels=values)
    twin.tick_params(axis="y", length=0)
    twin.spines["right"].set_visible(False)


def draw_differences(summary: Mapping[str, Any]) -> Figure | None:
    """`general` minus every other arm, with intervals; primary comparisons are filled."""
    rows = [row for row in summary["differences"] if row["difference"] is not None]
    if not rows:
        return None
    figure, (ax,) = _canvas(0.8 + 0.27 * len(rows))
    zone = summary["zone"]
    ax.axvspan(-zone, zone, color=FAINT, alpha=0.45, linewidth=0)
    ax.axvline(0, color=MUTED, linewidth=0.9)
    for y, row in enumerate(rows):
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y, y], color=BLUE, linewidth=1.6)
        face = BLUE if row["primary"] else SURFACE
        ax.plot(
            row["difference"], y, "D", color=BLUE, markerfacecolor=face, markersize=5.5, markeredgewidth=1.3
        )
    labels = [_label(row["name"], row["ratio"]) for row in rows]
    _name_rows(ax, labels, [signed(row["difference"]) for row in rows])
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
    figure, (ax,) = _canvas(0.8 + 0.29 * len(rows))
    baseline = next((row["mean"] for row in rows if row["arm"] == "no-kd"), None)
    if baseline is not None:
        ax.axvline(baseline, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    for y, row in enumerate(rows):
        colour, marker, _ = look(row["arm"])
        spread = [y + 0.22 + 0.045 * ((7 * i) % 5 - 2) for i in range(len(row["dots"]))]
        if len(row["dots"]) > 1:
            ax.plot(row["dots"], spread, "o", color=colour, markersize=2.3, alpha=0.45, markeredgewidth=0)
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y - 0.12] * 2, color=colour, linewidth=1.6)
        ax.plot(row["mean"], y - 0.12, marker, color=colour, markersize=5)
    labels = [_label(row["arm"], row["ratio"]) for row in rows]
    _name_rows(ax, labels, [number(row["mean"]) for row in rows])
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.set_xlabel(_metric(summary))
    return figure


def draw_ratio(summary: Mapping[str, Any]) -> Figure | None:
    """Test metric against the share of channels removed."""
    lines = summary["sweep"]["lines"]
    if not lines or len({p["ratio"] for points in lines.values() for p in points}) < 2:
        return None
    figure, (ax,) = _canvas(3.3)
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
            markersize=5,
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
    ax.set_ylabel(_metric(summary))
    figure.legend(loc="outside upper left", ncols=3, handlelength=2.6, columnspacing=1.4)
    return figure


def draw_saliency(summary: Mapping[str, Any]) -> Figure | None:
    """Saliency of one seed in channel order, and of all seeds from largest to smallest."""
    channels = summary["channels"]
    if channels is None:
        return None
    figure, (top, bottom) = _canvas(4.4, rows=2)
    _channel_order(top, channels)
    curves = channels["sorted"]
    kept = curves["kept"]
    if kept < 1:
        bottom.axvspan(kept, 1, color=FAINT, alpha=0.45, linewidth=0)
        bottom.axvline(kept, color=MUTED, linewidth=0.9)
        bottom.annotate("removed", ((1 + kept) / 2, 0.93), ha="center", color=INK, fontsize=9.5)
        bottom.annotate("kept", (kept / 2, 0.93), ha="center", color=INK, fontsize=9.5)
    if channels["num_seeds"] > 1:
        for curve in curves["curves"]:
            bottom.plot(curves["share"], curve, color=BLUE, linewidth=0.6, alpha=0.4)
    bottom.plot(curves["share"], curves["median"], color=BLUE, linewidth=1.8)
    bottom.set_xlim(0, 1)
    bottom.set_ylim(-0.02, 1.05)
    bottom.set_xlabel("share of channels, most salient first")
    bottom.set_ylabel("saliency, scaled")
    return figure


def _channel_order(ax: Axes, channels: Mapping[str, Any]) -> None:
    order = channels["order"]
    size, count = order["per_bar"], len(order["value"])
    x = [(i + 0.5) * size - 0.5 for i in range(count)]
    # A bar of several channels is filled as far as most of its channels are kept.
    kept = [share < 0.5 for share in order["removed"]]
    for keep, face in ((True, BLUE), (False, SURFACE)):
        at = [i for i in range(count) if kept[i] is keep]
        if at:
            ax.bar(
                [x[i] for i in at],
                [order["value"][i] for i in at],
                width=0.8 * size,
                color=face,
                edgecolor=BLUE,
                linewidth=0.6 if count <= 128 else 0.3,
                label="kept" if keep else "removed",
            )
    if order["low"] is not None:
        ax.vlines(x, order["low"], order["high"], color=INK, linewidth=0.7, alpha=0.6)
    ax.axhline(0, color=MUTED, linewidth=0.7)
    ax.set_xlim(-0.5 - 0.5 * size, channels["num_channels"] - 0.5 + 0.5 * size)
    ax.set_xlabel(f"channel (seed {channels['seed']})")
    ax.set_ylabel(channels["score"])
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0, borderaxespad=0.2)


def draw_overlap(summary: Mapping[str, Any]) -> Figure | None:
    """Share of the kept channels that `general` and `important` have in common, against ratio."""
    rows = [row for row in summary["saliency"]["overlap"] if row.get("mean") is not None and row.get("ratio")]
    if not rows:
        return None
    figure, (ax,) = _canvas(2.5)
    ratios = sorted({row["ratio"] for row in rows})
    spread = 0.01 * (ratios[-1] - ratios[0] or 1)
    looks = {"train": (BLUE, "o", "-", -spread), "validation": (ORANGE, "s", (0, (4, 1.5)), spread)}
    for split in dict.fromkeys(row["split"] for row in rows):
        colour, marker, dashes, shift = looks.get(split, (*OTHER, 0.0))
        points = [row for row in rows if row["split"] == split]
        x = [row["ratio"] + shift for row in points]
        ax.plot(
            x, [100 * row["mean"] for row in points], color=colour, marker=marker, linestyle=dashes,
            markersize=5, label=f"{split} split",
        )  # fmt: skip
        for at, row in zip(x, points, strict=True):
            if row.get("low") is not None and row.get("high") is not None:
                ax.plot([at, at], [100 * row["low"], 100 * row["high"]], color=colour, linewidth=0.9)
    margin = 0.08 * (ratios[-1] - ratios[0] or 1)
    ends = [max(ratios[0] - margin, 0), min(ratios[-1] + margin, 1)]
    ax.plot(
        ends,
        [100 * (1 - e) for e in ends],
        color=MUTED,
        linewidth=0.9,
        linestyle=(0, (1, 1.5)),
        label="by chance",
    )
    ax.set_ylim(0, 104)
    ax.set_xticks(ratios, labels=[f"{ratio:g}" for ratio in ratios])
    ax.set_xlabel("share of the teacher's channels removed")
    ax.set_ylabel("kept by both, %")
    figure.legend(loc="outside upper left", ncols=3, handlelength=2.6, columnspacing=1.4)
    return figure


def _label(arm: str, ratio: float | int | None) -> str:
    return shorten(arm, 20) + ("" if ratio is None else f" at {ratio:g}")


def _metric(summary: Mapping[str, Any]) -> str:
    unit = f", {summary['unit']}" if summary["unit"] else ""
    return f"test {shorten(summary['metric'])}{unit}"


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
    "differences": draw_differences,
    "arms": draw_arms,
    "ratio": draw_ratio,
    "saliency": draw_saliency,
    "overlap": draw_overlap,
}
