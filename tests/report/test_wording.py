"""Number formats."""

from mfh._report import wording


def test_numbers_that_are_none_or_not_finite_become_a_dash():
    for value in (None, float("nan"), float("inf")):
        assert wording.number(value) == wording.NOTHING
    assert wording.interval(None, 1.0) == wording.NOTHING
    assert wording.duration(None) == wording.percent(None) == wording.p_value(None) == wording.NOTHING
