"""What a head does to first order, which takes most of the noise out of permutations.

With J_i the slope of sample i's logits along one channel, exchanging its value h_i for h_j changes them by
J_i (h_j - h_i), nearly. The distance that follows from that change is quadratic in h_j, so its mean over all
donors j is known from the channel's mean and covariance. Drawn values are corrected by it (a control variate;
Owen, Monte Carlo theory, 2013, section 8.9): f + E[g] - g has the mean of f whatever the slopes are, and
only the noise of what the first order misses.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._saliency.heads import Head, LinearStart, to_logits

PerSample = Float[Tensor, "permutation sample"]
Donors = Int[Tensor, "permutation sample"]
LARGEST = 2**28  # bytes for the slopes along channels with positions


@dataclass
class Slopes:
    """Slopes of every channel.

    Attributes:
        maps: features as (sample, channel, position).
        along: (sample, channel, output, position) for channels with positions; None for those of one value.
        terms: where `along` is None, (3, sample, channel): the factors of the value's change squared and of
            the change in the increase, and of the change in the part followed.
        residual, student: (sample, output), what the changes are multiplied by.
    """

    maps: Tensor
    along: Tensor | None
    terms: Tensor | None
    residual: Tensor
    student: Tensor

    def first_order(self, channel: int, donors: Donors) -> tuple[PerSample, PerSample]:
        """Increase and part followed of every sample minus their means over all donors."""
        x = self.maps[:, channel].double()
        mean = x.mean(0)
        if self.along is None:
            assert self.terms is not None  # noqa: S101
            square, increase, followed = self.terms[:, :, channel].double()
            value = x[:, 0]
            change = value[donors] - value
            expected = mean[0] - value
            spread = value.var(correction=0) + expected.square()
            return (
                square * (change.square() - spread) + increase * (change - expected),
                followed * (change - expected),
            )
        slopes = self.along[:, channel].double()
        change = torch.einsum("nkp,qnp->qnk", slopes, x[donors] - x)
        expected = torch.einsum("nkp,np->nk", slopes, mean - x)
        covariance = (x - mean).T @ (x - mean) / len(x)
        spread = torch.einsum("nkp,pr,nkr->n", slopes, covariance, slopes) + expected.square().sum(1)
        outputs = slopes.shape[1]
        moved = change - expected
        increase = change.square().sum(2) - spread + 2 * (moved * self.residual).sum(2)
        return increase / outputs, -2 * (moved * self.student).sum(2) / outputs


def slopes_of(
    features: Float[Tensor, "sample channel *position"],
    head: Head,
    start: LinearStart | None,
    residual: Float[Tensor, "sample output"],
    student: Float[Tensor, "sample output"],
    *,
    memory_budget: int,
) -> Slopes | None:
    """Slopes along all channels, by one pass back through the head for each output.

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
    kind = residual.dtype
    along = terms = None
    if positions == 1:
        terms = torch.zeros(3, n, channels, dtype=kind, device=maps.device)
    elif n * channels * outputs * positions * residual.element_size() <= LARGEST:
        along = torch.zeros(n, channels, outputs, positions, dtype=kind, device=maps.device)
    else:
        return None
    rows = max(1, memory_budget // (16 * features[0].numel() * features.element_size()))
    for block in torch.arange(n, device=maps.device).split(rows):
        given = features[block].clone().requires_grad_()
        try:
            with torch.enable_grad():
                logits = _run(head, start, given * 1)  # a head may work in place
                for output in range(outputs):
                    (slope,) = torch.autograd.grad(logits[:, output].sum(), given, retain_graph=True)
                    found = slope.to(kind).reshape(len(block), channels, positions)
                    if along is not None:
                        along[block, :, output] = found
                    elif terms is not None:
                        found = found[:, :, 0]
                        weights = (found, residual[block, output, None], student[block, output, None])
                        for term, weight, factor in zip(terms, weights, (1, 2, -2), strict=True):
                            term[block] += factor / outputs * found * weight
        except RuntimeError:  # nothing to differentiate, or not by autograd
            return None
    kept = along if along is not None else terms
    if kept is None or not torch.isfinite(kept.sum()):
        return None
    return Slopes(maps, along, terms, residual.double(), student.double())


def _run(head: Head, start: LinearStart | None, x: Tensor) -> Tensor:
    if start is None:
        return to_logits(head(x)).float()
    first = torch.nn.functional.linear(x.flatten(1).to(start.weight), start.weight, start.bias)
    return first if start.rest is None else to_logits(start.rest(first)).float()
