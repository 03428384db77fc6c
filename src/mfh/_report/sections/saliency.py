"""Saliency: how salient the channels are, and how far their ranking differs from plain importance."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from mfh._report import wording
from mfh._report.section import Picture, Section, Summary
from mfh._report.sections import channels
from mfh._report.style import BLUE, INK, MUTED, ORANGE, canvas, legend_above, size
from mfh._report.tables import Table, cell, ratio_cell, table
from mfh._report.view import StudyView
from mfh._report.wording import number, percent
from mfh._system.files import plain
from mfh.arms import HEADLINE

LOOKS: dict[str, dict[str, Any]] = {
    "train": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "validation": {"color": ORANGE, "marker": "s", "linestyle": (0, (4, 1.5))},
}
"""Split -> how its line is drawn."""

TEMPLATE = """
<div class="pair">
{{ picture("saliency") }}
<div>
{{ picture("overlap") }}
{{ grid("overlap") }}
{{ grid("stability") }}
</div>
</div>
"""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the layer and its channels, the overlap of two rankings, and how well defined they are."""
    values = plain(view.result.saliency)
    overlap = values.get("overlap") or []
    return {
        "rankings": {name: view.ranked_by(name) for name in ("saliency", "importance")},
        "channels": channels.summarize_channels(view.result, chosen=view.chosen(HEADLINE), ratio=view.ratio),
        "saliency": {
            "layer": values.get("layer") or "",
            "score": channels.saliency_score(view.result),
            "split": values.get("split") or view.config.get("saliency_split"),
            "overlap": sorted(
                map(_within_bounds, overlap), key=lambda row: (row.get("split", ""), row.get("ratio") or 0.0)
            ),
            "overlap_at_reference": {
                row.get("split"): row.get("mean") for row in overlap if row.get("ratio") == view.ratio
            },
            "negative": {row.get("split"): row.get("share") for row in values.get("negative") or []},
            "rank_correlation": values.get("rank_correlation") or [],
        },
    }


def split_words(summary: Summary, split: str | None) -> str:
    """Return the samples that saliency was computed on, in words."""
    few = {"train": "all pairs", "validation": "labelled pairs"} if summary["few_labels"] else {}
    return few.get(str(split), f"{split} split")


def _within_bounds(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose interval ends at 0 and 1, since no share lies beyond."""
    ends = {name: min(max(row[name], 0.0), 1.0) for name in ("low", "high") if row.get(name) is not None}
    return {**row, **ends}


def build_overlap(summary: Summary) -> Table | None:
    """Return the share of kept channels that two rankings have in common."""
    rows = [
        [
            cell(split_words(summary, row.get("split", "")).removesuffix(" split")),
            ratio_cell(row.get("ratio")),
            cell(percent(row.get("mean")), row.get("mean")),
            cell(_percents(row.get("low"), row.get("high")), row.get("low")),
            cell(_chance(row.get("ratio")), row.get("ratio")),
        ]
        for row in summary["saliency"]["overlap"]
    ]
    start = "Saliency from" if summary["few_labels"] else "Saliency from split"
    columns = (start, "Ratio #", "In common #", "95% interval #", "By chance #")
    names = summary["rankings"]
    caption = f"Kept channels that {names['saliency']} and {names['importance']} have in common"
    return table("overlap", caption, columns, rows)


def _chance(ratio: wording.Number) -> str:
    return wording.NOTHING if ratio is None else percent(1 - ratio)


def _percents(low: wording.Number, high: wording.Number) -> str:
    return wording.NOTHING if low is None or high is None else f"{percent(low)} to {percent(high)}"


def build_stability(summary: Summary) -> Table | None:
    """Return how well defined the ranking is: signs, and rank correlations."""
    saliency = summary["saliency"]
    rows = [
        [cell(f"negative increases, {split_words(summary, split)}"), cell(percent(share), share)]
        for split, share in saliency["negative"].items()
        if share is not None
    ]
    for row in saliency["rank_correlation"]:
        if row.get("mean") is not None:
            what = row.get("what") or f"two fits, {row.get('split')} split"
            name = cell(f"rank correlation: {what}", note=row.get("note") or "")
            rows.append([name, cell(number(row["mean"], 2), row["mean"])])
    return table("stability", "How well defined the ranking is", ("Mean over fits", "Value #"), rows)


def _draw(summary: Summary) -> Figure | None:
    """Draw the share of the kept channels that two rankings have in common, against the ratio."""
    rows = [row for row in summary["saliency"]["overlap"] if row.get("mean") is not None and row.get("ratio")]
    if not rows:
        return None
    figure, (ax,) = canvas(2.5)
    ratios = sorted({row["ratio"] for row in rows})
    reach = ratios[-1] - ratios[0] or 1
    shifts = {"train": -0.01 * reach, "validation": 0.01 * reach}
    for split in dict.fromkeys(row["split"] for row in rows):
        look = LOOKS.get(split, {"color": INK, "marker": "o", "linestyle": "-"})
        points = [row for row in rows if row["split"] == split]
        x = [row["ratio"] + shifts.get(split, 0.0) for row in points]
        ax.plot(
            x, [100 * row["mean"] for row in points], markersize=size(5),
            label=split_words(summary, split), **look,
        )  # fmt: skip
        for at, row in zip(x, points, strict=True):
            if row.get("low") is not None and row.get("high") is not None:
                ax.plot([at, at], [100 * row["low"], 100 * row["high"]], color=look["color"], linewidth=0.9)
    ends = [max(ratios[0] - 0.08 * reach, 0), min(ratios[-1] + 0.08 * reach, 1)]
    ax.plot(
        ends, [100 * (1 - e) for e in ends], color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)),
        label="by chance",
    )  # fmt: skip
    ax.set_ylim(0, 104)
    ax.set_xticks(ratios, labels=[f"{ratio:g}" for ratio in ratios])
    ax.set_xlabel("share of the teacher's channels removed")
    ax.set_ylabel("kept by both, %")
    legend_above(figure)
    return figure


def _caption(summary: Summary) -> str:
    names = summary["rankings"]
    return (
        f"How many of the channels that {names['saliency']} keeps are also kept by {names['importance']}, "
        "which ranks them by the teacher alone. Near 100% the two rankings are one, and looking at the "
        "student has changed nothing; below the dotted line they agree less than by chance."
    )


def _describe(summary: Summary) -> str:
    names = summary["rankings"]
    parts = [
        f"{split_words(summary, row.get('split'))}, ratio {row.get('ratio')}: {percent(row.get('mean'))}"
        for row in summary["saliency"]["overlap"]
    ]
    start = f"Kept channels that {names['saliency']} and {names['importance']} have in common. "
    return start + "; ".join(parts) + "."


def _intro(summary: Summary) -> str:
    layer = f" `{summary['saliency']['layer']}`" if summary["saliency"]["layer"] else ""
    return (
        f"To measure the saliency of a channel of the teacher's layer{layer}, its values are shuffled among "
        "samples: the farther this moves the teacher's outputs from the student's, the more salient the "
        "channel."
    )


SECTION = Section(
    name="saliency",
    heading="Saliency of the channels",
    summarize=summarize,
    intro=_intro,
    pictures=(
        channels.PICTURE,
        Picture(name="overlap", draw=_draw, caption=_caption, describe=_describe),
    ),
    tables=(build_overlap, build_stability),
    template=TEMPLATE,
)
