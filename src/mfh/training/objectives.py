"""Objectives of training: labels, distillation, and step 1 of Algorithm 1."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from mfh._checks import listing, require
from mfh._saliency.heads import logits_of
from mfh.config import DistillConfig
from mfh.loss_options import BUILT_IN
from mfh.losses import DistillLoss, Outputs, build_loss, mse
from mfh.tasks import TASKS, is_labelled


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
        inputs: of the network.
        label: of each sample.
        rows: places in the data set, on the CPU.
        weight: of each sample, or position, in the loss, with a mean of 1 over the training samples; None
            weighs all alike.
        complete: whether every sample has a label; None if the labels must tell. To read them from an
            accelerator would make each step wait for it.
    """

    inputs: tuple[Tensor, ...]
    label: Shaped[Tensor, "sample ..."]
    rows: Int[Tensor, " sample"]
    complete: bool | None = None
    weight: Float[Tensor, "sample ..."] | None = None


Objective = Callable[[Any, Batch], Tensor]
"""A function of a network's outputs and their batch that returns the mean loss over the samples.

If a batch is divided (among processes, or by `micro_batch`), its parts are weighted by their numbers of
samples. So the loss must be the mean of a loss of each sample alone. An objective that compares samples with
each other has an attribute `batchwise` that is true; its batches are never divided.
"""


