"""A learning rate from a short range test: train with rates that rise, and see where the loss is lowest."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.models.copies import copied
from mfh.training.batches import epoch_order, make_batch, step_seed
from mfh.training.device import Processes, make_accelerator, reseed
from mfh.training.objectives import Objective
from mfh.training.step import make_optimizer
from mfh.training.weights import loss_weights

logger = logging.getLogger(__name__)
C = TypeVar("C", bound=TrainConfig)
STEPS = 60
"""Steps of a range test; a study takes them once a fit for its teacher and once for its student."""
RANGES = {"adamw": (1e-5, 0.1), "sgd": (1e-4, 3.0)}
"""Lowest and highest rate of a test, by optimiser."""
BELOW_LOWEST_LOSS = 10.0
"""The rate at which the loss is lowest, divided by the rate that is used."""
_SMOOTH, _TOO_HIGH = 0.9, 4.0  # weight of the earlier losses; loss, relative to the lowest, that ends a test


def find_rate(
    model: nn.Module,
    data: PairedDataset,
    objective: Objective,
    *,
    modalities: Sequence[str],
    train: Tensor,
    config: TrainConfig,
    seed: int,
) -> float:
    """Return a learning rate for a network: a tenth of the one at which its loss is lowest.

    A copy of the network takes `STEPS` steps. The rate grows by the same factor in each (Smith, Cyclical
    Learning Rates for Training Neural Networks, WACV 2017, section 3.3). The loss is smoothed; the test ends
    early if it explodes. The result is rounded down to 1, 2 or 5 times a power of ten, so that rounding on
    other hardware does not change it.

    Args:
        model: the network with its initial weights; it is not changed.
        data: the samples.
        objective: what the network is trained for.
        modalities: the network's inputs, in this order.
        train: rows to train on, int64; no others are read.
        config: optimiser, batch size and device; its `lr` is ignored.
        seed: fixes batches and dropout.

    Example:
        >>> from mfh.training.objectives import Distill
        >>> x = torch.linspace(-1, 1, 80)[:, None]
        >>> data = PairedDataset.from_arrays({"a": x, "b": x}, label=(x[:, 0] > 0).long())
        >>> config = TrainConfig(lr="auto", device="cpu")
        >>> find_rate(nn.Linear(1, 2), data, Distill(), modalities=["a"],
        ...           train=torch.arange(80), config=config, seed=0)
        0.2
    """
    low, high = RANGES[config.settled().optimizer or "sgd"]
    processes = Processes.on(make_accelerator(replace(config, lr=low, tracker=())).device)
    network = copied(model).to(processes.device).train()
    optimizer = make_optimizer(network, replace(config, lr=low).settled())
    growth = (high / low) ** (1 / (STEPS - 1))
    lowest, best, smoothed = math.inf, low, 0.0
    weight = loss_weights(data, train)
    with torch.random.fork_rng(devices=[processes.device] if processes.device.type == "cuda" else []):
        for step, rows in zip(range(STEPS), _batches(train, config, seed), strict=False):
            reseed(processes.device, step_seed(seed, step, 0))
            for group in optimizer.param_groups:
                group["lr"] = low * growth**step
            batch = make_batch(data, modalities, rows, processes.device, weight=weight)
            loss = objective(network(*batch.inputs), batch)
            smoothed = _SMOOTH * smoothed + (1 - _SMOOTH) * loss.item()
            level = smoothed / (1 - _SMOOTH ** (step + 1))
            if not math.isfinite(level) or level > _TOO_HIGH * lowest:
                break
            if level < lowest:
                lowest, best = level, low * growth**step
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return processes.from_main(rounded_down(best / BELOW_LOWEST_LOSS))


def with_rate(
    config: C,
    networks: Sequence[tuple[nn.Module, str, Tensor]],
    data: PairedDataset,
    objective: Objective,
    *,
    seed: int,
) -> C:
    """Return a configuration with a number for `lr`: if it is auto, one that suits all networks.

    Args:
        config: how the networks are trained.
        networks: each with the modality that it sees, and the rows to train it on, int64.
        data: the samples.
        objective: what the networks are trained for.
        seed: fixes the batches of the range test.
    """
    if config.lr != "auto":
        return config
    rates = [
        find_rate(model, data, objective, modalities=data.parts(name), train=train, config=config, seed=seed)
        for model, name, train in networks
    ]
    logger.info("`lr` is %g, found by a range test", min(rates))
    return replace(config, lr=min(rates))


def rounded_down(rate: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above a rate.

    >>> rounded_down(0.0041), rounded_down(0.05), rounded_down(0.00099)
    (0.002, 0.05, 0.0005)
    """
    power = math.floor(math.log10(rate) + 1e-9)
    digit = max(digit for digit in (1, 2, 5) if digit <= rate / 10**power * (1 + 1e-9))
    return float(f"{digit}e{power}")


def _batches(train: Tensor, config: TrainConfig, seed: int) -> Iterator[Tensor]:
    """Yield batches without end; those too small for batch normalisation are left out."""
    size = min(config.batch_size, config.micro_batch or config.batch_size)
    epoch = 0
    while True:
        epoch += 1
        parts = train[epoch_order(len(train), seed, epoch)].split(size)
        yield from (rows for rows in parts if len(rows) > 1 or size == 1 or len(parts) == 1)
