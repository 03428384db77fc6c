"""Step 1 of Algorithm 1 for two multilayer perceptrons on the CPU, in compiled code.

The weights of both networks are in one flat array, the teacher's first; so are gradients and the optimiser's
state. Clipping uses the norm over both networks.
"""

import math
from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from mfh._system.compiled import compiled
from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.metrics import METRICS, Metric
from mfh.training.batches import step_size
from mfh.training.diverged import DivergedError
from mfh.training.many.epochs import Steps, flat_inputs, not_finite_in, orders, pieces
from mfh.training.many.kernel import (
    EVALUATION_ROWS,
    Layout,
    backward,
    copy_row,
    count_right,
    exp,
    forward,
    lay_out,
    predict,
    room,
    update,
)
from mfh.training.many.perceptron import Perceptron
from mfh.training.objectives import Fused, Pair
from mfh.training.weights import row_weights


@compiled("contract")
@no_type_check
def joint_loss(label, each, rows, mine, other, delta, pitch, other_pitch, classes, work, label_share):
    """Return a batch's sum of one network's cross-entropy and half of the squared distance; see `Joint`.

    `mine` and `other` are the logits of the two networks. The gradient of the mean loss by `mine` is written
    into `delta`. Samples with label -1 have no cross-entropy. `each` is the weight of every sample; for None,
    other code is compiled.
    """
    count = len(rows)
    real = mine.dtype.type
    usual_share, usual_pull = real(1) / real(count * label_share), real(2) / real(count * classes)
    total = 0.0
    delta[:] = 0
    for sample in range(count):
        z, o = mine[sample * pitch :], other[sample * other_pitch :]
        d = delta[sample * pitch :]
        truth = label[rows[sample]]
        squares = real(0)
        share, pull = usual_share, usual_pull
        if each is not None:
            share, pull = usual_share * each[rows[sample]], usual_pull * each[rows[sample]]
        if truth < 0:
            for j in range(classes):
                squares += (z[j] - o[j]) * (z[j] - o[j])
                d[j] = pull * (z[j] - o[j])
            loss = squares / (2 * classes)
            if each is not None:
                loss *= each[rows[sample]]
            total += loss
            continue
        largest = z[0]
        for j in range(1, classes):
            largest = max(largest, z[j])
        mass = real(0)
        for j in range(classes):
            work[j] = exp(z[j] - largest)
            mass += work[j]
        for j in range(classes):
            squares += (z[j] - o[j]) * (z[j] - o[j])
            d[j] = share * (work[j] / mass) + pull * (z[j] - o[j])
        d[truth] -= share
        loss = (math.log(mass) - (z[truth] - largest)) / label_share + squares / (2 * classes)
        if each is not None:
            loss *= each[rows[sample]]
        total += loss
    return total


@compiled("contract")
@no_type_check
def fused_loss(label, each, rows, mine, other, delta, other_delta, pitch, other_pitch, classes, work):
    """Return a batch's sum of the cross-entropy of the sum of two networks' logits; see `Fused`.

    The gradient of the mean loss by the sum is written into `delta` and `other_delta`. `each` is the weight
    of every sample; for None, other code is compiled.
    """
    count = len(rows)
    real = mine.dtype.type
    usual_share = real(1) / real(count)
    total = 0.0
    delta[:] = 0
    other_delta[:] = 0
    for sample in range(count):
        z, o = mine[sample * pitch :], other[sample * other_pitch :]
        for j in range(classes):
            work[j] = z[j] + o[j]
        largest = work[0]
        for j in range(1, classes):
            largest = max(largest, work[j])
        truth = label[rows[sample]]
        share, factor = usual_share, real(1)
        if each is not None:
            factor = each[rows[sample]]
            share = usual_share * factor
        total -= factor * (work[truth] - largest)
        mass = real(0)
        for j in range(classes):
            work[j] = exp(work[j] - largest)
            mass += work[j]
        total += factor * math.log(mass)
        d, e = delta[sample * pitch :], other_delta[sample * other_pitch :]
        for j in range(classes):
            d[j] = share * (work[j] / mass)
        d[truth] -= share
        for j in range(classes):
            e[j] = d[j]
    return total


@compiled()
@no_type_check
def pair_epoch(
    inputs, label, each, order, batch, classes, weights, gradients, first, second,
    values, deltas, transposed, work, layouts, rates, done, momentum, decay, clip, adamw, losses,
    label_share, fused,
):  # fmt: skip
    """Go once through the training samples with both networks; like `train_epoch`, with tuples of two.

    `fused` networks are trained by the cross-entropy of the sum of their logits, others as `Joint` says.
    """
    teacher, student = layouts
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
        delta_t = deltas[0][top_t : top_t + count * pitch_t]
        delta_s = deltas[1][top_s : top_s + count * pitch_s]
        if fused:
            losses[step] = fused_loss(
                label, each, rows, out_t, out_s, delta_t, delta_s, pitch_t, pitch_s, classes, work
            )
        else:
            losses[step] = joint_loss(
                label, each, rows, out_t, out_s, delta_t, pitch_t, pitch_s, classes, work, label_share
            ) + joint_loss(
                label, each, rows, out_s, out_t, delta_s, pitch_s, pitch_t, classes, work, label_share
            )
        backward(count, weights, gradients, values[0], deltas[0], transposed, teacher)
        backward(count, weights, gradients, values[1], deltas[1], transposed, student)
        update(weights, gradients, first, second, rates[step], done + step + 1, momentum, decay, clip, adamw)


