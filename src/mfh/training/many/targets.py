"""Loss and gradient of many students in closed form.

With q = softmax(s z), both terms of `Distill` have the form weight x (-sum_k t_k log q_k) + constant for a
distribution t. For cross-entropy, t is the (smoothed) label and s = 1. For distillation, t is the teacher's
softmax at temperature T and s = 1 / T. The gradient by the logits z is weight x s x (q - t). If both terms
have the same s, they are one term with the weighted mean of both t.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mfh._checks import require
from mfh.losses import DistillLoss, Outputs
from mfh.training.jobs import StudentJob
from mfh.training.objectives import Distill


@dataclass(frozen=True)
class Term:
    """One term of one student's loss.

    Attributes:
        scale: s.
        weight: weight of the term in the loss, including the factor T^2.
        target: t.
        constant: the constant of each sample.
        counts: whether the term counts for each sample; None if for all. Where not, `constant` is 0.
    """

    scale: float
    weight: float
    target: Float[Tensor, "sample output"]
    constant: Float[Tensor, " sample"]
    counts: Bool[Tensor, " sample"] | None = None

    @property
    def weights(self) -> Float[Tensor, " sample"]:
        """The weight of the term for each sample."""
        weights = torch.full_like(self.constant, self.weight)
        return weights if self.counts is None else weights * self.counts


def terms(
    objective: Distill,
    label: Int[Tensor, " sample"],
    rows: Int[Tensor, " sample"],
    num_outputs: int,
    dtype: torch.dtype,
) -> list[Term]:
    """Return the terms of a student's loss on some rows of the data set, on the CPU.

    Args:
        objective: labels, a teacher, or both.
        label: classes of these rows.
        rows: their places in the data set (in `Distill.teacher_logits`).
        num_outputs: logits of the student.
        dtype: type of its weights.

    Returns:
        One term; or two if the student learns from labels and from a teacher at another temperature than 1,
        or from a teacher that has no outputs for some rows.
        Losses other than KL are computed by `StackedLoss` and have no term.

    Raises:
        InputError: the teacher or the labels do not fit the student's logits.
    """
    found = []
    taught = objective.taught[rows] if objective.distils and objective.taught is not None else None
    taught = None if taught is None or taught.all() else taught
    if objective.label_weight or taught is not None:
        largest = int(label.max())
        require(
            largest < num_outputs,
            f"A student needs one logit per class. It has {num_outputs}, and there is a class {largest}.",
        )
        target = torch.full((len(rows), num_outputs), objective.smoothing / num_outputs, dtype=dtype)
        # pairs without a label do not count: they have no term of labels
        target[torch.arange(len(rows)), label.clamp(min=0)] += 1 - objective.smoothing
        weight = objective.label_weight or objective.distill_weight
        counts = None if objective.label_weight or taught is None else ~taught
        found.append(Term(1.0, weight, target, torch.zeros(len(rows), dtype=dtype), counts))
    if objective.distill_weight and objective.teacher_logits is not None and objective.loss is None:
        logits = objective.teacher_logits[rows].cpu()
        require(
            logits.shape[1] == num_outputs,
            "`teacher_logits` must have as many outputs as the student. "
            f"Got {logits.shape[1]} for a student with {num_outputs}.",
        )
        log_p = torch.log_softmax(logits / objective.temperature, dim=1)
        weight = objective.distill_weight * objective.temperature**2
        soft = log_p.exp().to(dtype)
        constant = weight * (soft * log_p).sum(dim=1)
        if taught is not None:
            soft, constant = soft.where(taught[:, None], 0.0), constant.where(taught, 0.0)
        found.append(Term(1 / objective.temperature, weight, soft, constant, taught))
    if len(found) == 2 and found[1].scale == 1 and taught is None:
        hard, kd = found
        weight = hard.weight + kd.weight
        target = (hard.weight * hard.target + kd.weight * kd.target) / weight
        found = [Term(1.0, weight, target, kd.constant)]
    return found


@dataclass(frozen=True)
class StackedTerm:
    """One term of the losses of several students; it has weight 0 for students without such a term.

    `each` has the weights of the samples; None weighs all alike.
    """

    scale: Float[Tensor, "student 1 1"]
    weight: Float[Tensor, "student sample 1"]
    target: Float[Tensor, "student sample output"]
    constant: Float[Tensor, "student sample"]
    each: Float[Tensor, " sample"] | None = None

    def add(
        self,
        logits: Float[Tensor, "student batch output"],
        rows: Int[Tensor, " batch"],
        gradient: Float[Tensor, "student batch output"],
    ) -> Float[Tensor, " student"]:
        """Add the gradient of the mean loss over `rows` to `gradient`; return the sums of the losses."""
        log_q = torch.log_softmax(logits * self.scale, dim=2)
        target, weight = self.target[:, rows], self.weight[:, rows]
        if self.each is None:
            losses = self.constant[:, rows].sum(dim=1) - ((target * log_q) * weight).sum(dim=(1, 2))
            gradient.add_((log_q.exp_() - target).mul_(self.scale * weight / len(rows)))
            return losses
        each = self.each[rows]
        cross = ((target * log_q) * weight).sum(dim=2)
        factor = self.scale * weight / len(rows) * each[None, :, None]
        gradient.add_((log_q.exp_() - target).mul_(factor))
        return ((self.constant[:, rows] - cross) * each).sum(dim=1)


class StackedLoss:
    """A distillation loss other than KL, for several students; weights of samples do not change it."""

    def __init__(self, loss: DistillLoss, jobs: Sequence[StudentJob], like: Tensor) -> None:
        """Prepare the loss; `like` has the device and the type of the students' weights."""
        job = jobs[0]
        taught = [j.objective.teacher_logits for j in jobs]
        tables = [
            logits[j.train].to(like) for j, logits in zip(jobs, taught, strict=True) if logits is not None
        ]
        self.teacher = torch.stack(tables)
        self.label = job.data.label[job.train].to(like.device)
        self.weight = like.new_tensor([j.objective.distill_weight for j in jobs])
        self.loss = loss
        try:
            self._at_once(self.teacher[:, :2], self.teacher[:, :2], self.label[:2])
            self.values = self._at_once
        except (RuntimeError, ValueError):  # code that cannot be batched, such as a branch on a value
            self.values = self._one_by_one

    def add(
        self,
        logits: Float[Tensor, "student batch output"],
        rows: Int[Tensor, " batch"],
        gradient: Float[Tensor, "student batch output"],
    ) -> Float[Tensor, " student"]:
        """Add the gradient of the loss of a batch to `gradient`; return losses times samples."""
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            losses = self.weight * self.values(logits, self.teacher[:, rows], self.label[rows])
            (found,) = torch.autograd.grad(losses.sum(), logits)
        gradient.add_(found)
        return losses.detach() * len(rows)

    def _at_once(self, logits: Tensor, taught: Tensor, label: Tensor) -> Tensor:
        def one(student: Tensor, teacher: Tensor) -> Tensor:
            return self.loss(Outputs(student), Outputs(teacher), label)

        return torch.func.vmap(one)(logits, taught)

    def _one_by_one(self, logits: Tensor, taught: Tensor, label: Tensor) -> Tensor:
        pairs = zip(logits, taught, strict=True)
        return torch.stack([self.loss(Outputs(s), Outputs(t), label) for s, t in pairs])


def stack_terms(
    students: Sequence[list[Term]], device: torch.device, each: Float[Tensor, " sample"] | None = None
) -> list[StackedTerm]:
    """Return the terms of several students, stacked; `each` has the weights of the samples."""
    one = next((found[0] for found in students if found), None)
    if one is None:
        return []
    empty = Term(1.0, 0.0, torch.zeros_like(one.target), torch.zeros_like(one.constant))
    result = []
    for place in range(max(len(found) for found in students)):
        chosen = [found[place] if place < len(found) else empty for found in students]
        scale = torch.tensor([c.scale for c in chosen], dtype=one.target.dtype, device=device).view(-1, 1, 1)
        weight = torch.stack([c.weights for c in chosen]).to(device)[..., None]
        target = torch.stack([c.target for c in chosen]).to(device)
        constant = torch.stack([c.constant for c in chosen]).to(device)
        result.append(StackedTerm(scale, weight, target, constant, each))
    return result
