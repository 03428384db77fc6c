"""What each check finds in the numbers of a study: a title and a text, or nothing."""

from collections.abc import Mapping
from typing import Any

from mfh._report.wording import interval, number, percent, plural, sequence, signed

FEW_SEEDS = 5
SATURATED_SHARE = 0.9  # soft labels are the labels themselves from about here on
SATURATED_NATS = 0.05
NEGATIVE_SHARE = 0.05
LATE_SHARE = 0.5
UNEQUAL_EPOCHS = 0.1

Summary = Mapping[str, Any]
Found = tuple[str, str] | None


def single_seed(summary: Summary) -> Found:
    """Whether there is but one seed."""
    if summary["num_seeds"] != 1:
        return None
    return "One seed only", (
        "Everything here comes from one random split and one initial student. There is no interval and no "
        "p-value, and a difference of a point or two may be luck. Repeat with `--seeds 10` before relying on "
        "it."
    )


def few_seeds(summary: Summary) -> Found:
    """Whether seeds are few."""
    count = summary["num_seeds"]
    if not 1 < count < FEW_SEEDS:
        return None
    return f"Only {count} seeds", (
        "The intervals are wide and lean on the assumption of normal noise. Ten seeds are the default."
    )


def not_better_than_importance(summary: Summary) -> Found:
    """Whether `general` is shown to beat `important`."""
    row = next((row for row in summary["differences"] if row["name"] == "important"), None)
    if row is None or row["low"] is None or row["low"] > 0:
        return None
    return "Focusing is not better than plain importance", (
        "A teacher focused on channels ranked by its own importance, which never looks at the student, did "
        f"as well: `general` minus `important` is {signed(row['difference'], 2)} points "
        f"({interval(row['low'], row['high'], 2, sign=True)}). So this run is no evidence for "
        "modality-general channels, even if `general` beats `random` and `specific`."
    )


def saturated(summary: Summary) -> Found:
    """Whether the regular teacher's soft labels are hard."""
    for row in summary["teachers"]:
        if row["teacher"] != "regular" or row["saturated"] is None:
            continue
        if row["saturated"] >= SATURATED_SHARE or (row["entropy"] or 1.0) < SATURATED_NATS:
            return "The regular teacher's soft labels are the labels", (
                f"On its training data it gives one class a probability over 0.99 for "
                f"{percent(row['saturated'])} of the samples (mean entropy {number(row['entropy'], 3)} "
                "nats), so its student learns the labels under another name: `regular` is `no-kd`, and "
                "beating it says nothing about ordinary distillation."
            )
    return None


def strong_student(summary: Summary) -> Found:
    """Whether the student needs no teacher."""
    student = next((row["mean"] for row in summary["arms"] if row["arm"] == "no-kd"), None)
    teacher = next((row["test"] for row in summary["teachers"] if row["teacher"] == "regular"), None)
    if student is None or teacher is None or student < teacher:
        return None
    names, unit = summary["modalities"], summary["unit"]
    return (
        f"The student is {'better than' if student > teacher + 1 else 'as good as'} its teacher",
        f"From labels alone a student that sees {names['student']} reaches {number(student)}{unit} on test "
        f"data; the {names['teacher']} teacher reaches {number(teacher)}{unit}. Such a teacher has little to "
        "pass on. The other direction may be the more useful one.",
    )


def fitted_saliency(summary: Summary) -> Found:
    """Whether saliency looks at training data."""
    saliency = summary["saliency"]
    if saliency["split"] != "train":
        return None
    overlap = saliency["overlap_at_reference"]
    numbers = ""
    if "train" in overlap:
        numbers = f" Here `general` and `important` kept {percent(overlap['train'])} of the same channels"
        if "validation" in overlap:
            numbers += f"; on validation data it would be {percent(overlap['validation'])}"
        numbers += "."
    return (
        "Saliency comes from the data that the networks were fitted to",
        "That is what the paper does. Where the student already agrees with the teacher on these data, the "
        f"ranking comes close to plain importance, which never looks at the student.{numbers} Compare with "
        "`--saliency-split validation`.",
    )


def negative(summary: Summary) -> Found:
    """Whether many increases lie below 0."""
    saliency = summary["saliency"]
    share = saliency["negative"].get(saliency["split"])
    if share is None or share < NEGATIVE_SHARE or saliency["score"] != "increase":
        return None
    return (
        f"{percent(share)} of the channels have a negative saliency",
        f"Shuffling them on {saliency['split']} data brings the teacher closer to the student, so they rank "
        "below channels that do nothing. The ranking is then unreliable; compare with `--score followed`.",
    )


