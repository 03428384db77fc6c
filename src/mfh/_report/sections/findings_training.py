"""The checks of a study's saliency, training and outputs."""

from mfh._report.section import Summary
from mfh._report.sections.check import Check, Found, collect
from mfh._report.wording import number, percent, plural, sequence
from mfh.comparing import LARGEST_CLASS, ONE_OUTPUT
from mfh.results import fit_words

NEGATIVE_SHARE = 0.05
LATE_SHARE = 0.5
UNEQUAL_EPOCHS = 0.1

CHECKS: list[Check] = []
check = collect(CHECKS)


@check(
    "MFH110",
    "saliency computed where the teacher was fitted",
    "On the data that both networks were trained on, the student of step 1 has learned to agree with the "
    "teacher, so saliency measures importance. Data that neither network has seen show what the student "
    "can really predict.",
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
            others = "the labelled samples alone" if summary["few_labels"] else "validation data"
            numbers += f"; on {others} it would be {percent(overlap['validation'])}"
        numbers += "."
    remedy = "" if summary["few_labels"] else " Compare with `--saliency-split validation`."
    return (
        "Saliency comes from the data that the networks were fitted to",
        "The paper does the same. Where the student already agrees with the teacher on these data, the "
        f"ranking comes close to plain importance, which never looks at the student.{numbers}{remedy}",
    )


@check(
    "MFH111",
    "negative increases",
    "Saliency is the increase of the distance between teacher and student when a channel is shuffled. If "
    "it is below 0, the distance falls. Scaling to [0, 1] hides this: such channels then rank below "
    "channels without any effect.",
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
    "Within a fit, arms must differ only in the teacher's outputs. With early stopping they also differ "
    "in training time.",
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
    "A student whose best epoch is the last one would probably have improved further. Soft labels change "
    "how quickly a student learns, so such arms cannot be compared fairly. Train longer.",
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
    "A student whose weights are not finite has no accuracy, so it is left out. Its arm keeps only the "
    "successful fits, which makes the loss look better and more stable than it is.",
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
    "fits that failed",
    "A fit that ends in an error is left out. Intervals need complete repeats, so they also leave out the "
    "other folds of its repeat. If the error depends on what is measured (for example, a training "
    "diverged), the means of the other fits are too good.",
)
def failed_seeds(summary: Summary) -> Found:
    """Find fits that are missing because they failed."""
    lost = [row for row in summary["failed_seeds"] if row["missing"]]
    if not lost:
        return None
    names = [fit_words(row["seed"]) for row in lost]
    errors = "; ".join(
        f"{name}, started {plural(row['tries'], 'time')}: {row['error'].rstrip('.')}"
        for name, row in zip(names, lost, strict=True)
    )
    title = f"{sequence(names).capitalize()} {'is' if len(lost) == 1 else 'are'} missing"
    return title, f"{errors}. Repeat the command to run what is missing again."


@check(
    "MFH116",
    "one class nearly everywhere",
    "If most samples have one class, or a student predicts the same class for nearly all samples, "
    "accuracy is close to the share of that class, whatever the student has learned. Two students can "
    "have the same accuracy and differ in everything else.",
)
def one_class(summary: Summary) -> Found:
    """Find a class that hides differences of accuracy: in the labels, or in the outputs of an arm."""
    found = summary["one_class"]
    if found is None:
        return None
    sentences = []
    if found["share"] > LARGEST_CLASS:
        sentences.append(
            f"The class `{found['name']}` has {percent(found['share'])} of the test samples, so a student "
            "that always predicts it is right as often."
        )
    arms = [f"`{arm}`" for arm, share in found["arms"].items() if share > ONE_OUTPUT]
    if arms:
        sentences.append(
            f"The students of {sequence(arms)} give a single class to over {percent(ONE_OUTPUT, 1)} of the "
            "test samples."
        )
    if not sentences:
        return None
    return "Accuracy can hardly show a difference here", (
        f"{' '.join(sentences)} Repeat with `--metric balanced-accuracy`, `auroc` or `average-precision`."
    )
