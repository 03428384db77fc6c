"""Exact saliency of a linear head under MSE, from centred moments.

Notation, for one channel c of a head z = W h + b with K outputs: h the channel, s the student's logits,
r = z - s, w = ||W_c||^2. With v = w h - W_c . r and p = W_c . s, both scalars per sample and channel,

    increase = 2 (w Var(h) - W_c . Cov(r, h)) / K = 2 Cov(h, v) / K          followed = 2 Cov(h, p) / K

so either score is a covariance of two scalars, its standard error follows from their moments up to order 4,
and both v and p are linear in (h, s): how their means differ between batches follows from h and s alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mfh._checks import choice, require
from mfh._saliency.inputs import all_finite, check_pair, check_samples, check_width, warn_of_negatives
from mfh._saliency.result import SaliencyResult, Score

_BLOCK_ELEMENTS = 2**18  # numbers of a matrix: the few matrices of a block fit into a CPU's cache


class _Moments(NamedTuple):
    """Sums over samples of products of two centred variables, per channel; `xxy` is the sum of x^2 y."""

    xx: Tensor
    yy: Tensor
    xy: Tensor
    xxy: Tensor
    xyy: Tensor
    xxyy: Tensor

    @staticmethod
    def of(x: Tensor, y: Tensor, scratch: tuple[Tensor, Tensor]) -> "_Moments":
        xy = torch.mul(x, y, out=scratch[0])
        pairs = (x, x), (y, y), (xy, x), (xy, y), (xy, xy)
        xx, yy, xxy, xyy, xxyy = (torch.mul(a, b, out=scratch[1]).sum(0) for a, b in pairs)
        return _Moments(xx, yy, xy.sum(0), xxy, xyy, xxyy)

    def plus(self, other: "_Moments") -> "_Moments":
        return _Moments(*(a + b for a, b in zip(self, other, strict=True)))

    def shifted(self, count: int, x: Tensor, y: Tensor) -> "_Moments":
        """Return the moments of `count` samples about centres that are `x` and `y` below their means."""
        xx, yy, xy, xxy, xyy, xxyy = self
        return _Moments(
            xx + count * x * x,
            yy + count * y * y,
            xy + count * x * y,
            xxy + 2 * x * xy + y * xx + count * x * x * y,
            xyy + 2 * y * xy + x * yy + count * x * y * y,
            xxyy + 2 * (y * xxy + x * xyy) + y * y * xx + x * x * yy + 4 * x * y * xy + count * (x * y) ** 2,
        )


@dataclass
class _State:
    """Moments of a set of samples; `other` is the covariance sum of the score that is not chosen."""

    count: int
    features: Tensor
    logits: Tensor
    moments: _Moments
    other: Tensor
    residual: Tensor

    def to(self, device: torch.device) -> "_State":
        moments = _Moments(*(x.to(device) for x in self.moments))
        rest = (x.to(device) for x in (self.other, self.residual))
        return _State(self.count, self.features.to(device), self.logits.to(device), moments, *rest)


class SaliencyAccumulator:
    """Exact saliency of a linear head under MSE, one batch at a time, in constant memory.

    Keeps centred float64 moments and merges them by the formula of Chan, Golub and LeVeque (1983) and its
    extension to higher orders (Pebay, 2008, SAND2008-6212), so the order of the batches and large means do
    not matter. Several accumulators can each take a part of the data, also in other processes, and be merged.

    Args:
        weight: the head's weight, (output, channel).
        bias: the head's bias, (output,), or None.
        score: `increase` or `followed`; see `saliency`.
        dtype: type of products, float64 or float32. Sums over blocks of samples are always float64. float32
            takes half the time; its scores have errors of about 1e-6 of the largest one, instead of 1e-14.

    Raises:
        InputError: a shape or a value is not valid.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> accumulator = SaliencyAccumulator(torch.ones(1, 3), score="followed")
        >>> for _ in range(4):
        ...     features = torch.randn(100, 3, generator=generator)
        ...     accumulator = accumulator.update(features, 2 * features[:, :1])
        >>> accumulator.compute().ranking[0], accumulator.num_samples
        (np.int64(0), 400)
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        score: str = "increase",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        choice("score", score, ("increase", "followed"))
        require(
            dtype in (torch.float64, torch.float32),
            f"`dtype` must be torch.float64 or torch.float32. Got {dtype} instead.",
        )
        require(
            weight.ndim == 2 and weight.is_floating_point() and weight.numel() > 0,
            f"`weight` must be floating-point, (output, channel). Got {weight.dtype}, {tuple(weight.shape)}.",
        )
        require(
            bias is None or bias.shape == weight.shape[:1],
            f"`bias` must be (output,), one number for each of {len(weight)} outputs. Got another shape.",
        )
        self.score: Score = score  # type: ignore[assignment]
        device = "cpu" if weight.device.type == "mps" else weight.device  # mps has no float64
        self._weight = weight.detach().to(device, torch.float64)
        zeros = self._weight.new_zeros(len(weight))
        self._bias = zeros if bias is None else bias.detach().to(device, torch.float64)
        require(
            all_finite(self._weight) and all_finite(self._bias),
            "`weight` and `bias` must be finite. Got NaN or infinity: their training diverged.",
        )
        self._norm = (self._weight**2).sum(0)
        self._dtype = dtype
        self._state: _State | None = None

    @property
    def num_samples(self) -> int:
        """Number of samples seen so far."""
        return 0 if self._state is None else self._state.count

    @torch.no_grad()
    def update(self, features: Tensor, student_logits: Tensor) -> "SaliencyAccumulator":
        """Add paired samples, (sample, channel) and (sample, output); return the accumulator.

        Raises:
            InputError: shapes do not fit the head or each other, or values are NaN or not floating-point.
        """
        outputs, channels = self._weight.shape
        check_pair(features, student_logits, minimum=1)
        check_width(student_logits, outputs)
        require(
            features.ndim == 2 and features.shape[1] == channels,
            f"`features` of `update` must be (sample, channel) with {channels} channels. Got "
            f"{tuple(features.shape)}: use `saliency` for channels with positions.",
        )
        self._absorb(self._summarize(features, student_logits))
        return self

    @torch.no_grad()
    def merge(self, other: "SaliencyAccumulator") -> "SaliencyAccumulator":
        """Add all samples of another accumulator of the same head; return this one.

        Raises:
            InputError: the other one has a different head or score.
        """
        same = self._weight.shape == other._weight.shape and self.score == other.score
        require(
            same
            and torch.equal(self._weight, other._weight.to(self._weight.device))
            and torch.equal(self._bias, other._bias.to(self._bias.device)),
            "`other` of `merge` must have the same weight, bias and score. Got different ones.",
        )
        if other._state is not None:
            self._absorb(other._state.to(self._weight.device))
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays for `restore`; empty before the first sample."""
        if self._state is None:
            return {}
        state = self._state
        named = {"features": state.features, "logits": state.logits, **state.moments._asdict()}
        rest = {"other": state.other, "residual": state.residual}
        arrays = {name: value.cpu().numpy() for name, value in (named | rest).items()}
        return {"count": np.asarray(state.count), **arrays}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> "SaliencyAccumulator":
        """Replace the state by one that `arrays` returned; return the accumulator."""
        if not arrays:
            self._state = None
            return self
        given = {name: torch.from_numpy(np.asarray(value)).to(self._weight) for name, value in arrays.items()}
        moments = _Moments(*(given[name] for name in _Moments._fields))
        rest = (given[name] for name in ("other", "residual"))
        self._state = _State(int(arrays["count"]), given["features"], given["logits"], moments, *rest)
        return self

    def compute(self, *, warn: bool = True) -> SaliencyResult:
        """Return the saliency of all samples so far.

        Args:
            warn: whether to warn when increases are negative and the score is `increase`.

        Raises:
            InputError: fewer than 2 samples.
        """
        check_samples(self.num_samples)
        assert self._state is not None  # noqa: S101
        n, scale = self._state.count, 2.0 / len(self._weight)
        covariance, other = self._state.moments.xy / n, self._state.other / n
        variance_of_product = (self._state.moments.xxyy / n - covariance**2).clamp_min(0)
        scores = [_numpy(scale * x) for x in (covariance, other)]
        increase, followed = scores if self.score == "increase" else reversed(scores)
        mean_residual = self._weight @ self._state.features + self._bias - self._state.logits
        baseline = float((self._state.residual / n + mean_residual @ mean_residual) / len(self._weight))
        result = SaliencyResult(
            mean=baseline + increase,
            increase=increase,
            followed=followed,
            importance=_numpy(scale * self._norm * self._state.moments.xx / n),
            stderr_data=_numpy(scale * (variance_of_product / (n - 1)).sqrt()),
            stderr_permutation=np.zeros(len(self._norm)),
            baseline=baseline,
            score=self.score,
            distance="mse",
            num_samples=n,
            num_permutations="exact",
        )
        if warn:
            warn_of_negatives(result)
        return result

    def _variables(
        self, features: Tensor, logits: Tensor, out: tuple[Tensor | None, ...] = (None, None, None)
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the variables whose covariance with h is the score and the other score, and the residual."""
        weight, norm = self._weight.to(features.dtype), self._norm.to(features.dtype)
        residual = torch.mm(features, weight.T, out=out[0]).sub_(logits)
        increase = torch.mul(features, norm, out=out[1]).addmm_(residual, weight, alpha=-1)
        followed = torch.mm(logits, weight, out=out[2])
        pair = (increase, followed) if self.score == "increase" else (followed, increase)
        return *pair, residual

    def _summarize(self, features: Tensor, logits: Tensor) -> _State:
        weight = self._weight.to(self._dtype)
        blocks = list(row_blocks(len(features), max(weight.shape)))
        center, target = (mean_of(x, weight, blocks) for x in (features, logits))
        zero = self._weight.new_zeros(len(center))
        state = _State(
            len(features), center.to(zero), target.to(zero), _Moments(*[zero] * 6), zero, zero.sum()
        )
        # allocating memory for every block would take as long as the arithmetic
        wide = center.new_empty(4, blocks[0].stop, len(center))
        narrow = target.new_empty(2, blocks[0].stop, len(target))
        for rows in blocks:
            used = slice(rows.stop - rows.start)
            x = torch.sub(features[rows].to(center.device), center, out=wide[0, used])
            s = torch.sub(logits[rows].to(target.device), target, out=narrow[0, used])
            y, other, residual = self._variables(x, s, (narrow[1, used], wide[1, used], wide[2, used]))
            state.residual = state.residual + residual.square_().sum()
            state.other = state.other + other.mul_(x).sum(0)
            state.moments = state.moments.plus(_Moments.of(x, y, (wide[3, used], other)))
        return state

    def _absorb(self, new: _State) -> None:
        old = self._state
        if old is None:
            self._state = new
            return
        count = old.count + new.count
        features, logits = new.features - old.features, new.logits - old.logits
        y, other, residual = (x[0] for x in self._variables(features[None], logits[None]))
        share = new.count / count  # of the way from the old means to the new ones
        between = old.count * share
        moved = new.moments.shifted(new.count, (1 - share) * features, (1 - share) * y)
        self._state = _State(
            count,
            old.features + share * features,
            old.logits + share * logits,
            old.moments.shifted(old.count, -share * features, -share * y).plus(moved),
            old.other + new.other + between * features * other,
            old.residual + new.residual + between * (residual @ residual),
        )


def row_blocks(count: int, width: int, elements: int = _BLOCK_ELEMENTS) -> Iterator[slice]:
    """Return slices that cover `count` rows of `width` numbers, about `elements` numbers each."""
    size = min(max(elements // max(width, 1), 16), 8192)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def mean_of(x: Tensor, like: Tensor, blocks: list[slice]) -> Tensor:
    """Return the mean over samples in the type of `like`, relative to the first: exact if all are equal."""
    first = x[0].to(like)
    return first + sum((x[rows].to(like.device) - first).sum(0) for rows in blocks) / len(x)


def _numpy(x: Float[Tensor, " channel"]) -> Float[np.ndarray, " channel"]:
    return x.cpu().numpy() + 0.0  # turns -0 into 0
