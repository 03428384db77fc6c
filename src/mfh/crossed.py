"""Intervals of repeated K-fold cross-validation from crossed components of variance.

A difference between two arms varies for three reasons: samples differ; training and splitting add noise to
each sample's difference; and a training as a whole is better or worse than another. In R repeats of K folds
each sample is tested once in every repeat, so the three can be estimated apart:

    d_ri   difference of sample i in repeat r; a_i its mean over repeats; g the mean of a_i
    s_e^2  noise of one sample's difference            R/(R-1) mean_ri (d_ri - a_i)^2
    s_a^2  samples                                     max(Var_i(a_i) - s_e^2/R, 0)
    s_b^2  trainings    max(w - e, 0), see below
    SE^2 = s_a^2/n + s_e^2/(n R) + s_b^2 (1/(K R) + n_test/n_train)

The means of the K folds vary by v, on average over repeats. Samples and noise explain e = (s_a^2 + s_e^2) K/n
of it, and trainings the rest. Because v has few degrees of freedom, the difference v - e is often far too
large, or negative. So v is averaged with what is expected before: w = ((K-1) v + 4 (1 + 0.2) e) / (K-1 + 4).
With five folds that is s_b^2 = max(v - 0.8 e, 0) / 2.

Where samples come in groups, the mean of a group takes the place of a sample. No unbiased estimate of this
variance exists (Bengio and Grandvalet 2004), so the interval is judged by simulation: docs/intervals.md.
Free of torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from mfh._checks import require
from mfh.stats import ROUNDING, Interval

POWER = 0.8
"""Probability with which a planned study is to decide."""
EXPECTED = 0.2
"""Variance that trainings are expected to add to the means of folds, as a share of what samples explain."""
WEIGHT = 4
"""Weight of that expectation against each repeat, in degrees of freedom."""
FEW = 6
"""Repeats after which plans rely on the estimated variance of trainings as much as on the expected one."""


@dataclass(frozen=True, eq=False)
class FitValues:
    """The values of one fit on its test samples.

    Attributes:
        repeat: which repeat it belongs to.
        fold: which fold of the repeat it tests.
        unit: for each test sample the number of the sample, or of its group, 0 or more.
        values: one number for each test sample; their mean is the fit's metric, or a difference of metrics.
    """

    repeat: int
    fold: int
    unit: Int[np.ndarray, " sample"]
    values: Float[np.ndarray, " sample"]


@dataclass(frozen=True)
class Components:
    """The components of variance of a mean, and the design that they were estimated in.

    Attributes:
        samples: s_a^2, in squared units of the metric.
        noise: s_e^2.
        trainings: s_b^2.
        size: number of samples; with groups of unequal size, their effective number.
        num_units: number of samples or groups.
        repeats: R.
        folds: K; 1 where all fits share one test split.
        test_over_train: n_test / n_train; 0 where all fits share one split.
    """

    samples: float
    noise: float
    trainings: float
    size: float
    num_units: int
    repeats: int
    folds: int
    test_over_train: float

    def variance(self, repeats: float | int | None = None) -> float:
        """Return SE^2, with another number of repeats if one is given; `math.inf` gives what remains."""
        count = self.repeats if repeats is None else repeats
        by_sample = self.samples / self.size + self.noise / (self.size * count)
        return by_sample + self.trainings * (1 / (self.folds * count) + self.test_over_train)

    def degrees(self, repeats: float | int | None = None) -> float:
        """Return Satterthwaite's degrees of freedom of SE^2."""
        count = self.repeats if repeats is None else repeats
        by_sample = self.samples / self.size + self.noise / (self.size * count)
        by_training = self.variance(count) - by_sample
        by_fold = self.folds - 1 + WEIGHT if self.folds > 1 else 0
        free = self.num_units - 1, max(count * by_fold, count - 1)
        total = by_sample**2 / free[0] + (by_training**2 / free[1] if free[1] else 0.0)
        return (by_sample + by_training) ** 2 / total if total > 0 else float(free[0])

    def half_width(self, repeats: float | int | None = None, *, level: float = 0.95) -> float:
        """Return half the width of the interval."""
        return float(special.stdtrit(self.degrees(repeats), (1 + level) / 2)) * math.sqrt(
            self.variance(repeats)
        )


