"""The checks of a study's fits, controls, teachers, data and ratios."""

from collections.abc import Mapping
from typing import Any

from mfh._report.section import Summary
from mfh._report.sections.check import Check, Found, collect
from mfh._report.sections.differences import gain_of
from mfh._report.view import baseline_mean
from mfh._report.wording import base, interval, number, percent, plural, signed
from mfh.arms import BASELINE, CHOSEN, HEADLINE

FEW_FITS = 5
SATURATED_SHARE = 0.9  # soft labels are the labels themselves from about here on
SATURATED_NATS = 0.05

CHECKS: list[Check] = []
check = collect(CHECKS)


@check(
    "MFH101",
    "a single fit",
    "The split, the initial weights and the batches change a student's accuracy by as much as most gains "
    "in the literature. Several fits show by how much. One fit cannot.",
)
def single_fit(summary: Summary) -> Found:
    """Find a study of one fit."""
    if summary["num_fits"] != 1:
        return None
    return "One fit only", (
        "All numbers come from one split and one initial student. There is no interval and no p-value, and "
        "a difference of a point or two may be chance. Repeat with ten fits (`--seeds 10`) before relying "
        "on it."
    )


@check(
    "MFH102",
    "few fits",
    "With fewer than five fits the spread between fits is known poorly, so an interval is wide, or narrow "
    "by chance. With a single repeat each sample is tested once. Then the noise of training cannot be "
    "separated from the differences between samples.",
)
def few_fits(summary: Summary) -> Found:
    """Find a study of a few fits, or of a single repeat of its folds."""
    count, gain = summary["num_fits"], gain_of(summary)
    if 1 < count < FEW_FITS:
        return f"Only {count} fits", (
            "The intervals are wide and depend on the assumption of normal noise. Ten fits are the default: "
            "two repeats of five folds."
        )
    parts = gain["components"] if gain else None
    if parts and parts["repeats"] == 1 and parts["folds"] > 1:
        return "Only one repeat", (
            "Each sample was tested once, so the intervals are wider than they need be, and this study "
            "cannot tell how many repeats would decide it. Use `--repeats 2` or more."
        )
    return None


@check(
    "MFH103",
    "focusing that is not better than importance",
    "Random and reversed selections are also worse than a selection of the channels that matter most to "
    "the teacher itself. So a gain over them proves little. Only a gain over `important`, the ranking "
    "that ignores the student, is evidence that modality-general channels matter.",
)
def not_better_than_importance(summary: Summary) -> Found:
    """Find a focused teacher that is not shown to be better than one focused by importance."""
    head, importance = summary["rankings"]["saliency"], summary["rankings"]["importance"]
    compared = (*summary["differences"], *summary["focusing"])
    row = next((row for row in compared if (base(row["a"]), row["name"]) == (head, importance)), None)
    if row is None or row["low"] is None or row["reading"] == "better":
        return None
    digits = summary["digits"] + 1
    return "Focusing is not better than plain importance", (
        "A teacher focused on channels ranked by its own importance, which never looks at the student, did "
        f"as well: `{head}` minus `{importance}` is {signed(row['difference'], digits)} points "
        f"({interval(row['low'], row['high'], digits, sign=True)}). So this run is no evidence for "
        f"modality-general channels, even where `{head}` beats random and reversed rankings."
    )


@check(
    "MFH104",
    "saturated soft labels",
    "In distillation a student learns from the probabilities that a teacher gives to the wrong classes. "
    "If the teacher gives nearly all probability to the right class, there is little to learn from them. "
    "Use a higher `--temperature`, or read the results of this teacher as those of `no-kd`.",
)
def saturated(summary: Summary) -> Found:
    """Find teachers whose soft labels are the labels; where labels are missing, these teach something."""
    if summary["few_labels"]:
        return None
    for row in summary["teachers"]:
        arm = summary["ordinary"].get(row["teacher"])
        if arm is None or row["saturated"] is None:
            continue
        if row["saturated"] >= SATURATED_SHARE or (row["entropy"] or 1.0) < SATURATED_NATS:
            return f"The {row['teacher']} teacher's soft labels are the labels", (
                f"On its training data it gives one class a probability over 0.99 for "
                f"{percent(row['saturated'])} of the samples (mean entropy {number(row['entropy'], 3)} "
                f"nats), so its students learn what the labels teach: `{arm}` is `{BASELINE}`, and a gain "
                "over it tells nothing about distillation."
            )
    return None


