"""One student to be trained, and what its training leaves: what both engines take and give back."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from mfh.data.paired import PairedDataset
from mfh.training.diverged import DivergedError
from mfh.training.objectives import Distill


@dataclass(frozen=True, eq=False)
class StudentJob:
    """One student to be trained.

    Attributes:
        model: the network with its initial weights; it is not changed.
        objective: what it learns from.
        data: the samples, with the transforms of this seed.
        modality: what the student sees.
        train, validation: rows of `data`, int64.
        seed: fixes the batches (see `mfh.training.loop.epoch_order`).
        layer: layer whose output is compared where the objective's loss compares features.
        name: what messages call it; by default its number among the jobs.
    """

    model: nn.Module
    objective: Distill
    data: PairedDataset
    modality: str
    train: Tensor
    validation: Tensor
    seed: int
    layer: str | None = None
    name: str = ""

    def called(self, number: int) -> str:
        """What messages call it."""
        return self.name or f"Student {number}"


@dataclass(frozen=True, eq=False)
class StudentFit:
    """A trained student.

    Attributes:
        state: weights of the best epoch, on the CPU, under the names of the network's state dict.
        best_epoch: the first epoch, counted from 1, with the best validation accuracy.
        validation: validation accuracy after each epoch, in percent.
        loss: mean training loss of each epoch.
        seconds: wall time; students trained together share it equally.
        failure: why there is no student, where its loss or weights stopped being finite; all else is then
            empty.
    """

    state: dict[str, Tensor] = field(repr=False)
    best_epoch: int
    validation: tuple[float, ...]
    loss: tuple[float, ...]
    seconds: float
    failure: DivergedError | None = None