@dataclass(frozen=True)
class CrossedInterval:
    """A mean with its interval, p-value and components; `reason` says why there is none.

    Attributes:
        interval: the interval; without ends where `reason` is given.
        components: None where they cannot be estimated.
        reason: `one fit`, `few units`, `equal` (no spread at all), or empty.
    """

    interval: Interval
    components: Components | None
    reason: str = ""


def crossed_interval(
    fits: Sequence[FitValues],
    *,
    folds: int,
    test_over_train: float,
    level: float = 0.95,
    size: float = 0.0,
) -> CrossedInterval:
    """Return the interval of a mean over samples from fits of repeated K-fold, or of one split.

    Args:
        fits: the fits. Repeats that lack a fold are left out, as long as a whole one remains.
        folds: K; 1 where all fits share one split, which makes each fit a repeat.
        test_over_train: n_test / n_train, 0 where all fits share one split.
        level: coverage, in (0, 1).
        size: size of the numbers whose differences the values are; see `mfh.stats.t_interval`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sample = rng.normal(1, 2, size=100)
        >>> fits = [
        ...     FitValues(r, k, np.arange(k, 100, 5), sample[k::5] + rng.normal(size=20))
        ...     for r in range(2) for k in range(5)
        ... ]
        >>> found = crossed_interval(fits, folds=5, test_over_train=1 / 3)
        >>> found.interval.low < 1 < found.interval.high, found.components.samples > found.components.noise
        (True, True)
    """
    whole = whole_repeats(fits, folds)
    require(len(whole) > 0, "`fits` must hold one whole repeat or more. Got none.")
    repeats = sorted({fit.repeat for fit in whole})
    codes, table, weight = _unit_means(whole, repeats)
    mean = float(np.average(table.mean(axis=0), weights=weight))
    if len(whole) == 1:
        return CrossedInterval(Interval(mean, None, None, None), None, "one fit")
    if len(codes) < 3:
        return CrossedInterval(Interval(mean, None, None, None), None, "few units")
    values = np.concatenate([fit.values for fit in whole])
    if float(np.ptp(values)) <= ROUNDING * max(size, float(np.abs(values).max())):
        return CrossedInterval(Interval(mean, mean, mean, None), None, "equal")
    parts = _components(whole, repeats, table, weight, folds, test_over_train)
    error = math.sqrt(parts.variance())
    if error == 0:
        return CrossedInterval(Interval(mean, mean, mean, None), parts, "equal")
    half, free = parts.half_width(level=level), parts.degrees()
    p = float(2 * special.stdtr(free, -abs(mean) / error))
    return CrossedInterval(Interval(mean, mean - half, mean + half, p), parts)


def whole_repeats(fits: Sequence[FitValues], folds: int) -> list[FitValues]:
    """Return the fits of the repeats that have all their folds."""
    counts: dict[int, int] = {}
    for fit in fits:
        counts[fit.repeat] = counts.get(fit.repeat, 0) + 1
    return [fit for fit in fits if counts[fit.repeat] == folds]


def _unit_means(
    fits: Sequence[FitValues], repeats: Sequence[int]
) -> tuple[Int[np.ndarray, " unit"], Float[np.ndarray, "repeat unit"], Float[np.ndarray, " unit"]]:
    """Return the units, the mean of each in each repeat, and the number of its samples."""
    codes = np.unique(np.concatenate([fit.unit for fit in fits]))
    total = np.zeros((len(repeats), len(codes)))
    count = np.zeros_like(total)
    place = {repeat: row for row, repeat in enumerate(repeats)}
    for fit in fits:
        column = np.searchsorted(codes, fit.unit)
        np.add.at(total[place[fit.repeat]], column, fit.values)
        np.add.at(count[place[fit.repeat]], column, 1.0)
    return codes, total / np.maximum(count, 1), count.mean(axis=0)


