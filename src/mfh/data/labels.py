"""Labels of samples, some of which may have none, for every task."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mfh._checks import choice, listing, require
from mfh.data.labels_by_task import classes, label_sets, numbers, positions
from mfh.data.values import as_array, with_gaps
from mfh.tasks import TASKS, UNLABELLED, explain_task

logger = logging.getLogger(__name__)


def read_labels(
    label: Any, names: Sequence[str] | None, task: str | None, *, ignore_index: int | None = None
) -> tuple[Tensor, tuple[str, ...], str]:
    """Return labels as a tensor, the names of a network's outputs, and the task, which is logged.

    Args:
        label: an array; see `PairedDataset.from_arrays`.
        names: names of classes, labels or targets; None takes them from `label` or numbers them.
        task: None infers it; see `mfh.tasks.explain_task`.
        ignore_index: value of the positions of dense labels that have no class; by default `IGNORED`, if that
            is no class.

    Returns:
        Labels, -1 or NaN where they are missing (see `PairedDataset`); names; task.

    Raises:
        InputError: the labels do not fit the task, or `names` does not fit the labels; no sample has a label.
    """
    array, missing = with_gaps("label", label)
    require(array.ndim * array.size > 0, f"`label` must hold a value per sample. Got shape {array.shape}.")
    names = None if names is None else _checked_names(names)
    rows, marked = _unlabelled_rows(array, missing, task, names)
    require(not rows.all(), f"`label` must be given for one sample or more. All {len(rows)} are missing.")
    if rows.any():  # so that every check below sees labels only, at the places that messages name
        array = array.copy()
        array[rows] = array[np.flatnonzero(~rows)[0]]
    reason = "It was given."
    if task is None:
        _require_complete_rows(array)
        task, reason = explain_task(array)
        reason = f"Inferred from `label`, because {reason}; `task` sets another."
    choice("task", task, tuple(TASKS))
    require(
        ignore_index is None or task == "dense",
        f"`ignore_index` must be left out for the task {task}: it marks positions of dense labels.",
    )
    codes, names, rows = _read(array, names, task, missing, rows, ignore_index)
    logger.info("Task: %s. Number of %s: %d. %s", task, TASKS[task].names, len(names), reason)
    if rows.any():
        _log_unlabelled(rows, marked)
        codes[rows] = np.nan if codes.dtype.kind == "f" else UNLABELLED
    return torch.from_numpy(np.ascontiguousarray(codes)), names, task


def _read(
    array: np.ndarray,
    names: tuple[str, ...] | None,
    task: str,
    missing: np.ndarray,
    rows: np.ndarray,
    ignore_index: int | None,
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Return the labels of a task, names, and which samples have no label."""
    if task != "dense":
        _require_all_or_none(missing, rows)
    if task == "single-label":
        return *classes(array, names, rows), rows
    require(
        array.dtype.kind in "fiub",
        f"`label` must hold numbers for the task {task}. Got {_kind(array)} instead.",
    )
    if task == "dense":
        codes, count, rows = positions(array, missing, names, ignore_index)
    else:
        codes, count = label_sets(array) if task == "multi-label" else numbers(array, ~rows)
    names = tuple(str(i) for i in range(count)) if names is None else names
    require(
        len(names) == count or (task == "dense" and len(names) > count),
        f"`class_names` must have {count} names, one for each output that `label` asks for. Got "
        f"{len(names)}: {listing(names)}.",
    )
    return codes, names, rows


def _unlabelled_rows(
    array: np.ndarray, missing: np.ndarray, task: str | None, names: tuple[str, ...] | None
) -> tuple[np.ndarray, bool]:
    """Return which samples have no label, and whether -1 marks some of them.

    -1 is a mark among classes and in rows of 0 and 1, as in scikit-learn. It is none for regression and dense
    labels, and where -1 and 1 are all the values.
    """
    rows = np.asarray(missing.reshape(len(missing), -1).all(axis=1))
    if array.ndim > 2 or array.dtype.kind not in "fi" or task in ("regression", "dense"):
        return rows, False
    values = array.reshape(len(array), -1)
    minus = (values == UNLABELLED).all(axis=1) & ~rows
    others = values[~rows & ~minus]
    if not minus.any() or not len(others):
        return rows, False
    if values.shape[1] > 1:
        marked = bool(np.isin(others, (0, 1)).all())
    else:
        marked = bool((others == np.round(others)).all()) and (names is not None or bool((others != 1).any()))
        if names is None and bool((others == 1).all()):
            logger.info("`label` holds -1 and 1 alone: they are two classes, and every sample has a label.")
        low = others.min()
        require(
            not marked or bool(low >= 0),
            f"`label` must hold classes from 0 on if -1 marks samples without a label. Got -1 and {low}: "
            "give the classes as text, or name the task regression if these are numbers.",
        )
    return (np.asarray(rows | minus), True) if marked else (rows, False)


def _log_unlabelled(rows: np.ndarray, marked: bool) -> None:
    """Log how many samples have no label; -1 could be meant as a class, so it is worth a warning."""
    text = f"{int(rows.sum()):,} of {len(rows):,} samples have no label"
    if marked:
        logger.warning("%s: -1 marks them. If -1 is a class, give the classes as text.", text)
    else:
        logger.info("%s.", text)


def _require_all_or_none(missing: np.ndarray, rows: np.ndarray) -> None:
    """Refuse a sample with some of its labels."""
    some = missing.reshape(len(missing), -1).any(axis=1) & ~rows
    require(
        not some.any(),
        f"`label` must have every label of a sample, or none of them. Sample {int(some.argmax())} lacks some "
        f"({int(some.sum())} in all): fill them in, or make the whole row NaN.",
    )


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
        return np.ma.masked_array(array, array == UNLABELLED) if task == "dense" else array, names
    try:
        values = np.asarray([int(name) for name in names])[array]
    except ValueError:
        values = np.asarray(names)[array]
    return np.ma.masked_array(values, array == UNLABELLED), None


def output_names(names: tuple[str, ...], task: str, column: str | None) -> tuple[str, ...]:
    """Return the names of a network's outputs; the only target of a regression is called as its column.

    >>> output_names(("0",), "regression", "age"), output_names(("0", "1"), "single-label", "ill")
    (('age',), ('0', '1'))
    """
    return (column,) if column is not None and task == "regression" and len(names) == 1 else names


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    require(not isinstance(names, (str, bytes)), f"`class_names` must be a list of names. Got {names!r:.60}.")
    texts = tuple(str(name) for name in as_array("class_names", names).ravel())
    repeated = sorted({name for name in texts if texts.count(name) > 1})
    require(not repeated, f"`class_names` must differ. Got {listing(repeated)} more than once.")
    return texts


def _kind(array: np.ndarray) -> str:
    return "text" if array.dtype.kind == "U" else str(array.dtype)


def _require_complete_rows(array: np.ndarray) -> None:
    """Refuse -1 in some places of rows of labels, where it can only mean that a label is missing."""
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "fi":
        rows = (array == -1).any(axis=1)
        require(
            not (rows.any() and np.isin(array, (-1, 0, 1)).all() and (array == 0).any()),
            f"`label` must hold 0 and 1 in rows of several labels. Got -1 at sample {int(rows.argmax())} "
            f"({int(rows.sum())} in all): a sample without labels has -1 or NaN in all of its row. Name the "
            "task regression if these are numbers.",
        )
