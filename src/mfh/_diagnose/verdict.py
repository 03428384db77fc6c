"""From a pilot and its evidence to a verdict with a probability, reasons in words, and advice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from mfh.results import Comparison, MetricInfo, TeacherRecord

Word = Literal["help", "no-effect", "hurt", "abstain"]
MARGIN = MetricInfo("accuracy").margin
SURE = 0.9
SURE_OF_NOTHING = 0.8


@dataclass(frozen=True)
class Transfer:
    """How gains in studies are spread, and how far they lie from those in pilots, in points.

    Attributes:
        spread: standard deviation of gains around 0, before any data of one's own.
        offset: by how much a study's gain exceeds the pilot's on average.
        sd: how far it lies from the pilot's gain beside that.
    """

    spread: float
    offset: float
    sd: float


MEASURED = Transfer(spread=4.0, offset=0.0, sd=4.0)
"""From pairs of pilots and studies (docs/diagnose.md, which also judges each data set without its pairs)."""


@dataclass(frozen=True)
class Belief:
    """What the pilot makes one believe of the gain: a normal distribution, in points.

    Attributes:
        mean, sd: of the distribution.
        help, no_effect, hurt: its mass above 0, within one point of 0, and below 0.
    """

    mean: float
    sd: float

    @property
    def help(self) -> float:
        """Probability of a gain above 0."""
        return float(special.ndtr(self.mean / self.sd))

    @property
    def hurt(self) -> float:
        """Probability of a loss."""
        return 1 - self.help

    @property
    def no_effect(self) -> float:
        """Probability of a gain within one point of 0."""
        ends = (MARGIN - self.mean) / self.sd, (-MARGIN - self.mean) / self.sd
        return float(special.ndtr(ends[0]) - special.ndtr(ends[1]))


def believe(gain: float, error: float, transfer: Transfer = MEASURED) -> Belief:
    """Combine the pilot's gain and its standard error with the prior.

    Example:
        >>> belief = believe(-8.0, 1.0)
        >>> belief.mean > -8.0, belief.hurt > 0.9
        (True, True)
    """
    variance = error**2 + transfer.sd**2
    weight = transfer.spread**2 / (transfer.spread**2 + variance)
    return Belief(weight * (gain + transfer.offset), float(np.sqrt(weight * variance)))


def name_verdict(belief: Belief) -> tuple[Word, float]:
    """The verdict and its probability; of `abstain`, the probability of a gain above 0."""
    if belief.no_effect >= SURE_OF_NOTHING:
        return "no-effect", belief.no_effect
    if belief.help >= SURE:
        return "help", belief.help
    if belief.hurt >= SURE:
        return "hurt", belief.hurt
    return "abstain", belief.help


def chance_bound(label: Int[np.ndarray, " sample"]) -> float:
    """Accuracy, in percent, that guessing the largest class reaches by luck once in forty times at most."""
    share = float(np.bincount(label).max()) / len(label)
    return 100 * (share + 1.96 * float(np.sqrt(share * (1 - share) / len(label))))


def best_temperature(logits: Float[np.ndarray, "sample output"], label: Int[np.ndarray, " sample"]) -> float:
    """The temperature with the least cross-entropy on held-out samples, of a grid from 0.5 to 16.

    (Guo and others, On calibration of modern neural networks, 2017, arXiv 1706.04599.)

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
    """What reasons and advice are made from.

    Attributes:
        belief: about the gain.
        gain: general (chosen) minus no-kd in the pilot.
        gamma: `gamma` of the diagnosis.
        teacher, student: held-out accuracy of the regular teacher and of the no-kd student, in percent.
        chance: see `chance_bound`.
        teachers: every teacher of every fold.
        temperature: see `best_temperature`.
        ratios: ratio that validation chose in each fold.
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
    """Why, in sentences; the most important first."""
    gain, gamma, belief = evidence.gain, evidence.gamma, evidence.belief
    span = "" if gain.low is None else f" (95% interval {gain.low:+.1f} to {gain.high:+.1f}, {gain.n} folds)"
    reasons = [
        f"In the pilot the distilled students are {gain.difference:+.1f} points from those trained on labels "
        f"alone{span}; with what such pilots miss, a gain above 0 has probability {belief.help:.2f}."
    ]
    if evidence.teacher <= evidence.chance:
        reasons.append(
            f"The teacher is at chance: {evidence.teacher:.1f}% right on samples it has not seen, where "
            f"guessing reaches {evidence.chance:.1f}%. It has nothing to teach, and gamma_hat is of noise."
        )
    else:
        reasons.append(_gamma_reason(gamma, evidence.names))
    better = "better" if evidence.teacher > evidence.student else "no better"
    reasons.append(
        f"The teacher is {better} than a student without one: {evidence.teacher:.1f}% against "
        f"{evidence.student:.1f}% on samples that neither has seen."
    )
    saturated = [t.saturated for t in evidence.teachers if t.teacher == "regular" and t.saturated is not None]
    if saturated and float(np.mean(saturated)) > 0.5:
        reasons.append(
            f"The regular teacher gives {100 * float(np.mean(saturated)):.0f}% of its training samples a "
            "probability over .99: at this temperature its soft labels are the labels under another name."
        )
    return reasons


def _gamma_reason(gamma: Mapping[str, Any], names: tuple[str, str]) -> str:
    text = (
        f"`{names[1]}` explains {100 * gamma['estimate']:.0f}% of what the `{names[0]}` teacher says "
        f"({100 * gamma['low']:.0f} to {100 * gamma['high']:.0f}%)"
    )
    if gamma["within"] <= gamma["null_within_high"]:
        return text + "; within classes no more than shuffled pairs do, so all that is shared is the class."
    return text + f", and {100 * gamma['within']:.0f}% of how it tells samples of one class apart."


def advise(evidence: Evidence, *, label_weight: float) -> dict[str, Any]:
    """What to try first: ratio, temperature, label weight, and whether to reverse the direction."""
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
            f"Ratio {ratio:g}: " + ("validation preferred the whole teacher in most folds." if ratio == 0 else
            "validation preferred it in most folds."),
            f"Temperature {evidence.temperature:g}: it makes the teacher's held-out probabilities honest.",
            "Label weight 1: soft labels alone look like a loss here, or teach no more than the class."
            if doubtful else "Soft labels may stand alone.",
            f"Consider the other direction: `{evidence.names[1]}` is the more accurate modality."
            if reverse else f"The direction is right: `{evidence.names[0]}` is the more accurate modality.",
        ],
    }  # fmt: skip
