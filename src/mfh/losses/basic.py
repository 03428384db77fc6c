"""Cross-entropy, mean squared error and KL divergence, and the entropy of soft labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Weight = Float[Tensor, "sample ..."] | None


def kl_divergence(
    student_logits: Float[Tensor, "sample output"],
    teacher_logits: Float[Tensor, "sample output"],
    *,
    temperature: float = 1.0,
    weight: Weight = None,
) -> Float[Tensor, ""]:
    """Return the distillation loss T^2 x mean over samples of sum_k p_k log(p_k / q_k).

    p is the teacher's softmax and q the student's, both at temperature T. The factor T^2 keeps the size of
    the gradient (Hinton, Vinyals, Dean, 2015, arXiv 1503.02531). The loss is 0 when both agree. The released
    MFH code takes the mean over samples and outputs instead, which is 1/K of this at T = 1 for K outputs.

    The loss of each sample is multiplied by its `weight`, as in `mean_over_samples`.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> kl_divergence(logits, logits).item()
        0.0
    """
    log_p = functional.log_softmax(teacher_logits / temperature, dim=1)
    log_q = functional.log_softmax(student_logits / temperature, dim=1)
    return temperature**2 * mean_over_samples((log_p.exp() * (log_p - log_q)).sum(dim=1), weight)


def cross_entropy(
    logits: Float[Tensor, "sample output"],
    label: Int[Tensor, " sample"],
    *,
    smoothing: float = 0.0,
    weight: Weight = None,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats; `smoothing` in [0, 1) spreads that share over all classes.

    The loss of each sample is multiplied by its `weight`, as in `mean_over_samples`.
    """
    if weight is None:
        return functional.cross_entropy(logits, label, label_smoothing=smoothing)
    losses = functional.cross_entropy(logits, label, label_smoothing=smoothing, reduction="none")
    return mean_over_samples(losses, weight)


def mse(
    logits: Float[Tensor, "sample output *position"],
    other: Float[Tensor, "sample output *position"],
    *,
    weight: Weight = None,
) -> Float[Tensor, ""]:
    """Return the mean squared difference over samples and outputs: Dist of Algorithm 1.

    The differences of each sample are multiplied by its `weight`, as in `mean_over_samples`.
    """
    if weight is None:
        return functional.mse_loss(*alike(logits, other))
    return mean_over_samples(functional.mse_loss(*alike(logits, other), reduction="none"), weight)


def mean_over_samples(losses: Float[Tensor, "sample ..."], weight: Weight = None) -> Float[Tensor, ""]:
    """Return the mean of losses, each multiplied by its weight; weights do not change what it is divided by.

    So the loss of a batch is a mean of losses of single samples, whatever samples share the batch.

    Args:
        losses: of samples, or of their outputs and positions.
        weight: one number for each sample, (sample,), or for each of its positions, (sample, *position).

    Example:
        >>> import torch
        >>> mean_over_samples(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.5])).item()
        2.5
    """
    if weight is None:
        return losses.mean()
    if weight.ndim == 1:
        weight = weight.view(-1, *[1] * (losses.ndim - 1))
    elif weight.ndim < losses.ndim:  # each output of a position
        weight = weight.unsqueeze(1)
    return (losses * weight).mean()


def alike(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in the wider of their types; before torch 2.10, gradients of losses need one type."""
    kind = torch.promote_types(one.dtype, two.dtype)
    return one.to(kind), two.to(kind)


def soft_label_entropy(
    logits: Float[Tensor, "sample output"], *, temperature: float = 1.0
) -> Float[Tensor, " sample"]:
    """Return the entropy of each sample's softmax at a temperature, in nats, between 0 and log K."""
    log_p = functional.log_softmax(logits / temperature, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)
