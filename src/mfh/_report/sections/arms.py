"""Results by arm: the test metric of the students that learned from each teacher."""

from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report import style
from mfh._report.section import Picture, Section, Summary
from mfh._report.sections.differences import not_drawn
from mfh._report.tables import Table, cell, ratio_cell, table
from mfh._report.view import StudyView, baseline_mean
from mfh._report.wording import interval, number
from mfh.arms import BASELINE

TEMPLATE = """
<div class="pair">
{{ picture("arms") }}
<div>
<h3 id="learned">What the students of each arm learned from</h3>
<dl class="legend">
{% for item in s.arm_words %}
<div><dt><code>{{ item.name }}</code></dt><dd>{{ item.words }}</dd></div>
{% endfor %}
</dl>
</div>
</div>
{{ grid("arms") }}
"""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return what each arm learned from, and the rows of other metrics."""
    words = {row["name"]: row["explain"] for row in view.rows if row["explain"]}
    return {
        "arm_words": [{"name": name, "words": text} for name, text in words.items()],
        "other_arms": [
            asdict(row) for row in view.of_loss(view.result.summary) if row.metric != view.metric.name
        ],
    }


def build(summary: Summary) -> Table | None:
    """Return every arm at every ratio, under every metric."""
    several, losses = len(summary["metrics"]) > 1, len(summary["loss_names"]) > 1
    digits = summary["digits"] + 1
    rows = [
        [
            cell(row["arm"]),
            *([cell(row["loss"] or "")] * losses),
            *([cell(row["metric"])] * several),
            ratio_cell(row["ratio"]),
            cell(number(row["mean"], digits), row["mean"]),
            cell(interval(row["low"], row["high"], digits), row["low"]),
            cell(number(row["sd"], digits), row["sd"]),
            cell(row["n"], row["n"]),
        ]
        for row in (*summary["arms"], *summary["other_arms"])
    ]
    unit = f", {summary['unit']}" if summary["unit"] and not several else ""
    caption = f"Test {'metrics' if several else summary['metric']}{unit}, by what the student learned from"
    more = ("Loss",) * losses + ("Metric",) * several
    if summary["other_arms"] and any(row["components"] for row in summary["comparisons"]):
        caption += f"; intervals of all metrics but {summary['metric']} are Nadeau and Bengio's"
    columns = ("Arm", *more, "Ratio #", "Mean #", f"{summary['interval_name']} #", "SD #", "Fits #")
    return table("arms", caption, columns, rows)


def _draw(summary: Summary) -> Figure | None:
    """Draw the test metric of every arm: one dot for each fit, the mean and its interval."""
    rows = [row for row in summary["arms"] if row["main"] and row["drawn"] and row["mean"] is not None]
    if not rows:
        return None
    figure, (ax,) = style.canvas(0.8 + 0.29 * len(rows))
    baseline = baseline_mean(rows)
    if baseline is not None:
        ax.axvline(baseline, color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    for y, row in enumerate(rows):
        look = style.arm_look(summary, row["arm"])
        style.spread_dots(ax, row["dots"], y + 0.22, look["color"])
        style.draw_interval(ax, row, y - 0.12, look["color"])
        ax.plot(row["mean"], y - 0.12, look["marker"], color=look["color"], markersize=style.size(5))
    labels = [style.label_arm(row["arm"], row["ratio"]) for row in rows]
    style.name_rows(ax, labels, [number(row["mean"], summary["digits"]) for row in rows])
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    ax.set_xlabel(style.metric_axis(summary))
    return figure


def _caption(summary: Summary) -> str:
    far = [
        f"{row['arm']} ({number(row['mean'], summary['digits'])})"
        for row in summary["arms"]
        if not row["drawn"]
    ]
    if summary["num_fits"] <= 1:
        return f"Dashed: labels alone ({BASELINE}).{not_drawn(far)}"
    return (
        f"Small dots: one for each fit. Large mark: the mean, with its {summary['interval_name']}. Dashed: "
        f"labels alone ({BASELINE}). These intervals include what all arms of a fit share, such as an easy "
        f"split; those of paired differences do not.{not_drawn(far)}"
    )


def _describe(summary: Summary) -> str:
    parts = []
    for row in summary["arms"]:
        if row["main"]:
            ratio = "" if row["ratio"] is None else f" at {row['ratio']:g}"
            parts.append(f"{row['arm']}{ratio} {number(row['mean'], summary['digits'])}")
    return f"Mean test {summary['metric']} by arm: " + "; ".join(parts) + "."


def _intro(summary: Summary) -> str:
    start = (
        "Within a fit every student starts from the same weights and sees the same batches; only what it "
        "learns from differs."
    )
    if summary["few_labels"]:
        start = (
            "Within a fit every student starts from the same weights, and all that have a teacher see the "
            "same batches."
        )
    if not summary["shown_ratio"]:
        return start
    best = f"with the best validation {summary['metric']}"
    if summary["few_labels"]:
        best = f"whose teacher has the best out-of-fold {summary['metric']}"
    return (
        f"{start} `(chosen)` is the ratio {best} in each fit, where 0 may be chosen too; arms without a "
        f"chosen ratio are drawn at ratio {summary['shown_ratio']:g}."
    )


PICTURE = Picture(name="arms", draw=_draw, caption=_caption, describe=_describe)
SECTION = Section(
    name="arms",
    heading="Results by arm",
    summarize=summarize,
    intro=_intro,
    pictures=(PICTURE,),
    tables=(build,),
    template=TEMPLATE,
)
