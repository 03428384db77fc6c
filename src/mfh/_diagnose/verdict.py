"""Turn the pilot and the other evidence into a verdict with a probability, reasons in words, and advice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from mfh.arms import FUSED
from mfh.results import Comparison, MetricInfo, TeacherRecord

Word = Literal["help", "no-effect", "hurt", "abstain"]
MARGIN = MetricInfo("accuracy").margin
SURE = 0.9
SURE_OF_NOTHING = 0.8


@dataclass(frozen=True)
class Transfer:
    """How the gains of studies are distributed, and how they differ from the gains of pilots, in points.

    Attributes:
        spread: standard deviation of gains around 0 over data sets (the prior).
        offset: mean of a study's gain minus the pilot's.
        sd: standard deviation of that difference.
    """

    spread: float
    offset: float
    sd: float


MEASURED = Transfer(spread=4.0, offset=0.0, sd=3.0)
"""Measured on pairs of pilots and studies; docs/diagnose.md has the data and a leave-one-out check."""


@dataclass(frozen=True)
class Belief:
    """The distribution of the gain after the pilot: normal, in points.

    Attributes:
        mean, sd: of the distribution.
        help, no_effect, hurt: probability of a gain above 0, within one point of 0, and below 0.
    """

    mean: float
    sd: float

    @property
    def help(self) -> float:
        """The probability of a gain above 0."""
        return float(special.ndtr(self.mean / self.sd))

    @property
    def hurt(self) -> float:
        """The probability of a loss."""
        return 1 - self.help

    @property
    def no_effect(self) -> float:
        """The probability of a gain within one point of 0."""
        ends = (MARGIN - self.mean) / self.sd, (-MARGIN - self.mean) / self.sd
        return float(special.ndtr(ends[0]) - special.ndtr(ends[1]))


def believe(gain: float, error: float, transfer: Transfer = MEASURED) -> Belief:
    """Combine the pilot's gain with the prior, weighted by their variances.

    Args:
        gain: of the pilot, in points.
        error: its standard error.
        transfer: the prior, and how pilots differ from studies.

    Example:
        >>> belief = believe(-8.0, 1.0)
        >>> belief.mean > -8.0, belief.hurt > 0.9
        (True, True)
    """
    variance = error**2 + transfer.sd**2
    weight = transfer.spread**2 / (transfer.spread**2 + variance)
    return Belief(weight * (gain + transfer.offset), float(np.sqrt(weight * variance)))


def name_verdict(belief: Belief) -> tuple[Word, float]:
    """Return the verdict and its probability; for `abstain` that is the probability of a gain above 0."""
    if belief.no_effect >= SURE_OF_NOTHING:
        return "no-effect", belief.no_effect
    if belief.help >= SURE:
        return "help", belief.help
    if belief.hurt >= SURE:
        return "hurt", belief.hurt
    return "abstain", belief.help


def chance_bound(label: Int[np.ndarray, " sample"]) -> float:
    """Return the accuracy, in percent, that guessing the largest class exceeds with a probability of 2.5%."""
    share = float(np.bincount(label).max()) / len(label)
    return 100 * (share + 1.96 * float(np.sqrt(share * (1 - share) / len(label))))


def best_temperature(logits: Float[np.ndarray, "sample output"], label: Int[np.ndarray, " sample"]) -> float:
    """Return the temperature with the lowest cross-entropy on held-out samples, from a grid from 0.5 to 16.

    See Guo and others, On calibration of modern neural networks, 2017, arXiv 1706.04599.

    Example:
        >>> sure = np.array([[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]])
        >>> best_temperature(sure, np.array([0, 1, 1, 1]))
        16.0
    """
    grid = np.round(2.0 ** np.arange(-1, 4.01, 0.25), 2)
    rows = np.arange(len(label))
    losses = [-special.log_softmax(logits / t, axis=1)[rows, label].mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


@dataclass(frozen=True)
class Evidence:
    """The evidence for reasons and advice.

    Attributes:
        belief: distribution of the gain.
        gain: general (chosen) minus no-kd in the pilot.
        gamma: `gamma` of the diagnosis.
        teacher, student: held-out accuracy of the regular teacher and of the no-kd student, in percent.
        chance: see `chance_bound`.
        teachers: all teachers of all folds.
        temperature: see `best_temperature`.
        ratios: the ratio that validation chose in each fold.
        names: modalities of teacher and student.
    """

    belief: Belief
    gain: Comparison
    gamma: Mapping[str, Any]
    teacher: float
    student: float
    chance: float
    teachers: Sequence[TeacherRecord]
    temperature: float
    ratios: Sequence[float]
    names: tuple[str, str]


def explain(evidence: Evidence) -> list[str]:
    """Return the reasons for the verdict in sentences, the most important first."""
    gain, gamma, belief = evidence.gain, evidence.gamma, evidence.belief
    span = "" if gain.low is None else f" (95% interval {gain.low:+.1f} to {gain.high:+.1f}, {gain.n} folds)"
    reasons = [
        f"In the pilot, distilled students minus students without a teacher is {gain.difference:+.1f} "
        f"points{span}. Pilots differ from studies; allowing for that, a gain has probability "
        f"{belief.help:.2f}."
    ]
    if evidence.teacher <= evidence.chance:
        reasons.append(
            f"The teacher is no better than guessing: its accuracy on samples that it was not trained on is "
            f"{evidence.teacher:.1f}%, and guessing can reach {evidence.chance:.1f}%. It has nothing to "
            "teach, and gamma_hat measures noise."
        )
    else:
        reasons.append(_gamma_reason(gamma, evidence.names))
    better = "better" if evidence.teacher > evidence.student else "no better"
    reasons.append(
        f"The teacher is {better} than a student without a teacher: {evidence.teacher:.1f}% against "
        f"{evidence.student:.1f}% on samples that neither was trained on."
    )
    alone = [t for t in evidence.teachers if t.teacher in ("regular", FUSED)]
    saturated = [t.saturated for t in alone if t.saturated is not None]
    if saturated and float(np.mean(saturated)) > 0.5:
        reasons.append(
            f"The regular teacher gives {100 * float(np.mean(saturated)):.0f}% of its training samples a "
            "probability over .99: at this temperature its soft labels are nearly the labels."
        )
    return reasons


def _gamma_reason(gamma: Mapping[str, Any], names: tuple[str, str]) -> str:
    text = (
        f"`{names[1]}` explains {100 * gamma['estimate']:.0f}% of the variance of the `{names[0]}` teacher's "
        f"outputs ({100 * gamma['low']:.0f} to {100 * gamma['high']:.0f}%)"
    )
    if gamma["within"] <= gamma["null_within_high"]:
        return text + ". Within classes it explains no more than shuffled pairs do: only the class is shared."
    return text + f", and {100 * gamma['within']:.0f}% of their variance within classes."


def advise(evidence: Evidence, *, label_weight: float) -> dict[str, Any]:
    """Return advice on ratio, temperature, label weight, and whether to exchange the modalities."""
    values, counts = np.unique(evidence.ratios, return_counts=True)
    ratio = float(values[counts.argmax()]) if len(values) else 0.0
    doubtful = evidence.belief.mean < 0 or evidence.gamma["within"] <= evidence.gamma["null_within_high"]
    reverse = evidence.student > evidence.teacher
    return {
        "ratio": ratio,
        "temperature": evidence.temperature,
        "label_weight": 1.0 if doubtful else label_weight,
        "reverse": reverse,
        "sentences": [
            f"Ratio {ratio:g}: " + ("validation preferred the teacher with all channels in most folds."
            if ratio == 0 else "validation preferred it in most folds."),
            f"Temperature {evidence.temperature:g}: it calibrates the teacher best on held-out samples.",
            "Label weight 1: soft labels alone seem to lose accuracy, or to teach no more than the class."
            if doubtful else "The student may learn from soft labels alone.",
            f"Consider exchanging the modalities: `{evidence.names[1]}` is the more accurate one."
            if reverse else f"The direction is right: `{evidence.names[0]}` is the more accurate modality.",
        ],
    }  # fmt: skip
