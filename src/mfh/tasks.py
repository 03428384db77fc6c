"""Tasks: what a network predicts, and the losses that fit it.

A network predicts one class, several labels, numbers, or a class for each position. It returns `output`
numbers for each sample, and for each position in dense predictions. The loss of soft labels is 0 if student
and teacher agree. `mfh.metrics` has the metrics of each task.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from mfh.config import TaskName
from mfh.losses import cross_entropy, kl_divergence, mse
from mfh.losses.basic import Weight, mean_over_samples
from mfh.metrics import OWN_METRIC, Metric, metrics_of, scores

SURE = 0.99
"""Probability above which a soft label counts as saturated."""
CERTAIN = 40.0
"""Difference of two logits that stands for certainty."""
NUM_BINS = 5
"""Bins of the targets of a regression, for stratified splits."""
UNLABELLED = -1
"""Class of a sample, or of a position of a dense map, without a label; where labels are floats it is NaN."""


class Task(ABC):
    """One kind of prediction.

    Attributes:
        name: as in configurations.
        smooths: whether labels can be smoothed.
        softens: whether a temperature makes outputs softer.
        output: what one output of a network is, in words.
        names: what outputs stand for, in words.
        alike: what samples with the same code in `strata` have in common, in words.
    """

    name: ClassVar[TaskName]
    smooths: ClassVar[bool] = True
    softens: ClassVar[bool] = True
    output: ClassVar[str] = "logit"
    names: ClassVar[str] = "classes"
    alike: ClassVar[str] = "of the same class"

    @property
    def metric(self) -> str:
        """Name of the metric that `auto` means for this task."""
        return OWN_METRIC[self.name]

    def scores(self, logits: Tensor, label: Tensor, chosen: Metric | None = None) -> dict[str, float]:
        """Return every metric of the task by name, the chosen one (by default the task's own) first."""
        return scores(metrics_of(self.name, chosen), logits, label)

    @abstractmethod
    def label_loss(
        self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0, weight: Weight = None
    ) -> Float[Tensor, ""]:
        """Return the mean loss of labels; each is multiplied by the weight of its sample, or position."""

    @abstractmethod
    def soft_loss(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        temperature: float = 1.0,
        weight: Weight = None,
    ) -> Float[Tensor, ""]:
        """Return the mean loss of a teacher's outputs, weighted in the same way."""

    def predicted(self, logits: Tensor) -> Tensor:
        """Return the labels that outputs predict, in the form of labels."""
        return logits.argmax(dim=1)

    def hardened(self, logits: Tensor) -> Tensor:
        """Return outputs that are almost sure of the labels that they predict."""
        hard = functional.one_hot(self.predicted(logits), logits.shape[1]).movedim(-1, 1)
        return (hard.to(logits.dtype) - 1) * CERTAIN

    @abstractmethod
    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Return the share of each sample's labels or positions that are right, in [0, 1], or NaN."""

    @abstractmethod
    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Return the mean entropy of the soft labels, in nats, and the share with a probability over 0.99."""

    @abstractmethod
    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Return a code for each sample, equal for samples that are alike; samples without a label have -1.

        Splits are stratified by it, and the arm `mismatched` shuffles outputs among samples of equal code.
        """


class SingleLabel(Task):
    """One class out of several: cross-entropy and KL."""

    name = "single-label"

    def label_loss(
        self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0, weight: Weight = None
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy."""
        return cross_entropy(logits, label, smoothing=smoothing, weight=weight)

    def soft_loss(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        temperature: float = 1.0,
        weight: Weight = None,
    ) -> Float[Tensor, ""]:
        """Return T^2 x KL."""
        return kl_divergence(student_logits, teacher_logits, temperature=temperature, weight=weight)

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Return 1 for samples whose largest logit is their class, else 0."""
        return (logits.argmax(dim=1) == label).float()

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Return entropy and share over samples."""
        log_p = functional.log_softmax(logits / temperature, dim=1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(dim=1)
        return float(entropy.double().mean()), float((p.amax(dim=1) > SURE).double().mean())

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Return the classes."""
        return label.numpy()


class MultiLabel(Task):
    """Any number of labels for each sample: binary cross-entropy and binary KL."""

    name = "multi-label"
    names = "labels"
    alike = "with the same labels"

    def label_loss(
        self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0, weight: Weight = None
    ) -> Float[Tensor, ""]:
        """Return the binary cross-entropy, the mean over samples and labels.

        Smoothing moves each target toward 1/2.
        """
        target = label.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        if weight is None:
            return functional.binary_cross_entropy_with_logits(logits, target)
        losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return mean_over_samples(losses, weight)

    def soft_loss(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        temperature: float = 1.0,
        weight: Weight = None,
    ) -> Float[Tensor, ""]:
        """Return T^2 x KL between the probabilities of each label, the mean over samples and labels."""
        teacher, student = teacher_logits / temperature, student_logits / temperature
        p = teacher.sigmoid()
        on = functional.logsigmoid(teacher) - functional.logsigmoid(student)
        off = functional.logsigmoid(-teacher) - functional.logsigmoid(-student)
        return temperature**2 * mean_over_samples(p * on + (1 - p) * off, weight)

    def predicted(self, logits: Tensor) -> Tensor:
        """Return 1 for labels with a probability above 1/2, else 0."""
        return (logits > 0).float()

    def hardened(self, logits: Tensor) -> Tensor:
        """Return logits that are almost sure of the labels that they predict."""
        return (2 * self.predicted(logits) - 1) * CERTAIN / 2

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Return the share of the labels that are right at probability 1/2."""
        return ((logits > 0) == (label > 0)).float().mean(dim=1)

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Return entropy and share over samples and labels."""
        scaled = logits.double() / temperature
        p = scaled.sigmoid()
        entropy = -(p * functional.logsigmoid(scaled) + (1 - p) * functional.logsigmoid(-scaled))
        return float(entropy.mean()), float((p.maximum(1 - p) > SURE).double().mean())

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Return codes of the sets of labels; sets of one sample are grouped by their number of labels."""
        sets, known = label.numpy(), is_labelled(label).numpy()
        found, codes, counts = np.unique(sets[known], axis=0, return_inverse=True, return_counts=True)
        codes = codes.reshape(-1)
        alone = counts[codes] == 1
        own = np.where(alone, len(found) + sets[known].sum(axis=1).astype(np.int64), codes)
        return _spread(own, known)


class Regression(Task):
    """Numbers: mean squared error, from labels and from a teacher.

    Outputs are no probabilities, so neither labels nor outputs can be made softer.
    """

    name = "regression"
    output, names = "number", "targets"
    alike = "from the same fifth of the targets"
    smooths = softens = False

    def label_loss(
        self,
        logits: Tensor,
        label: Tensor,
        *,
        smoothing: float = 0.0,  # noqa: ARG002
        weight: Weight = None,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error."""
        return mse(logits, label.to(logits.dtype), weight=weight)

    def soft_loss(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        temperature: float = 1.0,  # noqa: ARG002
        weight: Weight = None,
    ) -> Float[Tensor, ""]:
        """Return the mean squared difference from the teacher's outputs; the temperature has no effect."""
        return mse(student_logits, teacher_logits, weight=weight)

    def predicted(self, logits: Tensor) -> Tensor:
        """Return the numbers."""
        return logits

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:  # noqa: ARG002
        """Return NaN: a number is not right or wrong."""
        return logits.new_full((len(logits),), float("nan"))

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:  # noqa: ARG002
        """Return NaN: numbers are no probabilities."""
        return float("nan"), float("nan")

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Return the fifth of the samples, by the mean of their standardised targets."""
        known = is_labelled(label).numpy()
        values = label.double().numpy()[known]
        values = (values - values.mean(axis=0)) / np.where(values.std(axis=0) > 0, values.std(axis=0), 1)
        edges = np.quantile(values.mean(axis=1), np.arange(1, NUM_BINS) / NUM_BINS)
        return _spread(np.searchsorted(edges, values.mean(axis=1), side="right"), known)


class Dense(Task):
    """A class for each position: cross-entropy and KL of positions.

    Positions of class -1 are ignored: they count in no loss of labels, no metric and no stratum.
    """

    name = "dense"
    alike = "with the same most frequent class"

    def label_loss(
        self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0, weight: Weight = None
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy, the mean over the positions that are not ignored; 0 if all are."""
        known = label != UNLABELLED
        if not known.any():
            return 0.0 * logits.sum()
        if weight is None:
            return functional.cross_entropy(logits, label, ignore_index=UNLABELLED, label_smoothing=smoothing)
        each = _of_positions(weight, label)[known]
        return cross_entropy(logits.movedim(1, -1)[known], label[known], smoothing=smoothing, weight=each)

    def soft_loss(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        temperature: float = 1.0,
        weight: Weight = None,
    ) -> Float[Tensor, ""]:
        """Return T^2 x KL between the classes of each position, the mean over samples and positions."""
        student, teacher = _rows(student_logits), _rows(teacher_logits)
        each = None if weight is None else _of_positions(weight, student_logits[:, 0]).reshape(-1)
        return kl_divergence(student, teacher, temperature=temperature, weight=each)

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Return the share of the positions that are right, of those that are not ignored."""
        right, known = logits.argmax(dim=1) == label, label != UNLABELLED
        return right.float().flatten(1).sum(dim=1) / known.flatten(1).sum(dim=1)

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Return entropy and share over samples and positions."""
        return SingleLabel().softness(_rows(logits), temperature)

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Return the class that most positions of a sample have, the first one of a tie."""
        # ignored positions are class 0 here, and every class is one more
        counts = functional.one_hot(label.flatten(1) + 1).sum(dim=1)[:, 1:]
        return np.where(is_labelled(label).numpy(), counts.argmax(dim=1).numpy(), UNLABELLED)


TASKS: dict[str, Task] = {task.name: task for task in (SingleLabel(), MultiLabel(), Regression(), Dense())}


def is_labelled(label: Shaped[Tensor, "sample ..."]) -> Bool[Tensor, " sample"]:
    """Return whether each sample has a label: a class, a number or a position with a class.

    Example:
        >>> import torch
        >>> is_labelled(torch.tensor([2, -1, 0])).tolist()
        [True, False, True]
    """
    known = ~label.isnan() if label.is_floating_point() else label >= 0
    return known if known.ndim == 1 else known.flatten(1).any(dim=1)


def infer_task(label: Shaped[np.ndarray, "..."]) -> TaskName:
    """Return the task that labels of this shape and type ask for; see `explain_task`.

    Example:
        >>> infer_task(np.array([0, 2, 1])), infer_task(np.array([0.5, 1.0]))
        ('single-label', 'regression')
    """
    return explain_task(label)[0]


def explain_task(label: Shaped[np.ndarray, "..."]) -> tuple[TaskName, str]:
    """Return the task that labels of this shape and type ask for, and what it was inferred from.

    - (sample,) or (sample, 1): `single-label` for text or whole numbers, else `regression`;
    - (sample, label): `single-label` if every row has exactly one 1 and else 0, `multi-label` if all values
      are 0 or 1, else `regression`;
    - three dimensions or more: `dense`.

    Example:
        >>> explain_task(np.eye(3))
        ('single-label', 'every row has exactly one 1')
    """
    if label.ndim > 2:
        return "dense", f"it has {label.ndim} dimensions"
    if label.dtype.kind in "USOM":
        return "single-label", "it has text or dates"
    if label.ndim == 2 and label.shape[1] > 1:
        if not np.isin(label, (0, 1)).all():
            return "regression", f"it has {label.shape[1]} numbers per sample, not all 0 or 1"
        if (label.sum(axis=1) == 1).all():
            return "single-label", "every row has exactly one 1"
        return "multi-label", f"it has {label.shape[1]} values of 0 or 1 per sample"
    if label.dtype.kind == "f" and np.isfinite(label).all() and (label != np.round(label)).any():
        return "regression", "it has numbers with decimals"
    return "single-label", "it has one whole number per sample"


def _spread(codes: Int[np.ndarray, " labelled"], known: Bool[np.ndarray, " sample"]) -> np.ndarray:
    """Return the codes of labelled samples in the places of all samples, -1 in the others."""
    strata = np.full(len(known), UNLABELLED)
    strata[known] = codes
    return strata


def _of_positions(weight: Tensor, like: Shaped[Tensor, "sample *position"]) -> Tensor:
    """Return the weight of each position; those of a sample have its weight, if they have none."""
    return weight.view(-1, *[1] * (like.ndim - weight.ndim), *weight.shape[1:]).expand_as(like)


def _rows(logits: Float[Tensor, "sample output *position"]) -> Float[Tensor, "row output"]:
    """Return each position as a row."""
    return logits.movedim(1, -1).reshape(-1, logits.shape[1])
