"""Labels: how many a fit sees, the metric against their number, and how many labels teachers are worth."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from mfh._report import style, wording
from mfh._report.section import Picture, Section, Summary
from mfh._report.tables import Cell, Table, cell, table
from mfh._report.view import StudyView
from mfh._report.wording import interval, number, sequence, signed, two_digits
from mfh._system.files import plain
from mfh.arms import BASELINE, STACK

DRAWN = (BASELINE, "self", STACK, "oracle")
"""The arms of the figure."""
MORE_THAN_ALL = "more than all"
SECOND_MODALITY = {"better": "Yes", "same": "No", "worse": "No"}
"""What the comparison with self-training shows -> whether the second modality is needed."""


def summarize(view: StudyView, summary: Summary) -> dict[str, Any]:
    """Return how many labels there are, the curve by their number, and the label equivalents.

    `labels` is empty where every sample has a label that networks may see. `equivalents` has those of the
    numbers of labels at which there is a gain.
    """
    found = plain(view.result.labels)
    curve = [
        {**point, "arms": {row["arm"]: row for row in point["arms"]}}
        for point in found.get("curve") or ()
        if point["labels"]
    ]
    gains = [point["count"] for point in curve if _is_gain(summary, point["arms"].get(STACK) or {})]
    worth = {count: row for count, row in (found.get("equivalents") or {}).items() if count in gains}
    asked = [str(count) for count in view.config.get("labelled") or ()]
    helps = view.head == STACK and view.result.verdict.verdict == "help"
    return {
        "labels": found,
        "label_curve": curve,
        "teachers_help": helps,
        "equivalents": worth,
        "equivalent": worth.get(asked[0]) if asked and helps else None,
    }


def facts(summary: Summary) -> list[dict[str, str]]:
    """Return what the head of the page says of labels; nothing where none is missing."""
    labels = summary.get("labels")
    if not labels:
        return []
    found = [
        {
            "label": "Labels in each fit",
            "value": _count(labels["labelled"]),
            "note": f"and {_count(labels['unlabelled'])} unlabelled pairs",
        }
    ]
    against = next((row for row in summary["differences"] if row["name"] == "self"), None)
    if summary["teachers_help"] and against is not None and against["difference"] is not None:
        mean = signed(against["difference"], summary["digits"])
        found.append(
            {
                "label": "Is the second modality needed?",
                "value": SECOND_MODALITY.get(against["reading"], "Open"),
                "note": f"{mean} points over self-training",
            }
        )
    if summary["equivalent"] is not None:
        ends = _ends(summary["equivalent"])
        found.append(
            {
                "label": "The teachers are worth",
                "value": f"{_further(summary['equivalent'])} labels",
                "note": "" if ends == wording.NOTHING else f"95% interval {ends} further labels",
            }
        )
    return found


def _count(value: float) -> str:
    return f"{round(value):,}"


def _further(found: Mapping[str, Any]) -> str:
    """Return how many further labels the teachers are worth."""
    further = found["further"]
    return (
        f"{MORE_THAN_ALL} {_count(found['most'])}"
        if further is None
        else f"{two_digits(round(further))} further"
    )


def _ends(found: Mapping[str, Any]) -> str:
    """Return the interval of a label equivalent."""
    low, high = (None if found[end] is None else two_digits(round(found[end])) for end in ("low", "high"))
    if low is None:
        return wording.NOTHING
    if high is None:
        return f"{low} or more"
    return f"{low} to {high}"


def build_curve(summary: Summary) -> Table | None:
    """Return a row for each number of labels: no teacher, the stack, its gain, and its worth in labels."""
    digits, rows = summary["digits"], []
    for point in summary["label_curve"]:
        gain = point["arms"].get(STACK) or {}
        rows.append(
            [
                cell(_count(point["labels"]), point["labels"]),
                *(_mean(point["arms"].get(arm), digits) for arm in (BASELINE, STACK)),
                cell(signed(gain.get("gain"), digits + 1), gain.get("gain")),
                cell(
                    interval(gain.get("gain_low"), gain.get("gain_high"), digits + 1, sign=True),
                    gain.get("gain"),
                ),
                *_worth(summary["equivalents"].get(point["count"])),
            ]
        )
    columns = (
        "Labels #", f"{BASELINE} #", f"{STACK} #", f"{STACK} {wording.MINUS} {BASELINE} #",
        f"{summary['interval_name']} #", "Further labels #", "95% interval #",
    )  # fmt: skip
    return table(
        "label-curve", "The gain, and what it is worth in labels, by number of labels", columns, rows
    )


def _worth(found: Mapping[str, Any] | None) -> list[Cell]:
    """Return the cells of a label equivalent and its interval."""
    if found is None:
        return [cell(wording.NOTHING), cell(wording.NOTHING)]
    rank = found["most"] if found["further"] is None else found["further"]
    return [cell(_further(found).removesuffix(" further"), rank), cell(_ends(found), rank)]


def _is_gain(summary: Summary, row: Mapping[str, Any]) -> bool:
    """Return whether the interval of a gain excludes 0 on the better side."""
    low, high = row.get("gain_low"), row.get("gain_high")
    if low is None or high is None:
        return False
    return bool(low > 0 if summary["higher_is_better"] else high < 0)


def _mean(row: Mapping[str, Any] | None, digits: int) -> Cell:
    if row is None:
        return cell(wording.NOTHING)
    return cell(number(row["mean"], digits), row["mean"], _bounds(row, digits))


def _bounds(row: Mapping[str, Any], digits: int) -> str:
    ends = interval(row["low"], row["high"], digits)
    return "" if ends == wording.NOTHING else ends


def build_arms(summary: Summary) -> Table | None:
    """Return the mean of every arm at each number of labels."""
    points, digits = summary["label_curve"], summary["digits"]
    arms = dict.fromkeys(
        arm for point in sorted(points, key=lambda p: -len(p["arms"])) for arm in point["arms"]
    )
    rows = [[cell(arm), *(_mean(point["arms"].get(arm), digits) for point in points)] for arm in arms]
    columns = ("Arm", *(f"{_count(point['labels'])} labels #" for point in points))
    unit = f", {summary['unit']}" if summary["unit"] else ""
    caption = (
        f"Test {summary['metric']}{unit}, by arm and number of labels; below, the {summary['interval_name']}"
    )
    return table("label-arms", caption, columns, rows)


def _lines(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """Return the points of each drawn arm, by number of labels."""
    lines = {}
    for arm in DRAWN:
        points = [
            {"labels": point["labels"], **point["arms"][arm]}
            for point in summary["label_curve"]
            if arm in point["arms"] and point["arms"][arm]["mean"] is not None
        ]
        if points:
            lines[arm] = points
    return lines


def _draw(summary: Summary) -> Figure | None:
    """Draw the test metric of four arms against the number of labels."""
    lines = _lines(summary)
    if len(summary["label_curve"]) < 2 or not lines:
        return None
    figure, (ax,) = style.canvas(3.3)
    for arm, points in lines.items():
        look, at = style.arm_look(summary, arm), [point["labels"] for point in points]
        banded = [point for point in points if point["low"] is not None and point["high"] is not None]
        ax.fill_between(
            [point["labels"] for point in banded],
            [point["low"] for point in banded],
            [point["high"] for point in banded],
            color=look["color"], alpha=0.13, linewidth=0,
        )  # fmt: skip
        ax.plot(at, [point["mean"] for point in points], markersize=style.size(5), label=arm, **look)
    counts = [point["labels"] for point in summary["label_curve"]]
    ax.set_xscale("log")
    ax.set_xticks(counts, labels=[_count(count) for count in counts])
    ax.minorticks_off()
    ax.set_xlabel("labels in each fit (logarithmic)")
    ax.set_ylabel(style.metric_axis(summary))
    style.legend_above(figure, len(DRAWN))
    return figure


def _caption(summary: Summary) -> str:
    return (
        f"Means over fits; shaded: {summary['interval_name']}s. {BASELINE} learns from these labels alone, "
        f"self from networks that see the student's modality alone, {STACK} from the stack of teachers, "
        "oracle from all labels, the hidden ones too."
    )


def _describe(summary: Summary) -> str:
    parts = [
        f"{arm}: "
        + ", ".join(
            f"{number(point['mean'], summary['digits'])} at {_count(point['labels'])}" for point in points
        )
        for arm, points in _lines(summary).items()
    ]
    return f"Test {summary['metric']} against the number of labels. " + "; ".join(parts) + "."


def _intro(summary: Summary) -> str:
    labels, total = summary["labels"], summary["data"].get("num_samples")
    pairs = labels["labelled"] + labels["unlabelled"]
    words = [
        f"In each fit {_count(labels['labelled'])} of {_count(pairs)} training pairs have a label that "
        "networks may see. No label serves validation alone: out-of-fold outputs of the labelled pairs "
        "choose what must be chosen, and then all labelled pairs train."
    ]
    if labels.get("hidden"):
        arms = {row["name"] for row in summary["arms"]}
        others = "Only `oracle` and the test metric see" if "oracle" in arms else "Only the test metric sees"
        words.append(f"The study hid the other labels. {others} them.")
    known = labels.get("known")
    if total and known and known < total:
        words.append(
            f"Of the {total:,} samples {known:,} have a label. Only these are tested, so the answer rests on "
            f"{known:,} labels."
        )
    counts = [_count(point["labels"]) for point in summary["label_curve"]]
    if len(counts) > 1:
        words.append(
            f"The numbers {sequence(counts)} were studied; all other sections are about "
            f"{_count(labels['labelled'])} labels."
        )
    return " ".join(words)


SECTION = Section(
    name="labels",
    heading="Labels",
    summarize=summarize,
    intro=_intro,
    pictures=(Picture(name="label-curve", draw=_draw, caption=_caption, describe=_describe),),
    tables=(build_curve, build_arms),
    template="""
{{ grid("label-curve") }}
{% if s.equivalents %}
<p class="aside">Further labels: how many more <code>no-kd</code> needs to be as good as the stack, read from
its own curve, which is interpolated. The interval resamples {{ s.units }}.</p>
{% endif %}
{{ grid("label-arms") }}
""",
    is_shown=lambda summary: bool(summary["labels"]),
)
