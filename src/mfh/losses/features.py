"""Distillation losses that compare features of a layer: hints, RKD, CRD.

Features are (sample, channel); the teacher's are fixed. RKD takes features of different widths. Hints and CRD
need equal widths: the student's features go through a linear map that is trained with the student.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mfh.losses.basic import alike


def hints(
    student_features: Float[Tensor, "sample channel"],
    teacher_features: Float[Tensor, "sample channel"],
    *,
    weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Return weight x mean squared difference of the student's mapped and the teacher's features (FitNets).

    The paper takes half the squared norm (Romero et al., ICLR 2015, arXiv 1412.6550, equation 3), which is
    C / 2 times this for C channels, and first trains the layers up to the hint, then all of them; here all
    are trained at once.
    """
    return weight * functional.mse_loss(*alike(student_features, teacher_features))


def rkd(
    student_features: Float[Tensor, "sample channel"],
    teacher_features: Float[Tensor, "sample other_channel"],
    *,
    distance: float = 25.0,
    angle: float = 50.0,
) -> Float[Tensor, ""]:
    """Return the relational loss (RKD): distances and angles between samples should equal the teacher's.

    distance x mean over pairs of Huber(d) + angle x mean over triples of Huber(a), where d is the difference
    of two samples' distances, each over its mean in the batch, and a that of the cosines of the angle at a
    sample (Park et al., CVPR 2019, arXiv 1904.05068, equations 5 to 10; weights of its CIFAR-100 runs). Means
    are over distinct samples; the authors' code counts pairs of a sample with itself too, which add 0.
    A batch of one sample has no pairs, one of two no triples: these terms are 0.
    """
    loss = student_features.new_zeros(()) + 0 * student_features.sum()
    different = ~torch.eye(len(student_features), dtype=torch.bool, device=student_features.device)
    if distance and len(student_features) > 1:
        mine, theirs = (_distances(x, different) for x in (student_features, teacher_features))
        loss = loss + distance * functional.smooth_l1_loss(*alike(mine, theirs))
    if angle and len(student_features) > 2:
        triples = different[:, :, None] & different[None] & different[:, None]
        mine, theirs = (_cosines(x)[triples] for x in (student_features, teacher_features))
        loss = loss + angle * functional.smooth_l1_loss(*alike(mine, theirs))
    return loss


def crd(
    student_features: Float[Tensor, "sample channel"],
    teacher_features: Float[Tensor, "sample channel"],
    label: Int[Tensor, " sample"],
    *,
    temperature: float = 0.07,
    memory: tuple[Float[Tensor, "other channel"], Int[Tensor, " other"]] | None = None,
) -> Float[Tensor, ""]:
    """Return the contrastive loss (CRD): match the teacher's features of the sample, not of other classes.

    Mean over samples i of -log(exp(s_ii) / (exp(s_ii) + sum_j exp(s_ij))), j over the samples of the batch,
    or of `memory`, with another label, s_ij the cosine of the student's features of i and the teacher's of j
    over `temperature`. Like the objective of the paper it is a lower bound of the mutual information of both
    (Tian, Krishnan, Isola, ICLR 2020, arXiv 1910.10699). Differences: it has the form of InfoNCE (arXiv
    1807.03748) instead of the paper's binary form, and only the student has a projection, not the teacher.

    Args:
        student_features: of the batch, projected to the teacher's width.
        teacher_features: of the batch.
        label: classes of the batch.
        temperature: above 0.
        memory: the teacher's features of many samples, and their classes. The paper stores a moving average
            of past features and draws 16384 from it, because its projection of the teacher changes. Here the
            teacher is fixed, so the memory is exact, all of it is used, and nothing is stored between steps.
            The loss of a sample then does not depend on its batch.
    """
    others, classes = (teacher_features, label) if memory is None else memory
    every = student_features, teacher_features, others
    mine, theirs, others = (functional.normalize(x, dim=1) for x in every)
    positive = (mine * theirs).sum(dim=1, keepdim=True) / temperature
    negative = (mine @ others.T / temperature).masked_fill(label[:, None] == classes[None], -torch.inf)
    return (torch.cat([positive, negative], dim=1).logsumexp(dim=1) - positive[:, 0]).mean()


def _distances(
    features: Float[Tensor, "sample channel"], different: Bool[Tensor, "sample sample"]
) -> Float[Tensor, " pair"]:
    """Return the distances of all pairs, divided by their mean."""
    pairs = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")[different]
    return pairs / _or_infinite(pairs.mean())


def _cosines(features: Float[Tensor, "sample channel"]) -> Float[Tensor, "sample sample sample"]:
    """Return at [j, i, k] the cosine of the angle at j between i and k; 0 if two of them are equal."""
    toward = features[None] - features[:, None]
    toward = toward / _or_infinite(torch.linalg.vector_norm(toward, dim=2, keepdim=True))
    return toward @ toward.transpose(1, 2)


def _or_infinite(length: Tensor) -> Tensor:
    """Replace lengths of 0 by infinity, so that dividing by them gives 0 and no gradient."""
    return torch.where(length > 0, length, torch.inf)
