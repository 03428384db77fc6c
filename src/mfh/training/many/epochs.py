"""Train all epochs in compiled code, and keep the weights of the best one."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric
from mfh.training.batches import training_order
from mfh.training.evaluate import require_defined

PIECE = 5e7
"""Samples times weights of one call of compiled code, about a tenth of a second."""


@runtime_checkable
class Training(Protocol):
    """One flat array of weights, and the code that trains it by epochs.

    Attributes:
        weights: all weights.
        metric: chooses the best epoch.
    """

    weights: np.ndarray
    metric: Metric

    def epoch(self, number: int) -> float:
        """Go once through the training samples; return the mean loss."""

    def validate(self) -> float:
        """Return the validation metric, in its unit."""


class Trained(NamedTuple):
    """The result of a training.

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
    """Train all epochs, or until the metric has not improved for `config.patience` epochs.

    With `config.steps` the last weights are kept, and the metric is not computed: it is NaN.

    Args:
        training: the weights, and the code that trains them.
        config: how they are trained.
        on_epoch: called with the number of epochs that ended since the last call; epochs that an early stop
            saves are included.

    Raises:
        DivergedError: a loss or a weight is not finite.
        InputError: the metric is NaN in every epoch.
    """
    loss: list[float] = []
    found: list[float] = []
    merit = training.metric.merit
    best, best_epoch = training.weights.copy(), 0
    for epoch in range(1, config.epochs + 1):
        loss.append(training.epoch(epoch))
        found.append(math.nan if config.steps else training.validate())
        on_epoch(1)
        if best_epoch == 0 or merit(found[-1]) > merit(found[best_epoch - 1]):
            best[:], best_epoch = training.weights, epoch
        if config.patience and epoch - best_epoch >= config.patience:
            on_epoch(config.epochs - epoch)
            break
    if config.steps is None:
        require_defined(training.metric.name, found)
    return Trained(best, best_epoch, tuple(found), tuple(loss))


class Steps(NamedTuple):
    """The steps of one epoch.

    Attributes:
        rates: learning rate of each step.
        done: number of steps before them.
    """

    rates: np.ndarray
    done: int

    @classmethod
    def of(cls, config: TrainConfig, epoch: int, samples: int) -> "Steps":
        """Return the steps of an epoch, counted from 1, of `samples` samples."""
        count = config.steps or math.ceil(samples / config.batch_size)
        done = (epoch - 1) * count
        return cls(np.array([config.learning_rate(done + step, count) for step in range(count)]), done)


def pieces(steps: int, work: int) -> Iterator[slice]:
    """Yield the steps of an epoch in pieces of about a tenth of a second; training can stop after each.

    Args:
        steps: number of steps.
        work: of one step: its samples times the weights.
    """
    size = max(1, int(PIECE // max(work, 1)))
    return (slice(start, min(start + size, steps)) for start in range(0, steps, size))


def not_finite_in(losses: np.ndarray, weights: np.ndarray) -> tuple[str, int] | None:
    """Return what is not finite after an epoch, and in which step; None if all is finite."""
    bad = ~np.isfinite(losses)
    if bad.any():
        return f"The loss is {losses[bad][0]}", int(bad.argmax())
    return None if np.isfinite(weights).all() else ("A weight is not finite", len(losses) - 1)


def orders(count: int, seed: int, config: TrainConfig, labelled: Tensor | None = None) -> np.ndarray:
    """Return the order of the training samples in each epoch, (epoch, sample); see `training_order`."""
    epochs = range(1, config.epochs + 1)
    return np.stack([training_order(count, seed, epoch, config, labelled).int().numpy() for epoch in epochs])


def flat_inputs(data: PairedDataset, modality: str, rows: Tensor) -> np.ndarray:
    """Return the inputs of some rows, (sample, feature), contiguous in memory."""
    return data.inputs(modality, rows).flatten(1).contiguous().numpy()
