"""Batches: the order of the samples, each process's share, and reading from disk ahead of the network."""

import math
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh.data.decoded import DecodedRows, sample_bytes
from mfh.data.paired import PairedDataset
from mfh.training.objectives import Batch

AHEAD = 2  # batches that are read before they are needed
AHEAD_BYTES = 2**20  # a batch of less is read as quickly as it is handed from thread to thread


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Order of `count` training rows in an epoch (counted from 1): a permutation fixed by these three."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(count, generator=generator)


def step_seed(seed: int, step: int, rank: int) -> int:
    """What fixes dropout in one step of one process; scattered, so that neighbours have nothing in common."""
    value = seed
    for part in (step, rank):
        value = (value + part + 1) * 0x9E3779B97F4A7C15 % 2**64
        value ^= value >> 29
    return value % 2**63


def sample_draws(
    seed: int, step: int, rows: Int[Tensor, " sample"], count: int, stream: int = 0
) -> Float[Tensor, "sample draw"]:
    """`count` numbers in [0, 1) for each row, fixed by seed, step, row and stream alone.

    So they do not depend on which process or part of a batch a sample comes to.

    >>> both = sample_draws(0, 3, torch.tensor([7, 9]), 2)
    >>> torch.equal(sample_draws(0, 3, torch.tensor([9]), 2), both[1:])
    True
    """
    base = step_seed(step_seed(seed, step, stream), 0, 1)
    place = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        value = np.uint64(base) + (rows.numpy().astype(np.uint64)[:, None] * np.uint64(count) + place)
        value *= np.uint64(0x9E3779B97F4A7C15)  # the finaliser of splitmix64
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return torch.from_numpy(((value ^ (value >> np.uint64(31))) >> np.uint64(40)) / 2**24).float()


def shares(
    rows: Tensor, *, rank: int = 0, count: int = 1, largest: int | None = None
) -> list[tuple[Tensor, float]]:
    """What one process computes of a batch: parts with their weights, their shares of the batch.

    Every process gets as many parts. A part that would be empty holds one sample, and its weight is 0.

    Args:
        rows: the whole batch.
        rank: number of the process.
        count: number of processes.
        largest: most samples of a part.

    Example:
        >>> shares(torch.arange(5), rank=1, count=2, largest=1)
        [(tensor([1]), 0.2), (tensor([3]), 0.2), (tensor([0]), 0.0)]
    """
    longest = math.ceil(len(rows) / count)
    num_parts = 1 if largest is None else math.ceil(longest / largest)
    if count == num_parts == 1:
        return [(rows, 1.0)]
    parts = rows[rank::count].tensor_split(num_parts)
    return [(part, len(part) / len(rows)) if len(part) else (rows[:1], 0.0) for part in parts]


def make_batch(
    data: PairedDataset,
    modalities: Sequence[str],
    rows: Tensor,
    device: torch.device,
    *,
    channels_last: bool = False,
) -> Batch:
    """The inputs and labels of some rows, on a device."""
    return _batch(data, modalities, rows, {}, device, channels_last)


def feed(
    data: PairedDataset,
    modalities: Sequence[str],
    parts: Sequence[Tensor],
    device: torch.device,
    *,
    channels_last: bool = False,
) -> Generator[Batch]:
    """The batches of some sets of rows, one after another.

    While a batch is computed with, the next ones are read from disk or decoded. Transforms run here, so that
    those which draw random numbers draw them in turn.
    """
    slow = _read_ahead(data, modalities, device, len(parts[0]) if parts else 0)
    if not slow:
        for rows in parts:
            yield make_batch(data, modalities, rows, device, channels_last=channels_last)
        return
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        waiting = deque(reader.submit(data.read, slow, rows) for rows in parts[:AHEAD])
        try:
            for place, rows in enumerate(parts):
                held = waiting.popleft().result()
                if place + AHEAD < len(parts):
                    waiting.append(reader.submit(data.read, slow, parts[place + AHEAD]))
                yield _batch(data, modalities, rows, held, device, channels_last)
        finally:
            for future in waiting:
                future.cancel()


def _read_ahead(data: PairedDataset, modalities: Sequence[str], device: torch.device, size: int) -> list[str]:
    """The modalities that are worth a thread which reads them ahead, for batches of `size` samples.

    Decoding is; so is reading a memory-mapped array while an accelerator computes. Where the CPU computes, it
    has no time to copy as well.
    """
    values = {name: data.modalities[name] for name in modalities}
    decoded = [n for n, v in values.items() if isinstance(v, DecodedRows) and v.source.workers > 0]
    mapped = [n for n, v in values.items() if isinstance(v, np.ndarray)]
    large = size * sum(sample_bytes(values[name]) for name in mapped)
    return decoded + (mapped if _copies_ahead(device, large) else [])


def _copies_ahead(device: torch.device, size: int) -> bool:
    return device.type != "cpu" and size >= AHEAD_BYTES


def _batch(
    data: PairedDataset,
    modalities: Sequence[str],
    rows: Tensor,
    held: Mapping[str, Tensor],
    device: torch.device,
    channels_last: bool,
) -> Batch:
    """A batch of which the raw values in `held` are read already."""
    others = [name for name in modalities if name not in held]
    near = replace(data, modalities={**held, **data.read(others, rows)})
    inputs = tuple(near.inputs(name, slice(None), device=device) for name in modalities)
    if channels_last:
        inputs = tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs)
    return Batch(inputs, data.label[rows].to(device), rows)
