"""Tables as captions, columns and cells; the page, LaTeX and Markdown only lay them out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mfh._report import wording
from mfh._report.wording import Number, number, shorten

Table = dict[str, Any]
Cell = dict[str, Any]

MAX_ROWS = 1000  # of a table; the file of results has all


def cell(text: object, value: Number = None, note: str = "") -> Cell:
    """Return a cell: its text, the number that it is sorted by, and a smaller line below."""
    return {"text": str(text), "value": value, "note": note}


def ratio_cell(ratio: Number) -> Cell:
    """Return the cell of a ratio; a dash where there is none."""
    return cell(wording.NOTHING if ratio is None else f"{ratio:g}", ratio)


def table(
    name: str, caption: str, columns: Iterable[str], rows: Sequence[Sequence[Cell]], *, most: int = MAX_ROWS
) -> Table | None:
    """Return a table of at most `most` rows; None without rows.

    A column whose name ends in `#` has numbers; it is left out if it has none.
    """
    if not rows:
        return None
    heads = [{"label": label.rstrip("#").strip(), "numeric": label.endswith("#")} for label in columns]
    kept = [
        i for i, h in enumerate(heads) if not h["numeric"] or any(r[i]["value"] is not None for r in rows)
    ]
    return {
        "name": name,
        "caption": caption,
        "columns": [heads[i] for i in kept],
        "rows": [[row[i] for i in kept] for row in rows[:most]],
        "left_out": max(len(rows) - most, 0),
    }


def pairs(name: str, caption: str, rows: Sequence[tuple[str, object]]) -> Table | None:
    """Return a table of fields and their values."""
    return table(name, caption, ("Field", "Value"), [[cell(key), cell(value)] for key, value in rows])


def mappings(name: str, caption: str, rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return a table of mappings; the keys of any of them are its columns."""
    columns: dict[Any, int | None] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        known = [row[key] for row in rows if row.get(key) not in (None, "")]
        if known:
            columns[key] = _digits(known) if all(map(is_number, known)) else None
    cells = [
        [
            cell(shorten(plain_text(row.get(key)), 60))
            if digits is None
            else cell(number(row.get(key), digits), row.get(key))
            for key, digits in columns.items()
        ]
        for row in rows
    ]
    heads = [label(key) + ("" if digits is None else " #") for key, digits in columns.items()]
    return table(name, caption, heads, cells)


def is_number(value: object) -> bool:
    """Return whether a value is a number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _digits(values: Sequence[float | int]) -> int:
    """Return the decimals of a column: none for whole numbers, three for shares, two for all others."""
    if all(float(value).is_integer() for value in values):
        return 0
    return 3 if all(0 <= value <= 1 for value in values) else 2


def label(key: object) -> str:
    """Return a key as words."""
    return str(key).replace("_", " ")


def plain_text(value: object) -> str:
    """Return a value as text; structures become short JSON."""
    if value is None:
        return wording.NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and all(not isinstance(item, (list, dict)) for item in value):
        more = f" and {len(value) - 50:,} more" if len(value) > 50 else ""
        return ", ".join(str(item) for item in value[:50]) + more
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
    return text if len(text) <= 2000 else text[:2000] + "\N{HORIZONTAL ELLIPSIS}"
