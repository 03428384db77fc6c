"""Bounds of repeated looks against published ones, a simulation and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from mfh import InputError
from mfh.sequential import bounds, planned_fractions, spent


def error_of(fractions: list[float], limits: list[float], *, count: int = 100_000) -> float:
    """Share of random walks that cross a bound at some look."""
    rng = np.random.default_rng(0)
    steps = np.sqrt(np.diff([0.0, *fractions]))
    z = (rng.normal(size=(count, len(steps))) * steps).cumsum(axis=1) / np.sqrt(fractions)
    return float((np.abs(z) > np.array(limits)).any(axis=1).mean())


def test_one_look_is_the_normal_quantile() -> None:
    assert bounds([1.0]) == pytest.approx([reference.norm.ppf(0.975)], abs=1e-4)
    assert bounds([1.0], level=0.01) == pytest.approx([reference.norm.ppf(0.995)], abs=1e-4)


def test_five_equal_looks_are_those_of_lan_and_demets() -> None:
    published = [2.438, 2.427, 2.410, 2.397, 2.386]  # Pocock-type spending, two-sided 5%
    assert bounds([0.2, 0.4, 0.6, 0.8, 1.0]) == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize("fractions", [planned_fractions(20, 20, first=2), [0.3, 0.301, 0.55, 0.9]])
def test_the_error_over_all_looks_is_what_was_spent(fractions: list[float]) -> None:
    assert error_of(fractions, bounds(fractions)) == pytest.approx(spent(fractions[-1]), abs=0.003)


def test_looks_that_are_more_alike_than_planned_make_fewer_errors() -> None:
    planned = planned_fractions(20, 20, first=2)
    shares = [(1 + 1 / 20) / (1 + 1 / count) for count in range(2, 21)]  # the variance has a lasting part
    assert error_of(shares, bounds(planned)) < 0.03


def test_the_bounds_so_far_do_not_depend_on_later_looks() -> None:
    fractions = planned_fractions(10, 20, first=2)
    assert bounds(fractions[:4]) == pytest.approx(bounds(fractions)[:4])


def test_a_look_without_new_information_decides_nothing() -> None:
    first, again, later = bounds([0.5, 0.5, 0.8])
    assert math.isinf(again)
    assert [first, later] == pytest.approx(bounds([0.5, 0.8]))
    tiny = bounds([0.5, 0.5 + 1e-9, 0.5 + 2e-9, 0.9])
    assert min(tiny) > 1.96


def test_spending_starts_at_nothing_and_ends_at_the_level() -> None:
    assert spent(0.0) == 0.0
    assert spent(1.0) == pytest.approx(0.05)
    assert spent(2.0) == pytest.approx(0.05)


def test_fractions_must_rise() -> None:
    with pytest.raises(InputError, match="rise and lie"):
        bounds([0.5, 0.4])
    with pytest.raises(InputError, match="rise and lie"):
        bounds([0.0, 0.4])
    with pytest.raises(InputError, match="must rise and be 1 or more"):
        planned_fractions(5, 4)
