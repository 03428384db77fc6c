"""All students, as compact columns that the page's script filters and sorts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mfh._report.section import Section, Summary
from mfh._report.view import StudyView
from mfh.results import Record

MAX_RECORDS = 10_000
FIELDS: tuple[tuple[str, str, int | None], ...] = (
    ("Arm", "arm", None), ("Ratio", "ratio", 3), ("Fit", "seed", 0),
    ("Repeat", "repeat", 0), ("Fold", "fold", 0), ("Draw", "draw", 0), ("Loss", "loss", None),
    ("Metric", "metric", None), ("Train", "train", 2), ("Validation", "validation", 2), ("Test", "test", 2),
    ("Best epoch", "best_epoch", 0), ("Seconds", "seconds", 2),
)  # fmt: skip
"""Label, field of a record, and decimals; None for names."""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the students of all losses."""
    names = {"Validation": "Teacher, out of fold"} if view.few_labels else {}
    return {"student_explorer": pack_students(view.result.records, extra_digits=view.digits - 1, names=names)}


def pack_students(
    records: Sequence[Record], *, extra_digits: int = 0, names: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Return every trained student, column by column; a column without values is left out.

    Args:
        records: the students.
        extra_digits: decimals of the metric beyond the usual ones.
        names: other names of some columns.
    """
    shown = records[:MAX_RECORDS]
    if not shown:
        return None
    columns, has_folds = [], any(record.fold for record in shown)
    for usual, field, digits in FIELDS:
        label = (names or {}).get(usual, usual)
        values = [getattr(record, field) for record in shown]
        distinct = {value for value in values if value is not None}
        if not distinct or (field in ("metric", "loss") and len(distinct) == 1):
            continue
        if field in ("repeat", "fold") and not has_folds:
            continue
        if digits is None:
            columns.append(name_column(label, [None if name is None else str(name) for name in values]))
        else:
            more = extra_digits if field in ("train", "validation", "test") else 0
            columns.append(number_column(label, values, digits + more))
    return {"columns": columns, "count": len(shown), "left_out": len(records) - len(shown)}


def name_column(label: str, values: Sequence[str | None]) -> dict[str, Any]:
    """Return a column of names: each distinct name once, and a code for each row, -1 where there is none."""
    names = list(dict.fromkeys(name for name in values if name is not None))
    codes = {name: code for code, name in enumerate(names)}
    coded = [-1 if name is None else codes[name] for name in values]
    return {"label": label, "digits": None, "names": names, "values": coded}


def number_column(label: str, values: Sequence[float | int | None], digits: int) -> dict[str, Any]:
    """Return a column of numbers, rounded to one decimal more than is shown."""
    rounded = [None if v is None or not np.isfinite(v) else round(v, max(digits + 1, 3)) for v in values]
    return {"label": label, "digits": digits, "values": rounded}


SECTION = Section(
    name="every-student",
    heading="Every student",
    summarize=summarize,
    template="""{{ explorer("students", "Table of all students", s.student_explorer) }}""",
    is_shown=lambda summary: bool(summary["student_explorer"]),
)
