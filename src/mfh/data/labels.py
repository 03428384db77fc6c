"""Labels of every task: classes, sets of labels, numbers, or one class for each position."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from mfh._checks import choice, fail, listing, require
from mfh.data.values import as_array, as_column, require_exact
from mfh.tasks import TASKS, explain_task

VOID = 255
"""The usual value of positions without a class in maps of classes."""

_RESOLVED = 0.01
"""Error by rounding to 32-bit floats, in standard deviations of a target, up to which it does not matter."""

UNLABELLED = -1
"""Class of a sample, or of a position of dense labels, that has none; NaN where labels are floats."""

logger = logging.getLogger(__name__)


def is_labelled(label: Shaped[Tensor, "sample ..."]) -> Bool[Tensor, " sample"]:
    """Return whether each sample has a label: a class, a number or a position with a class.

    Example:
        >>> is_labelled(torch.tensor([2, -1, 0])).tolist()
        [True, False, True]
    """
    known = ~label.isnan() if label.is_floating_point() else label >= 0
    return known if known.ndim == 1 else known.flatten(1).any(dim=1)


def read_labels(
    label: Any, names: Sequence[str] | None, task: str | None
) -> tuple[Tensor, tuple[str, ...], str]:
    """Return labels as a tensor, the names of a network's outputs, and the task, which is logged.

    Args:
        label: an array; see `PairedDataset.from_arrays`.
        names: names of classes, labels or targets; None takes them from `label` or numbers them.
        task: None infers it; see `mfh.tasks.explain_task`.

    Raises:
        InputError: the labels do not fit the task, or `names` does not fit the labels.
    """
    array = as_array("label", label)
    require(array.ndim * array.size > 0, f"`label` must hold a value per sample. Got shape {array.shape}.")
    names = None if names is None else _checked_names(names)
    reason = "It was given."
    if task is None:
        _require_complete_rows(array)
        task, reason = explain_task(array)
        reason = f"Inferred from `label`, because {reason}; `task` sets another."
    choice("task", task, tuple(TASKS))
    if task == "single-label":
        codes, names = _classes(array, names)
    else:
        require(
            array.dtype.kind in "fiub",
            f"`label` must hold numbers for the task {task}. Got {_kind(array)} instead.",
        )
        read = {"multi-label": _label_sets, "regression": _numbers, "dense": _positions}[task]
        codes, count = read(array, names)
        names = tuple(str(i) for i in range(count)) if names is None else names
        require(
            len(names) == count or (task == "dense" and len(names) > count),
            f"`class_names` must have {count} names, one for each output that `label` asks for. Got "
            f"{len(names)}: {listing(names)}.",
        )
    logger.info("Task: %s. Number of %s: %d. %s", task, TASKS[task].names, len(names), reason)
    return torch.from_numpy(np.ascontiguousarray(codes)), names, task


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


def labels_before(label: Tensor, names: Sequence[str], task: str) -> tuple[np.ndarray, Sequence[str] | None]:
    """Return the labels as they were before they were read for `task`, and names that they do not tell.

    Args:
        label: see `PairedDataset`.
        names: see `PairedDataset.class_names`.
        task: the task for which they were read.
    """
    array = label.numpy()
    if task == "regression" and array.shape[1] == 1:
        return array[:, 0], None
    if task != "single-label":
        return array, names
    try:
        return np.asarray([int(name) for name in names])[array], None
    except ValueError:
        return np.asarray(names)[array], None


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    require(not isinstance(names, (str, bytes)), f"`class_names` must be a list of names. Got {names!r:.60}.")
    texts = tuple(str(name) for name in as_array("class_names", names).ravel())
    repeated = sorted({name for name in texts if texts.count(name) > 1})
    require(not repeated, f"`class_names` must differ. Got {listing(repeated)} more than once.")
    return texts


def _kind(array: np.ndarray) -> str:
    return "text" if array.dtype.kind == "U" else str(array.dtype)


def _require_complete_rows(array: np.ndarray) -> None:
    """Refuse -1 in rows of labels, where it can only mean that a label is missing."""
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "fi":
        rows = (array == -1).any(axis=1)
        require(
            not (rows.any() and np.isin(array, (-1, 0, 1)).all() and (array == 0).any()),
            f"`label` must hold 0 and 1 in rows of several labels. Got -1 at sample {int(rows.argmax())} "
            f"({int(rows.sum())} in all): leave samples without labels out, or name the task regression if "
            "these are numbers.",
        )


def _classes(array: np.ndarray, names: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "fiub":
        one_each = bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())
        if one_each:
            return _one_of_each_row(array, names)
    require(
        array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1),
        f"`label` must hold one class per sample for the task single-label: shape (sample,), (sample, 1), or "
        f"rows with exactly one 1. Got shape {array.shape} instead.",
    )
    array = as_column("label", array)
    codes, found = codes_of("label", array)
    if names is None:
        _require_labelled(array)
    elif array.dtype.kind == "U":
        unknown = [name for name in found if name not in names]
        require(not unknown, f"`class_names` must have every class of `label`. It lacks {listing(unknown)}.")
        codes = np.asarray([names.index(name) for name in found])[codes]
    else:
        inside = (array >= 0) & (array < len(names))
        require(
            bool(inside.all()),
            f"`label` must lie in 0 ... {len(names) - 1}, one per name in `class_names`. "
            f"Got {array[inside.argmin()]} at sample {inside.argmin()}.",
        )
        codes = array.astype(np.int64)
    names = found if names is None else names
    require(len(names) >= 2, f"`label` must hold two classes or more. Got only {listing(names)}.")
    return codes, names


def _one_of_each_row(array: np.ndarray, names: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    count = array.shape[1]
    names = tuple(str(i) for i in range(count)) if names is None else names
    require(
        len(names) == count,
        f"`class_names` must have {count} names, one for each column of `label`. Got {len(names)}.",
    )
    return array.argmax(axis=1).astype(np.int64), names


def _require_labelled(array: np.ndarray) -> None:
    """Refuse -1 among classes, which marks samples without a label; -1 and 1 alone are two classes."""
    if array.dtype.kind not in "fi" or set(np.unique(array).tolist()) <= {-1, 1}:
        return
    without = array == -1
    require(
        not without.any(),
        f"`label` must be given for every sample. Got -1, which marks a sample without a label, at sample "
        f"{int(without.argmax())} ({int(without.sum())} in all): leave these samples out, or, if -1 is a "
        "class, give the classes as text.",
    )


def _label_sets(array: np.ndarray, _: object) -> tuple[np.ndarray, int]:
    require(
        array.ndim == 2 and bool(np.isin(array, (0, 1)).all()),
        "`label` must be of shape (sample, label) and hold 0 and 1 for the task multi-label. Got shape "
        f"{array.shape} with values {array.min()} to {array.max()}.",
    )
    constant = [i for i in range(array.shape[1]) if array[:, i].min() == array[:, i].max()]
    require(
        not constant,
        f"`label` must differ between samples. Label {listing(constant)} is the same for all: leave it out.",
    )
    return array.astype(np.float32), array.shape[1]


def _numbers(array: np.ndarray, _: object) -> tuple[np.ndarray, int]:
    require(
        array.ndim <= 2,
        "`label` must be of shape (sample,) or (sample, target) for the task regression. Got shape "
        f"{array.shape}.",
    )
    with np.errstate(over="ignore"):  # found below
        exact = array.reshape(len(array), -1)
        values = exact.astype(np.float32) + 0  # -0.0 becomes 0.0
    bad = ~np.isfinite(values).all(axis=1)
    require(
        not bad.any(),
        f"`label` must be finite. It is not at sample {int(bad.argmax())} ({int(bad.sum())} in all): leave "
        "these samples out.",
    )
    low, high = exact.min(axis=0), exact.max(axis=0)
    lost = np.abs(values - exact).max(axis=0) > _RESOLVED * exact.std(axis=0, dtype=np.float64)
    lost &= low < high
    target = int(lost.argmax())
    require(
        not lost.any(),
        f"`label` must differ by more than 32-bit floats can tell. Target {target} lies between "
        f"{low[target]:.12g} and {high[target]:.12g}: subtract its mean, or rescale it.",
    )
    return values, values.shape[1]


def _positions(array: np.ndarray, names: tuple[str, ...] | None) -> tuple[np.ndarray, int]:
    whole = array.dtype.kind in "iub" or bool((array == np.round(array)).all())
    require(
        array.ndim > 2 and whole and bool(array.min() >= 0),
        "`label` must be of shape (sample, *position) and hold classes 0, 1, ... for the task dense. Got "
        f"shape {array.shape} with values {array.min()} to {array.max()}.",
    )
    values = array.astype(np.int64)
    require(bool(values.max() > 0), "`label` must hold two classes or more. Got only class 0.")
    if names is None:
        _require_no_void(values)
    return values, int(values.max()) + 1


def _require_no_void(values: np.ndarray) -> None:
    """Refuse a largest class far beyond the others: it marks positions without a class."""
    found = np.unique(values)
    last, before = int(found[-1]), int(found[-2]) if len(found) > 1 else -1
    apart = last - before > 1 if last == VOID else last > 2 * before + 16
    if apart:
        sample = int((values == last).reshape(len(values), -1).any(axis=1).argmax())
        positions = int((values == last).sum())
        fail(
            f"`label` must hold classes 0, 1, ... at every position. Got {last} at {positions} positions, "
            f"first in sample {sample}, but no class between {before} and {last}. If {last} marks positions "
            "without a class, give them a class or cut them off. If it is a class, give `class_names` with "
            f"{last + 1} names."
        )
