"""Train one multilayer perceptron in compiled code; all its data fit into a core's cache.

Level 0 is the inputs of a batch, level l the outputs of linear layer l (after its ReLU); the last level is
the logits. Each row of a level has `width` elements, padded with zeros to full blocks, and then one element
that is 1: so the bias of the next layer is the last row of its matrix. Weights are stored as (input, output),
one layer after the other in a flat array; gradients and the optimiser's state have the same layout.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, no_type_check

import numpy as np
from numba import types
from numba.extending import overload

from mfh._system.compiled import compiled
from mfh.training.many.product import ROWS, VECTOR, product

EVALUATION_ROWS = 64


class Layout(NamedTuple):
    """The places of a network's values and weights in flat arrays (see the module).

    Attributes:
        width: of each level.
        pitch: elements from one row to the next, of each level.
        start: first element of each level in an array of all levels of a batch; the last entry is its length.
        weight: first element of each layer's matrix; the last entry is the length of the array.
        rectified, biased: whether a ReLU follows each layer, and whether the layer has a bias.
        lanes: elements in a vector register.
    """

    width: np.ndarray
    pitch: np.ndarray
    start: np.ndarray
    weight: np.ndarray
    rectified: np.ndarray
    biased: np.ndarray
    lanes: int


def lay_out(
    sizes: Sequence[int], rectified: Sequence[bool], biased: Sequence[bool], batch: int, itemsize: int
) -> Layout:
    """Return the layout of a network with layers of these sizes, for batches of `batch` samples."""
    lanes = VECTOR // itemsize
    # the gradient of a matrix has as many rows as its level has elements, including the 1
    width = [_fill(sizes[0] + 1, ROWS) - 1, *(_fill(size, lanes) for size in sizes[1:])]
    pitch = [width[0] + 1, *(w + lanes for w in width[1:])]
    matrices = [(below + 1) * above for below, above in pairwise(width)]
    return Layout(
        width=np.array(width),
        pitch=np.array(pitch),
        start=np.cumsum([0, *(batch * p for p in pitch)]),
        weight=np.cumsum([0, *matrices]),
        rectified=np.array(rectified),
        biased=np.array(biased),
        lanes=lanes,
    )


def _fill(size: int, block: int) -> int:
    return -(-size // block) * block


def room(layout: Layout, dtype: np.dtype) -> np.ndarray:
    """Return an array for all levels of a batch: zeros, and the ones that multiply biases."""
    values = np.zeros(layout.start[-1], dtype)
    for level, width in enumerate(layout.width):
        rows = values[layout.start[level] : layout.start[level + 1]].reshape(-1, layout.pitch[level])
        rows[:, width] = 1
    return values


@no_type_check
def exp(value):
    """Return the exponential of a number that is 0 or less."""
    return math.exp(value)


@overload(exp)
@no_type_check
def _overload_exp(value):
    if value != types.float32:
        return lambda value: math.exp(value)

    @no_type_check
    def single(value):
        # exp(x) = 2^k e^r with |r| <= log(2) / 2, log(2) in two parts. Taylor's series to r^7 is as precise
        # as float32. Unlike a call of the C library, it allows vector instructions for the loop around it.
        f = np.float32
        x = max(value, f(-87))
        k = np.floor(x * f(1.4426950408889634) + f(0.5))
        r = (x - k * f(0.693359375)) - k * f(-2.12194440e-4)
        tail = f(1 / 24) + r * (f(1 / 120) + r * (f(1 / 720) + r * f(1 / 5040)))
        series = f(1) + r * (f(1) + r * (f(1 / 2) + r * (f(1 / 6) + r * tail)))
        return series * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)

    return single


@compiled()
@no_type_check
def copy_row(row, values, start):
    """Copy a row into a flat array."""
    for j in range(len(row)):
        values[start + j] = row[j]


@compiled()
@no_type_check
def forward(count, weights, values, layout):
    """Compute levels 1 and up from level 0."""
    width, pitch, start, one = layout.width, layout.pitch, layout.start, np.intp(1)
    for layer in range(len(width) - 1):
        above = width[layer + 1]
        product(
            count, above, width[layer] + 1, values, start[layer], pitch[layer], one,
            weights, layout.weight[layer], above, values, start[layer + 1], pitch[layer + 1],
            layout.lanes, layout.rectified[layer],
        )  # fmt: skip


@compiled()
@no_type_check
def backward(count, weights, gradients, values, deltas, transposed, layout):
    """Compute the gradients from the last level of `deltas`, which has the layout of `values`."""
    width, pitch, start, lanes = layout.width, layout.pitch, layout.start, layout.lanes
    one, no = np.intp(1), np.bool_(False)  # literals would make numba compile `product` again
    for layer in range(len(width) - 2, -1, -1):
        below, above, here = width[layer], width[layer + 1], layout.weight[layer]
        product(
            below + 1, above, count, values, start[layer], one, pitch[layer],
            deltas, start[layer + 1], pitch[layer + 1], gradients, here, above, lanes, no,
        )  # fmt: skip
        if not layout.biased[layer]:
            gradients[here + below * above : here + (below + 1) * above] = 0
        if layer == 0:
            break
        for o in range(above):
            for i in range(below):
                transposed[o * below + i] = weights[here + i * above + o]
        product(
            count, below, above, deltas, start[layer + 1], pitch[layer + 1], one,
            transposed, start[0], below, deltas, start[layer], pitch[layer], lanes, no,
        )  # fmt: skip
        if layout.rectified[layer - 1]:
            delta = deltas[start[layer] : start[layer] + count * pitch[layer]]
            value = values[start[layer] : start[layer] + count * pitch[layer]]
            for j in range(len(delta)):
                delta[j] = delta[j] if value[j] > 0 else delta.dtype.type(0)


@compiled("contract")
@no_type_check
def _loss(rows, logits, delta, pitch, target, constant, scale, weight, each, work):
    """Return the sum of the losses of a batch, and write the gradient of their mean into `delta`.

    The terms of the loss are as in `mfh.training.many.targets`: `target` is (term, sample, class), `constant`
    (term, sample), `scale` (term), `weight` (term, sample). `each` is the weight of every sample; for None,
    other code is compiled.
    """
    count, classes = len(rows), target.shape[2]
    total = 0.0
    delta[:] = 0
    for term in range(len(scale)):
        for sample in range(count):
            mine = weight[term, rows[sample]]
            factor = mine * scale[term] / logits.dtype.type(count)
            z, d = logits[sample * pitch : sample * pitch + classes], delta[sample * pitch :]
            share = factor
            if each is not None:
                share = factor * each[rows[sample]]
            t = target[term, rows[sample]]
            largest = z[0]
            for j in range(1, classes):
                largest = max(largest, z[j])
            for j in range(classes):
                work[j] = (z[j] - largest) * scale[term]
            cross = logits.dtype.type(0)
            for j in range(classes):
                cross -= t[j] * work[j]
            for j in range(classes):
                work[j] = exp(work[j])
            mass = logits.dtype.type(0)
            for j in range(classes):
                mass += work[j]
            loss = mine * (cross + math.log(mass)) + constant[term, rows[sample]]
            if each is not None:
                loss *= each[rows[sample]]
            total += loss
            for j in range(classes):
                d[j] += share * (work[j] / mass - t[j])
    return total


@compiled("contract", "reassoc")
@no_type_check
def _clip_norm(gradients, limit):
    """Scale the gradients so that their norm is at most `limit`."""
    squares = gradients.dtype.type(0)
    for j in range(len(gradients)):
        squares += gradients[j] * gradients[j]
    factor = limit / (math.sqrt(squares) + 1e-6)
    if factor < 1:
        for j in range(len(gradients)):
            gradients[j] *= gradients.dtype.type(factor)


@compiled("contract")
@no_type_check
def _step_sgd(weights, gradients, first, lr, momentum, decay):
    """Do a step of torch.optim.SGD."""
    for j in range(len(weights)):
        velocity = momentum * first[j] + (gradients[j] + decay * weights[j])
        first[j] = velocity
        weights[j] -= lr * velocity


@compiled("contract")
@no_type_check
def _step_adamw(weights, gradients, first, second, lr, decay, number):
    """Do a step of torch.optim.AdamW; `number` counts from 1."""
    real = weights.dtype.type
    beta, gamma = real(0.9), real(0.999)
    keep, rate = real(1 - lr * decay), real(lr / (1 - 0.9**number))
    root = real(1 / math.sqrt(1 - 0.999**number))
    for j in range(len(weights)):
        gradient = gradients[j]
        first[j] += (real(1) - beta) * (gradient - first[j])
        second[j] = gamma * second[j] + (real(1) - gamma) * gradient * gradient
        weights[j] = weights[j] * keep - rate * first[j] / (math.sqrt(second[j]) * root + real(1e-8))


@compiled()
@no_type_check
def update(weights, gradients, first, second, rate, number, momentum, decay, clip, adamw):
    """Change the weights by their gradients. Steps are counted from 1; a `clip` of 0 does not clip."""
    real = weights.dtype.type
    if clip > 0:
        _clip_norm(gradients, clip)
    if adamw:
        _step_adamw(weights, gradients, first, second, rate, decay, number)
    else:
        _step_sgd(weights, gradients, first, real(rate), real(momentum), real(decay))


@compiled()
@no_type_check
def train_epoch(
    inputs, order, batch, target, constant, scale, weight, each,
    weights, gradients, first, second, values, deltas, transposed, work, layout,
    rates, done, momentum, decay, clip, adamw, losses,
):  # fmt: skip
    """Go once through the training samples.

    `inputs` (sample, feature) are the training samples, `order` is their order in this epoch, `batch` the
    size of a step; `target`, `constant`, `scale`, `weight` and `each` are as in `_loss`. `weights`,
    `gradients`, `first` and `second` (for AdamW alone) are changed. `values` and `deltas` have room for all
    levels of a batch (see `room`), `transposed` for one matrix, `work` for the logits of one sample. `rates`
    has the learning rate of each step of this epoch, `done` is the number of steps before it; a `clip` of 0
    does not change the gradients. The sum of the losses of each step is written into `losses`.
    """
    top, pitch = layout.start[-2], layout.pitch[-1]
    for step in range(len(rates)):
        rows = order[step * batch : (step + 1) * batch]
        count = len(rows)
        for sample in range(count):
            copy_row(inputs[rows[sample]], values, sample * layout.pitch[0])
        forward(count, weights, values, layout)
        losses[step] = _loss(
            rows, values[top : top + count * pitch], deltas[top : top + count * pitch], pitch,
            target, constant, scale, weight, each, work,
        )  # fmt: skip
        backward(count, weights, gradients, values, deltas, transposed, layout)
        update(weights, gradients, first, second, rates[step], done + step + 1, momentum, decay, clip, adamw)


@compiled()
@no_type_check
def predict(inputs, batch, weights, values, layout, logits):
    """Write the logits of all samples into `logits`, (sample, class)."""
    top, pitch, classes = layout.start[-2], layout.pitch[-1], logits.shape[1]
    for begin in range(0, len(inputs), batch):
        count = min(batch, len(inputs) - begin)
        for sample in range(count):
            copy_row(inputs[begin + sample], values, sample * layout.pitch[0])
        forward(count, weights, values, layout)
        for sample in range(count):
            place = top + sample * pitch
            logits[begin + sample] = values[place : place + classes]


@compiled()
@no_type_check
def count_right(inputs, label, classes, batch, weights, values, layout):
    """Return the number of samples whose largest logit (the first one of a tie) is their class."""
    top, pitch = layout.start[-2], layout.pitch[-1]
    right = 0
    for begin in range(0, len(inputs), batch):
        count = min(batch, len(inputs) - begin)
        for sample in range(count):
            copy_row(inputs[begin + sample], values, sample * layout.pitch[0])
        forward(count, weights, values, layout)
        for sample in range(count):
            place = top + sample * pitch
            right += np.argmax(values[place : place + classes]) == label[begin + sample]
    return right
