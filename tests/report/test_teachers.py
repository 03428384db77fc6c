"""The teachers: means over seeds, and the note above the table."""

import pytest

from mfh._report.sections.teachers import SECTION


def test_teachers_are_means_over_seeds_in_order(summary):
    names = [row["teacher"] for row in summary["teachers"]]
    assert names == ["regular", "joint", "unimodal", "general@0.25", "general@0.5", "general@0.75"]
    assert summary["teachers"][0] == {
        "teacher": "regular", "n": 10, "train": 100.0, "validation": 93.0, "test": 92.5,
        "entropy": pytest.approx(0.012), "saturated": pytest.approx(0.97),
    }  # fmt: skip


def test_the_note_compares_the_focused_teacher_with_the_best_one(summary):
    note = SECTION.intro(summary)
    focused = next(
        row["test"] for row in summary["teachers"] if row["teacher"] == f"general@{summary['shown_ratio']:g}"
    )
    assert f"the focused teacher reaches {focused:.1f}% on test data, the regular teacher 92.5%" in note
    assert note.endswith("The worse of the two teaches the better student.")
    teachers = [row | {"test": 50.0} if "@" not in row["teacher"] else row for row in summary["teachers"]]
    assert "worse of the two" not in SECTION.intro(summary | {"teachers": teachers})
