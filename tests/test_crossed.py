"""Crossed intervals against closed forms, an independent computation and known components of variance."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as reference

from mfh import InputError
from mfh.crossed import (
    Components,
    CrossedInterval,
    FitValues,
    crossed_interval,
    repeats_for,
    repeats_to_decide,
    samples_to_decide,
)
from mfh.stats import t_interval

RATIO = 1 / 3


def draw(
    rng: np.random.Generator,
    *,
    n: int = 100,
    folds: int = 5,
    repeats: int = 2,
    mean: float = 0.0,
    samples: float = 1.0,
    noise: float = 1.0,
    trainings: float = 0.0,
) -> list[FitValues]:
    """Draw differences with known standard deviations of samples, of noise and of trainings."""
    base = mean + samples * rng.normal(size=n)
    fits = []
    for repeat in range(repeats):
        for fold, rows in enumerate(np.array_split(rng.permutation(n), folds)):
            values = base[rows] + noise * rng.normal(size=len(rows)) + trainings * rng.normal()
            fits.append(FitValues(repeat, fold, rows, values))
    return fits


def interval(
    fits: list[FitValues], folds: int = 5, ratio: float = RATIO, **options: float
) -> CrossedInterval:
    return crossed_interval(fits, folds=folds, test_over_train=ratio, **options)


def parts_of(found: CrossedInterval) -> Components:
    assert found.components is not None
    return found.components


def half_of(found: CrossedInterval) -> float:
    assert found.interval.high is not None
    return found.interval.high - found.interval.mean


def by_hand(fits: list[FitValues], n: int, folds: int, ratio: float) -> tuple[float, float]:
    """Mean and squared standard error by the formulas of the module, sample by sample."""
    repeats = len({fit.repeat for fit in fits})
    d = np.full((repeats, n), np.nan)
    for fit in fits:
        d[fit.repeat, fit.unit] = fit.values
    a = d.mean(axis=0)
    noise = repeats / (repeats - 1) * ((d - a) ** 2).mean()
    samples = max(a.var(ddof=1) - noise / repeats, 0)
    within = np.mean(
        [np.var([f.values.mean() for f in fits if f.repeat == r], ddof=1) for r in range(repeats)]
    )
    explained = (samples + noise) * folds / n
    trainings = max(((folds - 1) * float(within) + 4 * 1.2 * explained) / (folds + 3) - explained, 0)
    error = samples / n + noise / (n * repeats) + trainings * (1 / (folds * repeats) + ratio)
    return float(a.mean()), float(error)


@pytest.mark.parametrize("trainings", [0.0, 2.0])
def test_the_formula_sample_by_sample(trainings: float) -> None:
    fits = draw(np.random.default_rng(3), mean=1.0, trainings=trainings)
    found = interval(fits)
    mean, error = by_hand(fits, 100, 5, RATIO)
    parts = parts_of(found)
    assert found.interval.mean == pytest.approx(mean)
    assert parts.variance() == pytest.approx(error)
    assert half_of(found) == pytest.approx(reference.t.ppf(0.975, parts.degrees()) * math.sqrt(error))
    p = 2 * reference.t.sf(abs(mean) / math.sqrt(error), parts.degrees())
    assert found.interval.p == pytest.approx(p)


def test_without_trainings_one_repeat_is_the_t_interval_of_the_samples() -> None:
    rng = np.random.default_rng(0)
    values = rng.permutation(np.repeat([-1.0, 1.0], 50))
    fits = [FitValues(0, k, np.arange(k, 100, 5), values[k::5]) for k in range(5)]
    even = [FitValues(0, k, fit.unit, np.tile([-1.0, 1.0], 10) + 0.3) for k, fit in enumerate(fits)]
    found = interval(even)
    plain = t_interval(np.concatenate([fit.values for fit in even]))
    assert parts_of(found).trainings == 0
    assert (found.interval.low, found.interval.high) == pytest.approx((plain.low, plain.high))
    assert found.interval.p == pytest.approx(plain.p)


def test_one_split_is_crossed_with_seeds() -> None:
    rng = np.random.default_rng(1)
    rows, base = np.arange(40), rng.normal(size=40)
    fits = [FitValues(s, 0, rows, base + rng.normal() + rng.normal(size=40)) for s in range(6)]
    parts = parts_of(interval(fits, folds=1, ratio=0.0))
    expected = parts.samples / 40 + parts.noise / 240 + parts.trainings / 6
    assert parts.variance() == pytest.approx(expected)
    means = [fit.values.mean() for fit in fits]
    assert parts.trainings == pytest.approx(np.var(means, ddof=1) - parts.noise / 40)


def test_components_are_those_of_the_population() -> None:
    rng = np.random.default_rng(2)
    found = [
        parts_of(interval(draw(rng, n=200, repeats=3, samples=2.0, noise=3.0, trainings=1.5)))
        for _ in range(150)
    ]
    noise = 3.0**2 + 1.5**2  # a sample meets another training in each repeat
    explained = (2.0**2 + noise) * 5 / 200
    assert np.mean([parts.samples for parts in found]) == pytest.approx(4.0, rel=0.1)
    assert np.mean([parts.noise for parts in found]) == pytest.approx(noise, rel=0.1)
    within = 1.5**2 + (2.0**2 + 3.0**2) * 5 / 200
    expected = (within - 0.8 * explained) / 2
    assert np.mean([parts.trainings for parts in found]) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("repeats", "least"), [(1, 0.9), (2, 0.93), (10, 0.93)])
def test_the_interval_covers_a_true_mean_of_zero(repeats: int, least: float) -> None:
    rng = np.random.default_rng([5, repeats])
    found = [interval(draw(rng, repeats=repeats, trainings=0.3)).interval for _ in range(300)]
    covered = np.mean(
        [one.low < 0 < one.high for one in found if one.low is not None and one.high is not None]
    )
    assert least < covered <= 1.0


def test_order_shift_and_scale() -> None:
    fits = draw(np.random.default_rng(4), trainings=1.0)
    base = interval(fits)
    other = interval(fits[::-1])
    assert half_of(other) == pytest.approx(half_of(base))
    moved = interval([FitValues(f.repeat, f.fold, f.unit, 5 + 10 * f.values) for f in fits])
    assert moved.interval.mean == pytest.approx(5 + 10 * base.interval.mean)
    assert half_of(moved) == pytest.approx(10 * half_of(base))


def test_copies_of_a_sample_in_one_group_count_once() -> None:
    rng = np.random.default_rng(6)
    fits = draw(rng, n=30, trainings=0.5)
    copied = [FitValues(f.repeat, f.fold, np.repeat(f.unit, 4), np.repeat(f.values, 4)) for f in fits]
    assert half_of(interval(copied)) == pytest.approx(half_of(interval(fits)))
    assert parts_of(interval(copied)).size == pytest.approx(30)
    assert parts_of(interval(copied)).num_units == 30


def test_groups_of_unequal_size_have_an_effective_number() -> None:
    sizes = np.array([1, 2, 3, 10])
    fits = [
        FitValues(repeat, fold, np.full(size, fold), np.random.default_rng([repeat, fold]).normal(size=size))
        for repeat in range(2)
        for fold, size in enumerate(sizes)
    ]
    found = interval(fits, folds=4)
    assert parts_of(found).size == pytest.approx(sizes.sum() ** 2 / (sizes**2).sum())
    assert parts_of(found).num_units == 4
    mean = np.mean([np.concatenate([f.values for f in fits if f.repeat == r]).mean() for r in range(2)])
    assert found.interval.mean == pytest.approx(mean)


def test_a_lost_fit_drops_its_repeat() -> None:
    fits = draw(np.random.default_rng(7), repeats=3)
    kept = [fit for fit in fits if (fit.repeat, fit.fold) != (1, 2)]
    found, without = interval(kept), interval([fit for fit in fits if fit.repeat != 1])
    assert found.interval == without.interval
    with pytest.raises(InputError, match="one whole repeat"):
        interval(fits[:4])


@pytest.mark.parametrize("value", [0.0, 3.0, 0.1])
def test_equal_differences_have_no_p_value(value: float) -> None:
    fits = [FitValues(r, k, np.arange(k, 50, 5), np.full(10, value)) for r in range(2) for k in range(5)]
    found = interval(fits)
    assert (found.reason, found.interval.p) == ("equal", None)
    assert found.interval.low == found.interval.high == pytest.approx(value)


def test_differences_that_are_equal_but_for_rounding_have_no_p_value() -> None:
    pairs = [(20, 19), (25, 24), (7, 6), (36, 35)]
    values = [100 * a / 36 - 100 * b / 36 for a, b in pairs]
    assert len(set(values)) > 1
    fits = [FitValues(0, k, np.array([k]), np.array([value])) for k, value in enumerate(values)]
    assert interval(fits, folds=4, size=100.0).reason == "equal"


def test_one_fit_and_two_groups_have_no_interval() -> None:
    fits = draw(np.random.default_rng(8), repeats=1)
    one = interval(fits[:1], folds=1, ratio=0.0)
    assert (one.reason, one.interval.low, one.components) == ("one fit", None, None)
    two = [FitValues(r, k, np.full(20, k), np.random.default_rng([r, k]).normal(size=20)) for r in range(2)
           for k in range(2)]  # fmt: skip
    assert interval(two, folds=2).reason == "few units"


def test_more_repeats_and_more_samples_remove_their_parts() -> None:
    parts = Components(4.0, 9.0, 1.0, 100.0, 100, 2, 5, RATIO)
    widths = [parts.half_width(repeats) for repeats in (2, 3, 10, 1000)]
    assert widths == sorted(widths, reverse=True)
    assert parts.variance(math.inf) == pytest.approx(4.0 / 100 + RATIO)
    larger = replace(parts, size=400.0, num_units=400)
    assert larger.variance() == pytest.approx((4.0 + 4.5) / 400 + 0.1 + RATIO)


def test_repeats_to_decide() -> None:
    noisy = Components(0.0, 100.0, 0.0, 100.0, 100, 2, 5, RATIO)
    far, near = repeats_to_decide(2.0, noisy), repeats_to_decide(1.6, noisy)
    assert far is not None
    assert near is not None
    assert 2 < far < near
    assert repeats_to_decide(-2.0, noisy) == far
    samples = Components(100.0, 1.0, 0.0, 100.0, 100, 2, 5, RATIO)
    assert repeats_to_decide(1.0, samples) is None, "repeats do not remove what samples add"
    assert repeats_to_decide(0.0, noisy) is None
    assert repeats_to_decide(0.0, noisy, margin=2.0) is not None


def test_samples_to_decide() -> None:
    parts = Components(100.0, 100.0, 0.0, 1e6, 1_000_000, 2, 5, RATIO)
    error = math.sqrt(parts.variance())
    needed = reference.norm.ppf(0.975) + reference.norm.ppf(0.8)
    assert samples_to_decide(error, parts) == pytest.approx(needed**2, rel=1e-3)
    assert samples_to_decide(error / 2, parts) == pytest.approx(4 * samples_to_decide(error, parts))
    assert samples_to_decide(0.0, parts) == math.inf
    few = Components(100.0, 100.0, 0.0, 8.0, 8, 2, 5, RATIO)
    assert samples_to_decide(math.sqrt(few.variance()), few) > samples_to_decide(error, parts)


def test_repeats_for_an_effect() -> None:
    noisy = Components(0.0, 100.0, 0.5, 100.0, 100, 10, 5, RATIO)
    large, small = repeats_for(2.0, noisy), repeats_for(1.5, noisy)
    assert large is not None
    assert small is not None
    assert large < small
    assert repeats_for(0.1, noisy) is None
    split = Components(0.0, 100.0, 0.0, 100.0, 100, 10, 1, 0.0)
    repeats = repeats_for(0.5, split)
    assert repeats is not None
    reached = split.half_width(repeats) + reference.norm.ppf(0.8) * math.sqrt(split.variance(repeats))
    assert reached <= 0.5
    assert split.half_width(repeats / 1.1) + 0.84 * math.sqrt(split.variance(repeats / 1.1)) > 0.5


def test_plans_trust_few_repeats_less() -> None:
    """Two repeats that found no variance of trainings do not promise that there is none."""
    two, many = (Components(0.0, 100.0, 0.0, 100.0, 100, count, 5, RATIO) for count in (2, 1000))
    assert repeats_for(0.9, two) is None
    assert repeats_for(0.9, many) is not None
