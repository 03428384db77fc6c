"""Samples that are decoded when they are asked for: media files, members of archives, map-style datasets.

`SampleSource` knows how to decode one sample; `DecodedRows` is one of its modalities as a `PairedDataset`
holds it: an array to look at, of which only the rows asked for ever lie in memory.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mfh._checks import InputError, listing, require

Index = slice | Sequence[int] | np.ndarray | Tensor
Decode = Callable[[int, Sequence[str]], Mapping[str, Any]]

logger = logging.getLogger(__name__)


class DamagedSampleError(InputError):
    """A sample cannot be decoded: its own fault, and not that of a disk or a network."""


@dataclass(frozen=True, eq=False)
class Tolerant:
    """A `decode` that gives a blank sample in place of a damaged one, so that no run ends for it.

    Each is told once, by a warning with its name. Other failures are raised, as are too many damaged samples.

    Attributes:
        decode: see `SampleSource`. It raises `DamagedSampleError`.
        blank: modality -> what stands for a sample.
        names: of the samples, for the warning.
        most: share of the samples that may be damaged before it is an error.
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
                logger.warning("`%s` is damaged and a blank sample stands in: %s", self.names[row], error)
            if len(self.damaged) > max(1.0, self.most * len(self.names)):
                raise InputError(
                    f"{len(self.damaged)} of {len(self.names)} samples are damaged by now, more than "
                    f"{self.most:.0%} of them. The last: {error} Prepare the data again."
                ) from error
            return self.blank


@dataclass(frozen=True, eq=False)
class SampleSource:
    """Samples behind a function that decodes one of them.

    Attributes:
        count: number of samples N.
        decode: function of a row 0 ... N - 1 and the names of the modalities that are needed, which returns
            at least these as arrays or tensors. It is called from several threads at once. It is pickled
            where samples are read by other processes, so a function or an object of a module is best.
        shapes: modality -> shape of one sample.
        dtypes: modality -> type of its values.
        identity: text that differs whenever a value could: for instance `array_cache.file_key` of the files
            behind the samples. It stands for the values in the data's fingerprint, which therefore costs
            nothing.
        workers: threads that decode a batch side by side; 0 decodes in the thread that asks.
    """

    count: int
    decode: Decode
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    identity: str
    workers: int = 4

    def __post_init__(self) -> None:
        """Check what would otherwise show in the middle of a training."""
        require(self.workers >= 0, f"`workers` must be 0 or more. Got {self.workers}.")
        require(
            set(self.shapes) == set(self.dtypes),
            f"`shapes` and `dtypes` must name the same modalities. Got {listing(self.shapes)} and "
            f"{listing(self.dtypes)}.",
        )

    def rows(self) -> dict[str, "DecodedRows"]:
        """Every modality, as `PairedDataset.from_arrays` takes it."""
        return {name: DecodedRows(self, name) for name in self.shapes}

    def read(self, index: Index, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Some samples of some modalities, each sample decoded once, as arrays (sample, *shape).

        Raises:
            InputError: a sample has not the shape or type that was promised; and whatever `decode` raises.
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
        """Of all samples together."""
        return (self.source.count, *self.source.shapes[self.name])

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        return self.source.dtypes[self.name]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def identity(self) -> str:
        """What stands for the values in a fingerprint."""
        return f"{self.source.identity} {self.name}"

    def __len__(self) -> int:
        return self.source.count

    def __getitem__(self, index: Index) -> np.ndarray:
        """Decode these rows, as an array."""
        return self.source.read(index, [self.name])[self.name]


Values = Tensor | np.ndarray | DecodedRows


def row_numbers(index: Index, count: int) -> np.ndarray:
    """The rows that an index names, as int64."""
    if isinstance(index, slice):
        return np.arange(count)[index]
    rows = index.numpy(force=True) if isinstance(index, Tensor) else np.asarray(index)
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)


def sample_bytes(values: Values) -> int:
    """Size of one sample; nothing is read for it."""
    size = values.element_size() if isinstance(values, Tensor) else values.dtype.itemsize
    return math.prod(values.shape[1:]) * size


def read_rows(modalities: Mapping[str, Values], names: Sequence[str], index: Index) -> dict[str, Tensor]:
    """Some rows of some modalities, on the CPU; modalities of one source are decoded together.

    Args:
        modalities: as in `PairedDataset`.
        names: which of them.
        index: which rows.
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
            # a view of a file that is open for reading would be handed out as if one could write to it
            found[name] = torch.from_numpy(np.require(values[rows], requirements=["C", "W"]))
    for group in together.values():
        rows_of = {name: modalities[name] for name in group}
        inner = {name: rows.name for name, rows in rows_of.items() if isinstance(rows, DecodedRows)}
        source = next(rows.source for rows in rows_of.values() if isinstance(rows, DecodedRows))
        batch = source.read(index, list(inner.values()))
        found |= {name: torch.from_numpy(batch[key]) for name, key in inner.items()}
    return found
