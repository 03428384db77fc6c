"""Exact saliency of a linear head under L1.

For output k and channel c, let u be the head's response to the channel alone and A = r - u the rest of the
difference to the student. Under a uniformly random permutation sample i receives every u_j equally often, so

    D_c = mean over i, j and k of |A_ik + u_jk|.

With u sorted, m_i = #{j: u_j < -A_i} and P the prefix sums of u, the sum over j is
A_i (n - 2 m_i) + P_n - 2 P_(m_i): n log n operations instead of n^2. This needs all samples at once.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mfh._saliency.linear import row_blocks
from mfh._saliency.result import SaliencyResult

_ELEMENTS = 2**18  # float64 numbers, for a few outputs of all samples

Unsort = Callable[[Tensor], Tensor]


def exact_l1(
    features: Float[Tensor, "sample channel *position"],
    weight: Float[Tensor, "output channel_position"],
    bias: Float[Tensor, " output"],
    student_logits: Float[Tensor, "sample output"],
) -> SaliencyResult:
    """Compute the saliency of every channel; `weight` and `bias` are float64 on the device to compute on."""
    n, channels, outputs = *features.shape[:2], len(weight)
    maps = features.reshape(n, channels, -1)
    per_channel = weight.reshape(outputs, channels, -1)
    residual = torch.empty(outputs, n, dtype=weight.dtype, device=weight.device)
    for rows in row_blocks(n, maps[0].numel()):
        logits = maps[rows].flatten(1).to(weight) @ weight.T + bias
        residual[:, rows] = (logits - student_logits[rows].to(weight)).T
    own = residual.abs().sum(0)
    increase, spread = np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        x = maps[:, c].to(weight)
        x = x - x[0]
        w = per_channel[:, c]
        if not x.any() or not w.any():
            continue
        received, given = _pair_sums(x - x.mean(0), w, residual)
        increase[c] = float((received / n - own).mean()) / outputs
        spread[c] = float(((received + given) / n - own).std()) / outputs
    baseline = float(own.mean()) / outputs
    return SaliencyResult(
        mean=baseline + increase,
        increase=increase,
        followed=None,
        importance=None,
        stderr_data=spread / np.sqrt(n),
        stderr_permutation=np.zeros(channels),
        baseline=baseline,
        score="increase",
        distance="l1",
        num_samples=n,
        num_permutations="exact",
    )


def _pair_sums(
    x: Float[Tensor, "sample position"],
    weight: Float[Tensor, "output position"],
    residual: Float[Tensor, "output sample"],
) -> tuple[Float[Tensor, " sample"], Float[Tensor, " sample"]]:
    """Return sums over k of |A_ik + u_jk|: for every i over all j, and for every j over all i."""
    n = len(x)
    received, given = x.new_zeros(n), x.new_zeros(n)
    for part in row_blocks(len(weight), n, _ELEMENTS):
        response = weight[part] @ x.T
        rest = residual[part] - response
        ordered, unsort = _sorted(response, x, weight[part])
        prefix = torch.nn.functional.pad(ordered.cumsum(1), (1, 0))
        below = torch.searchsorted(ordered, -rest)
        total = prefix[:, -1:]
        received += (rest * (n - 2 * below) + total - 2 * prefix.gather(1, below)).sum(0)
        # |A_i + u_j| = A_i + u_j for the i with m_i <= j, and the negative of it for the others
        count = _histogram(below, torch.ones_like(rest))
        amount = _histogram(below, rest)
        given += unsort(2 * amount - rest.sum(1, keepdim=True) + ordered * (2 * count - n))
    return received, given


def _histogram(place: Tensor, amount: Float[Tensor, "output sample"]) -> Float[Tensor, "output sample"]:
    """Return for every j the sum of the amounts at places up to j."""
    sums = amount.new_zeros(len(amount), amount.shape[1] + 1).scatter_add_(1, place, amount)
    return sums[:, :-1].cumsum(1)


def _sorted(
    response: Float[Tensor, "output sample"], x: Tensor, weight: Tensor
) -> tuple[Float[Tensor, "output sample"], Unsort]:
    """Return the responses sorted per output, and a function that undoes the order and sums over outputs."""
    if x.shape[1] > 1:
        ordered, order = response.sort(dim=1)
        return ordered, lambda values: torch.empty_like(values).scatter_(1, order, values).sum(0)
    # without positions every output's response is a multiple of the channel: one sort is enough
    rank = x[:, 0].argsort()
    falling = weight[:, 0] < 0
    ordered = response[:, rank]
    ordered[falling] = ordered[falling].flip(1)

    def unsort(values: Tensor) -> Tensor:
        values[falling] = values[falling].flip(1)
        result = torch.empty_like(values[0])
        result[rank] = values.sum(0)
        return result

    return ordered, unsort
