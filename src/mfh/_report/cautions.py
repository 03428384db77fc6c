"""What a reader should know before relying on a study: sentences that depend on its numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mfh._report.wording import number, percent, plural

FEW_SEEDS = 5
SATURATED_SHARE = 0.9  # soft labels are the labels themselves from about here on
SATURATED_NATS = 0.05
NEGATIVE_SHARE = 0.05
LATE_SHARE = 0.5

Summary = Mapping[str, Any]


def cautions(summary: Summary) -> list[dict[str, str]]:
    """All that apply, as `code`, `title`, `text`; `summary` is that of a study."""
    return [found for check in CHECKS if (found := check(summary))]


def _caution(code: str, title: str, text: str) -> dict[str, str]:
    return {"code": code, "title": title, "text": text[:1].upper() + text[1:]}


def _seeds(summary: Summary) -> dict[str, str] | None:
    count = summary["num_seeds"]
    if count == 1:
        return _caution(
            "single-seed",
            "One seed only",
            "Everything here comes from one random split and one initial student. There is no interval and "
            "no p-value, and a difference of a point or two may be luck. Repeat with `--seeds 10` before "
            "relying on it.",
        )
    if 0 < count < FEW_SEEDS:
        return _caution(
            "few-seeds",
            f"Only {count} seeds",
            "The intervals are wide and lean on the assumption of normal noise. Ten seeds are the default.",
        )
    return None


def _saturated(summary: Summary) -> dict[str, str] | None:
    for row in summary["teachers"]:
        if row["teacher"] != "regular" or row["saturated"] is None:
            continue
        if row["saturated"] >= SATURATED_SHARE or (row["entropy"] or 1.0) < SATURATED_NATS:
            return _caution(
                "saturated",
                "The regular teacher's soft labels are the labels",
                f"On its training data it gives one class a probability over 0.99 for "
                f"{percent(row['saturated'])} of the samples (mean entropy {number(row['entropy'], 3)} nats)"
                ", so its student learns the labels under another name: `regular` is `no-kd`, and beating it "
                "says nothing about ordinary distillation.",
            )
    return None


def _strong_student(summary: Summary) -> dict[str, str] | None:
    student = next((row["mean"] for row in summary["arms"] if row["arm"] == "no-kd"), None)
    teacher = next((row["test"] for row in summary["teachers"] if row["teacher"] == "regular"), None)
    if student is None or teacher is None or student < teacher:
        return None
    names, unit = summary["modalities"], summary["unit"]
    return _caution(
        "strong-student",
        f"The student is {'better than' if student > teacher + 1 else 'as good as'} its teacher",
        f"From labels alone a student that sees {names['student']} reaches {number(student)}{unit} on test "
        f"data; the {names['teacher']} teacher reaches {number(teacher)}{unit}. Such a teacher has little to "
        "pass on. The other direction may be the more useful one.",
    )


def _fitted_saliency(summary: Summary) -> dict[str, str] | None:
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
    return _caution(
        "fitted-saliency",
        "Saliency comes from the data that the networks were fitted to",
        "That is what the paper does. Where the student already agrees with the teacher on these data, the "
        f"ranking comes close to plain importance, which never looks at the student.{numbers} Compare with "
        "`--saliency-split validation`.",
    )


def _negative(summary: Summary) -> dict[str, str] | None:
    saliency = summary["saliency"]
    share = saliency["negative"].get(saliency["split"])
    if share is None or share < NEGATIVE_SHARE or saliency["score"] != "increase":
        return None
    return _caution(
        "negative-increases",
        f"{percent(share)} of the channels have a negative saliency",
        f"Shuffling them on {saliency['split']} data brings the teacher closer to the student, so they rank "
        "below channels that do nothing. The ranking is then unreliable; compare with `--score followed`.",
    )


def _sweep_edge(summary: Summary) -> dict[str, str] | None:
    ratios, chosen = summary["ratios"], list(summary["chosen"].values())
    if not ratios or not chosen:
        return None
    largest = sum(ratio == ratios[-1] for ratio in chosen)
    nothing = sum(ratio == 0 for ratio in chosen)
    times = "" if len(chosen) == 1 else f"In {max(largest, nothing)} of {len(chosen)} seeds "
    if 2 * nothing > len(chosen):
        return _caution(
            "nothing-removed",
            "Validation preferred to remove nothing",
            f"{times}the joint teacher with all its channels did best on validation data, so there `general "
            "(chosen)` is `joint`.",
        )
    if 2 * largest > len(chosen):
        return _caution(
            "sweep-edge",
            "The chosen ratio lies at the edge of the sweep",
            f"{times}validation chose {ratios[-1]:g}, the largest ratio tried. The best one may lie beyond "
            "it: try larger ones with `--ratio`.",
        )
    return None


def _late_epochs(summary: Summary) -> dict[str, str] | None:
    share = summary["late_share"]
    if share is None or share <= LATE_SHARE:
        return None
    return _caution(
        "undertrained",
        "Students may need longer training",
        f"For {percent(share)} of the students the best validation epoch was among the last 5% of "
        f"{plural(summary['epochs'], 'epoch')}. A student that learns more slowly looks worse here than it "
        "is: raise `--epochs`.",
    )


CHECKS: Sequence[Callable[[Summary], dict[str, str] | None]] = (
    _seeds,
    _saturated,
    _strong_student,
    _fitted_saliency,
    _negative,
    _sweep_edge,
    _late_epochs,
)
