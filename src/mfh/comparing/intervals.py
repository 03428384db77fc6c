"""Intervals of means over the fits of a study."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mfh.comparing.keys import Key
from mfh.comparing.tables import Outcomes
from mfh.crossed import (
    Components,
    CrossedInterval,
    FitValues,
    crossed_interval,
    repeats_to_decide,
    samples_to_decide,
    whole_repeats,
)
from mfh.results import Comparison, MetricInfo
from mfh.stats import Interval, group_bootstrap, t_interval

NUM_RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a fit belongs, and what it is tested on.

    Attributes:
        repeat, fold: its place in the resampling.
        unit: number of each test sample or, where there are groups, of its group; (sample,).
    """

    repeat: int
    fold: int
    unit: np.ndarray


@dataclass(frozen=True, eq=False)
class Resampling:
    """How the fits of a study are drawn, and what intervals are computed from.

    Attributes:
        fits: by seed.
        folds: fits of one repeat; 1 for random splits and where all fits share one split.
        test_over_train: n_test / n_train; 0 where all fits share one split.
        crossed: whether intervals come from crossed components, not from Nadeau and Bengio's formula.
        groups: whether units are groups.
        num_samples: number of samples.
        level: coverage of the intervals, in (0, 1).
    """

    fits: Mapping[int, Fit]
    folds: int = 1
    test_over_train: float = 0.0
    crossed: bool = False
    groups: bool = False
    num_samples: int = 0
    level: float = 0.95


def mean_interval(
    found: Mapping[int, tuple[float, np.ndarray | None]], resampling: Resampling, *, size: float = 0.0
) -> tuple[CrossedInterval, int]:
    """Return the interval of a mean over fits, and how many fits it rests on.

    Args:
        found: by seed the metric, or a difference, and its values by sample.
        resampling: how the fits were drawn.
        size: size of the numbers whose differences these are.
    """
    seeds, level = sorted(found), resampling.level
    tests = np.array([found[seed][0] for seed in seeds])
    if not resampling.crossed or any(values is None for _, values in found.values()):
        plain = t_interval(tests, level=level, test_over_train=resampling.test_over_train, size=size)
        reason = "" if plain.p is not None else "one fit" if len(seeds) == 1 else "equal"
        return CrossedInterval(plain, None, reason), len(seeds)
    fits = [
        FitValues(fit.repeat, fit.fold, fit.unit, values)
        for fit, (_, values) in ((resampling.fits[seed], found[seed]) for seed in seeds)
        if values is not None
    ]
    whole = whole_repeats(fits, resampling.folds)
    if not whole:
        mean = Interval(float(tests.mean()), None, None, None)
        return CrossedInterval(mean, None, "no whole repeat"), len(seeds)
    crossed = crossed_interval(
        whole,
        folds=resampling.folds,
        test_over_train=resampling.test_over_train,
        level=level,
        size=size,
    )
    return crossed, len(whole)


def compare_arms(
    outcomes: Outcomes,
    a: Key,
    b: Key,
    resampling: Resampling,
    metric: MetricInfo,
    *,
    question: int | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> Comparison:
    """Return one paired difference on the test split, in points, over the fits where both have a student."""
    seeds = sorted(outcomes[a].keys() & outcomes[b].keys())
    pairs = {seed: (outcomes[a][seed], outcomes[b][seed]) for seed in seeds}
    found = {
        seed: (x.test - y.test, None if x.values is None or y.values is None else x.values - y.values)
        for seed, (x, y) in pairs.items()
    }
    size = max(abs(outcome.test) for pair in pairs.values() for outcome in pair)
    crossed, count = mean_interval(found, resampling, size=size)
    interval, parts = _at_least_a_sample(crossed, metric, resampling), crossed.components
    low_boot, high_boot = (None, None) if resampling.crossed else _bootstrap(found, resampling, num_resamples)
    comparison = Comparison(
        a=a[0],
        b=b[0],
        ratio=a[1] if a[1] is not None else b[1],
        n=count,
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        low_boot=low_boot,
        high_boot=high_boot,
        p=interval.p,
        question=question,
        reason=crossed.reason,
    )
    return comparison if parts is None else _with_components(comparison, parts, resampling, metric)


def _at_least_a_sample(crossed: CrossedInterval, metric: MetricInfo, resampling: Resampling) -> Interval:
    """Return the interval; without a p-value where it is narrower than the weight of one sample."""
    found = crossed.interval
    if found.low is None or found.high is None or metric.name != "accuracy" or not resampling.num_samples:
        return found
    narrow = found.high - found.low < 100 / resampling.num_samples
    return replace(found, p=None) if narrow else found


def _bootstrap(
    found: Mapping[int, tuple[float, np.ndarray | None]], resampling: Resampling, num_resamples: int
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of a bootstrap over groups; None without groups."""
    values = {seed: values for seed, (_, values) in found.items() if values is not None}
    if not resampling.groups or len(values) < len(found):
        return None, None
    return group_bootstrap(
        list(values.values()),
        [resampling.fits[seed].unit for seed in values],
        generator=np.random.default_rng(0),
        num_resamples=num_resamples,
    )


def _with_components(
    row: Comparison, parts: Components, resampling: Resampling, metric: MetricInfo
) -> Comparison:
    """Return the comparison with its components of variance and what would decide it."""
    total, floor = parts.variance(), parts.variance(math.inf)
    by_samples = parts.samples / parts.size + parts.trainings * parts.test_over_train
    components = {
        "samples": math.sqrt(parts.samples),
        "noise": math.sqrt(parts.noise),
        "trainings": math.sqrt(parts.trainings),
        "error": math.sqrt(total),
        "degrees": parts.degrees(),
        "size": parts.size,
        "units": parts.num_units,
        "repeats": parts.repeats,
        "folds": parts.folds,
        "test_over_train": parts.test_over_train,
        "more_repeats": (total - floor) / total if total else 0.0,
        "more_samples": by_samples / total if total else 0.0,
    }
    factor = samples_to_decide(row.difference, parts)
    samples = math.ceil(factor * resampling.num_samples) if math.isfinite(factor) else None
    decided = row.p is None or is_better(row, metric) or is_worse(row, metric) or is_none(row, metric)
    known = parts.repeats > 1 or parts.folds == 1  # else noise cannot be told from samples
    repeats = (
        repeats_to_decide(row.difference, parts, margin=metric.margin) if known and not decided else None
    )
    return replace(
        row, components=components, repeats_needed=repeats, samples_needed=None if decided else samples
    )


def is_better(comparison: Comparison, metric: MetricInfo) -> bool:
    """Return whether the first arm is better: the interval has a width and excludes 0."""
    low, high = comparison.low, comparison.high
    if low is None or high is None or comparison.p is None:
        return False
    return low > 0 if metric.higher_is_better else high < 0


def is_none(comparison: Comparison, metric: MetricInfo) -> bool:
    """Return whether there is no difference: the interval has a width and lies inside the margin."""
    low, high = comparison.low, comparison.high
    if low is None or high is None or comparison.p is None:
        return False
    return -metric.margin <= low and high <= metric.margin


def is_worse(comparison: Comparison, metric: MetricInfo) -> bool:
    """Return whether the first arm is worse: the interval has a width and excludes 0."""
    return is_better(comparison, replace(metric, higher_is_better=not metric.higher_is_better))
