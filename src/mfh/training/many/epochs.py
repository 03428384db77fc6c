"""All epochs of a training in compiled code, and the weights of the best one."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric
from mfh.training.batches import epoch_order
from mfh.training.evaluate import require_defined

PIECE = 5e7
"""Samples times weights of one call of compiled code."""


@runtime_checkable
class Training(Protocol):
    """What changes one flat array of weights, an epoch at a time."""

    weights: np.ndarray
    metric: Metric

    def epoch(self, number: int) -> float:
        """Go once through the training samples; returns the mean loss."""

    def validate(self) -> float:
        """Return the validation metric, in its unit."""


class Trained(NamedTuple):
    """What a training came to.

    Attributes:
        weights: of the best epoch.
        best_epoch: the first epoch, counted from 1, with the best validation metric.
        validation: the metric after each epoch, in its unit.
        loss: mean training loss of each epoch.
    """

    weights: np.ndarray
    best_epoch: int
    validation: tuple[float, ...]
    loss: tuple[float, ...]


def train_epochs(
    training: Training, config: TrainConfig, on_epoch: Callable[[int], None] = lambda _: None
) -> Trained:
    """Train to the end, or until the metric has not risen for `config.patience` epochs.

    `on_epoch` is called with the number of epochs that have come to an end since the last call, those that an
    early stop leaves out included.
    """
    loss: list[float] = []
    found: list[float] = []
    merit = training.metric.merit
    best, best_epoch = training.weights.copy(), 0
    for epoch in range(1, config.epochs + 1):
        loss.append(training.epoch(epoch))
        found.append(training.validate())
        on_epoch(1)
        if best_epoch == 0 or merit(found[-1]) > merit(found[best_epoch - 1]):
            best[:], best_epoch = training.weights, epoch
        if config.patience and epoch - best_epoch >= config.patience:
            on_epoch(config.epochs - epoch)
            break
    require_defined(training.metric.name, found)
    return Trained(best, best_epoch, tuple(found), tuple(loss))


class Steps(NamedTuple):
    """The steps of one epoch.

    Attributes:
        rates: learning rate of each.
        done: steps before them.
    """

    rates: np.ndarray
    done: int

    @classmethod
    def of(cls, config: TrainConfig, epoch: int, samples: int) -> "Steps":
        """Those of an epoch, counted from 1, of so many samples."""
        count = math.ceil(samples / config.batch_size)
        done = (epoch - 1) * count
        return cls(np.array([config.learning_rate(done + step, count) for step in range(count)]), done)


def pieces(steps: int, work: int) -> Iterator[slice]:
    """The steps of an epoch in runs of about a tenth of a second, after each of which it can be stopped.

    Args:
        steps: how many there are.
        work: of one of them: its samples times the weights that each passes.
    """
    size = max(1, int(PIECE // max(work, 1)))
    return (slice(start, min(start + size, steps)) for start in range(0, steps, size))


def not_finite_in(losses: np.ndarray, weights: np.ndarray) -> tuple[str, int] | None:
    """What ran away in an epoch, and in which of its steps; None where all is well."""
    bad = ~np.isfinite(losses)
    if bad.any():
        return f"The loss is {losses[bad][0]}", int(bad.argmax())
    return None if np.isfinite(weights).all() else ("A weight is not finite", len(losses) - 1)


def orders(train: Tensor, seed: int, epochs: int) -> np.ndarray:
    """The order of the training samples in each epoch, (epoch, sample)."""
    return np.stack([epoch_order(len(train), seed, n).int().numpy() for n in range(1, epochs + 1)])


def flat_inputs(data: PairedDataset, modality: str, rows: Tensor) -> np.ndarray:
    """The inputs of some rows, (sample, feature), one row after the other in memory."""
    return data.inputs(modality, rows).flatten(1).contiguous().numpy()
