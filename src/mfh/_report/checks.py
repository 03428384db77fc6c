"""What a reader should know before relying on a study: coded checks that look at its numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mfh._report import findings

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        code: what documentation and tools call it.
        name: what it looks for.
        why: why that matters, whatever the numbers.
        look: what it found in a study's summary, as a title and a text; None where all is well.
    """

    code: str
    name: str
    why: str
    look: Callable[[Summary], tuple[str, str] | None]


def checks(summary: Summary) -> list[dict[str, str]]:
    """All that a study fails, as `code`, `title`, `text`, `why`."""
    found = []
    for check in CHECKS:
        if told := check.look(summary):
            title, text = told
            text = text[:1].upper() + text[1:]
            found.append({"code": check.code, "title": title, "text": text, "why": check.why})
    return found


CHECKS = (
    Check(
        "MFH101",
        "a single seed",
        "Split, initial weights and batches change a student's accuracy by as much as most gains in the "
        "literature. Only repeated seeds show how much; one seed cannot.",
        findings.single_seed,
    ),
    Check(
        "MFH102",
        "few seeds",
        "With fewer than five seeds the spread itself is hardly known, so an interval is wide, or narrow by "
        "luck.",
        findings.few_seeds,
    ),
    Check(
        "MFH103",
        "focusing that is not better than importance",
        "Keeping the channels that matter most to the teacher also beats random and reversed selections. "
        "Only a gain over `important`, the ranking that ignores the student, speaks for modality-generality.",
        findings.not_better_than_importance,
    ),
    Check(
        "MFH104",
        "saturated soft labels",
        "Distillation passes on what a teacher says about the classes that are not the right one. Where it "
        "gives the right one nearly all the probability, there is nothing of it to pass on. Raise "
        "`--temperature`, or read `regular` as `no-kd`.",
        findings.saturated,
    ),
    Check(
        "MFH105",
        "a student as good as its teacher",
        "A student that is as accurate from labels alone can still gain from soft labels, but then from "
        "their softness more than from the other modality.",
        findings.strong_student,
    ),
    Check(
        "MFH106",
        "groups in several splits",
        "Samples of one person, speaker or recording resemble each other for reasons that will be absent in "
        "use. If they stand on both sides of a split, test accuracy is too high, often by tens of points.",
        findings.groups_leak,
    ),
    Check(
        "MFH107",
        "duplicated samples across splits",
        "A test sample that was trained on measures memory. Distillation can hide it: the teacher remembers "
        "too.",
        findings.duplicates,
    ),
    Check(
        "MFH108",
        "a ratio at the edge of the sweep",
        "The best value at the end of a range says only that the range was too short.",
        findings.sweep_edge,
    ),
    Check(
        "MFH109",
        "nothing removed",
        "Ratio 0 is among the choices. Where validation takes it, `general` is its own control.",
        findings.nothing_removed,
    ),
    Check(
        "MFH110",
        "saliency computed where the teacher was fitted",
        "On data that both networks were fitted to, the student of step 1 has learned to agree with the "
        "teacher, so saliency measures importance. Data that neither saw show what the student can really "
        "follow.",
        findings.fitted_saliency,
    ),
    Check(
        "MFH111",
        "negative increases",
        "Saliency is how much farther from the student the teacher moves when a channel is shuffled. Below 0 "
        "it moves closer, which scaling to [0, 1] hides: such channels then rank below those that do "
        "nothing.",
        findings.negative,
    ),
    Check(
        "MFH112",
        "unequal epochs",
        "Within a seed, arms must differ in the teacher's outputs alone. Early stopping lets them differ in "
        "training time too.",
        findings.unequal_epochs,
    ),
    Check(
        "MFH113",
        "training that had not ended",
        "A student whose best epoch is the last one would have gone on improving, and soft labels change how "
        "quickly a student learns.",
        findings.late_epochs,
    ),
    Check(
        "MFH114",
        "students that diverged",
        "A student without finite weights has no accuracy, so it is left out. What is left of its arm are "
        "the seeds that went well, which makes that loss look better and steadier than it is.",
        findings.diverged,
    ),
    Check(
        "MFH115",
        "seeds that failed",
        "A seed that ends in an error is left out. If what made it fail has to do with what is measured (a "
        "training that diverged), the means of the others are too good.",
        findings.failed_seeds,
    ),
)
