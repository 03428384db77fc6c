"""Arrays, tensors and columns as callers give them, turned into plain arrays.

Missing values are refused, but for those of labels.

They may come from NumPy, PyTorch, SciPy, pandas or lists: masked, sparse, with gradients, as text in bytes.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.masked import MaskedTensor

from mfh._checks import InputError, fail, one_line, require
from mfh.data.decoded import DecodedRows, Values
from mfh.data.standardize import require_resolved

logger = logging.getLogger(__name__)
SPARSE_LIMIT = 2**30
"""Bytes up to which a sparse array is made dense."""
_EXACT = 2**53  # whole numbers up to here are exact in 64-bit floats


def plain_values(name: str, values: Any) -> Tensor | np.ndarray:
    """Return values as a tensor or as an array: dense, on the CPU, without gradients and without a mask.

    Args:
        name: of the argument, for errors.
        values: array, tensor, sparse array, data frame, or a list of these.

    Raises:
        InputError: a value is masked; a sparse array is larger than `SPARSE_LIMIT` when dense; samples have
            different shapes.
    """
    if isinstance(values, (list, tuple)) and values and all(isinstance(value, Tensor) for value in values):
        shapes = {tuple(value.shape) for value in values}
        require(len(shapes) == 1, f"`{name}` must have one shape for all samples. Got {sorted(shapes)[:2]}.")
        values = torch.stack([_plain_tensor(name, value) for value in values])
    if isinstance(values, Tensor):
        return _plain_tensor(name, values)
    dense = getattr(values, "toarray", None) or getattr(values, "todense", None)
    if dense is not None and hasattr(values, "nnz"):  # of SciPy, for instance
        _require_small(name, values.shape, values.dtype.itemsize)
        return np.asarray(dense())
    if isinstance(values, (list, tuple)) and any(isinstance(v, np.ma.MaskedArray) for v in values):
        _require_unmasked(name, np.array([np.ma.is_masked(value) for value in values]))
    if isinstance(values, np.ma.MaskedArray):
        _require_unmasked(name, np.ma.getmaskarray(values))
        return np.asarray(values.data)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US" and isinstance(values, (list, tuple)):
            array = np.asarray(values, dtype=object)  # else a number or NaN in a list of texts becomes text
        return array
    except (ValueError, TypeError, RuntimeError) as error:  # as rows of different lengths
        return fail(f"`{name}` cannot be read as an array, one row per sample: {one_line(error)}.")


def as_array(name: str, values: Any) -> np.ndarray:
    """Return values as an array of numbers or text; see `plain_values`.

    Text in bytes is decoded as UTF-8. Objects, as data frames give them, become text or numbers.

    Raises:
        InputError: as `plain_values`; a value is missing; text and numbers are mixed.

    Example:
        >>> as_array("label", [b"cat", b"dog"]).tolist(), as_array("label", torch.ones(1)).tolist()
        (['cat', 'dog'], [1.0])
    """
    plain = plain_values(name, values)
    if isinstance(plain, Tensor):
        wide = plain.is_floating_point() and plain.dtype not in (torch.float16, torch.float32, torch.float64)
        plain = (plain.float() if wide else plain).numpy(force=True)  # NumPy has no bfloat16
    if plain.dtype == object:
        plain = _from_objects(name, plain)
    if plain.dtype.kind == "S":
        plain = _decoded(name, plain)
    require(plain.dtype.kind in "fiubUM", f"`{name}` must hold numbers or text. Got {plain.dtype} instead.")
    if plain.dtype.kind == "M" and np.isnat(plain).any():
        fail(f"`{name}` must be given for every sample. It is missing at value {np.isnat(plain).argmax()}.")
    return plain


def with_gaps(name: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return values as `as_array` does, and which are missing: masked, None, NaN, NaT or an empty text.

    Each missing value is replaced by the first one that is known, so that the others keep their type.

    Returns:
        The values, and an array of bool of the same shape.

    Raises:
        InputError: as `as_array`; all values are missing.

    Example:
        >>> with_gaps("label", ["cat", None, "dog"])[1].tolist()
        [False, True, False]
    """
    values, masked = _unmasked(name, values)
    plain = plain_values(name, values)
    array = as_array(name, plain) if isinstance(plain, Tensor) else plain
    missing = np.asarray(_missing(array) | masked)
    require(
        not missing.size or not missing.all(),
        f"`{name}` must be given for one sample or more. All {array.size} are missing.",
    )
    if missing.any():
        array = array.copy()
        array[missing] = array[~missing].flat[0]
    return as_array(name, array), missing


def as_column(name: str, values: Any, count: int | None = None) -> np.ndarray:
    """Return one value for each sample, shape (sample,); a column of shape (sample, 1) is taken as that.

    Args:
        name: of the argument, for errors.
        values: see `as_array`.
        count: number of samples, if it is known.

    Raises:
        InputError: as `as_array`; the shape or the number of values is another.
    """
    array = as_array(name, values)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    require(
        array.ndim == 1 and len(array) > 0,
        f"`{name}` must hold one value per sample. Got shape {array.shape} instead.",
    )
    if count is not None:
        require_length(name, array, count)
    return array


