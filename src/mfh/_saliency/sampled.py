"""Saliency by drawing permutations, for any head: the trunk is never run, and of the head only what changes.

Every channel meets the same permutations, so that differences between channels owe nothing to the draw.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._checks import require
from mfh._saliency.changes import Changes, changes_of
from mfh._saliency.heads import Head, LinearStart
from mfh._saliency.result import Distance, SaliencyResult, Score

Donors = Int[Tensor, "permutation sample"]


def sampled(
    features: Float[Tensor, "sample channel *position"],
    head: Head,
    start: LinearStart | None,
    student_logits: Float[Tensor, "sample output"],
    *,
    distance: Distance,
    score: Score,
    num_permutations: int,
    generator: torch.Generator,
    memory_budget: int,
) -> SaliencyResult:
    """Saliency of every channel, the mean over `num_permutations` permutations of the samples.

    `head` must be in evaluation mode, and no gradients recorded. `start` is what `linear_start` says of it.
    """
    require(
        features.device.type != "mps",
        "`features` must not be on mps to draw permutations, since it has no float64. Move them and the "
        "head to the cpu.",
    )
    if start is not None and start.pooled:
        features = features.flatten(2).mean(2)
    changes = changes_of(
        features, head, start, student_logits, distance=distance, memory_budget=memory_budget
    )
    n, device = len(features), generator.device
    drawn = [torch.randperm(n, generator=generator, device=device) for _ in range(num_permutations)]
    groups = torch.stack(drawn).to(features.device).split(max(1, memory_budget // (64 * n)))
    rows = [_one_channel(changes, channel, groups, score) for channel in range(features.shape[1])]
    increase, followed, importance, stderr_data, stderr_permutation = np.array(rows).T + 0.0
    return SaliencyResult(
        mean=changes.baseline + increase,
        increase=increase,
        followed=followed if distance == "mse" else None,
        importance=importance if changes.knows_importance else None,
        stderr_data=stderr_data,
        stderr_permutation=stderr_permutation,
        baseline=changes.baseline,
        score=score,
        distance=distance,
        num_samples=n,
        num_permutations=num_permutations,
    )


@dataclass
class _Spread:
    """Sums over permutations of a per-sample quantity and of its square."""

    total: Tensor
    square: Tensor
    count: int = 0

    def add(self, values: Float[Tensor, "permutation sample"]) -> None:
        self.total += values.sum(0)
        self.square += values.square().sum(0)
        self.count += len(values)

    def variance(self, correction: Float[Tensor, " sample"] | float = 0.0) -> float:
        """Variance over samples of the mean over all permutations, free of the noise of those drawn."""
        mean = self.total / self.count
        noise = (self.square - self.count * mean**2).mean() / (self.count * max(self.count - 1, 1))
        return max(float((mean + correction).var() - (noise if self.count > 1 else 0.0)), 0.0)


def _one_channel(
    changes: Changes, channel: int, groups: tuple[Donors, ...], score: Score
) -> tuple[float, float, float, float, float]:
    """Increase, part followed, importance and both standard errors of one channel."""
    if changes.without_effect(channel):
        return 0.0, 0.0, 0.0, 0.0, 0.0
    changes.select(channel)
    increases, follows = [], []
    spread: _Spread | None = None
    for donors in groups:
        increase, followed = changes.of(donors)
        increases.append(increase.mean(1))
        follows.append(followed.mean(1))
        chosen = followed if score == "followed" else increase
        # a sample matters twice: by the value it receives and by the value it gives
        given = torch.empty_like(chosen).scatter_(1, donors, chosen)
        spread = spread or _Spread(torch.zeros_like(chosen[0]), torch.zeros_like(chosen[0]))
        spread.add(given.add_(chosen))
    assert spread is not None  # noqa: S101
    correction = changes.center_influence() if score == "followed" else 0.0
    means = torch.cat(follows if score == "followed" else increases)
    n, draws = len(spread.total), len(means)
    return (
        float(torch.cat(increases).mean()),
        float(torch.cat(follows).mean()),
        changes.importance(),
        float(np.sqrt(spread.variance(correction) / n)),
        float(means.std() / draws**0.5) if draws > 1 else float("nan"),
    )
