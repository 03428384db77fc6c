"""Labels of every kind, as a data set holds them: classes, label sets, numbers, a class per position."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mfh._checks import choice, listing, require
from mfh.tasks import TASKS, infer_task


def read_labels(
    label: Any, names: Sequence[str] | None, task: str | None
) -> tuple[Tensor, tuple[str, ...], str]:
    """Labels as a tensor, the names of a network's outputs, and the task.

    Args:
        label: an array; see `PairedDataset.from_arrays`.
        names: of classes, labels or targets; None finds or numbers them.
        task: None infers it; see `mfh.tasks.infer_task`.

    Raises:
        InputError: the labels do not fit the task.
    """
    array = label.numpy(force=True) if isinstance(label, Tensor) else np.asarray(label)
    require(array.ndim * array.size > 0, f"`label` must hold a value per sample. Got shape {array.shape}.")
    if task is None:
        task = infer_task(array)
    choice("task", task, tuple(TASKS))
    if task == "single-label":
        return *_classes(label, names), task
    require(
        array.dtype.kind in "fiub",
        f"`label` must hold numbers for the task {task}. Got {array.dtype} instead.",
    )
    read = {"multi-label": _label_sets, "regression": _numbers, "dense": _positions}[task]
    values, count = read(array)
    given = tuple(names) if names is not None else tuple(str(i) for i in range(count))
    require(
        len(given) == count or (task == "dense" and len(given) > count),
        f"`class_names` must name the {count} outputs that `label` asks for. Got {listing(given)}.",
    )
    return torch.from_numpy(np.ascontiguousarray(values)), given, task


def _classes(label: Any, class_names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    shape = np.shape(label)
    require(
        len(shape) == 1,
        f"`label` must hold one class per sample for the task single-label. Got shape {shape} instead.",
    )
    codes, names = codes_of("label", label)
    if class_names is not None:
        codes, names = _given_classes(np.asarray(label), class_names)
    require(
        len(names) >= 2,
        f"`label` must hold two classes or more. Got only {listing(names)}: nothing to tell apart.",
    )
    return torch.from_numpy(codes), names


def _label_sets(array: np.ndarray) -> tuple[np.ndarray, int]:
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


def _numbers(array: np.ndarray) -> tuple[np.ndarray, int]:
    require(
        array.ndim <= 2,
        "`label` must be of shape (sample,) or (sample, target) for the task regression. Got shape "
        f"{array.shape}.",
    )
    values = array.reshape(len(array), -1).astype(np.float32) + 0  # -0.0 becomes 0.0
    bad = ~np.isfinite(values).all(axis=1)
    require(
        not bad.any(),
        f"`label` must be finite. It is not at sample {int(bad.argmax())} ({int(bad.sum())} in all): leave "
        "these samples out.",
    )
    return values, values.shape[1]


def _positions(array: np.ndarray) -> tuple[np.ndarray, int]:
    whole = array.dtype.kind in "iub" or bool((array == np.round(array)).all())
    require(
        array.ndim > 2 and whole and bool(array.min() >= 0),
        "`label` must be of shape (sample, *position) and hold classes 0, 1, ... for the task dense. Got "
        f"shape {array.shape} with values {array.min()} to {array.max()}.",
    )
    values = array.astype(np.int64)
    require(bool(values.max() > 0), "`label` must hold two classes or more. Got only class 0.")
    return values, int(values.max()) + 1


def codes_of(name: str, values: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes 0 ... K - 1 of integers or text, and their names."""
    array = values.numpy(force=True) if isinstance(values, Tensor) else np.asarray(values)
    require(array.dtype != object, f"`{name}` must hold integers or text. Got an array of objects.")
    shaped = array.ndim == 1 and len(array) > 0
    require(shaped, f"`{name}` must hold one value per sample. Got shape {array.shape} instead.")
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.round(array))
        first = int((~whole).argmax())
        require(
            bool(whole.all()),
            f"`{name}` must hold integers or text. Got {array[first]} at sample {first}.",
        )
        array = array.astype(np.int64)
    names, codes = np.unique(array, return_inverse=True)
    empty = [n for n in names if array.dtype.kind in "US" and not str(n).strip()]
    require(
        not empty, f"`{name}` must be given for every sample. It is empty at sample {_first(array, empty)}."
    )
    return codes.astype(np.int64), tuple(str(n) for n in names)


def as_given(label: Tensor, names: Sequence[str], task: str) -> tuple[np.ndarray, Sequence[str] | None]:
    """The labels before they were read for `task`, and the names that do not follow from them."""
    array = label.numpy()
    if task == "regression" and array.shape[1] == 1:
        return array[:, 0], None
    if task != "single-label":
        return array, names
    try:
        return np.asarray([int(name) for name in names])[array], None
    except ValueError:
        return np.asarray(names)[array], None


def _first(array: np.ndarray, values: list[Any]) -> int:
    return int(np.isin(array, values).argmax())


def _given_classes(label: np.ndarray, class_names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    inside = (label >= 0) & (label < len(class_names))
    require(
        bool(inside.all()),
        f"`label` must lie in 0 ... {len(class_names) - 1}, one per name in `class_names`. "
        f"Got {label[~inside][:1]} at sample {(~inside).argmax()}.",
    )
    return label.astype(np.int64), tuple(class_names)
