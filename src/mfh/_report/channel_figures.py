"""Figures of channels: saliency, and how far two rankings keep the same ones."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mfh._report.style import BLUE, FAINT, INK, MUTED, ORANGE, OTHER, SURFACE, canvas, columns, size


def draw_saliency(summary: Mapping[str, Any]) -> Figure | None:
    """Saliency of one seed in channel order, and of all seeds from largest to smallest."""
    channels = summary["channels"]
    if channels is None:
        return None
    figure, (top, bottom) = canvas(4.4, rows=2)
    _channel_order(top, channels)
    curves = channels["sorted"]
    kept = curves["kept"]
    if kept < 1:
        bottom.axvspan(kept, 1, color=FAINT, alpha=0.45, linewidth=0)
        bottom.axvline(kept, color=MUTED, linewidth=0.9)
        bottom.annotate(
            "removed",
            ((1 + kept) / 2, 0.93),
            ha="center",
            color=INK,
            fontsize=matplotlib.rcParams["legend.fontsize"],
        )
        bottom.annotate(
            "kept", (kept / 2, 0.93), ha="center", color=INK, fontsize=matplotlib.rcParams["legend.fontsize"]
        )
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
    last = channels["num_channels"] - 1
    ticks = MaxNLocator(integer=True).tick_values(0, last)
    ax.set_xticks([tick for tick in ticks if 0 <= tick <= last])
    ax.set_xlabel(f"channel (seed {channels['seed']})")
    ax.set_ylabel(channels["score"])
    ax.yaxis.set_major_formatter(FuncFormatter(_plain))  # a factor above the axis would lie in the legend
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0, borderaxespad=0.2)


def _plain(value: float, _place: int) -> str:
    """A tick as a number of its own, 2e-7 rather than 2 with a factor elsewhere."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+").replace("-", "\N{MINUS SIGN}")


def draw_overlap(summary: Mapping[str, Any]) -> Figure | None:
    """Share of the kept channels that `general` and `important` have in common, against ratio."""
    rows = [row for row in summary["saliency"]["overlap"] if row.get("mean") is not None and row.get("ratio")]
    if not rows:
        return None
    figure, (ax,) = canvas(2.5)
    ratios = sorted({row["ratio"] for row in rows})
    spread = 0.01 * (ratios[-1] - ratios[0] or 1)
    looks = {"train": (BLUE, "o", "-", -spread), "validation": (ORANGE, "s", (0, (4, 1.5)), spread)}
    for split in dict.fromkeys(row["split"] for row in rows):
        colour, marker, dashes, shift = looks.get(split, (*OTHER, 0.0))
        points = [row for row in rows if row["split"] == split]
        x = [row["ratio"] + shift for row in points]
        ax.plot(
            x, [100 * row["mean"] for row in points], color=colour, marker=marker, linestyle=dashes,
            markersize=size(5), label=f"{split} split",
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
    figure.legend(loc="outside upper left", ncols=columns(), handlelength=2.6, columnspacing=1.4)
    return figure
