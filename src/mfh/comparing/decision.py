"""From comparisons to a decision; its sentences are made elsewhere."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mfh.arms import BASELINE, CHOSEN, Arm
from mfh.comparing.intervals import is_better, is_none, is_worse
from mfh.comparing.keys import chosen_key, focused_key, focusing_controls, headline_key
from mfh.results import Comparison, MetricInfo

LARGEST_CLASS = 0.8
"""Share of the test samples from which on a class hides differences of accuracy."""
ONE_OUTPUT = 0.995
"""Share of the test samples from which on an arm gives nothing but one class."""


@dataclass(frozen=True)
class Decision:
    """What the comparisons show.

    Attributes:
        verdict: `help`, `hurt`, `no-effect` or `abstain`.
        focusing: whether `general` beats all its controls; None where that cannot be said.
        gain: the headline arm minus `no-kd`; None where either has no student.
        versus: the headline arm against the others, by the other's name.
        focused: `general` against its controls, by the control's name.
        asked: the controls of focusing that this study has.
        beaten: those of them that `general` beats.
        absent: those of them that have no comparison, and why: `diverged` or `not-softer`.
        left_out: controls of focusing that the study was asked to leave out.
        without_spread: whether all seeds differ by the same amount, which leaves their spread unknown.
        one_class: whether one class has so many samples, or outputs, that accuracy cannot show a difference.
        one_output: arms of the gain that give one class to nearly all test samples.
    """

    verdict: Literal["help", "hurt", "no-effect", "abstain"]
    focusing: bool | None = None
    gain: Comparison | None = None
    versus: Mapping[str, Comparison] | None = None
    focused: Mapping[str, Comparison] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    beaten: tuple[str, ...] = ()
    absent: Mapping[str, Literal["diverged", "not-softer"]] | None = None
    left_out: tuple[str, ...] = ()
    without_spread: bool = False
    one_class: bool = False
    one_output: tuple[str, ...] = ()


def decide(
    comparisons: Sequence[Comparison],
    *,
    arms: Sequence[Arm],
    source: str,
    metric: MetricInfo,
    loss: str | None = None,
    diverged: Collection[str] = (),
    known: Sequence[Arm] = (),
    largest_class: float = 0.0,
    one_output: Mapping[str, float] | None = None,
) -> Decision:
    """Decide on distillation by the interval of the headline arm minus `no-kd`, on focusing by its controls.

    Args:
        comparisons: of `compare_losses`.
        arms: the arms of the study.
        source: the teacher whose channels are removed.
        metric: what the points are of, which way is better, and how small a difference is none.
        loss: the declared loss, where there are several.
        diverged: arms of which a student by that loss diverged.
        known: the arms that a study has by default, to find the controls that were left out.
        largest_class: share of the test samples that the largest class has, in [0, 1].
        one_output: share of the test samples that the students of each arm give to one class.
    """
    head = headline_key(arms, source)
    if head is None:
        return Decision("abstain")
    first = comparisons[0].loss if comparisons and loss is None else loss
    versus = {c.b: c for c in comparisons if c.a == head[0] and c.ratio is None and c.loss == first}
    gain = versus.get(BASELINE)
    if gain is None or gain.low is None or gain.high is None:
        return Decision("abstain", gain=gain, versus=versus)
    verdict, without_spread = _verdict(gain, metric)
    sides = (name.removesuffix(CHOSEN) for name in (gain.a, gain.b))
    alike = tuple(name for name in sides if (one_output or {}).get(name, 0.0) > ONE_OUTPUT)
    hidden = largest_class > LARGEST_CLASS or bool(alike)
    silent = verdict == "no-effect" or (without_spread and not round(gain.difference, 9))
    one_class = silent and metric.name == "accuracy" and hidden
    verdict = "abstain" if one_class else verdict
    focused = focused_key(arms)
    if focused is None:
        return Decision(
            verdict, None, gain, versus, without_spread=without_spread, one_class=one_class, one_output=alike
        )
    ours = {c.b: c for c in comparisons if c.a == focused[0] and c.ratio is None and c.loss == first}
    asked = tuple(name for name, _ in focusing_controls(arms, source))
    softened = {chosen_key(arm)[0]: arm.name for arm in arms if arm.like is not None}
    absent: dict[str, Literal["diverged", "not-softer"]] = {
        name: "not-softer" if name in softened and softened[name] not in diverged else "diverged"
        for name in asked
        if name not in ours
    }
    present = [name for name in asked if name in ours]
    beaten = tuple(name for name in present if is_better(ours[name], metric))
    asked_in_order = all(ours[name].shown is not None for name in present)
    left_out = tuple(name for name, _ in focusing_controls(known, source) if name not in asked)
    lost = [name for name, why in absent.items() if why == "diverged"]
    focusing = None if left_out else asked_in_order and len(beaten) == len(present) and not lost
    return Decision(
        verdict=verdict,
        focusing=focusing,
        gain=gain,
        versus=versus,
        focused={name: ours[name] for name in present},
        asked=asked,
        beaten=beaten,
        absent=absent,
        left_out=left_out,
        without_spread=without_spread,
        one_class=one_class,
        one_output=alike,
    )


def _verdict(
    gain: Comparison, metric: MetricInfo
) -> tuple[Literal["help", "hurt", "no-effect", "abstain"], bool]:
    """Return the verdict on a gain with an interval, and whether its spread is unknown."""
    if gain.p is None:
        return "abstain", True
    if is_better(gain, metric):
        return "help", False
    if is_worse(gain, metric):
        return "hurt", False
    return ("no-effect" if is_none(gain, metric) else "abstain"), False
