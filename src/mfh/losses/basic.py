"""Cross-entropy, mean squared error and KL divergence, and the entropy of soft labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def kl_divergence(
    student_logits: Float[Tensor, "sample output"],
    teacher_logits: Float[Tensor, "sample output"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the distillation loss T^2 x mean over samples of sum_k p_k log(p_k / q_k).

    p is the teacher's softmax and q the student's, both at temperature T. The factor T^2 keeps the size of
    the gradient (Hinton, Vinyals, Dean, 2015, arXiv 1503.02531). The loss is 0 when both agree. The released
    MFH code takes the mean over samples and outputs instead, which is 1/K of this at T = 1 for K outputs.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> kl_divergence(logits, logits).item()
        0.0
    """
    log_p = functional.log_softmax(teacher_logits / temperature, dim=1)
    log_q = functional.log_softmax(student_logits / temperature, dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()


def cross_entropy(
    logits: Float[Tensor, "sample output"], label: Int[Tensor, " sample"], *, smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats; `smoothing` in [0, 1) spreads that share over all classes."""
    return functional.cross_entropy(logits, label, label_smoothing=smoothing)


def mse(
    logits: Float[Tensor, "sample output *position"], other: Float[Tensor, "sample output *position"]
) -> Float[Tensor, ""]:
    """Return the mean squared difference over samples and outputs: Dist of Algorithm 1."""
    return functional.mse_loss(*alike(logits, other))


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