def sweep_edge(summary: Summary) -> Found:
    """Whether the largest ratio was the best."""
    ratios, chosen = summary["ratios"], list(summary["chosen"].values())
    largest = sum(ratio == ratios[-1] for ratio in chosen) if ratios else 0
    if not largest or 2 * largest <= len(chosen):
        return None
    return "The chosen ratio lies at the edge of the sweep", (
        f"{_in_seeds(largest, chosen)}validation chose {ratios[-1]:g}, the largest ratio tried. The best one "
        "may lie beyond it: try larger ones with `--ratio`."
    )


def nothing_removed(summary: Summary) -> Found:
    """Whether the best ratio was 0."""
    chosen = list(summary["chosen"].values())
    nothing = sum(ratio == 0 for ratio in chosen)
    if not nothing or 2 * nothing <= len(chosen):
        return None
    return "Validation preferred to remove nothing", (
        f"{_in_seeds(nothing, chosen)}the joint teacher with all its channels did best on validation data, "
        "so there `general (chosen)` is `joint`."
    )


def _in_seeds(count: int, chosen: list[float]) -> str:
    return "" if len(chosen) == 1 else f"in {count} of {len(chosen)} seeds "


def groups_leak(summary: Summary) -> Found:
    """Whether splits share groups."""
    count = (summary["data"].get("leaks") or {}).get("groups")
    if not count:
        return None
    return "Groups stand in several splits", (
        f"{plural(count, 'group')} (persons, recordings) have samples in more than one of the training, "
        "validation and test splits that the data bring. Accuracies then count recognising the group as "
        "understanding the class. Use `--split none` to draw splits that no group crosses."
    )


def duplicates(summary: Summary) -> Found:
    """Whether splits share samples."""
    count = (summary["data"].get("leaks") or {}).get("duplicates")
    if not count:
        return None
    be = "is" if count == 1 else "are"
    return "Samples of the training split return in another", (
        f"{plural(count, 'validation or test sample')} of the first seed {be} equal to a training sample in "
        "every modality. They are answered from memory. Remove the copies, or give them a common `--group`."
    )


def unequal_epochs(summary: Summary) -> Found:
    """Whether some arms were trained for longer."""
    epochs = {arm: line["epochs"] for arm, line in summary["curves"]["students"].items()}
    if len(epochs) < 2 or max(epochs.values()) - min(epochs.values()) <= UNEQUAL_EPOCHS * max(
        epochs.values()
    ):
        return None
    least, most = min(epochs, key=lambda arm: epochs[arm]), max(epochs, key=lambda arm: epochs[arm])
    return "Arms were trained for different numbers of epochs", (
        f"students of `{least}` for {number(epochs[least], 0)} epochs on average, those of `{most}` for "
        f"{number(epochs[most], 0)}. Part of a difference between them may be training time. Train without "
        "`--patience`, or see whether the curves have flattened."
    )


def late_epochs(summary: Summary) -> Found:
    """Whether the best epoch was the last."""
    share = summary["late_share"]
    if share is None or share <= LATE_SHARE:
        return None
    return "Students may need longer training", (
        f"For {percent(share)} of the students the best validation epoch was among the last 5% of "
        f"{plural(summary['epochs'], 'epoch')}. A student that learns more slowly looks worse here than it "
        "is: raise `--epochs`."
    )


def diverged(summary: Summary) -> Found:
    """Whether students of a study of several losses diverged."""
    failed = summary["losses"]["failed"]
    if not failed:
        return None
    counts: dict[str, int] = {}
    for row in failed:
        counts[row["loss"]] = counts.get(row["loss"], 0) + 1
    words = ", ".join(f"{plural(count, 'student')} with the loss `{loss}`" for loss, count in counts.items())
    return "Some students diverged and are left out", (
        f"{words} had a loss or a weight that was not finite. Lower `--lr`, set `--clip`, or leave the loss "
        "out; each stands with its reason in the table of losses."
    )


def failed_seeds(summary: Summary) -> Found:
    """Whether seeds are missing since they failed."""
    lost = [row for row in summary["failed_seeds"] if row["missing"]]
    if not lost:
        return None
    seeds = sequence([str(row["seed"]) for row in lost])
    be = "Seed {} is" if len(lost) == 1 else "Seeds {} are"
    errors = "; ".join(
        f"seed {row['seed']}, begun {plural(row['tries'], 'time')}: {row['error'].rstrip('.')}"
        for row in lost
    )
    return be.format(seeds) + " missing", f"{errors}. Repeat the command to run what is missing again."
