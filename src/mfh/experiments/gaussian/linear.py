"""Small linear classifiers with two outputs, trained full batch in compiled code.

For two classes only the difference d of the logits matters: the probability of class 1 is sigmoid(d), and the
gradients of cross-entropy and of KL are equal and opposite on the two outputs, so the sum of the logits never
changes. Training d alone halves the work. A model and its inputs (200 samples of 50 channels take 40 kB) stay
in the cache of a core for all steps. The arithmetic is float32, as in torch; the weights are equal to torch's
except for rounding.

Inputs are (channel, sample). Weights are (2, channels + 1), the bias last, as those of `torch.nn.Linear`. The
compiled functions release Python's global lock, so several threads can train models at the same time. One
thread computes each model, so its numbers do not depend on the number of threads.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from mfh._checks import require
from mfh._system.compiled import compiled

_f32 = np.float32


@compiled("fast")
@no_type_check
def _sigmoid(z):
    # exp(-z) = 2^k e^r with |r| <= log(2) / 2. Taylor's series to r^7 is as exact as float32. The compiler
    # can vectorise the loop around it, but not around a call of the C library.
    t = min(max(-z, _f32(-80)), _f32(80)) * _f32(1.4426950408889634)
    k = np.floor(t + _f32(0.5))
    r = (t - k) * _f32(0.6931471805599453)
    tail = _f32(1 / 24) + r * (_f32(1 / 120) + r * (_f32(1 / 720) + r * _f32(1 / 5040)))
    series = _f32(1) + r * (_f32(1) + r * (_f32(1 / 2) + r * (_f32(1 / 6) + r * tail)))
    power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    return _f32(1) / (_f32(1) + series * power)


@compiled("fast")
@no_type_check
def _forward(x, w, z):
    # Two channels at a time, here and below: z is loaded and stored half as often.
    num_channels, n = x.shape
    z[:] = w[num_channels]
    even = num_channels - num_channels % 2
    for c in range(0, even, 2):
        first, second = w[c], w[c + 1]
        for i in range(n):
            z[i] += first * x[c, i] + second * x[c + 1, i]
    for c in range(even, num_channels):
        for i in range(n):
            z[i] += w[c] * x[c, i]


@compiled("fast")
@no_type_check
def _descend(x, gradient, w, velocity, rate, momentum):
    num_channels, n = x.shape
    even = num_channels - num_channels % 2
    for c in range(num_channels + 1):
        velocity[c] *= momentum
    for c in range(0, even, 2):
        first, second = _f32(0), _f32(0)
        for i in range(n):
            first += x[c, i] * gradient[i]
            second += x[c + 1, i] * gradient[i]
        velocity[c] += first
        velocity[c + 1] += second
    for c in range(even, num_channels):
        for i in range(n):
            velocity[c] += x[c, i] * gradient[i]
    for i in range(n):
        velocity[num_channels] += gradient[i]
    for c in range(num_channels + 1):
        w[c] -= rate * velocity[c]


@compiled("fast")
@no_type_check
def _fit(x, target, scale, w, rate, momentum, steps):
    n = x.shape[1]
    z, velocity = np.empty(n, np.float32), np.zeros(w.size, np.float32)
    for _ in range(steps):
        _forward(x, w, z)
        for i in range(n):
            z[i] = scale * _sigmoid(z[i]) - target[i]
        _descend(x, z, w, velocity, rate, momentum)


@compiled("fast")
@no_type_check
def _fit_pair(xa, xb, label, wa, wb, rate, momentum, steps):
    # Row 0 of the weights gives the difference of the logits, row 1 their sum: the MSE changes both.
    n = label.size
    a, b = np.empty((2, n), np.float32), np.empty((2, n), np.float32)
    va, vb = np.zeros_like(wa), np.zeros_like(wb)
    half = _f32(0.5)
    for _ in range(steps):
        for row in range(2):
            _forward(xa, wa[row], a[row])
            _forward(xb, wb[row], b[row])
        for i in range(n):
            gap = half * (a[0, i] - b[0, i])
            a[0, i] = _sigmoid(a[0, i]) - label[i] + gap
            b[0, i] = _sigmoid(b[0, i]) - label[i] - gap
        for i in range(n):
            gap = half * (a[1, i] - b[1, i])
            a[1, i] = gap
            b[1, i] = -gap
        for row in range(2):
            _descend(xa, a[row], wa[row], va[row], rate, momentum)
            _descend(xb, b[row], wb[row], vb[row], rate, momentum)


def _to_difference_and_sum(weights: np.ndarray) -> np.ndarray:
    """Return the difference and the sum of the two outputs' weights."""
    return np.stack([weights[1] - weights[0], weights[1] + weights[0]])


def _to_outputs(rows: np.ndarray) -> np.ndarray:
    """Invert `_to_difference_and_sum`."""
    return np.stack([rows[1] - rows[0], rows[1] + rows[0]]) * _f32(0.5)


