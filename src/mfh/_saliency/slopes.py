"""Slopes of a head, which predict most of the noise of permutations before any is drawn.

With J_i the slope of sample i's logits along one channel, exchanging its value h_i for h_j changes the logits
by about J_i (h_j - h_i). The resulting distance is quadratic in h_j, so its mean over all donors j follows
from the channel's mean and covariance. A large change of any channel also shrinks the logits of a head with
normalisation or saturation: they move towards their means, about in proportion to |h_j - h_i|^2, whose mean
is known too. These terms g correct the drawn values f (control variates; Owen, Monte Carlo theory, 2013,
sections 8.9 and 8.10): f + b . (E[g] - g) has the mean of f for any slopes. With factors b from a regression
it has only the noise that no term explains.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._saliency.heads import Head, LinearStart, logits_of

PerSample = Float[Tensor, "permutation sample"]
Terms = Float[Tensor, "term permutation sample"]
Donors = Int[Tensor, "permutation sample"]
LARGEST = 2**28  # bytes of the slopes
WORTHWHILE = 6  # channels per output that make one backward pass per output worthwhile
RIDGE = 1e-9  # for terms that depend on each other
ENOUGH = 10  # equations per factor that are needed to fit factors
FEWEST_DECIDING = 6  # equations per factor that must decide the fit; if outliers decide it, no term is used


@dataclass
class Slopes:
    """Slopes of every channel.

    Attributes:
        maps: features as (sample, channel, position).
        increase: of the increase, to first order; (sample, channel, position).
        followed: of `followed`, likewise.
        along: (sample, channel, output, position), of every logit for channels with positions, if known.
        square: (sample, channel), the mean over outputs of the logits' squared slopes, for channels of one
            value, if known.
        shrinking: (2, sample), the change of either score by a step towards the logits' means.
    """

    maps: Tensor
    increase: Tensor
    followed: Tensor
    along: Tensor | None
    square: Tensor | None
    shrinking: Float[Tensor, "score sample"]

    @property
    def num_first_order(self) -> int:
        """Number of terms of the increase that are its first order."""
        return 1 if self.along is None and self.square is None else 2

    def terms(self, channel: int, donors: Donors) -> tuple[Terms, Float[Tensor, "other permutation sample"]]:
        """Return terms that explain increase and `followed`, each minus its mean over all donors.

        The first terms are the first order: linear in the change of the logits, then quadratic if known.
        The last ones are the squared change of the channel, alone and multiplied by `shrinking`.
        """
        x = self.maps[:, channel].double()
        mean = x.mean(0)
        expected, away = mean - x, x - mean
        slopes = torch.stack([self.increase[:, channel], self.followed[:, channel]]).double()
        if x.shape[1] == 1:
            change, moved = x[donors, 0] - x[:, 0], away[donors, 0]
            size = change.square()
            linear = slopes[:, None, :, 0] * moved
        else:
            change, moved = x[donors] - x, away[donors]
            size = change.square().sum(2)
            linear = torch.einsum("snp,qnp->sqn", slopes, moved)
        size -= expected.square().sum(1) + away.square().sum(1).mean()
        quadratic = self._quadratic(channel, change, size, expected, away)
        shrinking = size * self.shrinking[:, None]
        increase = torch.stack([linear[0], *quadratic, size, shrinking[0]])
        return increase, torch.stack([linear[1], size, shrinking[1]])

    def _quadratic(
        self, channel: int, change: Tensor, size: PerSample, expected: Tensor, away: Tensor
    ) -> list[PerSample]:
        if self.square is not None:
            return [self.square[:, channel].double() * size]
        if self.along is None:
            return []
        slopes = self.along[:, channel].double()
        squares = torch.einsum("nkp,qnp->qnk", slopes, change).square().sum(2)
        at_mean = torch.einsum("nkp,np->nk", slopes, expected).square().sum(1)
        spread = torch.einsum("nkp,pr,nkr->n", slopes, away.T @ away / len(away), slopes)
        return [(squares - at_mean - spread) / slopes.shape[1]]


@dataclass(frozen=True)
class Factors:
    """Factors of the terms.

    Attributes:
        values: (term,).
        leverage: influence of each draw and sample on the fit, from 0 to 1; None if nothing was fitted.
    """

    values: Float[Tensor, " term"]
    leverage: PerSample | None = None

    def times(self, terms: Terms) -> PerSample:
        """Return the noise that the terms explain."""
        return torch.tensordot(self.values, terms, dims=1)


def factors_of(drawn: PerSample, terms: Terms, num_first_order: int) -> Factors:
    """Fit factors by least squares over draws of the same sample; with too few, use the first order or none.

    Args:
        drawn: a score of every sample.
        terms: terms that may explain it.
        num_first_order: number of the terms, from the first, that are the first order.
    """
    count = len(terms)
    plain = torch.zeros(count, dtype=terms.dtype, device=terms.device)
    plain[:num_first_order] = 1
    if len(drawn) < 2:
        return Factors(plain)
    gaps, differences = drawn - drawn.mean(0), (terms - terms.mean(1, keepdim=True)).flatten(1)
    equations = (len(drawn) - 1) * drawn.shape[1]
    if equations < ENOUGH * count:
        rest = gaps - (plain @ differences).view_as(gaps)
        return Factors(plain * (rest.square().sum() <= gaps.square().sum()))
    scale = differences.norm(dim=1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale)).reciprocal()
    unit = differences * scale[:, None]
    gram = unit @ unit.T
    gram.diagonal().add_(RIDGE)
    solved = torch.linalg.solve_ex(gram, torch.cat([unit @ gaps.flatten()[:, None], unit], dim=1)).result
    leverage = (unit * solved[:, 1:]).sum(0)
    deciding = leverage.sum() ** 2 / leverage.square().sum()
    if not torch.isfinite(solved).all() or deciding < FEWEST_DECIDING * count:
        return Factors(torch.zeros_like(plain))
    return Factors(solved[:, 0] * scale, leverage.view_as(gaps))


def slopes_of(
    features: Float[Tensor, "sample channel *position"],
    head: Head,
    start: LinearStart | None,
    residual: Float[Tensor, "sample output"],
    student: Float[Tensor, "sample output"],
    *,
    memory_budget: int,
) -> Slopes | None:
    """Compute slopes along all channels by two backward passes, or one per output if there are few outputs.

    Args:
        features: output of the layer.
        head: what follows the layer.
        start: the head's first layer if that is linear.
        residual: logits minus the student's.
        student: the student's logits minus their means.
        memory_budget: bytes to use.

    Returns:
        The slopes; None if the head cannot be differentiated or they take too much memory.
    """
    maps = features.flatten(2) if features.ndim > 2 else features[:, :, None]
    n, channels, positions = maps.shape
    outputs = residual.shape[1]
    if 2 * maps.numel() * residual.element_size() > LARGEST:
        return None
    increase, followed = (torch.zeros_like(maps, dtype=residual.dtype) for _ in range(2))
    along = square = None
    if outputs * WORTHWHILE <= channels:
        if positions == 1:
            square = increase.new_zeros(n, channels)
        elif maps.numel() * outputs * residual.element_size() <= LARGEST:
            along = increase.new_zeros(n, channels, outputs, positions)
    each = along is not None or square is not None
    eye = torch.eye(outputs, dtype=residual.dtype, device=residual.device)
    rows = max(1, memory_budget // (16 * features[0].numel() * features.element_size()))
    for block in torch.arange(n, device=maps.device).split(rows):
        given = features[block].clone().requires_grad_()
        weights = 2 / outputs * residual[block], -2 / outputs * student[block]
        try:
            with torch.enable_grad():
                logits = _run(head, start, given * 1)  # a head may change its input
                for index, towards in enumerate(eye if each else weights):
                    (slope,) = torch.autograd.grad(
                        logits, given, towards.expand_as(logits), retain_graph=True
                    )
                    found = slope.to(residual.dtype).reshape(len(block), channels, positions)
                    if not each:
                        (increase, followed)[index][block] = found
                        continue
                    increase[block] += weights[0][:, index, None, None] * found
                    followed[block] += weights[1][:, index, None, None] * found
                    if square is not None:
                        square[block] += found[:, :, 0].square() / outputs
                    elif along is not None:
                        along[block, :, index] = found
        except RuntimeError:  # autograd cannot differentiate it
            return None
    if not torch.isfinite(increase.sum() + followed.sum()):
        return None
    centred = (residual - residual.mean(0) + student).double()
    shrinking = torch.stack([(part * centred).mean(1) for part in (residual.double(), student.double())])
    return Slopes(maps, increase, followed, along, square, shrinking)


def _run(head: Head, start: LinearStart | None, x: Tensor) -> Tensor:
    if start is None:
        return logits_of(head(x)).float()
    first = torch.nn.functional.linear(x.flatten(1).to(start.weight), start.weight, start.bias)
    return first if start.rest is None else logits_of(start.rest(first)).float()
