import pytest

from mfh._report import wording


@pytest.mark.parametrize(
    ("low", "high", "n", "code"),
    [
        (0.1, 2.0, 10, "better"),
        (-2.0, -0.1, 10, "worse"),
        (-0.9, 1.0, 10, "same"),
        (-0.9, 1.1, 10, "open"),
        (0.1, 0.4, 10, "better"),  # small, but the interval excludes 0
        (None, None, 1, "single"),
        (None, None, 10, "open"),
    ],
)
def test_reading_follows_the_interval(low, high, n, code):
    assert wording.reading({"low": low, "high": high, "n": n}, 1.0) == code


def test_meaning_says_when_a_primary_difference_does_not_survive_correction():
    row = {"b": "joint", "p_holm": 0.08}
    assert "Weak evidence" in wording.meaning(row, "better")
    assert "p = 0.080" in wording.meaning(row, "better")
    assert "Weak" not in wording.meaning(row | {"p_holm": 0.01}, "better")
    assert "Weak" not in wording.meaning(row, "same")


def test_every_arm_is_explained_and_every_comparison_has_all_outcomes():
    assert set(wording.CONTROLS) == set(wording.ARMS) - {"general"}
    for arm, texts in wording.CONTROLS.items():
        assert set(texts) == {"asks", "better", "same", "worse"}, arm
        assert len({texts["better"], texts["same"], texts["worse"]}) == 3
    assert wording.explain("regular", teacher="{a}", student="b", source="joint").startswith("a {a} teacher")
    assert wording.explain("something new", teacher="a", student="b", source="joint") == ""


def test_arms_are_ordered_with_chosen_ratios_first_and_unknown_ones_last():
    arms = ["zebra", "specific", "general", "general (chosen)", "no-kd"]
    assert sorted(arms, key=wording.rank) == ["no-kd", "general (chosen)", "general", "specific", "zebra"]


def test_numbers_that_are_none_or_not_finite_become_a_dash():
    for value in (None, float("nan"), float("inf")):
        assert wording.number(value) == wording.NOTHING
    assert wording.interval(None, 1.0) == wording.NOTHING
    assert wording.duration(None) == wording.percent(None) == wording.p_value(None) == wording.NOTHING