@check(
    "MFH105",
    "a student as good as its teacher",
    "If a student is as accurate as the teacher when it learns from labels alone, it can still gain from "
    "soft labels. But then the gain comes from their softness more than from the other modality.",
)
def strong_student(summary: Summary) -> Found:
    """Find a student that is as good without a teacher as the best of its teachers."""
    student, best = baseline_mean(summary["arms"]), best_teacher(summary)
    if student is None or best is None:
        return None
    ahead = student - best["test"] if summary["higher_is_better"] else best["test"] - student
    if ahead < 0:
        return None
    names, unit, digits = summary["modalities"], summary["unit"], summary["digits"]
    seen = f"{names['teacher']} teacher"
    if summary["few_labels"]:
        seen = f"teacher that sees {names['teacher']}"
    return (
        f"The student is {'better than' if ahead > summary['zone'] else 'as good as'} its teacher",
        f"From labels alone a student that sees {names['student']} reaches {number(student, digits)}{unit} "
        f"on test data; the best {seen} ({best['teacher']}) reaches "
        f"{number(best['test'], digits)}{unit}. Such a teacher has little to pass on. The other direction "
        "may be more useful.",
    )


def best_teacher(summary: Summary) -> Mapping[str, Any] | None:
    """Return the row of the best teacher of the other modality, of those with all their channels."""
    rows = [
        row
        for row in summary["teachers"]
        if row["teacher"] in summary["ordinary"] and row["test"] is not None
    ]
    sign = 1 if summary["higher_is_better"] else -1
    return max(rows, key=lambda row: sign * row["test"], default=None)


@check(
    "MFH106",
    "groups in several splits",
    "Samples of one person, speaker or recording are similar for reasons that new data will not have. If "
    "such samples are in both training and test data, test accuracy is too high, often by tens of points.",
)
def groups_leak(summary: Summary) -> Found:
    """Find groups that several splits share."""
    count = (summary["data"].get("leaks") or {}).get("groups")
    if not count:
        return None
    return "Groups are in several splits", (
        f"{plural(count, 'group')} (persons, recordings) have samples in more than one of the training, "
        "validation and test splits that came with the data. A network that recognises the group is then "
        "right without understanding the class. Use `--split none` to draw splits that no group crosses."
    )


@check(
    "MFH107",
    "duplicated samples across splits",
    "A test sample that is in the training data, too, measures memory. Distillation can hide this, "
    "because the teacher remembers the sample as well.",
)
def duplicates(summary: Summary) -> Found:
    """Find samples that several splits share."""
    count = (summary["data"].get("leaks") or {}).get("duplicates")
    if not count:
        return None
    be = "is" if count == 1 else "are"
    equal = (summary["data"].get("leaks") or {}).get("equal") or []
    ids = (
        f" Equal are, for example, the samples {' and '.join(f'`{i}`' for i in equal[0][:4])}."
        if equal
        else ""
    )
    return "Samples of the training split are in another split too", (
        f"{plural(count, 'validation or test sample')} of the first fit {be} equal to a training sample in "
        f"every modality.{ids} A network can remember their labels. Remove the copies, or give them a common "
        "`--group`. `data.leaks` of results.json names more of them."
    )


@check(
    "MFH108",
    "a ratio at the edge of the sweep",
    "If the best ratio is the smallest or the largest one tried, a better one may be outside the range. "
    "Try more ratios.",
)
def sweep_edge(summary: Summary) -> Found:
    """Find a choice of the largest ratio in most fits."""
    ratios, chosen = summary["ratios"], list(summary["chosen"].values())
    largest = sum(ratio == ratios[-1] for ratio in chosen) if ratios else 0
    if not largest or 2 * largest <= len(chosen):
        return None
    return "The chosen ratio is at the edge of the sweep", (
        f"{_in_fits(largest, chosen)}{summary['chosen_by']} chose {ratios[-1]:g}, the largest ratio tried. "
        "A larger one may be better: try some with `--ratio`."
    )


@check(
    "MFH109",
    "nothing removed",
    "Ratio 0, which removes no channels, is one of the ratios. Where it is chosen, `general` is the same as "
    "its control.",
)
def nothing_removed(summary: Summary) -> Found:
    """Find a choice of ratio 0 in most fits."""
    chosen = list(summary["chosen"].values())
    nothing = sum(ratio == 0 for ratio in chosen)
    if not nothing or 2 * nothing <= len(chosen):
        return None
    few = summary["few_labels"]
    by = "by its out-of-fold outputs" if few else "on validation data"
    return f"{'Out-of-fold outputs' if few else 'Validation'} preferred to remove nothing", (
        f"{_in_fits(nothing, chosen)}the {summary['source']} teacher with all its channels did best {by}, so "
        f"there `{HEADLINE}{CHOSEN}` is `{summary['unchanged']}`."
    )


def _in_fits(count: int, chosen: list[float]) -> str:
    return "" if len(chosen) == 1 else f"in {count} of {len(chosen)} fits "
