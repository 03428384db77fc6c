"""Batches: the order of the samples, the share of each process, and reading ahead from disk."""

import math
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh.config import TrainConfig
from mfh.data.decoded import DecodedRows, sample_bytes
from mfh.data.paired import PairedDataset
from mfh.training.objectives import Batch

AHEAD = 2
"""Batches that are read before the network needs them."""
AHEAD_BYTES = 2**20
"""Size of a batch below which reading it takes no longer than passing it between threads."""


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order of `count` training rows in an epoch, counted from 1; it depends on these alone."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(count, generator=generator)


def training_order(
    count: int, seed: int, epoch: int, config: TrainConfig, labelled: Int[Tensor, " row"] | None = None
) -> Tensor:
    """Return the order of `count` training rows in an epoch, one batch after the other.

    With `config.steps` there is one epoch of that many batches: pass after pass over the rows in the order of
    `epoch_order`, cut after the last step.

    Args:
        count: number of training rows.
        seed: fixes the order.
        epoch: counted from 1.
        config: size and number of the batches.
        labelled: with `config.steps`, places of the rows with a label: the first third of each batch is drawn
            from these, pass after pass, and the rest from all rows. None draws from all rows alone.
    """
    if config.steps is None:
        return epoch_order(count, seed, epoch)
    if labelled is None:
        return _passes(count, seed, config.steps * step_size(count, config))
    few, many = step_parts(count, len(labelled), config)
    first = labelled[_passes(len(labelled), seed + 1, config.steps * few)].view(-1, few)
    rest = _passes(count, seed, config.steps * many).view(-1, many)
    return torch.cat([first, rest], dim=1).flatten()


def step_size(count: int, config: TrainConfig, labelled: Tensor | None = None) -> int:
    """Return the number of rows of a batch of `training_order`; the last batch of an epoch may be smaller."""
    if config.steps is None:
        return config.batch_size
    return (
        min(config.batch_size, count) if labelled is None else sum(step_parts(count, len(labelled), config))
    )


def step_parts(count: int, num_labelled: int, config: TrainConfig) -> tuple[int, int]:
    """Return how many rows of a step `training_order` draws from the labelled rows, and from all rows."""
    few = min(max(config.batch_size // 3, 1), num_labelled)
    return few, min(config.batch_size - few, count)


def _passes(count: int, seed: int, total: int) -> Tensor:
    """Return the first `total` rows of repeated passes over `count` rows."""
    passes = range(1, math.ceil(total / count) + 1)
    return torch.cat([epoch_order(count, seed, number) for number in passes])[:total]


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of dropout in one step of one process; neighbouring steps get unrelated seeds."""
    value = seed
    for part in (step, rank):
        value = (value + part + 1) * 0x9E3779B97F4A7C15 % 2**64
        value ^= value >> 29
    return value % 2**63


def sample_draws(
    seed: int, step: int, rows: Int[Tensor, " sample"], count: int, stream: int = 0
) -> Float[Tensor, "sample draw"]:
    """Return `count` numbers in [0, 1) for each row; they depend on seed, step, row and stream alone.

    So it does not matter which process, or which part of a batch, computes a sample.

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
    """Return the parts of a batch that one process computes, each with its share of the batch.

    Every process gets the same number of parts. A part that would be empty has one sample and a share of 0.

    Args:
        rows: of all samples of the batch.
        rank: number of the process.
        count: number of processes.
        largest: largest number of samples in a part.

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
    weight: Tensor | None = None,
) -> Batch:
    """Return the inputs and labels of some rows, on a device; `weight` as in `loss_weights`."""
    return _batch(data, modalities, rows, {}, device, channels_last, weight)


def feed(
    data: PairedDataset,
    modalities: Sequence[str],
    parts: Sequence[Tensor],
    device: torch.device,
    *,
    channels_last: bool = False,
    weight: Tensor | None = None,
) -> Generator[Batch]:
    """Yield the batch of each set of rows; `weight` has that of each sample in the loss.

    A thread reads or decodes the next batches while the caller uses one. Transforms run in the caller's
    thread, so that random ones draw their numbers in the order of the batches.
    """
    slow = _read_ahead(data, modalities, device, len(parts[0]) if parts else 0)
    if not slow:
        for rows in parts:
            yield make_batch(data, modalities, rows, device, channels_last=channels_last, weight=weight)
        return
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        waiting = deque(reader.submit(data.read, slow, rows) for rows in parts[:AHEAD])
        try:
            for place, rows in enumerate(parts):
                held = waiting.popleft().result()
                if place + AHEAD < len(parts):
                    waiting.append(reader.submit(data.read, slow, parts[place + AHEAD]))
                yield _batch(data, modalities, rows, held, device, channels_last, weight)
        finally:
            for future in waiting:
                future.cancel()


def _read_ahead(data: PairedDataset, modalities: Sequence[str], device: torch.device, size: int) -> list[str]:
    """Return the modalities that a thread should read ahead, for batches of `size` samples.

    These are modalities that must be decoded, and memory-mapped arrays if an accelerator computes. If the CPU
    computes, reading an array in another thread gains nothing.
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
    weight: Tensor | None,
) -> Batch:
    """Return a batch; the raw values of the modalities in `held` have been read before."""
    others = [name for name in modalities if name not in held]
    near = replace(data, modalities={**held, **data.read(others, rows)})
    inputs = tuple(near.inputs(name, slice(None), device=device) for name in modalities)
    if channels_last:
        inputs = tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs)
    complete = bool(data.labelled[rows.numpy()].all())
    each = None if weight is None else weight[rows].to(device)
    return Batch(inputs, data.label[rows].to(device), rows, complete, each)
