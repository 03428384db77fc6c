"""What networks are trained for: labels, Algorithm 1's step 1, distillation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh.losses import cross_entropy, kl_divergence, mse
from mfh.training.logits import logits_of


@dataclass(frozen=True)
class Batch:
    """Some samples: the network's inputs, their labels, and their rows in the data set (on the CPU)."""

    inputs: tuple[Tensor, ...]
    label: Int[Tensor, " sample"]
    rows: Int[Tensor, " sample"]


Objective = Callable[[Any, Batch], Tensor]
"""From what a network returns and its batch to the mean loss over the samples of the batch.

The parts of a batch that is divided (among processes, or by `micro_batch`) are weighted by their numbers of
samples, so the loss must be a mean over samples of something that each sample has by itself.
"""


@dataclass(frozen=True)
class Distill:
    """label_weight x cross-entropy + distill_weight x KL from fixed teacher outputs.

    Attributes:
        teacher_logits: one row per sample of the data set; None learns from labels alone.
        label_weight, distill_weight: weights of the two terms.
        temperature: temperature of the soft labels.
        smoothing: label smoothing of the cross-entropy, in [0, 1).
    """

    teacher_logits: Float[Tensor, "sample output"] | None = None
    label_weight: float = 1.0
    distill_weight: float = 0.0
    temperature: float = 1.0
    smoothing: float = 0.0

    def __call__(self, outputs: Any, batch: Batch) -> Tensor:
        """The mean loss of a batch of what the student returns; see `logits_of`."""
        outputs, terms = logits_of(outputs), []
        if self.label_weight:
            terms.append(self.label_weight * cross_entropy(outputs, batch.label, smoothing=self.smoothing))
        if self.distill_weight and self.teacher_logits is not None:
            soft = self.teacher_logits[batch.rows].to(outputs.device)
            terms.append(self.distill_weight * kl_divergence(outputs, soft, temperature=self.temperature))
        return sum(terms[1:], terms[0])


class Pair(nn.Module):
    """Teacher and student side by side, for Algorithm 1's step 1."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = student

    def forward(self, teacher_input: Tensor, student_input: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both."""
        return logits_of(self.teacher(teacher_input)), logits_of(self.student(student_input))


def joint(outputs: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
    """CE + CE + MSE between the logits: step 1 of Algorithm 1."""
    teacher, student = outputs
    return cross_entropy(teacher, batch.label) + cross_entropy(student, batch.label) + mse(teacher, student)