def modality_values(name: str, array: Any, count: int) -> Values:
    """Return the values of a modality as a data set keeps them, floats as float32.

    Args:
        name: of the modality, for errors.
        array: see `PairedDataset.from_arrays`. A sample that lacks the modality is NaN or masked throughout.
        count: number of samples.

    Raises:
        InputError: there are no values, or other than `count` samples; a value is no finite number; every
            sample lacks the modality.
    """
    # the values of these are checked where they are written or decoded, not on every start
    if isinstance(array, (np.memmap, DecodedRows)):
        _require_shape(name, array.shape, array, count)
        return array
    values = plain_values(name, _nan_where_masked(array))
    if isinstance(values, np.ndarray):
        values = as_array(name, values)
        require(
            values.dtype.kind in "fiub",
            f"Modality `{name}` must hold numbers. Got "
            f"{'text' if values.dtype.kind == 'U' else values.dtype} instead.",
        )
        kind = np.dtype("f8") if values.dtype.itemsize > 8 else values.dtype.newbyteorder("=")
        values = torch.from_numpy(np.ascontiguousarray(values, kind))
    require(not values.is_complex(), f"Modality `{name}` must hold real numbers. Got {values.dtype}.")
    _require_shape(name, tuple(values.shape), values, count)
    if values.is_floating_point():
        values = values if values.dtype == torch.float64 else values.float()
        gone = values.isnan().flatten(1).all(dim=1)
        require(not gone.all(), f"Modality `{name}` must be there for one sample or more. It is NaN for all.")
        bad = (~torch.isfinite(values)).flatten(1) & ~gone[:, None]
        if bad.any():
            row, column = (int(i) for i in bad.nonzero()[0])
            value = values[row].flatten()[column].item()
            raise InputError(
                f"Modality `{name}` must be finite. Got {value} at sample {row}, value {column} "
                f"({int(bad.sum())} in all): remove these samples or fill the values in."
            )
        if values.dtype == torch.float64:
            require_resolved(name, values[~gone])
        values = values.float()
        require(
            not bool(torch.isinf(values).any()),
            f"Modality `{name}` must fit into 32-bit floats. Its largest value is beyond 3.4e38: rescale it.",
        )
    return values.contiguous()


def read_weights(weight: Any, count: int) -> Tensor:
    """Return one weight for each sample, float64.

    Raises:
        InputError: a weight is no number, below 0, infinite or missing, or all are 0.
    """
    array = as_column("weight", weight, count)
    require(
        array.dtype.kind in "fiub",
        "`weight` must hold a number for each sample. Got text instead: name a column or array of numbers.",
    )
    values = array.astype(np.float64)
    bad = ~(np.isfinite(values) & (values >= 0))
    first = int(bad.argmax())
    require(
        not bad.any(),
        f"`weight` must be 0 or more, and finite. Got {values[first]:g} at sample {first} ({int(bad.sum())} "
        "in all): give these samples 0 to leave them out of losses and metrics.",
    )
    require(bool(values.sum() > 0), "`weight` must be above 0 for some samples. All are 0.")
    logger.info("Samples have weights in losses and metrics, %g to %g.", values.min(), values.max())
    return torch.from_numpy(values)


def _nan_where_masked(array: Any) -> Any:
    """Return an array whose samples that are masked throughout are NaN, without a mask."""
    if not isinstance(array, np.ma.MaskedArray) or array.ndim < 2:
        return array
    mask = np.ma.getmaskarray(array)
    gone = mask.reshape(len(mask), -1).all(axis=1)
    if not gone.any() or (mask.any() and mask[~gone].any()):
        return array
    return np.where(mask, np.nan, array.data)


def _require_shape(name: str, shape: tuple[int, ...], values: Any, count: int) -> None:
    require(len(shape) >= 2, f"Modality `{name}` must have shape (sample, ...). Got {shape}.")
    require_length(name, values, count)
    require(
        0 not in shape,
        f"Modality `{name}` must have one value or more per sample. Got shape {shape}: leave it out.",
    )


def require_length(name: str, values: Any, count: int) -> None:
    """Raise `InputError` unless there are `count` samples."""
    require(
        len(values) == count,
        f"`{name}` has {len(values)} samples, `label` has {count}: each row must show the same sample.",
    )


def require_exact(name: str, array: np.ndarray) -> None:
    """Raise `InputError` unless floats are whole numbers that are exact in 64-bit floats."""
    whole = np.isfinite(array) & (array == np.round(array))
    first = int((~whole).argmax())
    require(bool(whole.all()), f"`{name}` must hold integers or text. Got {array[first]} at sample {first}.")
    large = np.abs(array) > _EXACT
    require(
        not large.any(),
        f"`{name}` must hold integers or text. Got {array[large.argmax()]} at sample {int(large.argmax())}: "
        "floats beyond 2^53 are not exact; give integers below 2^63, or text.",
    )