@dataclass(frozen=True)
class Distill:
    """label_weight x cross-entropy + distill_weight x a distillation loss from fixed teacher outputs.

    A sample without a label has no cross-entropy: the mean over all samples counts it as 0. A sample without
    outputs of the teacher has no distillation loss; where `label_weight` is 0, it has its cross-entropy
    times `distill_weight` instead. All terms are weighted by the batch's weights, but distillation losses
    other than KL take all samples alike.

    Attributes:
        teacher_logits: one row per sample of the data set; None learns from labels alone.
        label_weight, distill_weight: weights of the two terms.
        temperature: temperature of the soft labels.
        smoothing: label smoothing of the cross-entropy, in [0, 1).
        loss: the distillation loss, which has its own temperature; None is KL at `temperature`.
        task: what is predicted; it fixes the losses of labels and soft labels.
        taught: whether each sample of the data set has outputs of the teacher; None if all have. Others need
            a label.
        teacher_features: one row per sample, if the loss compares features; the network must then return an
            `Outputs` (see `mfh.training.watched`).
        memory: rows of the training samples and their labels, if the loss compares with all of them.
    """

    teacher_logits: Float[Tensor, "sample ..."] | None = None
    label_weight: float = 1.0
    distill_weight: float = 0.0
    temperature: float = 1.0
    smoothing: float = 0.0
    loss: DistillLoss | None = None
    teacher_features: Float[Tensor, "sample channel"] | None = None
    memory: tuple[Int[Tensor, " other"], Int[Tensor, " other"]] | None = None
    task: str = "single-label"
    taught: Bool[Tensor, " sample"] | None = None

    @property
    def distils(self) -> bool:
        """Whether the student learns from a teacher."""
        return bool(self.distill_weight) and self.teacher_logits is not None

    @property
    def batchwise(self) -> bool:
        """Whether the loss compares the samples of a batch with each other."""
        return self.distils and self.loss is not None and self.loss.batchwise

    def __call__(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch; `outputs` is what the student returns (see `logits_of`)."""
        logits, terms = logits_of(outputs), []
        if self.label_weight:
            from_labels = label_loss(self.task, logits, batch, smoothing=self.smoothing)
            terms.append(self.label_weight * from_labels)
        if self.distils:
            terms.append(self.distill_weight * self._from_teacher(outputs, batch))
        return sum(terms[1:], terms[0])

    def _from_teacher(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean distillation loss; labels stand in for the teacher where it has no outputs."""
        known = None if self.taught is None else self.taught[batch.rows]
        if known is None or known.all():
            return self._distillation(outputs, batch)
        share = int(known.sum()) / len(known)
        total = 0 * logits_of(outputs).sum()
        if share:
            total = total + share * self._distillation(*_part(outputs, batch, known))
        if not self.label_weight:
            part, rest = _part(outputs, batch, ~known)
            loss = TASKS[self.task].label_loss(
                part.logits, rest.label, smoothing=self.smoothing, weight=rest.weight
            )
            total = total + (1 - share) * loss
        return total

    def _distillation(self, outputs: Any, batch: Batch) -> Tensor:
        logits = logits_of(outputs)
        soft = self.teacher_logits[batch.rows].to(logits.device)  # type: ignore[index]
        if self.loss is None:
            return TASKS[self.task].soft_loss(logits, soft, temperature=self.temperature, weight=batch.weight)
        student = outputs if isinstance(outputs, Outputs) else Outputs(logits)
        features = memory = None
        if self.loss.features:
            require(
                student.features is not None and self.teacher_features is not None,
                f"`loss` {self.loss.name} compares features: give `teacher_features`, and a network that "
                "returns `Outputs` with features (see mfh.training.watched.Watched).",
            )
            features = self.teacher_features[batch.rows].to(logits.device)  # type: ignore[index]
            if self.loss.memory:
                require(self.memory is not None, f"`loss` {self.loss.name} needs a `memory`.")
                rows, label = self.memory  # type: ignore[misc]
                memory = self.teacher_features[rows].to(logits.device), label.to(logits.device)  # type: ignore[index]
        return self.loss(student, Outputs(soft, features, memory), batch.label)


def _part(outputs: Any, batch: Batch, chosen: Bool[Tensor, " sample"]) -> tuple[Outputs, Batch]:
    """Return what belongs to some samples of a batch; its inputs are left out."""
    rows = chosen.nonzero()[:, 0]
    logits = logits_of(outputs)
    here = rows.to(logits.device)
    features = outputs.features if isinstance(outputs, Outputs) else None
    part = Outputs(logits[here], None if features is None else features[here])
    weight = None if batch.weight is None else batch.weight[here]
    return part, Batch((), batch.label[here], batch.rows[rows], weight=weight)


def learn_from(
    config: DistillConfig,
    logits: Float[Tensor, "sample ..."] | None,
    *,
    task: str = "single-label",
    labelled: bool = True,
) -> Distill:
    """Return the objective of a student with a configuration and fixed teacher logits.

    Args:
        config: loss and weights.
        logits: of the teacher; None learns from labels alone.
        task: what is predicted.
        labelled: whether every training sample has a label.

    Raises:
        InputError: `config.loss` compares features, does not fit the task, needs `label_weight` > 0, or needs
            the label of every sample and some have none.
    """
    if logits is None:
        return Distill(task=task)
    loss = build_loss(config.loss, config)
    require(
        task == "single-label" or config.loss == "kl",
        f"`loss` must be kl, the task's own loss of soft labels, for the task {task}. Got {config.loss!r}.",
    )
    require(
        not loss.features,
        f"`loss` must compare logits, since nothing else is known of the teacher. Got {config.loss!r}, which "
        "compares features: use kl, dkd, dist, ntdh or c2kd, or `mfh study --losses`.",
    )
    require_labels_for([loss], labelled)
    require(
        config.label_weight > 0 or not loss.needs_labels,
        f"`label_weight` must be above 0 for the loss {config.loss}, which alone does not teach the class of "
        f"a sample. Got {config.label_weight}: use 1, for example.",
    )
    return Distill(
        teacher_logits=logits,
        label_weight=config.label_weight,
        distill_weight=config.distill_weight,
        temperature=config.temperature,
        loss=None if config.loss == "kl" else loss,
        task=task,
    )


def require_labels_for(losses: Iterable[DistillLoss], labelled: bool) -> None:
    """Check that no loss needs the label of a sample that has none.

    Raises:
        InputError: one does; the text names it. Losses of users are not checked: they get -1, or NaN.
    """
    wrong = [loss.name for loss in losses if loss.name in BUILT_IN and BUILT_IN[loss.name].reads_labels()]
    require(
        labelled or not wrong,
        f"`loss` must not be {listing(wrong)} where samples have no label: it needs the label of every "
        "sample. Use kl or dist.",
    )


class Pair(nn.Module):
    """Teacher and student side by side, for Algorithm 1's step 1.

    The last input is the student's; those before it are the teacher's.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = student

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of both."""
        return logits_of(self.teacher(*inputs[:-1])), logits_of(self.student(inputs[-1]))


class Fused(Pair):
    """A teacher of both modalities: the sum of two networks' logits, trained as one network.

    The sum of two last linear layers is one linear layer on the features of both, side by side.
    """

    def forward(self, *inputs: Tensor) -> Tensor:  # type: ignore[override]
        """Return the logits."""
        teacher, student = super().forward(*inputs)
        return teacher + student


@dataclass(frozen=True)
class Joint:
    """The label losses of both networks + MSE between their logits: step 1 of Algorithm 1.

    Samples without a label (see `mfh.tasks.is_labelled`) count for the distance alone. All three terms are
    weighted by the batch's weights.

    Attributes:
        task: what is predicted.
        label_share: expected share of the samples of a batch that have a label, in (0, 1]. The label losses
            are divided by it, so that they are means over labelled samples.
    """

    task: str = "single-label"
    label_share: float = 1.0

    def __call__(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """Return the mean loss of a batch."""
        teacher, student = outputs
        loss = label_loss(self.task, teacher, batch) + label_loss(self.task, student, batch)
        distance = mse(teacher, student, weight=batch.weight)
        return (loss if self.label_share == 1 else loss / self.label_share) + distance


def label_loss(task: str, logits: Tensor, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
    """Return the sum of the label losses of the labelled samples, divided by the number of all samples."""
    loss, label, weight = TASKS[task].label_loss, batch.label, batch.weight
    if batch.complete:
        return loss(logits, label, smoothing=smoothing, weight=weight)
    known = is_labelled(label)
    if batch.complete is None and known.all():
        return loss(logits, label, smoothing=smoothing, weight=weight)
    if not known.any():
        return 0 * logits.sum()
    weight = None if weight is None else weight[known]
    return known.float().mean() * loss(logits[known], label[known], smoothing=smoothing, weight=weight)
