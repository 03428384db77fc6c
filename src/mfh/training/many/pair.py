"""Step 1 of Algorithm 1 for two multilayer perceptrons on the CPU, in compiled code.

Both networks' weights lie in one flat array, the teacher's first; so do gradients and the optimiser's state,
and clipping sees the norm over both.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from torch import Tensor

from mfh._checks import InputError, listing
from mfh._compiled import compiled
from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.training.batches import epoch_order
from mfh.training.many.kernel import (
    Layout,
    backward,
    clip_norm,
    copy_row,
    count_right,
    exp,
    forward,
    lay_out,
    room,
    step_adamw,
    step_sgd,
)
from mfh.training.many.perceptron import Perceptron
from mfh.training.many.threads import EVALUATION_ROWS
from mfh.training.objectives import Pair


class PairFit(NamedTuple):
    """What a pair's training leaves besides its weights, which are those of the best epoch.

    Attributes:
        best_epoch: the first epoch, counted from 1, with the best validation metric.
        validation: mean of both networks' validation metric after each epoch, in percent.
        loss: mean training loss of each epoch.
    """

    best_epoch: int
    validation: tuple[float, ...]
    loss: tuple[float, ...]


@compiled("contract")
@no_type_check
def joint_loss(label, rows, mine, other, delta, pitch, other_pitch, classes, work):
    """Sum over a batch of one network's cross-entropy and half of the squared distance; see `Joint`.

    `mine` and `other` are both networks' logits; `delta` takes the gradient of the mean loss with respect to
    `mine`.
    """
    count = len(rows)
    real = mine.dtype.type
    share, pull = real(1) / real(count), real(2) / real(count * classes)
    total = 0.0
    delta[:] = 0
    for sample in range(count):
        z, o = mine[sample * pitch :], other[sample * other_pitch :]
        d = delta[sample * pitch :]
        largest = z[0]
        for j in range(1, classes):
            largest = max(largest, z[j])
        mass = real(0)
        for j in range(classes):
            work[j] = exp(z[j] - largest)
            mass += work[j]
        truth = label[rows[sample]]
        squares = real(0)
        for j in range(classes):
            squares += (z[j] - o[j]) * (z[j] - o[j])
            d[j] = share * (work[j] / mass) + pull * (z[j] - o[j])
        d[truth] -= share
        total += math.log(mass) - (z[truth] - largest) + squares / (2 * classes)
    return total


@compiled()
@no_type_check
def pair_epoch(
    inputs, label, order, batch, classes, weights, gradients, first, second,
    values, deltas, transposed, work, layouts, rates, done, momentum, decay, clip, adamw, losses,
):  # fmt: skip
    """Go once through the training samples with both networks; as `train_epoch`, with tuples of two."""
    teacher, student = layouts
    real = weights.dtype.type
    for step in range(len(rates)):
        rows = order[step * batch : (step + 1) * batch]
        count = len(rows)
        for sample in range(count):
            copy_row(inputs[0][rows[sample]], values[0], sample * teacher.pitch[0])
            copy_row(inputs[1][rows[sample]], values[1], sample * student.pitch[0])
        forward(count, weights, values[0], teacher)
        forward(count, weights, values[1], student)
        top_t, pitch_t = teacher.start[-2], teacher.pitch[-1]
        top_s, pitch_s = student.start[-2], student.pitch[-1]
        out_t = values[0][top_t : top_t + count * pitch_t]
        out_s = values[1][top_s : top_s + count * pitch_s]
        losses[step] = joint_loss(
            label, rows, out_t, out_s, deltas[0][top_t : top_t + count * pitch_t],
            pitch_t, pitch_s, classes, work,
        ) + joint_loss(
            label, rows, out_s, out_t, deltas[1][top_s : top_s + count * pitch_s],
            pitch_s, pitch_t, classes, work,
        )  # fmt: skip
        backward(count, weights, gradients, values[0], deltas[0], transposed, teacher)
        backward(count, weights, gradients, values[1], deltas[1], transposed, student)
        if clip > 0:
            clip_norm(gradients, clip)
        if adamw:
            step_adamw(weights, gradients, first, second, rates[step], decay, done + step + 1)
        else:
            step_sgd(weights, gradients, first, real(rates[step]), real(momentum), real(decay))


class _Training:
    """The weights of a pair, and all that changes them."""

    def __init__(
        self,
        pair: Pair,
        networks: tuple[Perceptron, Perceptron],
        data: PairedDataset,
        modalities: Sequence[str],
        train: Tensor,
        validation: Tensor,
        config: TrainConfig,
    ) -> None:
        self.data, self.rows, self.networks, self.config = data, train, networks, config
        self.inputs = tuple(_values(data, name, train) for name in modalities)
        self.seen = tuple(_values(data, name, validation) for name in modalities)
        self.label, self.truth = data.label[train].numpy(), data.label[validation].numpy()
        dtype = self.inputs[0].dtype
        self.batch = min(config.batch_size, len(train))
        self.block = max(self.batch, EVALUATION_ROWS)
        self.classes = networks[0].sizes[-1]
        first, second = (
            lay_out(one.sizes, one.rectified, one.biased, self.block, dtype.itemsize) for one in networks
        )
        self.layouts: tuple[Layout, Layout] = (
            first,
            second._replace(weight=second.weight + first.weight[-1]),
        )
        self.weights = networks[1].pack(pair.student, self.layouts[1])
        self.weights[: first.weight[-1]] = networks[0].pack(pair.teacher, first)
        self.gradients, self.first, self.transposed = (np.zeros_like(self.weights) for _ in range(3))
        self.second = np.zeros_like(self.weights if config.optimizer == "adamw" else self.weights[:0])
        self.values = tuple(room(layout, dtype) for layout in self.layouts)
        self.deltas = tuple(np.zeros(layout.start[-1], dtype) for layout in self.layouts)
        self.work = np.empty(self.classes, dtype)
        self.steps = math.ceil(len(train) / config.batch_size)

    def epoch(self, number: int, seed: int) -> float:
        """Go once through the training samples; returns the mean loss."""
        config, done = self.config, (number - 1) * self.steps
        rates = np.array([config.learning_rate(done + step, self.steps) for step in range(self.steps)])
        order, losses = epoch_order(len(self.rows), seed, number).int().numpy(), np.empty(self.steps)
        pair_epoch(
            self.inputs, self.label, order, self.batch, self.classes,
            self.weights, self.gradients, self.first, self.second, self.values, self.deltas,
            self.transposed, self.work, self.layouts, rates, done, config.momentum, config.weight_decay,
            config.clip or 0.0, config.optimizer == "adamw", losses,
        )  # fmt: skip
        bad = ~np.isfinite(losses)
        if bad.any() or not np.isfinite(self.weights).all():
            step = int(bad.argmax()) if bad.any() else self.steps - 1
            what = f"the loss is {losses[step]}" if bad.any() else "a weight is not finite"
            chosen = torch.from_numpy(order[step * self.batch : (step + 1) * self.batch]).long()
            raise _not_finite(what, number, self.data, self.rows[chosen])
        return float(losses.sum()) / len(order)

    def validate(self) -> float:
        """Mean of both networks' validation accuracy, in percent."""
        right = sum(
            count_right(seen, self.truth, self.classes, self.block, self.weights, values, layout)
            for seen, values, layout in zip(self.seen, self.values, self.layouts, strict=True)
        )
        return 100 * right / (2 * len(self.truth))


