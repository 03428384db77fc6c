"""Saliency of channels that lead to outputs with positions: a class for every pixel.

A permutation of samples moves whole maps, so a pixel is exchanged only with the same pixel of other samples.
For a 1 x 1 convolution each pixel then has a linear head, with the same weights for all, and a channel adds
W_c h_c to the K logits of a pixel: as in `exact_spatial`, with means over pixels too.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from mfh._saliency.heads import active_modules
from mfh._saliency.plain import is_plain
from mfh._saliency.result import SaliencyResult, Score


def pointwise(head: object) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """Return the convolution that `head` consists of if it reads one position at a time, else None.

    Dropout and Identity before or after it count as absent. A layer that is not plain (see `is_plain`) is
    not recognised, since its output may be another than that of a convolution.
    """
    modules = active_modules(head)
    conv = modules[0] if len(modules) == 1 else None
    if not (is_plain(conv, nn.Conv1d) or is_plain(conv, nn.Conv2d) or is_plain(conv, nn.Conv3d)):
        return None
    pixelwise = conv.groups == 1 and all(size == 1 for size in (*conv.kernel_size, *conv.stride))
    unpadded = conv.padding in ("valid", "same") or not any(conv.padding)
    return conv if pixelwise and unpadded else None


def exact_dense(
    features: Float[Tensor, "sample channel *position"],
    weight: Float[Tensor, "output channel"],
    bias: Float[Tensor, " output"],
    student_logits: Float[Tensor, "sample output *position"],
    *,
    score: Score,
) -> SaliencyResult:
    """Compute the saliency of every channel, averaged over all permutations, samples, outputs and positions.

    `weight` and `bias` are float64 on the device to compute on.
    """
    maps = features.flatten(2).to(weight)
    student = student_logits.flatten(2).to(weight)
    n, values = len(maps), student[0].numel()
    residual = weight @ maps + bias[:, None] - student
    baseline = float(residual.square().sum() / (n * values))
    centred = maps - maps.mean(dim=0)
    away = residual - residual.mean(dim=0)
    centred_student = student - student.mean(dim=0)
    power = centred.square().sum(dim=2) * weight.square().sum(dim=0)
    phi = power - (centred * (weight.T @ away)).sum(dim=2)
    psi = (centred * (weight.T @ centred_student)).sum(dim=2)
    rows = [2 / values * each.cpu().numpy() for each in (phi, psi, power)]
    increase, followed, importance = (row.mean(axis=0) + 0.0 for row in rows)
    chosen = rows[0] if score == "increase" else rows[1]
    return SaliencyResult(
        mean=baseline + increase,
        increase=increase,
        followed=followed,
        importance=importance,
        stderr_data=chosen.std(axis=0) / np.sqrt(n - 1),
        stderr_permutation=np.zeros(maps.shape[1]),
        baseline=baseline,
        score=score,
        distance="mse",
        num_samples=n,
        num_permutations="exact",
    )
