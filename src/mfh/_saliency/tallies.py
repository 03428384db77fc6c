"""The score of one channel from the draws so far, and its standard error.

Every draw is a permutation, so each sample is once the receiver i and once the donor j. Let f_ij be the
change of the distance when i receives the value of j. Effects of i alone cancel within a sample's draws, and
effects of j alone within a draw. Only the rest of f_ij, the interaction, makes the mean over draws vary.
A sample with a value far from the others makes f_ij large in a whole row and a whole column. Two things keep
the standard errors right then: the known f_ii = 0 is excluded from the draws, and errors that few samples
determine are estimated from all draws and widened as for Student's t.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._saliency.changes import Changes
from mfh._saliency.result import Score
from mfh._saliency.slopes import Factors, Slopes, factors_of

Donors = Int[Tensor, "permutation sample"]
PerDraw = Float[Tensor, "permutation sample"]
FEW_SAMPLES = 12  # that determine the error: then differences between rounds are too few to estimate it
MOST_LEVERAGE = 0.95


@dataclass
class Spread:
    """Mean and squared deviations of a quantity of each sample, over draws or rounds (Welford's way).

    Attributes:
        mean: over those seen so far, (sample,).
        squares: sum of squared deviations from it, (sample,).
        count: number seen.
    """

    mean: Float[Tensor, " sample"]
    squares: Float[Tensor, " sample"]
    count: int

    @classmethod
    def of(cls, values: PerDraw) -> "Spread":
        """Return the spread of some draws."""
        mean = values.mean(0)
        return cls(mean, (values - mean).square().sum(0), len(values))

    def plus(self, other: "Spread") -> "Spread":
        """Return the spread of both together."""
        count, gap = self.count + other.count, other.mean - self.mean
        between = gap.square() * (self.count * other.count / count)
        return Spread(self.mean + gap * (other.count / count), self.squares + other.squares + between, count)

    def noise(self) -> Float[Tensor, " sample"]:
        """Return the variance of each sample's mean."""
        return self.squares / (self.count * max(self.count - 1, 1))

    def variance(self, correction: Float[Tensor, " sample"] | float = 0.0) -> float:
        """Return the variance over samples of the mean over all permutations, free of noise of the draws."""
        noise = self.noise().mean() if self.count > 1 else 0.0
        return max(float((self.mean + correction).var() - noise), 0.0)


@dataclass
class Tally(ABC):
    """Sums over the draws of one channel.

    Attributes:
        changes: of the head, for any channel.
        channel: index of the channel.
        kind: the score that ranks.
        increases: mean increase over samples of every draw; one tensor for each call of `add`.
        follows: mean `followed`, likewise.
        spread: of the contributions of each sample to the score, as receiver and as donor.
    """

    changes: Changes
    channel: int
    kind: Score
    increases: list[Tensor] = field(default_factory=list)
    follows: list[Tensor] = field(default_factory=list)
    spread: Spread | None = None
    importance: float = 0.0
    correction: Tensor | float = 0.0

    @property
    @abstractmethod
    def error(self) -> float:
        """Standard error of `score` from the finite number of draws."""

    @property
    def score(self) -> float:
        """Mean of the score over all draws."""
        draws = self.follows if self.kind == "followed" else self.increases
        return float(torch.cat(draws).mean()) if draws else 0.0

    def result(self) -> tuple[float, float, float, float, float]:
        """Return increase, `followed`, importance, and the standard errors from samples and from draws."""
        if self.spread is None:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        data = self.spread.variance(self.correction) / len(self.spread.mean)
        increase, followed = (float(torch.cat(draws).mean()) for draws in (self.increases, self.follows))
        return increase, followed, self.importance, float(np.sqrt(data)), self.error

    def _chosen(self, increase: PerDraw, followed: PerDraw) -> PerDraw:
        return followed if self.kind == "followed" else increase

    def _contributions(self, donors: Donors, chosen: PerDraw) -> PerDraw:
        """The contribution of each sample to the score, as receiver and as donor of a value."""
        return torch.empty_like(chosen).scatter_(1, donors, chosen).add_(chosen)

    def _note(
        self, increase: PerDraw, followed: PerDraw, contributions: Float[Tensor, "part sample"]
    ) -> None:
        self.increases.append(increase.mean(1))
        self.follows.append(followed.mean(1))
        spread = Spread.of(contributions)
        self.spread = spread if self.spread is None else self.spread.plus(spread)
        if self.kind == "followed":
            self.correction = self.changes.center_influence()
        self.importance = self.changes.importance()


class IndependentTally(Tally):
    """Permutations drawn independently of each other."""

    def add(self, groups: Sequence[Tensor]) -> None:
        """Draw with these permutations, each group (permutation, sample)."""
        if self.changes.without_effect(self.channel):
            return
        self.changes.select(self.channel)
        for donors in groups:
            increase, followed = self.changes.of(donors)
            contributions = self._contributions(donors, self._chosen(increase, followed))
            self._note(increase, followed, contributions)

    @property
    def error(self) -> float:
        """See `Tally`; NaN after a single draw."""
        if self.spread is None:
            return 0.0
        means = torch.cat(self.follows if self.kind == "followed" else self.increases)
        return float(means.std() / len(means) ** 0.5) if len(means) > 1 else float("nan")


@dataclass
class RoundTally(Tally):
    """Rounds of stratified permutations; see `mfh._saliency.sampled`.

    Attributes:
        key: values that order the samples; draws are ranks in that order.
        slopes: slopes of the head, whose known noise is subtracted; None if they are not used.
        factors: of the slopes' terms for increase and `followed`, from the first draws.
        noise: of each sample's mean, estimated in two ways that are both valid: from its values as they
            are, and from its values without the effects of their donors. The smaller one counts.
    """

    key: Float[Tensor, " sample"] = field(kw_only=True)
    slopes: Slopes | None = field(default=None, kw_only=True)
    factors: tuple[Factors, Factors] | None = None
    noise: "tuple[_Noise, _Noise] | None" = None
    rounds: int = 0
    _error: float = 0.0

    def add(self, groups: Sequence[Tensor]) -> None:
        """Draw one round, given as ranks in groups of (permutation, sample)."""
        self.rounds += 1
        if self.changes.without_effect(self.channel):
            return
        self.changes.select(self.channel)
        order = self.key.argsort(stable=True)
        parts = [self._drawn(order[ranks]) for ranks in groups]
        donors, increase, followed, contributions = (torch.cat(part) for part in zip(*parts, strict=True))
        own = self._own_values(donors.shape[1], donors.device)
        increase, followed = (
            _without_own(values, donors, known)
            for values, known in zip((increase, followed), own, strict=True)
        )
        self._note(increase, followed, contributions.mean(0, keepdim=True))
        leverage = None if self.factors is None else self.factors[self.kind == "followed"].leverage
        first = self.noise is None and len(groups) == 1
        self._note_noise(donors, self._chosen(increase, followed), leverage if first else None)

    @property
    def error(self) -> float:
        """See `Tally`."""
        return self._error

    def error_of_first_round(self) -> float:
        """Return the standard error of a single round, estimated from its draws."""
        return 0.0 if self.noise is None else self.noise[0].within_first ** 0.5

    def error_between_rounds(self) -> float:
        """Return the standard error of all rounds, estimated from their differences."""
        return 0.0 if self.noise is None else float(self.noise[0].rounds.noise().sum()) ** 0.5

    def calibrate(self, factor: float) -> None:
        """Multiply the squared error of the first and only round."""
        self._error *= factor**0.5

    def _drawn(self, donors: Donors) -> tuple[Donors, PerDraw, PerDraw, PerDraw]:
        """Donors, increases and `followed` without the known noise, and contributions."""
        increase, followed = self.changes.of(donors)
        contributions = self._contributions(donors, self._chosen(increase, followed))
        if self.slopes is None:
            return donors, increase, followed, contributions
        terms = self.slopes.terms(self.channel, donors)
        if self.factors is None:
            first_order = self.slopes.num_first_order, 1
            drawn = increase, followed
            one, two = (factors_of(*given) for given in zip(drawn, terms, first_order, strict=True))
            self.factors = one, two
        known = [factors.times(found) for factors, found in zip(self.factors, terms, strict=True)]
        return donors, increase - known[0], followed - known[1], contributions

    def _own_values(self, count: int, device: torch.device) -> tuple[Tensor | float, Tensor | float]:
        """Increase and `followed` of samples that receive their own value, without the known noise."""
        if self.slopes is None or self.factors is None:
            return 0.0, 0.0
        terms = self.slopes.terms(self.channel, torch.arange(count, device=device)[None])
        one, two = (-factors.times(found)[0] for factors, found in zip(self.factors, terms, strict=True))
        return one, two

    def _note_noise(self, donors: Donors, values: PerDraw, leverage: PerDraw | None) -> None:
        count = len(values)
        around = values - values.mean(0)
        given = _donor_effects(donors, around)
        # the terms explain the draws that determined the factors better than they explain other draws
        honest = around if leverage is None else around / (1 - leverage).clamp(min=1 - MOST_LEVERAGE)
        alone = (count / (count - 1)) ** 0.5  # for the degrees of freedom that the donors' effects take
        apart = (honest - _donor_effects(donors, honest)) * alone
        found = (
            _Noise.of(honest, values.mean(0)),
            _Noise.of(apart, (values - given).mean(0) * alone),
        )
        if self.noise is None:
            self.noise = found
        else:
            self.noise = self.noise[0].plus(found[0]), self.noise[1].plus(found[1])
        squared, freedom = min(noise.estimate() for noise in self.noise)
        self._error = squared**0.5 * _widening(freedom) / values.shape[1]


@dataclass
class _Noise:
    """Noise of each sample's mean over rounds of draws.

    Attributes:
        within: sum over rounds of the variance between a round's draws, (sample,).
        draws: in a round.
        rounds: the spread of the rounds' means.
        within_first: noise of the first round summed over samples, estimated from its draws.
    """

    within: Float[Tensor, " sample"]
    draws: int
    rounds: Spread
    within_first: float

    @classmethod
    def of(cls, values: PerDraw, means: Float[Tensor, " sample"]) -> "_Noise":
        within = values.var(0)
        return cls(within, len(values), Spread.of(means[None]), float(within.sum()) / len(values))

    def plus(self, other: "_Noise") -> "_Noise":
        return _Noise(
            self.within + other.within, self.draws, self.rounds.plus(other.rounds), self.within_first
        )

    def estimate(self) -> tuple[float, float]:
        """Return the noise summed over samples, and the degrees of freedom of this estimate.

        Rounds differ by noise only. Draws within a round also differ by their strata, but there are more of
        them.
        """
        count = self.rounds.count
        freedom = count * (self.draws - 1)
        total, total_freedom, samples = _summed(self.within / (count**2 * self.draws), freedom)
        if count == 1 or samples < FEW_SAMPLES:
            return total, total_freedom
        return _summed(self.rounds.noise(), count - 1)[:2]


def _summed(variances: Float[Tensor, " sample"], freedom: int) -> tuple[float, float, float]:
    """Sum estimated variances.

    Returns:
        The sum, its degrees of freedom (Welch and Satterthwaite; infinite for a sum of 0), and the number of
        equal variances that would have as many.
    """
    total = float(variances.sum())
    if total <= 0:
        return 0.0, float("inf"), float("inf")
    samples = float(total**2 * (1 + 2 / freedom) / variances.square().sum())
    return total, samples * freedom, samples


def _widening(freedom: float) -> float:
    """Return the 97.5% quantile of Student's t over the normal one (Cornish and Fisher's expansion)."""
    z, f = 1.959964, max(freedom, 1.0)
    return 1 + (
        (z**2 + 1) / (4 * f)
        + (5 * z**4 + 16 * z**2 + 3) / (96 * f**2)
        + (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / (384 * f**3)
    )


def _donor_effects(donors: Donors, around: PerDraw) -> PerDraw:
    """Return the mean contribution of each donor to its receivers, from values minus their means."""
    sums = torch.zeros_like(around[0]).index_add_(0, donors.flatten(), around.flatten()) / len(around)
    return (sums - sums.mean())[donors]


def _without_own(values: PerDraw, donors: Donors, own: Tensor | float) -> PerDraw:
    """Return values with the same mean in expectation, free of the chance that a sample is its own donor.

    The mean over all donors is (1 - 1 / n) times the mean over the others plus `own` / n, the value for a
    sample's own value. If a draw gives a sample its own value, the effects of receiver and donor replace it.
    """
    count = values.shape[1]
    if count <= 2 * len(values):  # too few others
        return values
    mine = donors == torch.arange(count, device=donors.device)
    if mine.any():
        others = (~mine).to(values.dtype)
        row = (values * others).sum(0) / others.sum(0).clamp(min=1)
        flat = donors.flatten()
        sums = torch.zeros_like(row).index_add_(0, flat, ((values - row) * others).flatten())
        uses = torch.zeros_like(row).index_add_(0, flat, others.flatten())
        values = torch.where(mine, row + (sums / uses.clamp(min=1))[donors], values)
    return (1 - 1 / count) * values + own / count
