"""What both engines take and give back: a student to train, and a trained student."""

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.metrics import AUTO, Metric, find_metric
from mfh.training.diverged import DivergedError
from mfh.training.objectives import Distill


@dataclass(frozen=True, eq=False)
class StudentJob:
    """One student to train.

    Attributes:
        model: the network with its initial weights; training does not change it.
        objective: what the student learns from.
        data: the samples, with the transforms of this seed.
        modality: what the student sees; of several modalities together, one input for each.
        train, validation: rows of `data`, int64.
        seed: fixes the batches (see `mfh.training.batches.epoch_order`).
        layer: layer whose output is compared, if the objective's loss compares features.
        name: what messages call the student; by default its number among the jobs.
        metric: what chooses the best epoch, on the validation rows; None takes the task's own metric.
        rate: factor of the learning rate of the configuration, above 0.
        weight_decay: in place of that of the configuration; None leaves it.
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
    metric: Metric | None = None
    rate: float = 1.0
    weight_decay: float | None = None

    def options(self, config: TrainConfig) -> TrainConfig:
        """Return how this student is trained, from the configuration of all students."""
        if self.rate == 1 and self.weight_decay is None:
            return config
        decay = config.weight_decay if self.weight_decay is None else self.weight_decay
        return replace(config, lr=config.peak_rate * self.rate, weight_decay=decay)

    @property
    def chosen_by(self) -> Metric:
        """The metric that chooses the best epoch."""
        return self.metric or find_metric(AUTO, self.data.task)

    def called(self, number: int) -> str:
        """Return what messages call the student with this number among the jobs."""
        return self.name or f"Student {number}"

    def diverged(self, number: int, what: str, epoch: int, batch: Tensor) -> DivergedError:
        """Return the error of a student whose loss or weight is not finite after a batch.

        Args:
            number: of the student among the jobs.
            what: what is not finite.
            epoch: counted from 1.
            batch: rows of `data` in the batch.
        """
        return DivergedError(what, epoch, self.data.id[batch.numpy()], who=self.called(number))


@dataclass(frozen=True, eq=False)
class StudentFit:
    """A trained student.

    Attributes:
        state: weights of the best epoch, on the CPU, under the names of the network's state dict.
        best_epoch: the first epoch, counted from 1, with the best validation metric.
        validation: validation metric after each epoch, in its unit.
        loss: mean training loss of each epoch.
        seconds: wall time; students that are trained together share it equally.
        failure: why there is no student, if its loss or weights stopped being finite; all else is then
            empty.
    """

    state: dict[str, Tensor] = field(repr=False)
    best_epoch: int
    validation: tuple[float, ...]
    loss: tuple[float, ...]
    seconds: float
    failure: DivergedError | None = None

    @classmethod
    def failed(cls, error: DivergedError) -> "StudentFit":
        """Return the fit of a student that diverged."""
        return cls({}, 0, (), (), 0.0, failure=error)
