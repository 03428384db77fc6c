"""Exact saliency of channels that have positions, for a linear head under MSE.

Let u_c = W_c h_c be the head's response to channel c alone (K numbers per sample). The means over samples of
phi = 2 u . (u - r) / K and psi = 2 u . s / K, with all variables centred, are the increase and `followed`.
The spread of phi and psi gives the standard errors. No matrix of positions by positions is formed. The means
are needed first, so this takes two passes and cannot be merged.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mfh._saliency.linear import mean_of, row_blocks
from mfh._saliency.result import SaliencyResult, Score

_RESPONSE_ELEMENTS = 2**20  # float64 numbers, for the responses of a few channels


def exact_spatial(
    features: Float[Tensor, "sample channel *position"],
    weight: Float[Tensor, "output channel_position"],
    bias: Float[Tensor, " output"],
    student_logits: Float[Tensor, "sample output"],
    *,
    score: Score,
) -> SaliencyResult:
    """Compute the saliency of every channel; `weight` and `bias` are float64 on the device to compute on."""
    n, channels, outputs = *features.shape[:2], len(weight)
    maps = features.flatten(2)
    per_channel = (
        weight.reshape(outputs, channels, -1).permute(1, 2, 0).contiguous()
    )  # (channel, position, output)
    blocks = list(row_blocks(n, maps[0].numel()))
    center = mean_of(maps, weight, blocks)
    target = mean_of(student_logits, weight, blocks)
    sums = weight.new_zeros(5, channels)  # of phi, psi, |u|^2, phi^2, psi^2
    residual_sum = weight.new_zeros(())
    for rows in blocks:
        x = maps[rows].to(weight) - center
        s = student_logits[rows].to(weight) - target
        r = x.flatten(1) @ weight.T - s
        residual_sum += r.square().sum()
        for group in row_blocks(channels, len(x) * outputs, _RESPONSE_ELEMENTS):
            response = x[:, group].transpose(0, 1) @ per_channel[group]
            power = response.square().sum(2)
            phi = power - (response * r).sum(2)
            psi = (response * s).sum(2)
            for i, term in enumerate((phi, psi, power, phi.square(), psi.square())):
                sums[i, group] += term.sum(1)
    mean_residual = weight @ center.flatten() + bias - target
    baseline = float((residual_sum / n + mean_residual @ mean_residual) / outputs)
    increase, followed, importance, *squares = (2 / outputs * sums / n).cpu().numpy() + 0.0
    value, square = (increase, squares[0]) if score == "increase" else (followed, squares[1])
    variance = np.clip(2 / outputs * square - value**2, 0, None)
    return SaliencyResult(
        mean=baseline + increase,
        increase=increase,
        followed=followed,
        importance=importance,
        stderr_data=np.sqrt(variance / (n - 1)),
        stderr_permutation=np.zeros(channels),
        baseline=baseline,
        score=score,
        distance="mse",
        num_samples=n,
        num_permutations="exact",
    )
