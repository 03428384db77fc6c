"""What is known of a head before anything is drawn, which takes most of the noise out of permutations.

With J_i the slope of sample i's logits along one channel, exchanging its value h_i for h_j changes them by
J_i (h_j - h_i), nearly. The distance that follows from that change is quadratic in h_j, so its mean over all
donors j is known from the channel's mean and covariance. Besides, a large change of any channel makes a head
with normalisation or saturation say less: its logits move towards their means, nearly in proportion to
|h_j - h_i|^2, whose mean is known too. Drawn values are corrected by these terms (control variates; Owen,
Monte Carlo theory, 2013, sections 8.9 and 8.10): f + b . (E[g] - g) has the mean of f whatever the slopes
are, and with factors b from regression only the noise of what no term explains.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._saliency.heads import Head, LinearStart, logits_of

PerSample = Float[Tensor, "permutation sample"]
Terms = Float[Tensor, "term permutation sample"]
Donors = Int[Tensor, "permutation sample"]
LARGEST = 2**28  # bytes for the slopes
WORTHWHILE = 6  # channels an output, from which on a pass back for each output costs less than it saves
RIDGE = 1e-9  # for terms that say the same
ENOUGH = 10  # equations a factor, from which on factors are fitted
FEWEST_DECIDING = (
    6  # equations a factor that decide the fit; with fewer, as by outliers, nothing is taken out
)


@dataclass
class Slopes:
    """Slopes of every channel.

    Attributes:
        maps: features as (sample, channel, position).
        increase: of the increase, to first order; (sample, channel, position).
        followed: of the part followed, likewise.
        along: (sample, channel, output, position), of every logit for channels with positions, if known.
        square: (sample, channel), the mean over outputs of the logits' squared slopes, for channels of one
            value, if known.
        shrinking: (2, sample), what a step towards the logits' means adds to either score.
    """

    maps: Tensor
    increase: Tensor
    followed: Tensor
    along: Tensor | None
    square: Tensor | None
    shrinking: Float[Tensor, "score sample"]

    @property
    def whole(self) -> int:
        """How many of the terms of the increase are its first order."""
        return 1 if self.along is None and self.square is None else 2

    def terms(self, channel: int, donors: Donors) -> tuple[Terms, Float[Tensor, "other permutation sample"]]:
        """What explains increase and part followed, each minus its mean over all donors.

        The first terms are the first order: linear in the change of the logits, then quadratic if known.
        The last ones are the squared change of the channel, plain and times what shrinking adds.
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
    """What the terms are multiplied by.

    Attributes:
        values: (term,).
        leverage: for each draw and sample that the factors were fitted to, how much it decided the fit, from
            0 to 1; None where nothing was fitted.
    """

    values: Float[Tensor, " term"]
    leverage: PerSample | None = None

    def times(self, terms: Terms) -> PerSample:
        """The noise that the terms explain."""
        return torch.tensordot(self.values, terms, dims=1)


def factors_of(drawn: PerSample, terms: Terms, whole: int) -> Factors:
    """Factors by least squares over draws of the same sample; with too few, the first order or nothing.

    Args:
        drawn: a score of every sample.
        terms: what may explain it.
        whole: how many of the terms are the first order.
    """
    count = len(terms)
    plain = torch.zeros(count, dtype=terms.dtype, device=terms.device)
    plain[:whole] = 1
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
    """Slopes along all channels, by two passes back through the head, or one an output if these are few.

    Args:
        features: of the layer.
        head: what follows it.
        start: its first layer, where that is linear.
        residual: logits minus the student's.
        student: the student's logits minus their means.
        memory_budget: bytes to work in.

    Returns:
        None where the head cannot be differentiated, or the slopes take too much memory.
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
                logits = _run(head, start, given * 1)  # a head may work in place
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
        except RuntimeError:  # nothing to differentiate, or not by autograd
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
