"""Map-style PyTorch datasets of paired samples: the values in a sample, and all samples as arrays.

A sample is a dict, `{"audio": ..., "image": ..., "label": ...}`; a tuple, `(audio, image, label)`; or a
tuple of a dict of modalities and the label.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mfh._checks import InputError, fail, listing, require
from mfh.data.decoded import SampleSource
from mfh.data.values import as_array, is_missing, plain_values

IN_MEMORY = 2**30
"""Bytes up to which all samples are kept in memory."""
Where = str | int


@dataclass(frozen=True)
class Samples:
    """Function from a row of a dataset to a dict with one value per name.

    Attributes:
        dataset: anything with `__len__` and `__getitem__`.
        names: names of the values if samples are tuples; None if they are dicts.
    """

    dataset: Any
    names: tuple[str, ...] | None = None

    def __call__(self, row: int, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return one sample, name -> value."""
        del names  # a dataset decodes all values of a sample
        sample = self.dataset[row]
        if isinstance(sample, tuple) and sample and isinstance(sample[0], Mapping):
            sample = {**sample[0], **dict(zip(self._rest(len(sample)), sample[1:], strict=True))}
        if isinstance(sample, Mapping):
            return {str(name): value for name, value in sample.items()}
        if not isinstance(sample, (tuple, list)):
            fail(
                "`dataset` of `from_torch` must return samples that are dicts, such as {'audio': ..., "
                "'image': ..., 'label': ...}, or tuples, such as (audio, image, label). Got "
                f"{type(sample).__name__} for sample {row}."
            )
        names = self.names or ()
        require(
            len(names) == len(sample),
            f"`modalities` of `from_torch` must name the values of a sample's tuple before its label. Sample "
            f"{row} has {len(sample)} values for the names {listing(names)}.",
        )
        return dict(zip(names, sample, strict=True))

    def _rest(self, size: int) -> list[str]:
        return ["label", "group", "split", "id"][: size - 1]


