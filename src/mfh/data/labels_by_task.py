"""What labels of each task must be, once samples without a label are set aside."""

import logging

import numpy as np

from mfh._checks import fail, listing, require
from mfh.data.codes import codes_of
from mfh.data.values import as_column
from mfh.tasks import UNLABELLED

IGNORED = 255
"""The value that marks positions of dense labels without a class, unless another one is given."""

_RESOLVED = 0.01
"""Error by rounding to 32-bit floats, in standard deviations of a target, up to which it does not matter."""

logger = logging.getLogger(__name__)


def classes(
    array: np.ndarray, names: tuple[str, ...] | None, rows: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the code of each sample's class, and the names of the classes.

    Args:
        array: integers or text, (sample,) or (sample, 1), or rows with exactly one 1.
        names: of the classes; None takes them from `array`.
        rows: which samples have no label, for messages. They have the label of another one here.

    Raises:
        InputError: the labels are no classes, `names` lacks one, or all samples have the same.
    """
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
        names = found
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
    there = np.unique(codes)
    require(
        [names[k] for k in there] != ["-1"],
        f"`label` must hold two classes or more. All {len(codes):,} samples have -1, which marks samples "
        "without a label.",
    )
    require(
        len(there) >= 2,
        f"`label` must hold two classes or more. Got only {listing(names[k] for k in there)}"
        + (f", and {int(rows.sum()):,} samples without a label." if rows.any() else "."),
    )
    absent = [name for k, name in enumerate(names) if k not in set(there.tolist())]
    if absent:
        logger.info("No sample has the class %s. Networks have an output for it.", listing(absent))
    return codes, names


def _one_of_each_row(array: np.ndarray, names: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    count = array.shape[1]
    names = tuple(str(i) for i in range(count)) if names is None else names
    require(
        len(names) == count,
        f"`class_names` must have {count} names, one for each column of `label`. Got {len(names)}.",
    )
    return array.argmax(axis=1).astype(np.int64), names


def label_sets(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Return 0 and 1 as float32, (sample, label), and the number of labels.

    Raises:
        InputError: there are other values, or a label is the same for all samples.
    """
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


def numbers(array: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the targets of a regression as float32, (sample, target), and the number of targets.

    Args:
        array: numbers, (sample,) or (sample, target).
        known: which samples have a label.

    Raises:
        InputError: a number is infinite, or 32-bit floats cannot tell the numbers of a target apart.
    """
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
    lost = np.abs(values - exact).max(axis=0) > _RESOLVED * exact[known].std(axis=0, dtype=np.float64)
    lost &= low < high
    target = int(lost.argmax())
    require(
        not lost.any(),
        f"`label` must differ by more than 32-bit floats can tell. Target {target} lies between "
        f"{low[target]:.12g} and {high[target]:.12g}: subtract its mean, or rescale it.",
    )
    return values, values.shape[1]


def positions(
    array: np.ndarray, missing: np.ndarray, names: tuple[str, ...] | None, ignore_index: int | None
) -> tuple[np.ndarray, int, np.ndarray]:
    """Return the class of each position, the number of classes, and which samples have no class anywhere.

    Args:
        array: whole numbers, (sample, *position).
        missing: which positions have no value, of the same shape.
        names: of the classes, or None.
        ignore_index: value of positions without a class; None takes `IGNORED`, if that is no class.

    Raises:
        InputError: there are fewer than two classes, or a value is no class and not ignored.
    """
    require(
        array.ndim > 2 and (array.dtype.kind in "iub" or bool((array == np.round(array)).all())),
        "`label` must be of shape (sample, *position) and hold classes 0, 1, ... for the task dense. Got "
        f"shape {array.shape} with values {array.min()} to {array.max()}.",
    )
    values = array.astype(np.int64)
    is_class = names is not None and len(names) > IGNORED
    mark = IGNORED if ignore_index is None and not is_class else ignore_index
    ignored = missing | (False if mark is None else values == mark)
    found = np.unique(values[~ignored])
    require(
        len(found) > 1,
        "`label` must hold two classes or more. Got "
        + (f"only class {found[0]}" if len(found) else "no class")
        + (f", and {int(ignored.sum()):,} positions that are ignored." if ignored.any() else "."),
    )
    _require_classes_of_positions(values, found, names, mark)
    if ignored.any():
        marks = "masked or NaN" if mark is None else f"{mark}, masked or NaN" if missing.any() else f"{mark}"
        logger.info(
            "%s of %s positions have no class (%s).", f"{ignored.sum():,}", f"{ignored.size:,}", marks
        )
    values[ignored] = UNLABELLED
    rows = ignored.reshape(len(ignored), -1).all(axis=1)
    return values, int(found[-1]) + 1, np.asarray(rows)


def _require_classes_of_positions(
    values: np.ndarray, found: np.ndarray, names: tuple[str, ...] | None, mark: int | None
) -> None:
    """Refuse a value that is no class and not ignored: below 0, without a name, or far beyond the others."""
    last, before = int(found[-1]), int(found[-2])
    far = last - before > 1 if last == IGNORED else last > 2 * before + 16
    apart = names is None and far
    wrong = int(found[0]) if found[0] < 0 else last if apart or (names and last >= len(names)) else None
    if wrong is None:
        return
    sample = int((values == wrong).reshape(len(values), -1).any(axis=1).argmax())
    rule = f"classes 0 to {len(names) - 1}" if names else "classes 0, 1, ..."
    ignored = "no value is ignored" if mark is None else f"{mark} is ignored"
    way_out = f"If it marks positions without a class, give `ignore_index` {wrong}."
    fail(
        f"`label` must hold {rule} at every position ({ignored}). Got {wrong} at "
        f"{int((values == wrong).sum()):,} positions, first in sample {sample}"
        + (f", but no class between {before} and {last}" if apart else "")
        + f". {way_out}"
        + (f" If it is a class, give `class_names` with {wrong + 1} names." if wrong >= 0 else "")
    )
