"""Columns of a table as numbers: values, one-hot categories, indicators of missing values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mfh._checks import InputError, fail, require

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 50
"""Different values up to which text counts as a category; a column of pandas' type category may have more."""
_DATE = re.compile(r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ]\d.*)?\s*")


@dataclass(frozen=True)
class Features:
    """What the values of a modality mean that was read from a table.

    Attributes:
        names: one name for each value: the column; `column=category`; `column missing`.
        category: whether each value is 1 for one category and else 0.
        gaps: whether numbers may be missing: they are NaN, and filled in by training rows.
    """

    names: tuple[str, ...]
    category: tuple[bool, ...]
    gaps: bool = False

    @property
    def is_prepared(self) -> bool:
        """Whether what a network gets depends on the training rows, also without standardisation."""
        return self.gaps or any(self.category)


def encode(
    table: "pd.DataFrame", columns: Sequence[str], modality: str, impute: str | None
) -> tuple[np.ndarray, Features]:
    """Return the values of a modality, float64 (sample, value), NaN where a number is missing.

    A sample without any value lacks the modality: it is NaN throughout, and does not count as missing values.

    Args:
        table: the table.
        columns: names of the columns of the modality.
        modality: its name, for errors.
        impute: None refuses missing values; `median` adds an indicator for each column that has some.

    Raises:
        InputError: a column has dates, free text, mixed types or infinite numbers, or no value at all; values
            are missing.
    """
    blocks: list[np.ndarray] = []
    names: list[str] = []
    category: list[bool] = []
    lacking: dict[str, np.ndarray] = {}
    gone = np.asarray(table[list(columns)].isna().all(axis=1), dtype=bool)
    for column in columns:
        series = table[column]
        missing = np.asarray(series.isna(), dtype=bool)
        require(
            not missing.all(),
            f"Column `{column}` of modality `{modality}` has no value in any row: leave it out.",
        )
        if (missing & ~gone).any():
            lacking[column] = missing & ~gone
        block, labels = _values(series, column, missing)
        blocks.append(block)
        names += labels
        category += [len(labels) > 1 or labels[0] != column] * len(labels)
    if lacking and impute is None:
        counts = [f"{name} ({int(missing.sum()):,})" for name, missing in lacking.items()]
        fail(
            f"Modality `{modality}` must have no missing values. Of {len(table):,} rows they are missing in "
            f"{', '.join(counts[:12])}{' and more columns' if len(counts) > 12 else ''}: give `impute` "
            "'median' (`--impute median`), drop these rows, or leave the columns out."
        )
    blocks += [missing[:, None].astype(float) for missing in lacking.values()]
    names += [f"{name} missing" for name in lacking]
    category += [False] * len(lacking)
    values = np.concatenate(blocks, axis=1)
    gaps = bool(np.isnan(values[~gone]).any())
    values[gone] = np.nan
    return values, Features(tuple(names), tuple(category), gaps)


def kind_of(values: "pd.Series[Any]") -> str:
    """Return what a column is as a feature: number, category, text, dates, mixed or empty."""
    missing = np.asarray(values.isna(), dtype=bool)
    if missing.all():
        return "empty"
    try:
        _, names = _values(values, str(values.name), missing)
    except InputError as error:
        words = {"dates or times": "dates", "different values": "text"}
        return next((kind for text, kind in words.items() if text in str(error)), "mixed")
    return "number" if names == [str(values.name)] else "category"


def _values(values: "pd.Series[Any]", column: str, missing: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return a column as numbers, (sample, value), and the names of the values."""
    import pandas as pd

    types = pd.api.types
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _one_hot(values.astype(object), column, missing)
    if types.is_bool_dtype(values.dtype) or types.is_numeric_dtype(values.dtype):
        return _numbers(values, column), [column]
    if (
        types.is_datetime64_any_dtype(values.dtype)
        or values.dtype.kind in "mM"
        or hasattr(values.dtype, "freq")
    ):
        return _refuse_dates(column, values[~missing].iloc[0])
    known = values[~missing]
    kinds = {"text" if isinstance(value, (str, bytes)) else _kind(value) for value in known}
    if kinds <= {"number"}:
        return _numbers(pd.to_numeric(values.astype(object)), column), [column]
    if kinds == {"dates"}:
        return _refuse_dates(column, known.iloc[0])
    require(
        kinds == {"text"},
        f"Column `{column}` must hold numbers, or categories. It mixes {' and '.join(sorted(kinds))}: give "
        "it one type, or leave it out.",
    )
    _require_categories(known.astype(str), np.flatnonzero(~missing), column)
    return _one_hot(values, column, missing)


def _kind(value: Any) -> str:
    if isinstance(value, (bool, int, float, np.number, np.bool_)) or type(value).__name__ == "Decimal":
        return "number"
    return "dates" if hasattr(value, "isoformat") else f"values of type {type(value).__name__}"


def _numbers(values: "pd.Series[Any]", column: str) -> np.ndarray:
    require(
        values.dtype.kind != "c",
        f"Column `{column}` must hold real numbers. Got {values.dtype}: leave it out.",
    )
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(numbers)
    require(
        not infinite.any(),
        f"Column `{column}` must hold finite numbers. It is infinite at sample {int(infinite.argmax())} "
        f"({int(infinite.sum()):,} in all): correct these values, or make them missing.",
    )
    return numbers[:, None]


def _require_categories(known: "pd.Series[str]", rows: np.ndarray, column: str) -> None:
    """Refuse text that is no category: dates, numbers with something else between them, free text."""
    import pandas as pd

    texts = known.str.strip()
    if texts.map(lambda text: bool(_DATE.fullmatch(text))).all():
        _refuse_dates(column, known.iloc[0])
    comma = texts.str.fullmatch(r"[+-]?[\d.]*,\d+([eE][+-]?\d+)?").to_numpy(bool)
    number = np.asarray(pd.to_numeric(texts, errors="coerce").notna(), dtype=bool)
    if comma.any() and (comma | number).all():
        example = known.iloc[int(comma.argmax())]
        raise InputError(
            f"Column `{column}` must hold numbers with a decimal point. Got `{example}`: read the file with "
            "`--decimal ,` (in pandas `decimal=','`)."
        )
    if number.sum() > len(number) / 2 and not number.all():
        first = int((~number).argmax())
        raise InputError(
            f"Column `{column}` must hold numbers, or categories. {int((~number).sum()):,} of its values are "
            f"text, first `{known.iloc[first]:.40}` at sample {rows[first]}: make them missing, or "
            "numbers."
        )
    different = texts.nunique()
    require(
        different <= MOST_CATEGORIES and (different <= len(texts) / 2 or different <= 2),
        f"Column `{column}` must hold numbers, or categories that repeat. It holds text with {different:,} "
        f"different values in {len(texts):,} rows, such as `{known.iloc[0]:.40}`: leave it out, or, if these "
        "are categories, give it pandas' type category.",
    )


def _refuse_dates(column: str, value: object) -> Any:
    fail(
        f"Column `{column}` must hold numbers, or categories. It holds dates or times, such as `{value}`: "
        "turn them into numbers, such as days since a date, or leave the column out."
    )


def _one_hot(values: "pd.Series[Any]", column: str, missing: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return 1 for the category of each sample, else 0; all 0 where it is missing."""
    texts = np.array(["" if gone else str(v) for v, gone in zip(values, missing, strict=True)])
    categories = np.unique(texts[~missing])
    block = (texts[:, None] == categories) & ~missing[:, None]
    return block.astype(float), [f"{column}={name}" for name in categories]
