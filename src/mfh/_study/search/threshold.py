"""The threshold of the probability of one of two classes, and what it leads to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from mfh._checks import listing, require
from mfh.config import FitConfig, ThresholdRule
from mfh.data.paired import PairedDataset
from mfh.results import FitResult, StudyResult

Probability = Float[np.ndarray, " sample"]
Positive = Bool[np.ndarray, " sample"]
Weight = Float[np.ndarray, " sample"]


def require_threshold(data: PairedDataset, config: FitConfig) -> None:
    """Check that there are two classes if a threshold is asked for, and that the positive one exists.

    Raises:
        InputError: they are more or fewer, or the positive class has another name.
    """
    if config.threshold is None:
        return
    require(
        data.task == "single-label" and data.num_classes == 2,
        f"`threshold` needs two classes. Got {data.num_classes} for the task {data.task}.",
    )
    require(
        config.positive is None or config.positive in data.class_names,
        f"`positive` must be one of the classes, {listing(data.class_names)}. Got {config.positive!r}.",
    )


def choose_threshold(
    probability: Probability, positive: Positive, rule: ThresholdRule, weight: Weight | None = None
) -> float:
    """Return the threshold from which on a sample counts as positive.

    For costs it is the one with the least cost; for a precision the lowest one that reaches it, and for a
    recall the highest one that reaches it. Where none does, it is the one that comes nearest.

    Args:
        probability: of the positive class, in [0, 1], for samples that the student was not trained on.
        positive: whether each sample is of the positive class.
        rule: what the threshold is for.
        weight: of each sample; None lets all count alike.

    Example:
        >>> scores, truth = np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, False, True])
        >>> choose_threshold(scores, truth, ThresholdRule.of("recall:1"))
        0.4
        >>> choose_threshold(scores, truth, ThresholdRule.of("precision:1"))
        0.9
        >>> choose_threshold(scores, truth, ThresholdRule.of("cost:1:10"))
        0.4
    """
    nobody = [2.0] if rule.kind == "cost" else []  # counting no sample as positive may cost least
    tried = np.append(np.unique(probability), nobody)
    found = [judge_threshold(probability, positive, float(value), rule, weight) for value in tried]
    if rule.kind == "cost":
        return float(tried[int(np.argmin([row["cost"] for row in found]))])
    reached = np.array([row[rule.kind] or 0.0 for row in found])
    enough = np.flatnonzero(reached >= rule.target - 1e-12)
    if not len(enough):
        return float(tried[int(np.argmax(reached))])
    return float(tried[enough[0] if rule.kind == "precision" else enough[-1]])


def judge_threshold(
    probability: Probability,
    positive: Positive,
    threshold: float,
    rule: ThresholdRule,
    weight: Weight | None = None,
) -> dict[str, Any]:
    """Return what a threshold leads to; see `choose_threshold`.

    Returns:
        `precision` (None if no sample counts as positive), `recall` (None without a positive sample) and
        `cost` for each sample.
    """
    told, each = probability >= threshold, np.ones(len(positive)) if weight is None else weight
    hits, wrong, missed = (
        float(each[chosen].sum()) for chosen in (told & positive, told & ~positive, ~told & positive)
    )
    cost = rule.false_positive * wrong + rule.false_negative * missed
    return {
        "precision": float(hits / (hits + wrong)) if hits + wrong else None,
        "recall": float(hits / (hits + missed)) if hits + missed else None,
        "cost": float(cost / each.sum()),
    }


@dataclass(frozen=True)
class Decision:
    """How the students of an arm decide between two classes: each by its own threshold.

    Attributes:
        rule: what the thresholds are for.
        index: the positive class.
        by_fit: the threshold of the student of each fit.
        test: what they lead to on test samples: means over fits of `precision`, `recall` and `cost`.
    """

    rule: ThresholdRule
    index: int
    by_fit: Mapping[int, float]
    test: Mapping[str, float | None]

    @classmethod
    def of(cls, result: StudyResult, arm: str) -> "Decision | None":
        """Return the decision of an arm; None if its students give each sample the likeliest class."""
        found = result.search.get("threshold") if isinstance(result, FitResult) else None
        if found is None or arm not in found:
            return None
        by_fit = {int(fit): float(value) for fit, value in found[arm]["by_fit"].items()}
        return cls(ThresholdRule.of(found["rule"]), int(found["index"]), by_fit, found[arm]["test"])

    def positive(self, outputs: Float[np.ndarray, "sample 2"], fit: int) -> Positive:
        """Return which samples the student of a fit counts as positive."""
        probability = torch.softmax(torch.from_numpy(outputs).double(), dim=1)[:, self.index].numpy()
        return np.asarray(probability >= self.by_fit[fit])

    def outputs(self, told: Positive) -> Float[np.ndarray, "sample 2"]:
        """Return outputs of which the larger one is that of the class that was decided."""
        return np.eye(2, dtype=np.float32)[np.where(told, self.index, 1 - self.index)]

    def judge(self, told: Positive, label: np.ndarray, weight: Weight | None = None) -> dict[str, Any]:
        """Return what decisions lead to; see `judge_threshold`."""
        return judge_threshold(told.astype(np.float64), label == self.index, 0.5, self.rule, weight)
