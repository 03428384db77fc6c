"""What each comparison shows: reading, words and figure."""

import pytest

from mfh._report import style
from mfh._report.pages import summarize
from mfh._report.sections.differences import explain, read
from mfh.arms import ARMS


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
    row = {"low": low, "high": high, "n": n, "p": 0.2}
    assert read(row, 1.0) == code
    turned = {"better": "worse", "worse": "better"}.get(code, code)
    assert read(row, 1.0, higher_is_better=False) == turned


@pytest.mark.parametrize("end", [0.0, 0.5, -2.0])
def test_equal_differences_show_nothing(end):
    row = {"low": end, "high": end, "n": 10, "p": None, "reason": "equal"}
    assert read(row, 1.0) == "open"
    assert "the spread is unknown" in explain(row, "open", ARMS["joint"].question)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("few units", "one or two groups"),
        ("no whole repeat", "no repeat has all its folds"),
        ("", "do not show"),
    ],
)
def test_a_comparison_without_an_interval_is_open_for_a_reason(reason, words):
    row = {"low": None, "high": None, "n": 10, "p": None, "reason": reason}
    assert words in explain(row, read(row, 1.0), ARMS["joint"].question)


def test_a_question_that_was_not_reached_is_exploratory():
    row, question = {"question": 4, "shown": None}, ARMS["joint"].question
    assert "This is exploratory" in explain(row, "better", question)
    assert "This is exploratory" in explain(row, "worse", question)
    assert "exploratory" not in explain(row, "same", question)
    assert "exploratory" not in explain(row | {"shown": True}, "better", question)
    assert "exploratory" not in explain(row | {"question": None}, "better", question)


def test_chosen_ratios_are_preferred_and_all_others_name_theirs(summary):
    rows = {row["name"]: row for row in summary["differences"]}
    assert list(rows) == [name for name in ARMS if name != "general"]
    assert rows["important"]["question"] == 4
    assert rows["important"]["a"] == "general (chosen)"
    assert (rows["random"]["a"], rows["random"]["ratio"]) == ("general", summary["shown_ratio"])


def test_an_arm_of_the_user_is_explained_with_its_own_question(with_own_arm):
    row = next(row for row in summarize(with_own_arm)["differences"] if row["name"] == "gradient")
    assert row["asks"] == "Is it better than gradient?"
    assert row["reading"] in ("open", "same", "better", "worse")


def test_every_comparison_is_drawn_at_its_value(summary, drawn):
    points = [line for line in drawn["differences"].axes[0].lines if line.get_marker() == "D"]
    assert [point.get_xdata()[0] for point in points] == [row["difference"] for row in summary["differences"]]
    filled = [point.get_markerfacecolor() == style.BLUE for point in points]
    assert filled == [row["shown"] is True for row in summary["differences"]]
    assert sum(filled) == 2  # of six declared ones


def test_one_dot_is_drawn_for_each_fit(summary, drawn):
    dots = [line for line in drawn["differences"].axes[0].lines if line.get_alpha() == 0.45]
    rows = [row for row in summary["differences"] if row["dots"]]
    assert len(dots) == len(rows) == len(summary["differences"])
    for line, row in zip(dots, rows, strict=True):
        assert len(line.get_xdata()) == summary["num_fits"]
        assert sum(line.get_xdata()) / len(line.get_xdata()) == pytest.approx(row["difference"])
