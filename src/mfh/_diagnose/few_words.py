"""Reasons and advice of a diagnosis with few labels, in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mfh._checks import listing
from mfh._diagnose.verdict import Belief
from mfh.arms import BASELINE, STACK
from mfh.results import MetricInfo, StudyResult


@dataclass(frozen=True)
class Effect:
    """A difference of two students, in points, with its standard error over samples or groups.

    Attributes:
        mean: the difference.
        error: its standard error.
        num: number of samples or groups.
    """

    mean: float
    error: float
    num: int

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the 95% interval."""
        return self.mean - 1.96 * self.error, self.mean + 1.96 * self.error


def explain(
    pilot: StudyResult,
    gain: Effect | None,
    belief: Belief | None,
    teachers: Sequence[Mapping[str, Any]],
    *,
    trusted: float,
) -> list[str]:
    """Return the reasons for the verdict in sentences, the most important first.

    Args:
        pilot: the small study.
        gain: the stack minus `no-kd` in it.
        belief: distribution of the gain of a study.
        teachers: see `mfh._diagnose.few.trust`.
        trusted: weight in the stack from which a teacher counts as trusted.
    """
    labels, pairs = round(pilot.labels["labelled"]), round(pilot.labels["unlabelled"])
    where = f"with {labels:,} labels and {pairs:,} unlabelled pairs"
    reasons = []
    if belief is not None:
        ends = f"95% {belief.mean - 1.96 * belief.sd:+.1f} to {belief.mean + 1.96 * belief.sd:+.1f}"
        reasons.append(
            f"Expect {belief.mean:+.1f} points ({ends}) from teachers that also see "
            f"`{pilot.data['teacher']}`, {where}; a gain has probability {belief.help:.2f}."
        )
    if gain is not None:
        low, high = gain.interval
        units = "samples" if pilot.data.get("num_groups") is None else "groups"
        reasons.append(
            f"In the pilot, the student of the stack minus the student without a teacher is {gain.mean:+.1f} "
            f"points (95% interval {low:+.1f} to {high:+.1f}) on {gain.num} {units} whose labels neither saw."
        )
    return [*(reasons or [pilot.verdict.sentence]), *_trust_words(teachers, trusted)]


def _trust_words(teachers: Sequence[Mapping[str, Any]], trusted: float) -> list[str]:
    """Return which teachers predict unseen labels well, and which the stack uses."""
    loss = {row["name"]: row["log_loss"] for row in teachers}
    members = [row for row in teachers if row["name"] not in (BASELINE, STACK)]
    used = [row for row in members if row["weight"] >= trusted]
    unused = [row["name"] for row in members if row["weight"] < trusted]
    own = f"the student's own network has {loss[BASELINE]:.2f}, the stack {loss[STACK]:.2f}"
    if not used:
        return [
            "Trust none of the teachers: the stack uses the student's own network alone. By the log-loss on "
            f"labels that they did not see, {own}."
        ]
    named = "; ".join(f"`{row['name']}` {row['log_loss']:.2f} (weight {row['weight']:.2f})" for row in used)
    rest = f" The stack hardly uses {listing(unused)}." if unused else ""
    return [
        f"Teachers to trust, by their log-loss on labels that they did not see: {named}. By the same measure "
        f"{own}.{rest}"
    ]


def advise(outlook: Mapping[str, Effect | None], metric: MetricInfo) -> list[str]:
    """Return whether more labels or more pairs would pay, in sentences.

    Args:
        outlook: the student of the stack with all `labels` or `pairs` minus that with half of them, and the
            same for the student without a teacher (`labels_alone`).
        metric: what the points are of.
    """
    known = {name: effect for name, effect in outlook.items() if effect is not None}
    if not {"labels", "pairs"} <= set(known):
        return []
    texts = []
    for name, what in (("labels", "labels"), ("pairs", "unlabelled pairs")):
        effect = known[name]
        low, high = effect.interval
        sign = 1 if metric.higher_is_better else -1
        certain = min(sign * low, sign * high) > 0
        words = "More of them will probably pay" if certain else "It is open whether more of them would pay"
        texts.append(
            f"All {what} instead of half of them: {effect.mean:+.1f} points for the student of the stack "
            f"(95% {low:+.1f} to {high:+.1f}). {words}; the next doubling usually brings less."
        )
    labels, pairs = known["labels"], known["pairs"]
    gap, error = labels.mean - pairs.mean, (labels.error**2 + pairs.error**2) ** 0.5
    if abs(gap) > 1.96 * error:
        texts.append(f"Twice as many {'labels' if gap > 0 else 'pairs'} would bring more than twice as many "
                     f"{'pairs' if gap > 0 else 'labels'}.")  # fmt: skip
    return texts
