"""The stack: one prediction from several networks' out-of-fold outputs, pulled to the student's own.

With log-probabilities l_m of the networks m and labels y of the labelled samples, the weights minimise

    -sum_i log softmax(sum_m w_m l_m(i))[y_i]  +  RIDGE |w - e|^2      for w_m in [0, 3],

where e is 1 for the tuned network that sees the student's modality alone and learns from labels alone, and 0
for the others: so without evidence the stack is "no teacher". Wolpert (1992) and Breiman (1996) describe
stacking. For several labels the loss is Bernoulli's, for dense predictions the mean over positions, and for
regression the squared error in units of the residual variance of the network without a teacher.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Shaped
from scipy import optimize
from torch import Tensor

RIDGE = 4.0
"""Weight of the prior, in log-likelihood."""
LARGEST = 3.0
"""Largest weight of a network."""
LABEL_WEIGHT = 0.5
"""Weight of the label in the target of a labelled sample; the rest has the out-of-fold output."""
SMALLEST = 1e-20
"""Smallest probability of a target, so that its logarithm is finite."""


def as_logs(task: str, outputs: Float[Tensor, "sample output ..."]) -> Float[Tensor, "sample output ..."]:
    """Return what the weights multiply: log-probabilities, logits of several labels, or numbers."""
    return (
        torch.log_softmax(outputs.double(), dim=1) if task in ("single-label", "dense") else outputs.double()
    )


def fit_weights(
    task: str,
    outputs: Mapping[str, Float[Tensor, "sample output ..."]],
    label: Shaped[Tensor, "sample ..."],
    prior: str,
    each: Float[Tensor, "sample ..."] | None = None,
) -> dict[str, float]:
    """Return the weight of each network.

    Args:
        task: what is predicted.
        outputs: out-of-fold outputs of the labelled samples, by network.
        label: labels of these samples.
        prior: the network that the prior trusts.
        each: weights of these samples, or of their positions, in the likelihood; None weighs all alike.

    Example:
        >>> truth = torch.tensor([0, 1] * 20)
        >>> good, poor = 4 * torch.eye(2)[truth], torch.zeros(40, 2)
        >>> weights = fit_weights("single-label", {"poor": poor, "good": good}, truth, "poor")
        >>> weights["good"] > 0.5
        True
    """
    stacked = torch.stack([as_logs(task, values) for values in outputs.values()])
    start = torch.tensor([float(name == prior) for name in outputs], dtype=torch.float64)
    spread = 1.0
    if task == "regression":
        error = outputs[prior].double() - label.double()
        spread = float(error.square().mean().clamp(min=1e-12))

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(values).requires_grad_()
        mixed = torch.tensordot(weights, stacked, dims=1)
        loss = _misfit(task, mixed, label, spread, each) + RIDGE * (weights - start).square().sum()
        (gradient,) = torch.autograd.grad(loss, weights)
        return float(loss.detach()), gradient.numpy()

    found = optimize.minimize(
        objective, start.numpy(), jac=True, method="L-BFGS-B", bounds=[(0.0, LARGEST)] * len(outputs)
    )
    return {name: float(value) for name, value in zip(outputs, found.x, strict=True)}


def _misfit(task: str, mixed: Tensor, label: Tensor, spread: float, each: Tensor | None) -> Tensor:
    """Return the negative log-likelihood of the labels, summed over samples."""
    if task == "regression":
        loss = (mixed - label.double()).square().mean(dim=1)
    elif task == "multi-label":
        loss = torch.nn.functional.binary_cross_entropy_with_logits(mixed, label.double(), reduction="none")
    else:
        loss = torch.nn.functional.cross_entropy(mixed, label, reduction="none", ignore_index=-1)
    if each is not None:
        loss = loss * each.view(*each.shape, *[1] * (loss.ndim - each.ndim))
    total = loss.flatten(1).mean(dim=1).sum() if task == "dense" else loss.sum()
    return total / (2 * spread) if task == "regression" else total


def combine(
    task: str, outputs: Mapping[str, Float[Tensor, "sample output ..."]], weights: Mapping[str, float]
) -> Float[Tensor, "sample output ..."]:
    """Return the stack's outputs, as logits (numbers for regression)."""
    stacked = torch.stack([as_logs(task, outputs[name]) for name in weights])
    mixed = torch.tensordot(torch.tensor(list(weights.values()), dtype=torch.float64), stacked, dims=1)
    return as_logs(task, mixed).float()


def with_labels(
    task: str,
    outputs: Float[Tensor, "sample output ..."],
    label: Shaped[Tensor, "row ..."],
    rows: Tensor,
    weight: float = LABEL_WEIGHT,
) -> Float[Tensor, "sample output ..."]:
    """Return outputs whose labelled rows are partly the label, and for the rest the (out-of-fold) output.

    Args:
        task: what is predicted.
        outputs: logits, or numbers, of every sample.
        label: of the labelled rows.
        rows: the labelled rows.
        weight: share of the label, in [0, 1].
    """
    mine = outputs[rows].double()
    if task == "regression":
        mixed = weight * label.double() + (1 - weight) * mine
    elif task == "multi-label":
        p = (weight * label.double() + (1 - weight) * mine.sigmoid()).clamp(1e-12, 1 - 1e-12)
        mixed = p.log() - (-p).log1p()
    else:
        soft = torch.softmax(mine, dim=1)
        hard = torch.nn.functional.one_hot(label.clamp(min=0), mine.shape[1]).movedim(-1, 1).double()
        known = (label >= 0).unsqueeze(1)
        p = torch.where(known, weight * hard + (1 - weight) * soft, soft)
        mixed = p.clamp(min=SMALLEST).log()
    return outputs.index_copy(0, rows, mixed.to(outputs.dtype))