@dataclass(frozen=True)
class Filled:
    """Function from a row of a dataset to its values: NaN where the sample lacks a modality.

    Attributes:
        samples: the dataset.
        like: modality -> its values in one sample.
    """

    samples: Samples
    like: Mapping[str, np.ndarray]

    def __call__(self, row: int, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return one sample, name -> value."""
        sample = self.samples(row, names)
        gaps = {name for name in self.like if is_missing(sample.get(name))}
        return sample | {name: _array(name, None, row, self.like[name]) for name in gaps}


def read_samples(
    dataset: Any,
    modalities: Sequence[str] | None,
    columns: Mapping[str, Any],
    *,
    in_memory: bool | None,
    workers: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read every sample of a dataset once.

    Args:
        dataset: see `Samples`.
        modalities: names; None takes every array of one dimension or more in a dict.
        columns: `label`, `group`, `split`, `id` -> name of the value in a sample, or the values themselves.
        in_memory: whether to keep the samples; None keeps up to `IN_MEMORY` bytes.
        workers: number of threads that decode a batch if samples are not kept.

    Returns:
        Modality -> values, and the columns, both as `PairedDataset.from_arrays` takes them.

    Raises:
        InputError: a sample lacks a name, is of another shape than the first, or is not finite.
    """
    count = _count(dataset)
    kept = [role for role, where in columns.items() if isinstance(where, str)]
    samples = Samples(dataset, _positions(dataset, modalities, [columns[role] for role in kept]))
    first = samples(0)
    names = list(modalities) if modalities is not None else _arrays(first, {columns[role] for role in kept})
    for name in (*names, *(columns[role] for role in kept)):
        require(
            name in first,
            f"A sample of `dataset` has no `{name}`. It has {listing(first)}: name one of these.",
        )
    like = {name: _first_array(samples, name, count) for name in names}
    _require_same_twice(samples, like)
    keep = in_memory if in_memory is not None else count * sum(a.nbytes for a in like.values()) <= IN_MEMORY
    values = {name: np.empty((count, *a.shape), a.dtype) for name, a in like.items()} if keep else {}
    present = {name: np.ones(count, dtype=bool) for name in names}
    found: dict[str, list[Any]] = {role: [] for role in kept}
    digest = hashlib.blake2b(digest_size=16)
    for row in range(count):
        sample = samples(row)
        for name in names:
            array = _array(name, sample.get(name), row, like[name])
            present[name][row] = not (array.dtype.kind == "f" and np.isnan(array).all())
            digest.update(np.ascontiguousarray(array).tobytes())
            if keep:
                values[name][row] = array
        for role in kept:
            value = sample[columns[role]]
            # a label may be missing
            found[role].append(
                None if role == "label" and is_missing(value) else _one(columns[role], value, row)
            )
    given = {role: where for role, where in columns.items() if role not in kept}
    if keep:
        return dict(values), given | found
    source = SampleSource(
        count,
        Filled(samples, like),
        {name: a.shape for name, a in like.items()},
        {name: a.dtype for name, a in like.items()},
        identity=digest.hexdigest(),
        workers=workers,
        present=present,
    )
    return dict(source.rows()), given | found


def _count(dataset: Any) -> int:
    try:
        count = len(dataset)
    except TypeError:
        raise InputError(
            "`dataset` of `from_torch` must be map-style, with `__len__` and `__getitem__`. Got "
            f"{type(dataset).__name__}: collect an iterable dataset into a list."
        ) from None
    require(count > 0, "`dataset` of `from_torch` must have one sample or more. Got none.")
    return count


def _positions(
    dataset: Any, modalities: Sequence[str] | None, columns: Sequence[str]
) -> tuple[str, ...] | None:
    """Return names for the values of a tuple: the modalities, then the columns; None if samples are dicts."""
    sample = dataset[0]
    plain = isinstance(sample, (tuple, list)) and not (sample and isinstance(sample[0], Mapping))
    if not plain:
        return None
    require(
        modalities is not None,
        "`modalities` of `from_torch` must be given if samples are tuples, such as "
        "modalities=['audio', 'image'] for (audio, image, label).",
    )
    return (*(modalities or ()), *columns)


def _arrays(sample: Mapping[str, Any], columns: set[Any]) -> list[str]:
    others = {name: value for name, value in sample.items() if name not in columns}
    return [n for n, value in others.items() if not is_missing(value) and plain_values(n, value).ndim >= 1]


def _first_array(samples: Samples, name: str, count: int) -> np.ndarray:
    """Return a modality of the first sample that has it."""
    for row in range(count):
        value = samples(row).get(name)
        if not is_missing(value):
            return _array(name, value, row)
    return fail(f"Modality `{name}` must be there for one sample or more. It is None for all.")


def _one(name: str, value: Any, row: int) -> Any:
    """Return a value of a sample, a tensor as an array."""
    require(
        not np.ma.is_masked(value),
        f"`{name}` must be given for every sample. It is masked in sample {row}: leave the sample out, or "
        "fill the values in.",
    )
    return as_array(name, value) if isinstance(value, Tensor) else value


def _array(name: str, value: Any, row: int, like: np.ndarray | None = None) -> np.ndarray:
    """Return a modality of a sample; NaN throughout if the sample lacks it."""
    if like is not None and is_missing(value):
        require(
            like.dtype.kind == "f",
            f"Modality `{name}` must be floats if a sample lacks it, and is {like.dtype}. Sample {row} does: "
            "convert it where the dataset makes the sample.",
        )
        return np.full(like.shape, np.nan, like.dtype)
    array = plain_values(name, _one(name, value, row))
    assert isinstance(array, np.ndarray)  # noqa: S101 - `_one` leaves no tensors
    require(
        array.dtype.kind in "fiub" and array.ndim >= 1,
        f"Modality `{name}` must be an array or tensor of numbers. Got "
        f"{'a single number' if array.dtype.kind in 'fiub' else type(value).__name__} in sample {row}: "
        "convert it where the dataset makes the sample.",
    )
    require(
        like is None or array.shape == like.shape,
        f"Modality `{name}` must have one shape for every sample. Sample {row} has {array.shape}, sample 0 "
        f"has {like.shape if like is not None else ()}: crop or pad it where the dataset makes the sample.",
    )
    if array.dtype.kind == "f":
        require(
            bool(np.isfinite(array).all() or np.isnan(array).all()),  # NaN throughout: it lacks the modality
            f"Modality `{name}` must be finite. Sample {row} is not: leave it out, or fill the values in.",
        )
        return array.astype(np.float32, copy=False)
    return array if like is None else array.astype(like.dtype, copy=False)


def _require_same_twice(samples: Samples, like: Mapping[str, np.ndarray]) -> None:
    first, again = samples(0), samples(0)
    for name, array in like.items():
        one, other = (_array(name, sample.get(name), 0, array) for sample in (first, again))
        require(
            np.array_equal(one, other, equal_nan=True),
            f"Modality `{name}` of sample 0 differs when it is read again. The teacher's outputs are cached "
            "per sample: take random augmentation out of the dataset.",
        )
