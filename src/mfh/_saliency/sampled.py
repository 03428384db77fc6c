"""Saliency by drawing permutations, for any head: the trunk is never run, and of the head only what changes.

Every channel meets the same permutations, so that differences between channels owe nothing to the draw.

Asked for a precision, permutations are drawn in rounds. A round gives each sample one value from each stratum
of the channel's distribution, at random within it, and each of its draws is a permutation. Where the distance
is smooth in the value received, the error of q such draws falls as q^-1.5 instead of q^-0.5 (stratified
sampling; McKay, Beckman, Conover, 1979, doi 10.2307/1268522). What is known of the head beforehand is taken
out besides, where it can be differentiated (see `mfh._saliency.slopes`): then short rounds come first, the
first of which may do, and what they drew is left aside when a finer precision needs long ones.
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
from mfh._saliency.slopes import Factors, Slopes, factors_of, slopes_of

Donors = Int[Tensor, "permutation sample"]
STRATA = 8  # of a long round
SHORT = 4  # of a short one
SHORT_OF_MAPS = 2  # where channels have positions, which strata, by their means, tell little of
FEW = 8  # draws before long rounds begin
FEWEST_ROUNDS = 2  # by which errors are told from how rounds differ
PILOT = 8  # of as many channels one is drawn for once more, to tell the error of a single round
FEWEST_PILOTS = 8


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
        if distance == "mse":
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
    few = limit < 2 * STRATA * FEWEST_ROUNDS
    short = SHORT if features.ndim == 2 else SHORT_OF_MAPS
    stages = []
    if slopes is not None:
        stages = [(short, max(FEWEST_ROUNDS, (limit if few else FEW) // short))]
    if not stages or not few:
        stages.append((STRATA, max(FEWEST_ROUNDS, (limit - FEW * len(stages)) // STRATA)))
    before = 0
    for strata, rounds in stages:
        tallies = [_Tally(changes, channel, score, key, slopes) for channel, key in enumerate(keys.unbind(1))]
        for number, ranks in enumerate(_rounds(len(features), rounds, generator, strata)):
            groups = ranks.to(features.device).split(max(size, short))
            piloted = number == 1 and len(groups) == 1 and len(tallies) >= PILOT * FEWEST_PILOTS
            pilots, others = (tallies[::PILOT], [t for t in tallies if t.channel % PILOT])
            for part in (pilots, others) if piloted else (tallies,):
                for tally in part:
                    tally.add(groups, one_each=False)
                if part is pilots:
                    _calibrate(pilots, others)
                if _imprecision(tallies) <= precision:
                    return tallies, before + strata * min(tally.rounds for tally in tallies)
        before += strata * rounds
    return tallies, before


def _calibrate(pilots: Sequence["_Tally"], others: Sequence["_Tally"]) -> None:
    """Tell the error of the only round of `others` by that of `pilots`, which have two."""
    known = [tally for tally in pilots if tally.received is not None]
    told = sum(tally.within for tally in known)
    if told > 0:
        noise = sum(2 * float(tally.received.noise().sum()) for tally in known if tally.received)
        for tally in others:
            tally.within *= noise / told


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
        within: squared error of the first round, summed over samples: by how its draws differ, which is too
            large, since they differ by their strata too, until it is calibrated.
        slopes: what is known beforehand, and taken out; None for nothing.
        factors: of increase and part followed, from the first draws.
    """

    changes: Changes
    channel: int
    kind: Score
    key: Float[Tensor, " sample"] | None = None
    slopes: Slopes | None = None
    factors: tuple[Factors, Factors] | None = None
    rounds: int = 0
    means: list[Tensor] = field(default_factory=list)
    follows: list[Tensor] = field(default_factory=list)
    received: _Spread | None = None
    spread: _Spread | None = None
    importance: float = 0.0
    within: float = float("inf")
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
                continue
            if self.rounds == 1 and len(groups) == 1:
                self.within = float(chosen.var(0).sum()) / len(chosen)
            sums = [sums[0] + chosen.sum(0), sums[1] + both.sum(0)] if sums else [chosen.sum(0), both.sum(0)]
        if sums:
            self._note(*(total[None] / sum(map(len, groups)) for total in sums))
        if self.kind == "followed":
            self.correction = self.changes.center_influence()
        self.importance = self.changes.importance()

    def _corrected(self, donors: Donors, increase: Tensor, followed: Tensor) -> tuple[Tensor, Tensor]:
        """Without the noise that is known beforehand; the first draws decide how much of it that is."""
        assert self.slopes is not None  # noqa: S101
        terms = self.slopes.terms(self.channel, donors)
        if self.factors is None:
            wholes = self.slopes.whole, 1
            increases, follows = (
                factors_of(drawn, found, whole)
                for drawn, found, whole in zip((increase, followed), terms, wholes, strict=True)
            )
            self.factors = increases, follows
        known = [factors.times(found) for factors, found in zip(self.factors, terms, strict=True)]
        return increase - known[0], followed - known[1]

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
            used = None if self.factors is None else self.factors[self.kind == "followed"]
            noise = float(self.received.noise().sum()) if self.received.count > 1 else self.within
            return float((noise * (1.0 if used is None else used.optimism)) ** 0.5 / len(self.received.total))
        means = torch.cat(self.follows if self.kind == "followed" else self.means)
        return float(means.std() / len(means) ** 0.5) if len(means) > 1 else float("nan")

    def result(self) -> tuple[float, float, float, float, float]:
        """Increase, part followed, importance and both standard errors."""
        if self.spread is None:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        data = self.spread.variance(self.correction) / len(self.spread.total)
        increase, followed = (float(torch.cat(draws).mean()) for draws in (self.means, self.follows))
        return increase, followed, self.importance, float(np.sqrt(data)), self.error
