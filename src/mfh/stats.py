"""Statistics of paired experiments on repeated splits: pure functions of arrays.

They use scipy.special, because importing scipy.stats takes long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from mfh._checks import require


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided interval and p-value against 0; None where one value does not allow them."""

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
    """Return Student's t interval of a mean over seeds.

    Seeds that split the same data again share training samples. So their results are correlated, and the
    plain interval is too short. `test_over_train` = n_test / n_train increases the variance of the mean of J
    seeds from s^2 / J to s^2 (1 / J + n_test / n_train) (Nadeau and Bengio, Inference for the generalization
    error, 2003, doi:10.1023/A:1024068626366). 0 gives the plain interval, for independent seeds.

    Args:
        values: one value per seed.
        level: coverage, in (0, 1).
        test_over_train: size of the test split divided by that of the training split, 0 or more.
        size: size of the numbers from which the values were computed, if it is larger than the values.
            Differences of accuracies near 50 have the rounding errors of numbers near 50.

    Returns:
        The interval, and the p-value against a mean of 0. Equal values, also zeros, contain no information on
        their spread: the interval then has no width, and there is no p-value. Values count as equal if they
        differ by rounding only.

    Raises:
        InputError: there are no values, or the level is outside (0, 1).

    Example:
        >>> interval = t_interval(np.array([1.0, 2.0, 3.0]))
        >>> round(interval.low, 3), round(interval.high, 3)
        (-0.484, 4.484)
    """
    values = np.asarray(values, dtype=np.float64)
    require(values.size > 0, "`values` must have one value or more. Got none.")
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
    """Return the percentile interval of a mean difference by a paired bootstrap over groups.

    Groups (actors, speakers, patients) are drawn with replacement. All samples of a group are drawn together,
    in every seed that tested it, so that what they have in common counts once.

    Args:
        correct: for each seed, the difference a - b of each test sample.
        groups: for each seed, the group of each of these samples, as integers 0 ... G - 1. A number means the
            same group in every seed.
        generator: random numbers for the resamples.
        num_resamples: number of resamples.
        level: coverage, in (0, 1).

    Returns:
        The low and the high end, in the unit of `correct`.

    Raises:
        InputError: there are no seeds, or not as many arrays of groups as of differences.
    """
    require(
        len(correct) == len(groups) > 0,
        "`correct` and `groups` must have one array for each seed. "
        f"Got {len(correct)} and {len(groups)} arrays.",
    )
    num_groups = 1 + max(int(np.max(g)) for g in groups)
    # A resample gives each group a weight; sums and counts of (seed, group) then give each seed's mean.
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
    """Return Spearman's rank correlation, in [-1, 1]; None if either is constant. Ties get their mean rank.

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
    """Return where an increasing function reaches `target`, by bisection in [low, high].

    If the target is not reached inside, return the end that is closer to it.

    Example:
        >>> round(bisect(lambda x: x**2, 2.0, 0.0, 2.0), 6)
        1.414214
    """
    if function(low) >= target:
        return low
    if function(high) <= target:
        return high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2


def most_common(
    classes: Int[np.ndarray, " sample"], weight: Float[np.ndarray, " sample"] | None = None
) -> tuple[int, float]:
    """Return the most common class and its share of the samples, or of their weight.

    >>> most_common(np.array([0, 2, 2, 0, 2]))
    (2, 0.6)
    """
    counts = np.bincount(classes, weight)
    return int(counts.argmax()), float(counts.max() / counts.sum())
