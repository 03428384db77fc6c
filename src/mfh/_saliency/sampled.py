"""Saliency by drawing permutations, for any head: the trunk is never run, and of the head only what changes.

Every channel meets the same permutations, so that differences between channels owe nothing to the draw.

Asked for a precision, permutations are drawn in rounds. A round gives each sample one value from each stratum
of the channel's distribution, at random within it, and each of its draws is a permutation. Where the distance
is smooth in the value received, the error of q such draws falls as q^-1.5 instead of q^-0.5 (stratified
sampling; McKay, Beckman, Conover, 1979, doi 10.2307/1268522). What the head does to first order is taken out
besides, where it can be differentiated (see `mfh._saliency.slopes`): then short rounds come first, and what
they drew is left aside when a finer precision needs long ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._checks import require
from mfh._saliency.changes import Changes, changes_of
from mfh._saliency.heads import Head, LinearStart
from mfh._saliency.result import Distance, SaliencyResult, Score
from mfh._saliency.slopes import Slopes, slopes_of

Donors = Int[Tensor, "permutation sample"]
STRATA = 8  # of a long round
SHORT = 2  # of a short one
SHORT_ROUNDS = 4
FEWEST_ROUNDS = 2
WORTHWHILE = 3  # outputs a channel up to which slopes, a pass back for each output, cost less than they save


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
    precision: float | None = None,
) -> SaliencyResult:
    """Saliency of every channel, the mean over `num_permutations` permutations of the samples.

    `head` must be in evaluation mode, and no gradients recorded. `start` is what `linear_start` says of it.
    With `precision` there are as many as the ranking needs, and `num_permutations` at the most.
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
    size = max(1, memory_budget // (64 * len(features)))
    if precision is None:
        draws = _independent(len(features), num_permutations, generator)
        tallies = [_Tally(changes, channel, score) for channel in range(features.shape[1])]
        for tally in tallies:
            tally.add(draws.to(features.device).split(size), one_each=True)
    else:
        slopes = None
        if distance == "mse" and student_logits.shape[1] <= WORTHWHILE * features.shape[1]:
            make = partial(slopes_of, features, head, start, memory_budget=memory_budget)
            slopes = changes.slopes(make)
        tallies, num_permutations = _until_precise(
            changes, slopes, features, score, precision, num_permutations, generator, size
        )
    rows = [tally.result() for tally in tallies]
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
        num_samples=len(features),
        num_permutations=num_permutations,
    )