def pair_of(
    pair: Pair, data: PairedDataset, modalities: Sequence[str]
) -> tuple[Perceptron, Perceptron] | None:
    """Both networks as the compiled code knows them; None where one of them is anything else."""
    sides = zip((pair.teacher, pair.student), modalities, strict=True)
    teacher, student = (Perceptron.of(model, data.shape(name)) for model, name in sides)
    return None if teacher is None or student is None else (teacher, student)


def train_pair_compiled(
    pair: Pair,
    networks: tuple[Perceptron, Perceptron],
    data: PairedDataset,
    *,
    modalities: Sequence[str],
    train: Tensor,
    validation: Tensor,
    config: TrainConfig,
    seed: int,
    on_progress: Callable[[int], None],
) -> PairFit:
    """Train a pair, and leave it with the weights of its best epoch."""
    training = _Training(pair, networks, data, modalities, train, validation, config)
    loss: list[float] = []
    metric: list[float] = []
    best, best_epoch = training.weights.copy(), 0
    for epoch in range(1, config.epochs + 1):
        loss.append(training.epoch(epoch, seed))
        metric.append(training.validate())
        on_progress(1)
        if best_epoch == 0 or metric[-1] > metric[best_epoch - 1]:
            best[:], best_epoch = training.weights, epoch
        if config.patience and epoch - best_epoch >= config.patience:
            on_progress(config.epochs - epoch)
            break
    for model, network, layout in zip((pair.teacher, pair.student), networks, training.layouts, strict=True):
        model.load_state_dict(network.unpack(best, layout))
    pair.eval()
    return PairFit(best_epoch, tuple(metric), tuple(loss))


def _values(data: PairedDataset, modality: str, rows: Tensor) -> np.ndarray:
    return data.inputs(modality, rows).flatten(1).contiguous().numpy()


def _not_finite(what: str, epoch: int, data: PairedDataset, rows: Tensor) -> InputError:
    ids = listing(data.id[rows.numpy()], limit=1024)
    return InputError(
        f"The teacher and student trained together: {what} in epoch {epoch}, in the batch of samples {ids}: "
        "lower `lr`, set `clip`, or look at these samples."
    )
