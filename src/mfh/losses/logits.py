"""Distillation losses that compare logits: DKD, DIST, NTDH's mask, C2KD's selection.

p is the teacher's softmax and q the student's, both at temperature T. As in `kl_divergence`, every loss has
the factor T^2.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, "sample output"]
Label = Int[Tensor, " sample"]


def dkd(
    student_logits: Logits,
    teacher_logits: Logits,
    label: Label,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return T^2 x mean of alpha x KL(label or not) + beta x KL(among other classes): decoupled distillation.

    With p_t the teacher's probability of the label, KL = KL(p_t, q_t) + (1 - p_t) x KL(others): DKD weights
    the second part by beta instead of 1 - p_t, which is near 0 for a confident teacher (Zhao et al., CVPR
    2022, arXiv 2203.08679, equation 7; beta 8 as in its CIFAR-100 runs).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
        >>> dkd(logits, logits, torch.tensor([0])).item()
        0.0
    """
    p_in, p_out = _target(teacher_logits / temperature, label)
    q_in, q_out = _target(student_logits / temperature, label)
    target = p_in.exp() * (p_in - q_in) + p_out.exp() * (p_out - q_out)
    others = non_target_kl(student_logits, teacher_logits, label, temperature=temperature)
    return temperature**2 * (alpha * target + beta * others).mean()


def non_target_kl(
    student_logits: Logits, teacher_logits: Logits, label: Label, *, temperature: float = 1.0
) -> Float[Tensor, " sample"]:
    """Return each sample's KL of soft labels among classes other than its label, without the factor T^2."""
    log_p, log_q = (
        functional.log_softmax(_others(logits / temperature, label), dim=1)
        for logits in (teacher_logits, student_logits)
    )
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def dist(
    student_logits: Logits,
    teacher_logits: Logits,
    *,
    inter: float = 1.0,
    intra: float = 1.0,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the loss DIST: soft labels should correlate along classes (inter) and the batch (intra).

    T^2 x (inter x mean over samples of 1 - r(p_i, q_i) + intra x mean over classes of 1 - r(p^k, q^k)), with
    r Pearson's correlation, p_i the probabilities of one sample and p^k those of one class over the batch
    (Huang et al., NeurIPS 2022, arXiv 2205.10536; T^2 as in its released code). A row or column that is
    constant has correlation 0. The second term depends on which samples share a batch.
    """
    p, q = (functional.softmax(logits / temperature, dim=1) for logits in (teacher_logits, student_logits))
    between = (1 - _correlation(p, q)).mean()
    within = (1 - _correlation(p.T, q.T)).mean()
    return temperature**2 * (inter * between + intra * within)


def ntdh(
    student_logits: Logits,
    teacher_logits: Logits,
    label: Label,
    *,
    similarity: float = 0.996,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return KL without samples on which the teacher is wrong and differs from the student.

    A sample's logits are multiplied by omega before the softmax: omega is 1 where the teacher's class is the
    label; where it is not, omega is (1 + c) / 2 for c the cosine of teacher's and student's logits, or 0 if
    c is below `similarity`. With omega 0 both distributions are uniform, and the sample has no effect.

    This is the mask of the authors' released Gaussian experiment (function `pd_diff` and mode `KD_KL_PSSM` of
    github.com/elonchern/Non-target-Divergence-Hypothesis, with its threshold .996), for the Non-target
    Divergence Hypothesis (Chen et al., arXiv 2409.02438). Differences: omega is constant, without a
    gradient, and the loss has the factor T^2.
    """
    teacher, student = teacher_logits.detach(), student_logits.detach()
    cosine = functional.cosine_similarity(teacher, student, dim=1)
    kept = torch.where(cosine >= similarity, (1 + cosine) / 2, torch.zeros_like(cosine))
    omega = torch.where(teacher.argmax(dim=1) == label, torch.ones_like(kept), kept)[:, None] / temperature
    log_p = functional.log_softmax(teacher_logits * omega, dim=1)
    log_q = functional.log_softmax(student_logits * omega, dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()


def c2kd(
    student_logits: Logits,
    teacher_logits: Logits,
    label: Label,
    *,
    threshold: float = 0.0,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return KL among the classes other than the label, over samples that agree: C2KD's selection.

    A sample counts where Kendall's tau-b between the student's and the teacher's logits exceeds `threshold`;
    the others count as 0 in the mean over the batch (Huo et al., CVPR 2024, On-the-fly Selection
    Distillation; threshold 0 and tau-b as in the authors' github.com/huofushuo/C2KD).

    This is only the selection. In the paper the teacher also learns from the student, and both learn through
    proxy heads. Here the teacher's outputs are fixed, as in every other arm of a study. The
    released code sets the label's logit to 0 on both sides; here the label's class is left out.
    """
    agree = kendall_tau(student_logits.detach(), teacher_logits.detach()) > threshold
    losses = non_target_kl(student_logits, teacher_logits, label, temperature=temperature)
    return temperature**2 * (agree.to(losses.dtype) * losses).mean()


def kendall_tau(first: Logits, second: Logits) -> Float[Tensor, " sample"]:
    """Return Kendall's tau-b of each pair of rows, in [-1, 1]; 0 if a row is constant.

    Example:
        >>> kendall_tau(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]])).item()
        0.3333333432674408
    """
    one, two = torch.triu_indices(first.shape[1], first.shape[1], offset=1, device=first.device)
    signs = [torch.sign(rows[:, one] - rows[:, two]) for rows in (first, second)]
    untied = [sign.abs().sum(dim=1) for sign in signs]
    scale = (untied[0] * untied[1]).sqrt()
    return (signs[0] * signs[1]).sum(dim=1) / scale.clamp(min=1)


def _target(logits: Logits, label: Label) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each sample's label, and of all other classes together."""
    log_p = functional.log_softmax(logits, dim=1)
    return log_p.gather(1, label[:, None])[:, 0], _others(log_p, label).logsumexp(dim=1)


def _others(values: Logits, label: Label) -> Float[Tensor, "sample other"]:
    """Return each row without its label's column."""
    places = torch.arange(values.shape[1] - 1, device=values.device)[None]
    return values.gather(1, places + (places >= label[:, None]))


def _correlation(first: Float[Tensor, "row column"], second: Float[Tensor, "row column"]) -> Tensor:
    """Return Pearson's correlation of each pair of rows."""
    centred = [rows - rows.mean(dim=1, keepdim=True) for rows in (first, second)]
    return functional.cosine_similarity(centred[0], centred[1], dim=1, eps=1e-8)