def _plain_tensor(name: str, values: Tensor) -> Tensor:
    if isinstance(values, MaskedTensor):  # its mask marks the values that are there
        _require_unmasked(name, ~values.get_mask().numpy(force=True))
        values = values.get_data()
    require(
        not values.is_nested, f"`{name}` must have one shape for all samples. Got a nested tensor: pad it."
    )
    require(values.device.type != "meta", f"`{name}` must have values. Got a tensor of the device meta.")
    if values.layout != torch.strided:
        _require_small(name, values.shape, values.element_size())
        values = values.to_dense()
    values = values.detach().as_subclass(Tensor).cpu()
    values = values.dequantize() if values.is_quantized else values.resolve_conj().resolve_neg()
    return values.clone() if values.is_inference() else values  # which could not be trained on


def _require_small(name: str, shape: Sequence[int], itemsize: int) -> None:
    size = float(np.prod(np.asarray(shape, dtype=np.float64))) * itemsize
    require(
        size <= SPARSE_LIMIT,
        f"`{name}` is sparse and must take at most {SPARSE_LIMIT >> 30} GiB as a dense array. It takes "
        f"{size / 2**30:.1f} GiB: reduce its features, or give a memory-mapped dense array.",
    )


def _require_unmasked(name: str, mask: np.ndarray) -> None:
    rows = mask.reshape(len(mask), -1).any(axis=1) if mask.ndim else mask.reshape(1)
    require(
        not rows.any(),
        f"`{name}` must be given for every sample. It is masked at sample {int(rows.argmax())} "
        f"({int(rows.sum())} in all): leave these samples out, or fill the values in.",
    )


def _unmasked(name: str, values: Any) -> tuple[Any, Any]:
    """Return values without their mask, and the mask (False without one); None in lists becomes NaN."""
    if isinstance(values, MaskedTensor):
        return values.get_data(), ~values.get_mask().numpy(force=True)
    if isinstance(values, np.ma.MaskedArray):
        return values.data, np.ma.getmaskarray(values)
    if not isinstance(values, (list, tuple)):
        return values, False
    known = [value for value in values if not is_missing(value)]
    if len(known) == len(values):
        return values, False
    if not known or np.ndim(known[0]) == 0:
        return [None if is_missing(value) else value for value in values], False
    empty = np.full(np.shape(known[0]), np.nan)
    return [empty if is_missing(value) else as_array(name, value) for value in values], False


def _missing(array: np.ndarray) -> np.ndarray:
    """Return which values of an array are missing."""
    if array.dtype.kind == "f":
        return np.asarray(np.isnan(array))
    if array.dtype.kind == "M":
        return np.asarray(np.isnat(array))
    if array.dtype.kind in "USO":
        gone = [is_missing(v) or (isinstance(v, (str, bytes)) and not v.strip()) for v in array.flat]
        return np.array(gone, dtype=bool).reshape(array.shape)
    return np.zeros(array.shape, dtype=bool)


def _from_objects(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of objects as text or numbers."""
    values = array.ravel().tolist()
    missing = np.array([is_missing(value) for value in values], dtype=bool).reshape(array.shape)
    kinds = {_kind(value) for value, gone in zip(values, missing.ravel(), strict=True) if not gone}
    if kinds == {"number"}:  # NaN among numbers is left to the checks of numbers
        filled = [np.nan if gone else value for value, gone in zip(values, missing.flat, strict=True)]
        numbers = np.asarray(filled)
        if numbers.dtype != object:
            return numbers.reshape(array.shape)
    rows = missing.reshape(len(array), -1).any(axis=1) if array.ndim else missing.reshape(1)
    require(
        not rows.any(),
        f"`{name}` must be given for every sample. It is missing at sample {int(rows.argmax())} "
        f"({int(rows.sum())} in all): leave these samples out.",
    )
    require(kinds != {"number"}, f"`{name}` must hold integers below 2^63. Give larger ones as text.")
    require(
        kinds == {"text"},
        f"`{name}` must hold numbers only, or text only. Got {' and '.join(sorted(kinds)) or 'nothing'}.",
    )
    texts = [_text(name, value, row) for row, value in enumerate(values)]
    return np.asarray(texts).reshape(array.shape)


def is_missing(value: object) -> bool:
    """Return whether a value is None, masked, NaN, or missing in the sense of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.ma.MaskedArray):  # `np.ma.masked` too
        return bool(np.ma.getmaskarray(value).all())
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _kind(value: object) -> str:
    if isinstance(value, (str, bytes)):
        return "text"
    number = isinstance(value, (bool, int, float, np.number, np.bool_))
    return "number" if number else f"objects of type {type(value).__name__}"


def _decoded(name: str, array: np.ndarray) -> np.ndarray:
    texts = [_text(name, value, row) for row, value in enumerate(array.ravel().tolist())]
    return np.asarray(texts, dtype=str).reshape(array.shape)


def _text(name: str, value: str | bytes, row: int) -> str:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        return fail(f"`{name}` must be text in UTF-8. Value {row} is not: {error}.")
