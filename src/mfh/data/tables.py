"""Tables: read csv and parquet files, and find columns by name or pattern."""

import csv
import difflib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfh._checks import InputError, fail, listing, one_line, require

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".tsv", ".txt", ".parquet")
"""Endings of the files that are read as tables."""
DELIMITERS = (",", ";", "\t", "|")
Columns = str | Sequence[str]


def is_table(path: object) -> bool:
    """Return whether the name of a file is that of a table.

    >>> is_table("patients.csv"), is_table("mfeat.npz")
    (True, False)
    """
    return isinstance(path, (str, Path)) and Path(path).suffix.lower() in TABLES


def read_table(path: Path | str, *, delimiter: str | None = None, decimal: str = ".") -> "pd.DataFrame":
    """Read a table whose first row names its columns.

    Args:
        path: a csv file in UTF-8, with or without a byte order mark, or a parquet file, which needs pyarrow.
        delimiter: what separates the values of a csv; by default a comma, and a tab in a `.tsv`.
        decimal: the decimal sign of the numbers in a csv.

    Raises:
        InputError: the file cannot be read as a table, a column has no name, or two have the same; there are
            no rows.
    """
    import pandas as pd

    path = Path(path)
    require(path.is_file(), f"`{path}` does not exist, or is no file.")
    if path.suffix.lower() == ".parquet":
        table = _read_parquet(path)
    else:
        delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
        require(len(delimiter) == 1, f"`delimiter` must be one character. Got {delimiter!r}.")
        require(
            len(decimal) == 1 and decimal != delimiter,
            f"`decimal` must be one character that is not the delimiter. Got {decimal!r}"
            + (
                f": the delimiter is {delimiter!r} too, name another by `delimiter`."
                if decimal == delimiter
                else "."
            ),
        )
        _require_names(_header(path, delimiter), path)
        form: Any = {"sep": delimiter, "decimal": decimal, "encoding": "utf-8-sig"}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows longer than the first
                table = pd.read_csv(path, **form, low_memory=False, index_col=False)
        except (OSError, ValueError, pd.errors.ParserWarning) as error:
            raise InputError(f"`{path}` cannot be read as a csv: {one_line(error)}") from None
    _require_names([str(name) for name in table.columns], path)
    require(len(table) > 0, f"`{path}` must have a row for each sample. It has none.")
    return table


def require_columns(table: "pd.DataFrame") -> None:
    """Raise `InputError` unless every column of a data frame has a name of its own."""
    _require_names([str(name) for name in table.columns], "the data frame")


def find_columns(table: "pd.DataFrame", wanted: Columns, role: str) -> list[str]:
    """Return the names of columns, in the order of the table for a pattern.

    Args:
        table: the table.
        wanted: one name or pattern, such as `vital_*`, or several. In one text they may be separated by
            commas.
        role: what the columns are for, for errors.

    Raises:
        InputError: a name is not in the table, or a pattern matches nothing.

    Example:
        >>> import pandas
        >>> table = pandas.DataFrame(columns=["crp", "vital_pulse", "vital_pressure"])
        >>> find_columns(table, "crp,vital_*", "modality `all`")
        ['crp', 'vital_pulse', 'vital_pressure']
    """
    names = [str(name) for name in table.columns]
    if isinstance(wanted, str):
        wanted = [wanted] if wanted in names else [part.strip() for part in wanted.split(",")]
    found: dict[str, None] = {}
    for part in wanted:
        matches = [part] if part in names else [name for name in names if fnmatchcase(name, str(part))]
        near = difflib.get_close_matches(str(part), names, n=1)
        require(
            bool(matches),
            f"{role[0].upper()}{role[1:]} must name columns of the table. It has no column `{part}`"
            + (f": did you mean `{near[0]}`?" if near else f". It has {listing(names)}."),
        )
        found |= dict.fromkeys(matches)
    require(bool(found), f"{role[0].upper()}{role[1:]} must name one column or more.")
    return list(found)


def parse_modalities(texts: Sequence[str]) -> dict[str, str]:
    """Return modality -> columns for texts such as `lab=crp,wbc`.

    Example:
        >>> parse_modalities(["lab=crp,wbc", "vitals=vital_*"])
        {'lab': 'crp,wbc', 'vitals': 'vital_*'}
    """
    modalities: dict[str, str] = {}
    for text in texts:
        name, sign, columns = text.partition("=")
        require(
            bool(name.strip() and sign and columns.strip()),
            f"`modality` must be a name and columns, such as lab=crp,wbc. Got {text!r}.",
        )
        require(
            name.strip() not in modalities, f"`modality` must name each modality once. Got {name!r} twice."
        )
        modalities[name.strip()] = columns
    return modalities


def columns_by_modality(
    table: "pd.DataFrame", modalities: Mapping[str, Columns], taken: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return the columns of each modality.

    Args:
        table: the table.
        modalities: name -> names or patterns of columns.
        taken: role, such as `label` -> columns, which cannot be in a modality.

    Raises:
        InputError: a column does not exist, or has a role already.
    """
    if not isinstance(modalities, Mapping) or len(modalities) < 2:
        free = [str(n) for n in table.columns if not any(n in names for names in taken.values())]
        fail(
            "`modalities` must name two modalities or more and their columns, such as lab=crp,wbc "
            f"(`--modality lab=crp,wbc`). The table has {listing(free)}."
        )
    found = {name: find_columns(table, columns, f"modality `{name}`") for name, columns in modalities.items()}
    for name, columns in found.items():
        for role, names in taken.items():
            both = [column for column in columns if column in names]
            require(
                not both,
                f"Modality `{name}` must not contain the {role}, {listing(both)}: name its columns one by "
                "one, or with another pattern.",
            )
    return found


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(path, engine="pyarrow")
    except ImportError:
        return fail(f"`{path}` needs pyarrow: pip install 'mfh[tables]', or save the table as csv.")
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read as parquet: {one_line(error)}") from None


def _header(path: Path, delimiter: str) -> list[str]:
    """Return the names in the first row of a csv; refuse a delimiter that leaves one column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, delimiter=delimiter), [])
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"`{path}` cannot be read as a csv in UTF-8: {one_line(error)}") from None
    require(bool(names), f"`{path}` must name its columns in the first row. It is empty.")
    line = delimiter.join(names)
    likely = max(DELIMITERS, key=line.count)
    require(
        len(names) > 1 or line.count(likely) == 0,
        f"`{path}` must have its columns separated by {delimiter!r}. Its first row is one column, "
        f"`{line[:60]}`: give `delimiter` {likely!r} (`--delimiter`).",
    )
    return names


def _require_names(names: Sequence[str], table: object) -> None:
    where = f"`{table}`" if isinstance(table, Path) else table
    empty = next((number for number, name in enumerate(names, start=1) if not name.strip()), None)
    require(
        empty is None,
        f"Every column of {where} must have a name. Column {empty} has none: name it, or write the table "
        "without it (`index=False` in pandas).",
    )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    require(
        not repeated,
        f"Every column of {where} must have a name of its own. Several are called {listing(repeated)}.",
    )