def _components(
    fits: Sequence[FitValues],
    repeats: Sequence[int],
    table: Float[np.ndarray, "repeat unit"],
    weight: Float[np.ndarray, " unit"],
    folds: int,
    test_over_train: float,
) -> Components:
    """Estimate the three components; see the module."""
    count, num_units = table.shape
    share = weight / weight.sum()
    size = 1 / float((share**2).sum())
    each = table.mean(axis=0)
    center = float(share @ each)
    # the variance of a mean of units that are weighted by their sizes, times their effective number
    spread = size * float(share**2 @ (each - center) ** 2) * num_units / (num_units - 1)
    noise = 0.0
    if count > 1:
        noise = count / (count - 1) * size * float(((table - each) ** 2).mean(axis=0) @ share**2)
    samples = max(spread - noise / count, 0.0)
    means = [[fit.values.mean() for fit in fits if fit.repeat == repeat] for repeat in repeats]
    if folds == 1:
        between = float(np.var([row[0] for row in means], ddof=1)) if count > 1 else 0.0
        trainings = max(between - noise / size, 0.0)
    else:
        within = float(np.mean([np.var(row, ddof=1) for row in means]))
        explained = ((samples + noise) if count > 1 else spread) * folds / size
        expected = WEIGHT * (1 + EXPECTED) * explained
        trainings = max(((folds - 1) * within + expected) / (folds - 1 + WEIGHT) - explained, 0.0)
    return Components(samples, noise, trainings, size, num_units, count, folds, test_over_train)


def repeats_to_decide(
    difference: float, parts: Components, *, margin: float = 0.0, most: int = 1000, power: float = POWER
) -> int | None:
    """Return the number of repeats in all after which the interval will probably exclude 0.

    The estimate after more repeats is taken as normal around the present one. With a margin, an interval
    inside (-margin, margin) decides too. None if no number of repeats up to `most` is enough.
    """
    parts = _for_planning(parts)
    for repeats in _growing(parts.repeats + 1, most):
        moved = math.sqrt(max(parts.variance() - parts.variance(repeats), 0.0))
        half = parts.half_width(repeats)
        away = _probability(abs(difference) - half, moved)
        inside = _probability(margin - half - abs(difference), moved) if margin else 0.0
        if max(away, inside) >= power:
            return repeats
    return None


def repeats_for(effect: float, parts: Components, *, most: int = 1000, power: float = POWER) -> int | None:
    """Return how many repeats show an effect with a probability of `power`; None if no number does."""
    parts, needed = _for_planning(parts), float(special.ndtri(power))
    for repeats in _growing(1, most):
        if parts.half_width(repeats) + needed * math.sqrt(parts.variance(repeats)) <= effect:
            return repeats
    return None


def samples_to_decide(effect: float, parts: Components, *, power: float = POWER) -> float:
    """Return how many times the samples a new study needs to show an effect with a probability of `power`.

    Quantiles of Student's t with the degrees of freedom of this study allow for the error of its components
    (Julious and Owen 2006).
    """
    free = parts.degrees()
    needed = float(special.stdtrit(free, 0.975) + special.stdtrit(free, power)) ** 2
    return parts.variance() * needed / effect**2 if effect else math.inf


def _for_planning(parts: Components) -> Components:
    """Return components whose trainings are closer to what is expected, the fewer repeats there are."""
    if parts.folds == 1:
        return parts
    explained = (parts.samples + parts.noise) * parts.folds / parts.size
    usual = WEIGHT * EXPECTED * explained / (parts.folds - 1 + WEIGHT)
    trust = parts.repeats / (parts.repeats + FEW)
    return replace(parts, trainings=trust * parts.trainings + (1 - trust) * usual)


def _growing(start: int, most: int) -> list[int]:
    """Return whole numbers from `start` to `most`, ever farther apart."""
    found, step = [], float(start)
    while step <= most:
        found.append(int(step))
        step = max(step + 1, step * 1.05)
    return found


def _probability(distance: float, spread: float) -> float:
    """Return the probability that a normal variable with this mean and spread is above 0."""
    if spread == 0:
        return float(distance > 0)
    return float(special.ndtr(distance / spread))