class PairTraining:
    """The weights of a pair, and the code that trains them; see `Training`.

    Args:
        pair: teacher and student.
        networks: the structure of both; see `pair_of`.
        data: the samples.
        modalities: the teacher's and the student's.
        train: rows to train on.
        validation: rows that choose the epoch.
        config: how both are trained.
        seed: fixes the batches.
        metric: what chooses the epoch.
        labelled: places in `train` that a third of each batch is drawn from; see `training_order`.
        label_share: see `Joint`.
    """

    def __init__(
        self,
        pair: Pair,
        networks: tuple[Perceptron, Perceptron],
        data: PairedDataset,
        modalities: Sequence[str],
        train: Tensor,
        validation: Tensor,
        config: TrainConfig,
        seed: int,
        metric: Metric,
        *,
        labelled: Tensor | None = None,
        label_share: float = 1.0,
    ) -> None:
        self.metric, self.label_share = metric, label_share
        self.pair, self.networks, self.config = pair, networks, config
        self.data, self.rows = data, train
        self.inputs = tuple(flat_inputs(data, name, train) for name in modalities)
        self.seen = tuple(flat_inputs(data, name, validation) for name in modalities)
        self.label, self.truth = data.label[train].numpy(), data.label[validation]
        self.judged, weight = data.weight_of(validation), row_weights(data, train)
        self.orders = orders(len(train), seed, config, labelled)
        dtype = self.inputs[0].dtype
        self.each = None if weight is None else weight.numpy().astype(dtype)
        self.batch = min(step_size(len(train), config, labelled), len(self.orders[0]))
        self.block = max(self.batch, EVALUATION_ROWS)
        self.classes = networks[0].sizes[-1]
        first, second = (
            lay_out(one.sizes, one.rectified, one.biased, self.block, dtype.itemsize) for one in networks
        )
        behind = second._replace(weight=second.weight + first.weight[-1])
        self.layouts: tuple[Layout, Layout] = first, behind
        self.weights = networks[1].pack(pair.student, behind)
        self.weights[: first.weight[-1]] = networks[0].pack(pair.teacher, first)
        self.gradients, self.first, self.transposed = (np.zeros_like(self.weights) for _ in range(3))
        self.second = np.zeros_like(self.weights if config.optimizer == "adamw" else self.weights[:0])
        self.values = tuple(room(layout, dtype) for layout in self.layouts)
        self.deltas = tuple(np.zeros(layout.start[-1], dtype) for layout in self.layouts)
        self.work = np.empty(self.classes, dtype)

    def epoch(self, number: int) -> float:
        """Go once through the training samples; return the mean loss."""
        config, order = self.config, self.orders[number - 1]
        rates, done = Steps.of(config, number, len(order))
        losses = np.empty(len(rates))
        for part in pieces(len(rates), self.batch * len(self.weights)):
            rows = order[part.start * self.batch : part.stop * self.batch]
            pair_epoch(
                self.inputs, self.label, self.each, rows, self.batch, self.classes,
                self.weights, self.gradients, self.first, self.second, self.values, self.deltas,
                self.transposed, self.work, self.layouts, rates[part], done + part.start, config.momentum,
                config.weight_decay, config.clip or 0.0, config.optimizer == "adamw", losses[part],
                self.label_share, isinstance(self.pair, Fused),
            )  # fmt: skip
        if wrong := not_finite_in(losses, self.weights):
            what, step = wrong
            wrong_rows = torch.from_numpy(order[step * self.batch : (step + 1) * self.batch])
            raise DivergedError(what, number, self.data.id[self.rows[wrong_rows.long()].numpy()])
        return float(losses.sum()) / len(order)

    def validate(self) -> float:
        """Return the mean of both networks' validation metric, in its unit."""
        sides = zip(self.seen, self.values, self.layouts, strict=True)
        fused = isinstance(self.pair, Fused)
        if self.metric == METRICS["accuracy"] and not fused and self.judged is None:
            # without the way through Python
            right = sum(
                count_right(seen, self.truth.numpy(), self.classes, self.block, self.weights, values, layout)
                for seen, values, layout in sides
            )
            return 100 * right / (2 * len(self.truth))
        both = []
        for seen, values, layout in sides:
            logits = np.empty((len(seen), self.classes), seen.dtype)
            predict(seen, self.block, self.weights, values, layout, logits)
            both.append(torch.from_numpy(logits))
        if fused:
            return self.metric(both[0] + both[1], self.truth, self.judged)
        return sum(self.metric(one, self.truth, self.judged) for one in both) / 2

    def load(self, weights: np.ndarray) -> None:
        """Load weights into the pair."""
        for model, network, layout in zip(
            (self.pair.teacher, self.pair.student), self.networks, self.layouts, strict=True
        ):
            model.load_state_dict(network.unpack(weights, layout))
        self.pair.eval()


def pair_of(
    pair: Pair, data: PairedDataset, modalities: Sequence[str]
) -> tuple[Perceptron, Perceptron] | None:
    """Return the structure of both networks; None unless both are multilayer perceptrons."""
    sides = zip((pair.teacher, pair.student), modalities, strict=True)
    teacher, student = (Perceptron.of(model, data.shape(name)) for model, name in sides)
    return None if teacher is None or student is None else (teacher, student)
