"""The checks of a study: each looks at the summary of a page, and finds a title and a text, or nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mfh._report.section import Summary
from mfh._report.view import baseline_mean
from mfh._report.wording import interval, number, percent, plural, sequence, signed
from mfh.arms import BASELINE, CHOSEN

FEW_SEEDS = 5
SATURATED_SHARE = 0.9  # soft labels are the labels themselves from about here on
SATURATED_NATS = 0.05
NEGATIVE_SHARE = 0.05
LATE_SHARE = 0.5
UNEQUAL_EPOCHS = 0.1

Found = tuple[str, str] | None
Look = Callable[[Summary], Found]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        code: its name in documentation and tools.
        name: what it looks for.
        why: why that matters, whatever the numbers.
        look: what it found in a study's summary, as a title and a text; None where all is well.
    """

    code: str
    name: str
    why: str
    look: Look


CHECKS: list[Check] = []
"""All checks, in the order of their codes."""


def check(code: str, name: str, why: str) -> Callable[[Look], Look]:
    """Add the function below to the checks."""

    def add(look: Look) -> Look:
        CHECKS.append(Check(code, name, why, look))
        return look

    return add


@check(
    "MFH101",
    "a single seed",
    "Split, initial weights and batches change a student's accuracy by as much as most gains in the "
    "literature. Only repeated seeds show how much; one seed cannot.",
)
def single_seed(summary: Summary) -> Found:
    """Find a study of one seed."""
    if summary["num_seeds"] != 1:
        return None
    return "One seed only", (
        "All numbers come from one random split and one initial student. There is no interval and no "
        "p-value, and a difference of a point or two may be chance. Repeat with `--seeds 10` before relying "
        "on it."
    )


@check(
    "MFH102",
    "few seeds",
    "With fewer than five seeds the spread between seeds is hardly known, so an interval is wide, or narrow "
    "by chance.",
)
def few_seeds(summary: Summary) -> Found:
    """Find a study of a few seeds."""
    count = summary["num_seeds"]
    if not 1 < count < FEW_SEEDS:
        return None
    return f"Only {count} seeds", (
        "The intervals are wide and depend on the assumption of normal noise. Ten seeds are the default."
    )


@check(
    "MFH103",
    "focusing that is not better than importance",
    "A student also beats random and reversed selections where the teacher keeps the channels that matter "
    "most to itself. Only a gain over `important`, the ranking that ignores the student, supports "
    "modality-generality.",
)
def not_better_than_importance(summary: Summary) -> Found:
    """Find a focused teacher that is not shown to be better than one focused by importance."""
    head, importance = summary["rankings"]["saliency"], summary["rankings"]["importance"]
    if summary["head"] != head:
        return None
    row = next((row for row in summary["differences"] if row["name"] == importance), None)
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
    "Distillation passes on what a teacher tells about the wrong classes. Where it gives the right class "
    "nearly all the probability, there is nothing of that to pass on. Raise `--temperature`, or read the "
    "results of this teacher as those of `no-kd`.",
)
def saturated(summary: Summary) -> Found:
    """Find teachers whose soft labels are the labels."""
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
    "A student that is as accurate from labels alone can still gain from soft labels, but then more from "
    "their softness than from the other modality.",
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
    return (
        f"The student is {'better than' if ahead > summary['zone'] else 'as good as'} its teacher",
        f"From labels alone a student that sees {names['student']} reaches {number(student, digits)}{unit} "
        f"on test data; the best {names['teacher']} teacher ({best['teacher']}) reaches "
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
    "Samples of one person, speaker or recording resemble each other for reasons that will be absent in "
    "use. If they are on both sides of a split, test accuracy is too high, often by tens of points.",
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
    "A test sample that was trained on measures memory. Distillation can hide it: the teacher remembers too.",
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
        f"{plural(count, 'validation or test sample')} of the first seed {be} equal to a training sample in "
        f"every modality.{ids} A network can remember their labels. Remove the copies, or give them a common "
        "`--group`. `data.leaks` of results.json names more of them."
    )


@check(
    "MFH108",
    "a ratio at the edge of the sweep",
    "The best value at the end of a range shows only that the range was too short.",
)
def sweep_edge(summary: Summary) -> Found:
    """Find a choice of the largest ratio in most seeds."""
    ratios, chosen = summary["ratios"], list(summary["chosen"].values())
    largest = sum(ratio == ratios[-1] for ratio in chosen) if ratios else 0
    if not largest or 2 * largest <= len(chosen):
        return None
    return "The chosen ratio is at the edge of the sweep", (
        f"{_in_seeds(largest, chosen)}validation chose {ratios[-1]:g}, the largest ratio tried. A larger one "
        "may be better: try some with `--ratio`."
    )


@check(
    "MFH109",
    "nothing removed",
    "Ratio 0 is among the choices. Where validation takes it, `general` is its own control.",
)
def nothing_removed(summary: Summary) -> Found:
    """Find a choice of ratio 0 in most seeds."""
    chosen = list(summary["chosen"].values())
    nothing = sum(ratio == 0 for ratio in chosen)
    if not nothing or 2 * nothing <= len(chosen):
        return None
    return "Validation preferred to remove nothing", (
        f"{_in_seeds(nothing, chosen)}the {summary['source']} teacher with all its channels did best on "
        f"validation data, so there `{summary['head']}{CHOSEN}` is `{summary['unchanged']}`."
    )


