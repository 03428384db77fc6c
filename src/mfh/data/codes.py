"""Codes 0 ... K - 1 of values that name things: classes, groups, folds."""

from typing import Any

import numpy as np

from mfh._checks import require
from mfh.data.values import as_column, require_exact


def codes_of(name: str, values: Any, count: int | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return codes 0 ... K - 1 of integers or text, one per sample, and the K names.

    Args:
        name: of the argument, for errors.
        values: array, tensor, column of a data frame or list.
        count: number of samples, if it is known.

    Raises:
        InputError: a value is missing, or is neither an integer nor text.

    Example:
        >>> codes_of("group", ["b", "a", "b"])
        (array([1, 0, 1]), ('a', 'b'))
    """
    array = as_column(name, values, count)
    if array.dtype.kind == "f":
        require_exact(name, array)
        array = array.astype(np.int64)
    names, codes = np.unique(array, return_inverse=True)
    empty = [n for n in names if array.dtype.kind == "U" and not str(n).strip()]
    first = int(np.isin(array, empty).argmax())
    require(not empty, f"`{name}` must be given for every sample. It is empty at sample {first}.")
    return codes.astype(np.int64), tuple(str(n) for n in names)