def fit(
    x: Float32[np.ndarray, "channel sample"],
    label: Float32[np.ndarray, " sample"],
    initial: Float32[np.ndarray, "2 channel_and_bias"],
    *,
    teacher: Float32[np.ndarray, " sample"] | None = None,
    distill_weight: float = 0.5,
    lr: float = 0.1,
    momentum: float = 0.0,
    steps: int = 1000,
) -> Float32[np.ndarray, "2 channel_and_bias"]:
    """Train one model by full-batch gradient descent on cross-entropy and, with a teacher, KL.

    The loss is CE + `distill_weight` x KL(teacher || student), both means over samples. The released code
    takes the mean of KL over samples and outputs, which is the weight 0.5 here.

    Args:
        x: inputs.
        label: 0 or 1.
        initial: initial weights; they are not changed.
        teacher: the teacher's probability of class 1 per sample, in [0, 1]; see `probability`.
        distill_weight: weight of the KL divergence, 0 or more; not used without a teacher.
        lr: learning rate, above 0.
        momentum: momentum of the descent, in [0, 1).
        steps: number of steps, 0 or more.

    Returns:
        The weights after the last step.

    Raises:
        InputError: shapes do not fit each other.

    Example:
        >>> x = np.array([[-2.0, -1.0, 1.0, 2.0]], dtype=np.float32)
        >>> label = np.array([0.0, 0.0, 1.0, 1.0], dtype=np.float32)
        >>> weights = fit(x, label, np.zeros((2, 2), dtype=np.float32))
        >>> accuracy(x, label, weights)
        100.0
    """
    _check_shapes(x, label, initial)
    scale, target = 1.0, label
    if teacher is not None:
        # The gradient is sigmoid(d) - y + weight (sigmoid(d) - t): one target for labels and soft labels.
        scale, target = 1 + distill_weight, label + _f32(distill_weight) * teacher
    rows = _to_difference_and_sum(initial)
    # Both outputs change, in opposite directions, so their difference changes twice as much.
    _fit(x, target, _f32(scale), rows[0], _f32(2 * lr / label.size), _f32(momentum), steps)
    return _to_outputs(rows)


def fit_pair(
    x_a: Float32[np.ndarray, "channel_a sample"],
    x_b: Float32[np.ndarray, "channel_b sample"],
    label: Float32[np.ndarray, " sample"],
    initial_a: Float32[np.ndarray, "2 channel_a_and_bias"],
    initial_b: Float32[np.ndarray, "2 channel_b_and_bias"],
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    steps: int = 1000,
) -> tuple[Float32[np.ndarray, "2 channel_a_and_bias"], Float32[np.ndarray, "2 channel_b_and_bias"]]:
    """Train two models together on CE + CE + MSE of their logits, full batch: step 1 of Algorithm 1.

    The arguments are those of `fit`, for each modality. Return the weights of both models.
    """
    _check_shapes(x_a, label, initial_a)
    _check_shapes(x_b, label, initial_b)
    a, b = _to_difference_and_sum(initial_a), _to_difference_and_sum(initial_b)
    _fit_pair(x_a, x_b, label, a, b, _f32(2 * lr / label.size), _f32(momentum), steps)
    return _to_outputs(a), _to_outputs(b)


def logits(
    x: Float32[np.ndarray, "channel sample"], weights: Float32[np.ndarray, "2 channel_and_bias"]
) -> Float32[np.ndarray, "sample 2"]:
    """Return both logits of each sample."""
    return np.stack([_margin(x, row) for row in weights], axis=1)


def probability(
    x: Float32[np.ndarray, "channel sample"], weights: Float32[np.ndarray, "2 channel_and_bias"]
) -> Float32[np.ndarray, " sample"]:
    """Return the probability of class 1 for each sample, at temperature 1."""
    return _f32(1) / (_f32(1) + np.exp(np.clip(-_margin(x, weights[1] - weights[0]), -80, 80)))


def accuracy(
    x: Float32[np.ndarray, "channel sample"],
    label: Float32[np.ndarray, " sample"],
    weights: Float32[np.ndarray, "2 channel_and_bias"],
) -> float:
    """Return the accuracy in percent; where both logits are equal, class 0 is predicted."""
    _check_shapes(x, label, weights)
    return (
        100 * float(np.count_nonzero((_margin(x, weights[1] - weights[0]) > 0) == (label > 0))) / label.size
    )


def _margin(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    z = np.empty(x.shape[1], np.float32)
    _forward(x, w, z)
    return z


def _check_shapes(x: np.ndarray, label: np.ndarray, weights: np.ndarray) -> None:
    require(
        x.ndim == 2 and label.shape == x.shape[1:] and label.size > 0,
        "`x` must have the shape (channel, sample) and `label` one value per sample. "
        f"Got the shapes {x.shape} and {label.shape}.",
    )
    require(
        weights.shape == (2, x.shape[0] + 1),
        f"Weights must have the shape (2, channels + 1), here (2, {x.shape[0] + 1}). "
        f"Got {weights.shape} instead.",
    )
