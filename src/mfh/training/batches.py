"""Batches: the order of the samples, each process's share, and reading from disk ahead of the network."""

import math
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mfh.data.paired import PairedDataset
from mfh.training.objectives import Batch

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
    inputs = _inputs(data, modalities, rows, device, channels_last)
    return Batch(inputs, data.label[rows].to(device), rows)


def feed(
    data: PairedDataset,
    modalities: Sequence[str],
    parts: Sequence[Tensor],
    device: torch.device,
    *,
    channels_last: bool = False,
) -> Generator[Batch]:
    """The batches of some sets of rows, one after another.

    While an accelerator computes, a thread reads the next batch of what does not lie in memory. Transforms
    run here, so that those which draw random numbers draw them in turn.
    """
    mapped = [name for name in modalities if not isinstance(data.modalities[name], Tensor)]
    size = sum(data.modalities[name][:1].nbytes for name in mapped) * len(parts[0]) if parts else 0
    if not _reads_ahead(device, size):
        for rows in parts:
            yield make_batch(data, modalities, rows, device, channels_last=channels_last)
        return
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        upcoming = reader.submit(_read, data, mapped, parts[0])
        for place, rows in enumerate(parts):
            held = upcoming.result()
            if place + 1 < len(parts):
                upcoming = reader.submit(_read, data, mapped, parts[place + 1])
            known = {name: data.modalities[name][rows] for name in modalities if name not in held}
            near = replace(data, modalities=known | held)
            inputs = _inputs(near, modalities, slice(None), device, channels_last)
            yield Batch(inputs, data.label[rows].to(device), rows)


def _reads_ahead(device: torch.device, size: int) -> bool:
    """Whether a thread is worth its cost; where the CPU computes, it has no time to read as well."""
    return device.type != "cpu" and size >= AHEAD_BYTES


def _read(data: PairedDataset, names: Sequence[str], rows: Tensor) -> dict[str, Tensor]:
    index = rows.numpy()
    return {name: torch.from_numpy(np.ascontiguousarray(data.modalities[name][index])) for name in names}


def _inputs(
    data: PairedDataset,
    modalities: Sequence[str],
    rows: Tensor | slice,
    device: torch.device,
    channels_last: bool,
) -> tuple[Tensor, ...]:
    inputs = tuple(data.inputs(name, rows, device=device) for name in modalities)
    if not channels_last:
        return inputs
    return tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs)
