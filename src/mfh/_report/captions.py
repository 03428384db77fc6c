"""What stands below each figure, and what it shows in words for those who cannot see it."""

from collections.abc import Callable, Mapping
from typing import Any

from mfh._report import comparison_tables
from mfh._report.wording import interval, number, percent, plural, signed

Summary = Mapping[str, Any]

OVERLAP = (
    "How many of the channels that general keeps are also kept by important, which ranks them by the teacher "
    "alone. Near 100% the two are one ranking, and looking at the student has changed nothing; below the "
    "dotted line they agree less than by chance."
)


def _differences(summary: Summary) -> str:
    rows = summary["differences"]
    bars = " with its 95% interval" if any(row["low"] is not None for row in rows) else ""
    primary = sum(row["primary"] for row in rows)
    filled = f" Filled: the {plural(primary, 'comparison')} declared in advance." if primary else ""
    dots = " Dots: the difference in each seed." if any(row["dots"][1:] for row in rows) else ""
    return (
        "The student taught by the focused teacher (general) minus the student of the arm on the left: mean "
        f"of {plural(summary['num_seeds'], 'seed')}{bars}.{dots}{filled} Shaded: within "
        f"{number(summary['zone'], 0)} point, too little to matter."
    )


def _differences_alt(summary: Summary) -> str:
    parts = []
    for row in summary["differences"]:
        ends = f" ({interval(row['low'], row['high'], sign=True)})" if row["low"] is not None else ""
        parts.append(f"{row['name']} {signed(row['difference'])}{ends}")
    return "Differences in points between general and each other arm: " + "; ".join(parts) + "."


def _arms(summary: Summary) -> str:
    if summary["num_seeds"] <= 1:
        return "Dashed: labels alone."
    return (
        "Small dots: one a seed. Large mark: the mean, with its 95% interval. Dashed: labels alone. These "
        "intervals hold what all arms of a seed share, such as an easy split; the paired differences do not."
    )


def _arms_alt(summary: Summary) -> str:
    parts = []
    for row in summary["arms"]:
        if row["main"]:
            ratio = "" if row["ratio"] is None else f" at {row['ratio']:g}"
            parts.append(f"{row['arm']}{ratio} {number(row['mean'])}")
    return f"Mean test {summary['metric']} by arm: " + "; ".join(parts) + "."


def _ratio(summary: Summary) -> str:
    bars = " Vertical lines: 95% intervals, side by side so that all can be seen." * (
        summary["num_seeds"] > 1
    )
    return f"At ratio 0 nothing is removed: the arm joint. Horizontal lines: arms that have no ratio.{bars}"


def _ratio_alt(summary: Summary) -> str:
    parts = [
        f"{arm}: " + ", ".join(f"{number(point['mean'])} at {point['ratio']:g}" for point in points)
        for arm, points in summary["sweep"]["lines"].items()
    ]
    return f"Test {summary['metric']} against the share of channels removed. " + "; ".join(parts) + "."


def _saliency(summary: Summary) -> str:
    channels = summary["channels"]
    size, drawn = channels["order"]["per_bar"], len(channels["sorted"]["curves"])
    marks = "Lines: 95% intervals. " if channels["order"]["low"] is not None else ""
    if size > 1:
        marks = (
            f"There are {channels['num_channels']:,} channels: a bar is the mean of {size} neighbours, "
            "filled if most of them are kept, and its line their range. "
        )
    thin = ""
    if drawn < channels["num_seeds"]:
        thin = f" Thin lines: the first {drawn} seeds; thick: the median of all {channels['num_seeds']}."
    elif drawn > 1:
        thin = " Thin lines: seeds; thick: their median."
    removed = plural(channels["num_removed"], "channel")
    return (
        f"Above: saliency ({channels['score']}, {channels['split']} split) of every channel of seed "
        f"{channels['seed']}; hollow bars are the {removed} that general removes at ratio "
        f"{channels['ratio']:g}. {marks}Below: all seeds, sorted, since the channels of two seeds are parts "
        f"of two networks.{thin}"
    )


def _saliency_alt(summary: Summary) -> str:
    channels = summary["channels"]
    curve = channels["sorted"]
    points = zip(curve["share"], curve["median"], strict=True)
    kept = [value for share, value in points if share <= curve["kept"]]
    edge = f" At the border between kept and removed it is {number(kept[-1], 2)}." if kept else ""
    middle = curve["median"][len(curve["median"]) // 2]
    return (
        f"Saliency of {plural(channels['num_channels'], 'channel')}. Scaled to between 0 and 1, the channel "
        f"in the middle of the ranking has {number(middle, 2)}.{edge}"
    )


def _overlap_alt(summary: Summary) -> str:
    parts = [
        f"{row.get('split')} split, ratio {row.get('ratio')}: {percent(row.get('mean'))}"
        for row in summary["saliency"]["overlap"]
    ]
    return "Kept channels that general and important have in common. " + "; ".join(parts) + "."


def _curves(summary: Summary) -> str:
    bands = " Shaded: from the lowest to the highest seed." if summary["num_seeds"] > 1 else ""
    shown = summary["shown_ratio"]
    at = f"; general, important and softened at ratio {shown:g}" if shown else ""
    return (
        f"Students: mean over seeds by epoch{at}.{bands} Losses of arms that learn from soft labels and of "
        "those that learn from labels are different quantities."
    )


def _curves_alt(summary: Summary, group: str = "students") -> str:
    parts = [
        f"{name} ends at {number(line['validation'][-1])} after {plural(line['epoch'][-1], 'epoch')}"
        for name, line in summary["curves"][group].items()
    ]
    return f"Validation {summary['metric']} of the {group} by epoch: " + "; ".join(parts) + "."


def _venn(summary: Summary) -> str:
    known = summary["diagnosis"]["shares"]["student_only"] is not None
    size = "" if known else " Dashed: how much only the student sees is not known, so its circle is as large."
    return (
        f"What decides the teacher's answers, and what the student can see of it; areas are to scale.{size}"
    )


CAPTIONS: dict[str, Callable[[Summary], str]] = {
    "differences": _differences,
    "arms": _arms,
    "ratio": _ratio,
    "saliency": _saliency,
    "overlap": lambda _: OVERLAP,
    "curves": _curves,
    "teacher-curves": lambda _: (
        "Teachers: mean over seeds by epoch. The metric of joint is the mean of its two networks."
    ),
    "venn": _venn,
    "runs": comparison_tables.caption,
}
ALTERNATIVES: dict[str, Callable[[Summary], str]] = {
    "differences": _differences_alt,
    "arms": _arms_alt,
    "ratio": _ratio_alt,
    "saliency": _saliency_alt,
    "overlap": _overlap_alt,
    "curves": _curves_alt,
    "teacher-curves": lambda summary: _curves_alt(summary, "teachers"),
    "venn": lambda summary: summary["diagnosis"]["sentence"],
    "runs": comparison_tables.alternative,
}
