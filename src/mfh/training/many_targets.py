"""What students learn from, as soft labels: loss and gradient of many students in closed form.

With q = softmax(s z) both terms of `Distill` have the form weight x (-sum_k t_k log q_k) + constant for a
distribution t: cross-entropy with t the (smoothed) label and s = 1, distillation with t the teacher's softmax
at temperature T and s = 1 / T. The gradient by the logits z is weight x s x (q - t). Where both have the same
s, they are one term whose t is their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh.training.objectives import Distill


@dataclass(frozen=True)
class Term:
    """One term of the loss of several students.

    Attributes:
        scale: s of each student.
        weight: weight of the term in each student's loss; 0 where a student has no such term.
        target: t.
        constant: what the loss of each sample has besides.
    """

    scale: Float[Tensor, " student"]
    weight: Float[Tensor, " student"]
    target: Float[Tensor, "student sample class"]
    constant: Float[Tensor, "student sample"]

    def add(self, logits: Tensor, rows: Tensor, gradient: Tensor) -> Float[Tensor, " student"]:
        """Add the gradient of the mean loss over `rows` to `gradient`; returns the sum of the losses."""
        scale = self.scale.view(-1, 1, 1)
        log_q = torch.log_softmax(logits * scale, dim=2)
        target = self.target[:, rows]
        losses = self.constant[:, rows].sum(dim=1) - self.weight * (target * log_q).sum(dim=(1, 2))
        gradient += (log_q.exp_() - target) * (scale * self.weight.view(-1, 1, 1) / len(rows))
        return losses


def terms(
    objectives: Sequence[Distill],
    label: Int[Tensor, " sample"],
    rows: Int[Tensor, " sample"],
    *,
    num_classes: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Term]:
    """The terms of the students' losses on some rows of the data set.

    Args:
        objectives: one per student.
        label: classes of these rows.
        rows: their places in the data set (in `Distill.teacher_logits`).
        num_classes: outputs of the students.
        dtype, device: of the result.

    Returns:
        One term, or two where a student learns from labels and, at another temperature than 1, from a teacher.
    """
    parts = [_parts(objective, label, rows, num_classes, dtype) for objective in objectives]
    count = max(len(part) for part in parts)
    empty = (1.0, 0.0, parts[0][0][2], torch.zeros(len(rows), dtype=dtype))
    result = []
    for place in range(count):
        chosen = [part[place] if place < len(part) else empty for part in parts]
        scale, weight = (torch.tensor([c[i] for c in chosen], dtype=dtype, device=device) for i in (0, 1))
        target, constant = (torch.stack([c[i] for c in chosen]).to(device) for i in (2, 3))
        result.append(Term(scale, weight, target, constant))
    return result


def _parts(
    objective: Distill, label: Tensor, rows: Tensor, num_classes: int, dtype: torch.dtype
) -> list[tuple[float, float, Tensor, Tensor]]:
    """(scale, weight, target, constant) of each term of one student."""
    found = []
    if objective.label_weight:
        target = torch.full((len(rows), num_classes), objective.smoothing / num_classes, dtype=dtype)
        target[torch.arange(len(rows)), label] += 1 - objective.smoothing
        found.append((1.0, objective.label_weight, target, torch.zeros(len(rows), dtype=dtype)))
    if objective.distill_weight and objective.teacher_logits is not None:
        temperature = objective.temperature
        log_p = torch.log_softmax(objective.teacher_logits[rows].cpu() / temperature, dim=1)
        weight = objective.distill_weight * temperature**2
        soft = log_p.exp().to(dtype)
        constant = weight * (soft * log_p).sum(dim=1)
        found.append((1 / temperature, weight, soft, constant))
    if len(found) == 2 and found[1][0] == 1:
        (_, one, hard, none), (_, two, soft, constant) = found
        return [(1.0, one + two, (one * hard + two * soft) / (one + two), none + constant)]
    return found
