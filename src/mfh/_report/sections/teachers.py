"""The teachers of a study: their metric on each split, and how soft their outputs are."""

from collections.abc import Sequence
from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.sections.findings import best_teacher
from mfh._report.tables import Table, cell, table
from mfh._report.view import StudyView, arm_order
from mfh._report.wording import number, percent
from mfh.arms import TEACHERS
from mfh.results import TeacherRecord

SPLITS = {"train": "Train", "validation": "Validation", "test": "Test"}
"""Field of a record -> its column."""
FEW_LABELS = {"validation": "Out-of-fold", "test": "Test"}
"""The same where labels are missing; all training labels have served the networks, or their folds."""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the means of every teacher, and the arms that learn from the ordinary ones."""
    ordinary = {str(arm.teacher_name(view.source)): arm.name for arm in view.ordinary_arms}
    return {"teachers": _means(view, view.result.teachers), "ordinary": ordinary}


def _means(view: StudyView, teachers: Sequence[TeacherRecord]) -> list[dict[str, Any]]:
    """Return the means over fits, with focused teachers last and by ratio."""
    groups: dict[str, list[TeacherRecord]] = {}
    for teacher in teachers:
        groups.setdefault(teacher.teacher, []).append(teacher)
    rows = []
    for name, group in groups.items():
        row: dict[str, Any] = {"teacher": name, "n": len(group)}
        for field in ("train", "validation", "test", "entropy", "saturated"):
            values = [v for teacher in group if (v := getattr(teacher, field)) is not None]
            row[field] = sum(values) / len(values) if values else None
        rows.append(row)
    order = arm_order([*TEACHERS, *view.arms])

    def rank(row: dict[str, Any]) -> tuple[bool, tuple[int, str, bool], float]:
        name, _, ratio = row["teacher"].partition("@")
        try:
            return bool(ratio), order(name), float(ratio or 0)
        except ValueError:
            return True, order(row["teacher"]), 0.0

    return sorted(rows, key=rank)


def build(summary: Summary) -> Table | None:
    """Return the table of the teachers."""
    columns = FEW_LABELS if summary["few_labels"] else SPLITS
    rows = [
        [
            cell(_name(row["teacher"])),
            *(cell(number(row[split], summary["digits"]), row[split]) for split in columns),
            cell(number(row["entropy"], 3), row["entropy"]),
            cell(percent(row["saturated"]), row["saturated"]),
            cell(row["n"], row["n"]),
        ]
        for row in summary["teachers"]
    ]
    splits = [f"{label} #" for label in columns.values()]
    heads = ("Teacher", *splits, "Entropy, nats #", "Over .99 #", "Fits #")
    where = "on labelled samples out of fold, and on test data" if summary["few_labels"] else "on each split"
    caption = f"{wording.title(summary['metric'])} {where}"
    if any(row["entropy"] is not None for row in summary["teachers"]):
        caption += (
            "; mean entropy of the soft labels on training data; share of training samples with a "
            "probability over .99"
        )
    return table("teachers", caption, heads, rows)


def _name(teacher: str) -> str:
    arm, _, ratio = teacher.partition("@")
    return f"{arm} at {ratio}" if ratio else arm


def _intro(summary: Summary) -> str:
    """Return how good the focused teacher is beside the best one with all its channels."""
    if summary["few_labels"]:
        return (
            "Out of fold: each labelled sample is judged by networks that were trained without its label. "
            "These outputs choose the weights of the stack, and whatever else must be chosen."
        )
    ratio, head = summary["shown_ratio"], summary["head"]
    focused = next(
        (row for row in summary["teachers"] if ratio and row["teacher"] == f"{head}@{ratio:g}"), None
    )
    best = best_teacher(summary)
    if focused is None or focused["test"] is None or best is None:
        return "A better teacher is not always the one that teaches better."
    values = [f"{number(row['test'], summary['digits'])}{summary['unit']}" for row in (focused, best)]
    text = (
        f"At ratio {ratio:g} the focused teacher reaches {values[0]} on test data, the {best['teacher']} "
        f"teacher {values[1]} ({summary['metric']})."
    )
    worse = focused["test"] < best["test"] if summary["higher_is_better"] else focused["test"] > best["test"]
    arm = summary["ordinary"][best["teacher"]]
    row = next((row for row in summary["differences"] if row["name"] == arm), None)
    if worse and row is not None and row["reading"] == "better":
        text += " The worse of the two teaches the better student."
    return text


SECTION = Section(name="teachers", heading="Teachers", summarize=summarize, intro=_intro, tables=(build,))
