"""Statistics against scipy.stats and closed forms."""

import numpy as np
import pytest
from scipy import stats as reference

from mfh import InputError
from mfh.stats import bisect, group_bootstrap, rank_correlation, t_interval


def test_t_interval_is_scipys_without_correction() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, 12)
    ours = t_interval(values)
    theirs = reference.ttest_1samp(values, 0)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high, ours.p) == pytest.approx((low, high, theirs.pvalue))


def test_nadeau_bengio_widens_by_its_factor() -> None:
    values = np.random.default_rng(1).normal(size=10)
    plain, corrected = t_interval(values), t_interval(values, test_over_train=1 / 3)
    assert plain.high is not None
    assert corrected.high is not None
    widening = (corrected.high - corrected.mean) / (plain.high - plain.mean)
    assert widening == pytest.approx(np.sqrt((1 / 10 + 1 / 3) / (1 / 10)))


def test_one_value_carries_no_interval() -> None:
    interval = t_interval(np.array([3.0]))
    assert (interval.mean, interval.low, interval.high, interval.p) == (3.0, None, None, None)


def test_equal_values_have_no_width() -> None:
    assert t_interval(np.zeros(4)).p is None
    assert t_interval(np.ones(4)).p is None, "equal values give no information on their spread"


def test_values_that_differ_by_rounding_are_equal() -> None:
    for values in ([0.04] * 10, [0.1] * 3, [3.1086244592868925e-09] * 693):
        interval = t_interval(np.array(values))
        assert interval.p is None
        assert interval.low == interval.high
    counts = np.array([100 * 20 / 36 - 100 * 19 / 36, 100 * 25 / 36 - 100 * 24 / 36])
    assert counts[0] != counts[1], "one right answer each, but for rounding"
    assert t_interval(counts, size=70.0).p is None
    zeros = np.array([0.0, 1.4e-14])
    assert t_interval(zeros, size=70.0).p is None
    assert t_interval(np.array([1.0, 1.001, 0.999]), size=70.0).p is not None


def test_no_values_are_refused() -> None:
    with pytest.raises(InputError, match="one value or more"):
        t_interval(np.array([]))


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    intervals = [t_interval(rng.normal(1.0, 2.0, 8)) for _ in range(2000)]
    covered = np.mean([i.low <= 1.0 <= i.high for i in intervals])  # type: ignore[operator]
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 2000))


def test_group_bootstrap_has_the_standard_error_of_group_means() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 20)
    values = rng.normal(size=30)[groups] + 0.1 * rng.normal(size=600)
    low, high = group_bootstrap([values], [groups], generator=np.random.default_rng(0))
    means = np.array([values[groups == g].mean() for g in range(30)])
    assert (high - low) / (2 * 1.96) == pytest.approx(means.std() / np.sqrt(30), rel=0.1)


def test_group_bootstrap_does_not_count_a_group_twice() -> None:
    """Ten seeds that test the same samples know no more than one."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(12), 5)
    values = rng.normal(size=60)
    once = group_bootstrap([values], [groups], generator=np.random.default_rng(0))
    often = group_bootstrap([values] * 10, [groups] * 10, generator=np.random.default_rng(0))
    assert often == pytest.approx(once)


def test_group_bootstrap_takes_seeds_that_test_other_groups() -> None:
    differences = [np.ones(6), np.zeros(6)]
    groups = [np.array([0, 0, 1, 1, 2, 2]), np.array([3, 3, 4, 4, 5, 5])]
    low, high = group_bootstrap(differences, groups, generator=np.random.default_rng(0))
    assert 0.0 <= low <= 0.5 <= high <= 1.0


def test_rank_correlation_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 5, 40).astype(float), rng.normal(size=40)
    assert rank_correlation(a, b) == pytest.approx(reference.spearmanr(a, b).statistic)
    assert rank_correlation(np.ones(4), np.arange(4.0)) is None


def test_bisect() -> None:
    assert bisect(lambda x: x**3, 8.0, 0.0, 10.0) == pytest.approx(2.0)
    assert bisect(lambda x: x, 11.0, 0.0, 10.0) == 10.0
    assert bisect(lambda x: x, -1.0, 0.0, 10.0) == 0.0
