"""Samples that are decoded when they are read: media files, members of archives, map-style datasets.

`SampleSource` decodes samples. `DecodedRows` is one of its modalities, as a `PairedDataset` keeps it: it is
indexed like an array, but only the rows that are read are in memory.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mfh._checks import InputError, listing, require

Index = slice | Sequence[int] | np.ndarray | Tensor
Decode = Callable[[int, Sequence[str]], Mapping[str, Any]]

logger = logging.getLogger(__name__)


class DamagedSampleError(InputError):
    """A sample cannot be decoded because it is damaged, and not because of a disk or a network."""


@dataclass(frozen=True, eq=False)
class Tolerant:
    """A `decode` that returns a blank sample in place of a damaged one, so that the run continues.

    A warning names each damaged sample once. Other errors are raised, and so are too many damaged samples.

    Attributes:
        decode: see `SampleSource`. It raises `DamagedSampleError`.
        blank: modality -> the blank sample.
        names: names of the samples, for the warning.
        most: share of the samples that may be damaged.
        damaged: rows of the damaged samples found so far.
    """

    decode: Decode
    blank: Mapping[str, np.ndarray]
    names: Sequence[str]
    most: float = 0.01
    damaged: set[int] = field(default_factory=set)

    def __call__(self, row: int, names: Sequence[str]) -> Mapping[str, Any]:
        """Decode a sample."""
        try:
            return self.decode(row, names)
        except DamagedSampleError as error:
            if row not in self.damaged:
                self.damaged.add(row)
                logger.warning(
                    "`%s` is damaged and is replaced by a blank sample: %s", self.names[row], error
                )
            if len(self.damaged) > max(1.0, self.most * len(self.names)):
                raise InputError(
                    f"At least {len(self.damaged)} of {len(self.names)} samples are damaged, more than "
                    f"{self.most:.0%}. The last: {error} Prepare the data again."
                ) from error
            return self.blank


@dataclass(frozen=True, eq=False)
class SampleSource:
    """Samples that a function decodes one by one.

    Attributes:
        count: number of samples N.
        decode: function of a row 0 ... N - 1 and the names of the modalities that are needed, which returns
            at least these as arrays or tensors. Several threads call it at once. It is pickled if other
            processes read the samples, so it should be a function or an object of a module.
        shapes: modality -> shape of one sample.
        dtypes: modality -> type of its values.
        identity: text that changes whenever a value may change, such as `array_cache.file_key` of the
            samples' files. The data's fingerprint contains it in place of the values.
        workers: number of threads that decode a batch; 0 decodes in the calling thread.
        present: modality -> whether each sample has it, bool, (sample,); a modality that is not here is there
            for all.
    """

    count: int
    decode: Decode
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    identity: str
    workers: int = 4
    present: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the attributes before a training begins."""
        require(self.workers >= 0, f"`workers` must be 0 or more. Got {self.workers}.")
        require(
            set(self.shapes) == set(self.dtypes),
            f"`shapes` and `dtypes` must name the same modalities. Got {listing(self.shapes)} and "
            f"{listing(self.dtypes)}.",
        )

    def rows(self) -> dict[str, "DecodedRows"]:
        """Return every modality as `PairedDataset.from_arrays` takes it."""
        return {name: DecodedRows(self, name) for name in self.shapes}

    def read(self, index: Index, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return samples of some modalities as arrays (sample, *shape); each sample is decoded once.

        Raises:
            InputError: a sample is not of the shape and type in `shapes` and `dtypes`; and whatever `decode`
                raises.
        """
        rows = row_numbers(index, self.count)
        batch = {name: np.empty((len(rows), *self.shapes[name]), self.dtypes[name]) for name in names}

        def place(position: int) -> None:
            sample = self.decode(int(rows[position]), names)
            for name in names:
                batch[name][position] = self._checked(name, sample[name], int(rows[position]))

        if self.workers > 1 and len(rows) > 1:
            with ThreadPoolExecutor(min(self.workers, len(rows)), "decode") as pool:
                list(pool.map(place, range(len(rows))))
        else:
            for position in range(len(rows)):
                place(position)
        return batch

    def _checked(self, name: str, value: Any, row: int) -> np.ndarray:
        array = value.numpy(force=True) if isinstance(value, Tensor) else np.asarray(value)
        shape, dtype = self.shapes[name], self.dtypes[name]
        if array.dtype.kind == dtype.kind == "f":
            array = array.astype(dtype, copy=False)
        if array.shape != shape or array.dtype != dtype:
            raise InputError(
                f"Modality `{name}` must be {dtype} of shape {shape} for every sample. Sample {row} is "
                f"{array.dtype} of shape {array.shape}: bring them to one shape where they are decoded."
            )
        return array


@dataclass(frozen=True, eq=False)
class DecodedRows:
    """One modality of a `SampleSource`, indexed by rows like an array of shape (sample, *shape).

    Example:
        >>> def decode(row, names):
        ...     return {"a": np.full(2, row, np.float32)}
        >>> source = SampleSource(4, decode, {"a": (2,)}, {"a": np.dtype("f4")}, identity="example")
        >>> rows = source.rows()["a"]
        >>> rows.shape, rows[[3, 1]].tolist()
        ((4, 2), [[3.0, 3.0], [1.0, 1.0]])
    """

    source: SampleSource
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all samples together."""
        return (self.source.count, *self.source.shapes[self.name])

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.source.dtypes[self.name]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def identity(self) -> str:
        """Text that replaces the values in a fingerprint."""
        return f"{self.source.identity} {self.name}"

    def __len__(self) -> int:
        return self.source.count

    def __getitem__(self, index: Index) -> np.ndarray:
        """Decode these rows into an array."""
        return self.source.read(index, [self.name])[self.name]


Values = Tensor | np.ndarray | DecodedRows


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A `decode` for some rows of a source."""

    decode: Decode
    rows: np.ndarray

    def __call__(self, row: int, names: Sequence[str]) -> Mapping[str, Any]:
        return self.decode(int(self.rows[row]), names)


def take_rows(modalities: Mapping[str, Values], rows: np.ndarray) -> dict[str, Values]:
    """Return some rows of every modality; those that are decoded on demand stay so, others are copied.

    Args:
        modalities: as in `PairedDataset`.
        rows: row numbers, int.
    """
    sources: dict[int, SampleSource] = {}
    taken: dict[str, Values] = {}
    for name, values in modalities.items():
        if isinstance(values, DecodedRows):
            whole = values.source
            digest = hashlib.blake2b(rows.astype(np.int64).tobytes(), digest_size=8).hexdigest()
            part = replace(
                whole,
                count=len(rows),
                decode=_Chosen(whole.decode, rows),
                identity=f"{whole.identity} rows {digest}",
                present={key: there[rows] for key, there in whole.present.items()},
            )
            taken[name] = DecodedRows(sources.setdefault(id(whole), part), values.name)
        else:
            taken[name] = read_rows({name: values}, [name], torch.from_numpy(rows))[name]
    return taken


def present_rows(values: Values) -> np.ndarray:
    """Return whether each sample has a modality, bool, (sample,): without it, it is NaN throughout.

    Of a memory-mapped array the first value of each sample is read, and further ones only where that is NaN.
    """
    if isinstance(values, DecodedRows):
        return values.source.present.get(values.name, np.ones(len(values), dtype=bool))
    if isinstance(values, Tensor):
        if not values.is_floating_point():
            return np.ones(len(values), dtype=bool)
        return np.asarray(~values.isnan().flatten(1).all(dim=1))
    there = np.ones(len(values), dtype=bool)
    if values.dtype.kind == "f":
        suspects = np.flatnonzero(np.isnan(values.reshape(len(values), -1)[:, 0]))
        there[suspects] = [not np.isnan(values[row]).all() for row in suspects]
    return there


def row_numbers(index: Index, count: int) -> np.ndarray:
    """Return the row numbers of an index, as int64."""
    if isinstance(index, slice):
        return np.arange(count)[index]
    rows = index.numpy(force=True) if isinstance(index, Tensor) else np.asarray(index)
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)


def sample_bytes(values: Values) -> int:
    """Return the size of one sample in bytes, without reading it."""
    size = values.element_size() if isinstance(values, Tensor) else values.dtype.itemsize
    return math.prod(values.shape[1:]) * size


def read_rows(modalities: Mapping[str, Values], names: Sequence[str], index: Index) -> dict[str, Tensor]:
    """Return rows of some modalities, on the CPU; modalities of one source are decoded together.

    Args:
        modalities: as in `PairedDataset`.
        names: the modalities to read.
        index: the rows to read.
    """
    found: dict[str, Tensor] = {}
    together: dict[int, list[str]] = {}
    for name in names:
        values = modalities[name]
        if isinstance(values, Tensor):
            found[name] = values[index if isinstance(index, (slice, Tensor)) else torch.as_tensor(index)]
        elif isinstance(values, DecodedRows):
            together.setdefault(id(values.source), []).append(name)
        else:  # a memory-mapped array: only these rows are read
            rows = index.numpy() if isinstance(index, Tensor) else index
            # a copy: a view of a file that is open for reading cannot be written to, but torch allows it
            found[name] = torch.from_numpy(np.require(values[rows], requirements=["C", "W"]))
    for group in together.values():
        rows_of = {name: modalities[name] for name in group}
        inner = {name: rows.name for name, rows in rows_of.items() if isinstance(rows, DecodedRows)}
        source = next(rows.source for rows in rows_of.values() if isinstance(rows, DecodedRows))
        batch = source.read(index, list(inner.values()))
        found |= {name: torch.from_numpy(batch[key]) for name, key in inner.items()}
    return found