def _until_precise(
    changes: Changes,
    slopes: Slopes | None,
    features: Tensor,
    score: Score,
    precision: float,
    limit: int,
    generator: torch.Generator,
    size: int,
) -> tuple[list["_Tally"], int]:
    """Draw rounds until the ranking is as precise as asked, about `limit` permutations at the most."""
    keys = features if features.ndim == 2 else features.flatten(2).mean(2)
    long = max(FEWEST_ROUNDS, (limit - SHORT * SHORT_ROUNDS * (slopes is not None)) // STRATA)
    stages = [(STRATA, long)]
    if slopes is not None:
        few = limit < 2 * STRATA * FEWEST_ROUNDS
        short = (SHORT, max(FEWEST_ROUNDS, limit // SHORT) if few else SHORT_ROUNDS)
        stages = [short] if few else [short, *stages]
    drawn = 0
    for strata, rounds in stages:
        tallies = [
            _Tally(changes, channel, score, keys[:, channel], slopes) for channel in range(keys.shape[1])
        ]
        for ranks in _rounds(len(features), rounds, generator, strata):
            for tally in tallies:
                tally.add(ranks.to(features.device).split(size), one_each=False)
            drawn += strata
            if tallies[0].rounds >= FEWEST_ROUNDS and _imprecision(tallies) <= precision:
                return tallies, drawn
    return tallies, drawn


def _independent(count: int, number: int, generator: torch.Generator) -> Donors:
    """Permutations, each drawn by itself."""
    device = generator.device
    return torch.stack([torch.randperm(count, generator=generator, device=device) for _ in range(number)])


def _rounds(count: int, rounds: int, generator: torch.Generator, strata: int = STRATA) -> Iterator[Donors]:
    """Rounds of permutations that give each sample one rank from each stratum, in random order.

    The ranks are cut into `strata` blocks and the samples dealt into as many groups. In draw q, group g
    receives block g + q, shuffled. What does not divide evenly is exchanged among itself.
    """
    device, size = generator.device, count // strata

    def shuffled(number: int) -> Tensor:
        return torch.randperm(number, generator=generator, device=device)

    for _ in range(rounds):
        samples, ranks = shuffled(count), shuffled(count)
        left, ranks = ranks[size * strata :], ranks[: size * strata].sort().values
        blocks = ranks.view(strata, size)
        result = torch.empty(strata, count, dtype=torch.int64, device=device)
        for draw in range(strata):
            mixed = torch.rand(strata, size, generator=generator, device=device).argsort(dim=1)
            given = blocks.roll(-draw, 0).gather(1, mixed)
            result[draw, samples] = torch.cat([given.flatten(), left[shuffled(len(left))]])
        yield result


def _imprecision(tallies: Sequence["_Tally"]) -> float:
    """1 - the correlation to be expected between the scores and those of all permutations.

    With v the variance of the scores over channels and e the mean of their squared standard errors, the
    scores of all permutations vary by v - e, and the correlation is sqrt((v - e) / v).
    """
    scores = np.array([tally.score for tally in tallies])
    errors = np.mean([tally.error**2 for tally in tallies])
    spread = scores.var(ddof=1) if len(scores) > 1 else 0.0
    return 1 - float(np.sqrt(max(spread - errors, 0.0) / spread)) if spread > 0 else float(errors > 0)


@dataclass
class _Spread:
    """Sums over independent draws of a per-sample quantity and of its square."""

    total: Tensor
    square: Tensor
    count: int = 0

    @classmethod
    def of(cls, values: Float[Tensor, "draw sample"]) -> "_Spread":
        return cls(values.sum(0), values.square().sum(0), len(values))

    def plus(self, other: "_Spread") -> "_Spread":
        return _Spread(self.total + other.total, self.square + other.square, self.count + other.count)

    def noise(self) -> Float[Tensor, " sample"]:
        """Variance of each sample's mean over the draws."""
        square = self.square - self.total**2 / self.count
        return square / (self.count * max(self.count - 1, 1))

    def variance(self, correction: Float[Tensor, " sample"] | float = 0.0) -> float:
        """Variance over samples of the mean over all permutations, free of the noise of those drawn."""
        mean = self.total / self.count
        noise = self.noise().mean() if self.count > 1 else 0.0
        return max(float((mean + correction).var() - noise), 0.0)


@dataclass
class _Tally:
    """What the draws so far say of one channel.

    Attributes:
        changes: of the head, for any channel.
        channel: which one this is.
        kind: the score that ranks.
        key: what orders the samples where draws are ranks; None where they name the samples.
        slopes: what the first order is taken out by, as long as it makes the draws differ less.
    """

    changes: Changes
    channel: int
    kind: Score
    key: Float[Tensor, " sample"] | None = None
    slopes: Slopes | None = None
    rounds: int = 0
    means: list[Tensor] = field(default_factory=list)
    follows: list[Tensor] = field(default_factory=list)
    received: _Spread | None = None
    spread: _Spread | None = None
    importance: float = 0.0
    correction: Tensor | float = 0.0

    def add(self, groups: Sequence[Tensor], *, one_each: bool) -> None:
        """Take in some draws; `one_each` says that each stands for itself, else all make one round."""
        self.rounds += 1
        if self.changes.without_effect(self.channel):
            return
        self.changes.select(self.channel)
        order = None if self.key is None else self.key.argsort(stable=True)
        sums: list[Tensor] = []
        for group in groups:
            donors = group if order is None else order[group]
            increase, followed = self.changes.of(donors)
            chosen = followed if self.kind == "followed" else increase
            # a sample matters twice: by the value it receives and by the value it gives
            both = torch.empty_like(chosen).scatter_(1, donors, chosen).add_(chosen)
            if self.slopes is not None:
                increase, followed = self._corrected(donors, increase, followed)
                chosen = followed if self.kind == "followed" else increase
            self.means.append(increase.mean(1))
            self.follows.append(followed.mean(1))
            if one_each:
                self._note(chosen, both)
            elif sums:
                sums = [sums[0] + chosen.sum(0), sums[1] + both.sum(0)]
            else:
                sums = [chosen.sum(0), both.sum(0)]
        if sums:
            self._note(*(total[None] / sum(map(len, groups)) for total in sums))
        if self.kind == "followed":
            self.correction = self.changes.center_influence()
        self.importance = self.changes.importance()

    def _corrected(self, donors: Donors, increase: Tensor, followed: Tensor) -> tuple[Tensor, Tensor]:
        """Without the noise of the first order, unless that makes more of it; the first draws decide."""
        assert self.slopes is not None  # noqa: S101
        first = self.slopes.first_order(self.channel, donors)
        less = increase - first[0], followed - first[1]
        if not self.means and len(donors) > 1:
            plain, better = (followed, less[1]) if self.kind == "followed" else (increase, less[0])
            if better.var(0).sum() > plain.var(0).sum():
                self.slopes = None
                return increase, followed
        return less

    def _note(self, chosen: Tensor, both: Tensor) -> None:
        received, spread = _Spread.of(chosen), _Spread.of(both)
        self.received = received if self.received is None else self.received.plus(received)
        self.spread = spread if self.spread is None else self.spread.plus(spread)

    @property
    def score(self) -> float:
        """Mean of the score over all draws."""
        draws = self.follows if self.kind == "followed" else self.means
        return float(torch.cat(draws).mean()) if draws else 0.0

    @property
    def error(self) -> float:
        """Standard error of `score` from the draws."""
        if self.received is None or self.spread is None:
            return 0.0
        if self.key is not None:  # samples receive their values independently of each other, but for 1 / n
            return float(self.received.noise().sum().sqrt() / len(self.received.total))
        means = torch.cat(self.follows if self.kind == "followed" else self.means)
        return float(means.std() / len(means) ** 0.5) if len(means) > 1 else float("nan")

    def result(self) -> tuple[float, float, float, float, float]:
        """Increase, part followed, importance and both standard errors."""
        if self.spread is None:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        data = self.spread.variance(self.correction) / len(self.spread.total)
        increase, followed = (float(torch.cat(draws).mean()) for draws in (self.means, self.follows))
        return increase, followed, self.importance, float(np.sqrt(data)), self.error
