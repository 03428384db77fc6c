"""Statistics of paired, re-split experiments: pure functions of arrays.

scipy.special stands in for scipy.stats, which is slow to import.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from mfh._checks import require


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided interval and p-value against 0; None where one value cannot carry them."""

    mean: float
    low: float | None
    high: float | None
    p: float | None


ROUNDING = 1e-9
"""Values that differ by no more than this share of their size are taken as equal but for rounding."""


def t_interval(
    values: Float[np.ndarray, " seed"],
    *,
    level: float = 0.95,
    test_over_train: float = 0.0,
    size: float = 0.0,
) -> Interval:
    """Student's t interval of a mean over seeds.

    Seeds that re-split one data set share training samples, so their results are correlated and the plain
    interval is too short. `test_over_train` = n_test / n_train widens the variance of the mean from s^2 / J
    to s^2 (1 / J + n_test / n_train) (Nadeau and Bengio, Inference for the generalization error, 2003,
    doi:10.1023/A:1024068626366). 0 gives the plain interval, for seeds that are independent.

    Args:
        values: one value per seed.
        level: coverage, in (0, 1).
        test_over_train: size of the test split over the size of the training split, 0 or more.
        size: size of the numbers that the values were computed from, where it is larger than that of the
            values: differences of accuracies near 50 carry the rounding errors of numbers near 50.

    Returns:
        The interval and the p-value of a mean of 0. Equal values, 0 included, give no information on their
        spread: the interval then has no width, and there is no p-value. Values are equal if they differ by
        rounding alone.

    Example:
        >>> interval = t_interval(np.array([1.0, 2.0, 3.0]))
        >>> round(interval.low, 3), round(interval.high, 3)
        (-0.484, 4.484)
    """
    values = np.asarray(values, dtype=np.float64)
    require(values.size > 0, "`values` must hold one value or more. Got none.")
    require(0 < level < 1, f"`level` must lie in (0, 1). Got {level} instead.")
    mean, count = float(values.mean()), values.size
    if count == 1:
        return Interval(mean, None, None, None)
    if float(np.ptp(values)) <= ROUNDING * max(size, float(np.abs(values).max())):
        return Interval(mean, mean, mean, None)
    error = float(np.sqrt(values.var(ddof=1) * (1 / count + test_over_train)))
    half = float(special.stdtrit(count - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half, float(2 * special.stdtr(count - 1, -abs(mean) / error)))


def group_bootstrap(
    correct: Sequence[Float[np.ndarray, " _"]],
    groups: Sequence[Int[np.ndarray, " _"]],
    *,
    generator: np.random.Generator,
    num_resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Paired bootstrap over groups of a mean difference, percentile interval.

    Groups (actors, speakers, patients) are drawn with replacement, all samples of a group together and in
    every seed that tested it, so that what one group has in common counts once.

    Args:
        correct: per seed, the difference a - b of each test sample.
        groups: per seed, the group of each of these samples, as integers 0 ... G - 1 shared by the seeds.
        generator: source of the resamples.
        num_resamples: number of resamples.
        level: coverage, in (0, 1).

    Returns:
        Low and high end, in the unit of `correct`.
    """
    require(len(correct) == len(groups) > 0, "`correct` and `groups` must hold one array per seed each.")
    num_groups = 1 + max(int(np.max(g)) for g in groups)
    # Sum and count of each (seed, group); a resample weighs groups, and each seed's mean follows.
    sums = np.stack([np.bincount(g, d, num_groups) for d, g in zip(correct, groups, strict=True)])
    counts = np.stack([np.bincount(g, minlength=num_groups) for g in groups]).astype(np.float64)
    weights = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=num_resamples)
    totals, sizes = weights @ sums.T, weights @ counts.T
    present = sizes > 0
    means = np.where(present, totals, 0) / np.where(present, sizes, 1)
    seeds = present.sum(axis=1)
    means = means.sum(axis=1)[seeds > 0] / seeds[seeds > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def rank_correlation(first: Float[np.ndarray, " item"], second: Float[np.ndarray, " item"]) -> float | None:
    """Spearman's rank correlation, in [-1, 1]; None when either is constant. Ties share their mean rank.

    Example:
        >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
        1.0
    """
    ranks = [_mean_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    ranks = [r - r.mean() for r in ranks]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return round(float((ranks[0] * ranks[1]).sum()) / size, 12) if size > 0 else None


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def bisect(
    function: Callable[[float], float], target: float, low: float, high: float, *, steps: int = 60
) -> float:
    """Where an increasing function reaches `target`, by bisection in [low, high]; an end if outside."""
    if function(low) >= target:
        return low
    if function(high) <= target:
        return high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2