def _in_seeds(count: int, chosen: list[float]) -> str:
    return "" if len(chosen) == 1 else f"in {count} of {len(chosen)} seeds "


@check(
    "MFH110",
    "saliency computed where the teacher was fitted",
    "On data that both networks were fitted to, the student of step 1 has learned to agree with the "
    "teacher, so saliency measures importance. Data that neither network has seen show what the student can "
    "really follow.",
)
def fitted_saliency(summary: Summary) -> Found:
    """Find saliency that was computed on training data."""
    saliency = summary["saliency"]
    if saliency["split"] != "train":
        return None
    names, overlap = summary["rankings"], saliency["overlap_at_reference"]
    numbers = ""
    if "train" in overlap:
        numbers = (
            f" Here `{names['saliency']}` and `{names['importance']}` kept {percent(overlap['train'])} of "
            "the same channels"
        )
        if "validation" in overlap:
            numbers += f"; on validation data it would be {percent(overlap['validation'])}"
        numbers += "."
    return (
        "Saliency comes from the data that the networks were fitted to",
        "The paper does the same. Where the student already agrees with the teacher on these data, the "
        f"ranking comes close to plain importance, which never looks at the student.{numbers} Compare with "
        "`--saliency-split validation`.",
    )


@check(
    "MFH111",
    "negative increases",
    "Saliency is how much farther from the student the teacher moves when a channel is shuffled. Below 0 it "
    "moves closer, which scaling to [0, 1] hides: such channels then rank below those that do nothing.",
)
def negative(summary: Summary) -> Found:
    """Find many increases below 0."""
    saliency = summary["saliency"]
    share = saliency["negative"].get(saliency["split"])
    if share is None or share < NEGATIVE_SHARE or saliency["score"] != "increase":
        return None
    return (
        f"{percent(share)} of the channels have a negative saliency",
        f"Shuffling them on {saliency['split']} data brings the teacher closer to the student, so they rank "
        "below channels that do nothing. The ranking is then unreliable; compare with `--score followed`.",
    )


@check(
    "MFH112",
    "unequal epochs",
    "Within a seed, arms must differ in the teacher's outputs alone. Early stopping lets them differ in "
    "training time too.",
)
def unequal_epochs(summary: Summary) -> Found:
    """Find arms that were trained for longer than others."""
    epochs = {arm: line["epochs"] for arm, line in summary["curves"]["students"].items()}
    if len(epochs) < 2 or max(epochs.values()) - min(epochs.values()) <= UNEQUAL_EPOCHS * max(
        epochs.values()
    ):
        return None
    least, most = min(epochs, key=lambda arm: epochs[arm]), max(epochs, key=lambda arm: epochs[arm])
    return "Arms were trained for different numbers of epochs", (
        f"students of `{least}` for {number(epochs[least], 0)} epochs on average, those of `{most}` for "
        f"{number(epochs[most], 0)}. Part of a difference between them may come from training time. Train "
        "without `--patience`, or see whether the curves have flattened."
    )


@check(
    "MFH113",
    "training that had not ended",
    "A student whose best epoch is the last one would have improved further, and soft labels change how "
    "quickly a student learns.",
)
def late_epochs(summary: Summary) -> Found:
    """Find students whose best epoch was among the last."""
    share = summary["late_share"]
    if share is None or share <= LATE_SHARE:
        return None
    return "Students may need longer training", (
        f"For {percent(share)} of the students the best validation epoch was among the last 5% of "
        f"{plural(summary['epochs'], 'epoch')}. A student that learns more slowly looks worse here than it "
        "is: raise `--epochs`."
    )


@check(
    "MFH114",
    "students that diverged",
    "A student without finite weights has no accuracy, so it is left out. Its arm keeps only the seeds that "
    "went well, which makes that loss look better and steadier than it is.",
)
def diverged(summary: Summary) -> Found:
    """Find students of a study of several losses that diverged."""
    failed = summary["losses"]["failed"]
    if not failed:
        return None
    counts: dict[str, int] = {}
    for row in failed:
        counts[row["loss"]] = counts.get(row["loss"], 0) + 1
    words = ", ".join(f"{plural(count, 'student')} with the loss `{loss}`" for loss, count in counts.items())
    return "Some students diverged and are left out", (
        f"{words} had a loss or a weight that was not finite. Lower `--lr`, set `--clip`, or leave the loss "
        "out; the table of losses gives the reason for each."
    )


@check(
    "MFH115",
    "seeds that failed",
    "A seed that ends in an error is left out. If the error depends on what is measured (a training that "
    "diverged), the means of the other seeds are too good.",
)
def failed_seeds(summary: Summary) -> Found:
    """Find seeds that are missing because they failed."""
    lost = [row for row in summary["failed_seeds"] if row["missing"]]
    if not lost:
        return None
    seeds = sequence([str(row["seed"]) for row in lost])
    be = "Seed {} is" if len(lost) == 1 else "Seeds {} are"
    errors = "; ".join(
        f"seed {row['seed']}, started {plural(row['tries'], 'time')}: {row['error'].rstrip('.')}"
        for row in lost
    )
    return be.format(seeds) + " missing", f"{errors}. Repeat the command to run what is missing again."
