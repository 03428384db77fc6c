"""Results by ratio: the test metric against the share of channels removed, and what validation chose."""

from collections import Counter
from typing import Any

from matplotlib.figure import Figure

from mfh._report import style
from mfh._report.section import Picture, Section, Summary
from mfh._report.tables import Table, cell, table
from mfh._report.view import StudyView
from mfh._report.wording import number, shorten
from mfh.arms import BASELINE

TEMPLATE = """
<div class="pair">
{{ picture("ratio") }}
<div>{{ grid("chosen") }}</div>
</div>
"""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return one line for each arm with ratios, the arms without, and how often each ratio was chosen."""
    chosen = {arm: Counter(view.chosen(arm).values()) for arm in view.arms}
    unchanged = view.plain_arm(view.source)
    return {
        "sweep": _sweep(view),
        "unchanged": unchanged.name if unchanged else view.source,
        "ratios": view.ratios,
        "chosen_counts": [
            {"arm": arm, "counts": [{"ratio": ratio, "n": n} for ratio, n in sorted(counts.items())]}
            for arm, counts in chosen.items()
            if counts
        ],
    }


def _sweep(view: StudyView) -> dict[str, Any]:
    """Return the lines of the arms with ratios, and the means of arms without to compare them with.

    At ratio 0, an arm is the one that learns from its teacher as it is, if that is the source teacher; other
    teachers have their outputs softened from the start.
    """
    plain = {row["arm"]: row for row in view.rows if row["ratio"] is None}
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in view.rows:
        if row["ratio"] is not None:
            lines.setdefault(row["arm"], []).append({k: row[k] for k in ("ratio", "mean", "low", "high")})
    unchanged = view.plain_arm(view.source)
    start = plain.get(unchanged.name) if unchanged else None
    for arm, points in lines.items():
        teacher = view.arm(arm).teacher_name(view.source) or view.source
        if start is not None and teacher == view.source and all(point["ratio"] > 0 for point in points):
            points.insert(0, {"ratio": 0.0} | {k: start[k] for k in ("mean", "low", "high")})
    others = [arm.name for arm in view.ordinary_arms if arm is not unchanged]
    return {
        "lines": lines,
        "references": {arm: plain[arm]["mean"] for arm in (BASELINE, *others) if arm in plain},
    }


def build(summary: Summary) -> Table | None:
    """Return how often each ratio was chosen, by arm."""
    found = {count["ratio"] for row in summary["chosen_counts"] for count in row["counts"]}
    ratios = sorted({0.0, *summary["ratios"], *found})
    rows = []
    for row in summary["chosen_counts"]:
        counts = {count["ratio"]: count["n"] for count in row["counts"]}
        rows.append(
            [cell(row["arm"]), *(cell(counts.get(ratio, 0), counts.get(ratio, 0)) for ratio in ratios)]
        )
    caption = f"Number of fits in which {summary['chosen_by']} chose each ratio"
    return table("chosen", caption, ("Arm", *(f"{ratio:g} #" for ratio in ratios)), rows)


def _draw(summary: Summary) -> Figure | None:
    """Draw the test metric against the share of channels removed."""
    lines = summary["sweep"]["lines"]
    ratios = sorted({point["ratio"] for points in lines.values() for point in points})
    if len(ratios) < 2:
        return None
    figure, (ax,) = style.canvas(3.3)
    step = 0.012 * (ratios[-1] - ratios[0])
    for i, (arm, points) in enumerate(lines.items()):
        look = style.arm_look(summary, arm)
        shift = (i - (len(lines) - 1) / 2) * step
        known = [point for point in points if point["mean"] is not None]
        x = [point["ratio"] + (shift if point["ratio"] else 0) for point in known]
        ax.plot(
            x, [point["mean"] for point in known], markersize=style.size(5), label=shorten(arm, 24), **look
        )  # fmt: skip
        for at, point in zip(x, known, strict=True):
            if point["low"] is not None and point["high"] is not None and point["ratio"]:
                ax.plot(
                    [at, at], [point["low"], point["high"]], color=look["color"], linewidth=0.9, alpha=0.7
                )
    for arm, mean in summary["sweep"]["references"].items():
        if mean is not None:
            look = style.arm_look(summary, arm)
            ax.axhline(
                mean, color=look["color"], linestyle=look["linestyle"], linewidth=0.9, label=shorten(arm, 24)
            )
    ax.set_xticks(ratios, labels=[f"{ratio:g}" for ratio in ratios])
    ax.set_xlabel(f"share of the teacher's channels removed (0: {shorten(summary['unchanged'], 20)})")
    ax.set_ylabel(style.metric_axis(summary))
    style.legend_above(figure)
    return figure


def _caption(summary: Summary) -> str:
    bars = f" Vertical lines: {summary['interval_name']}s, side by side so that all can be seen."
    return (
        f"At ratio 0 nothing is removed: the arm {summary['unchanged']}. Horizontal lines: arms that have no "
        f"ratio.{bars if summary['num_fits'] > 1 else ''}"
    )


def _describe(summary: Summary) -> str:
    digits = summary["digits"]
    parts = [
        f"{arm}: " + ", ".join(f"{number(point['mean'], digits)} at {point['ratio']:g}" for point in points)
        for arm, points in summary["sweep"]["lines"].items()
    ]
    return f"Test {summary['metric']} against the share of channels removed. " + "; ".join(parts) + "."


def _intro(summary: Summary) -> str:
    chooser = "the teachers' out-of-fold outputs" if summary["few_labels"] else "validation data"
    return (
        "Arms with a ratio learn from a teacher in which a share of the channels, the ratio, was replaced by "
        f"the channels' means. In each fit {chooser} choose the ratio."
    )


SECTION = Section(
    name="ratios",
    heading="Results by ratio",
    summarize=summarize,
    intro=_intro,
    pictures=(Picture(name="ratio", draw=_draw, caption=_caption, describe=_describe),),
    tables=(build,),
    template=TEMPLATE,
)
