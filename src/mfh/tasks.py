"""What is predicted: one class, several labels, numbers, or a class per pixel; with its losses and metrics.

A network gives `output` numbers a sample (and a position, for dense predictions). The soft-label loss is 0
where student and teacher agree, and every metric is in percent, the larger the better.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from mfh.config import TaskName
from mfh.losses import cross_entropy, kl_divergence, mse, soft_label_entropy

SURE = 0.99
NUM_BINS = 5


class Task(ABC):
    """One kind of prediction.

    Attributes:
        name: as in configurations.
        metric: what chooses epochs and ratios, and what verdicts are about.
        smooths: whether labels can be smoothed.
        softens: whether a temperature makes outputs softer.
        output: what one output of a network is.
        names: what outputs stand for.
        points: what a point of the metric is, in words.
        alike: what samples with the same code in `strata` share, in words.
    """

    name: ClassVar[TaskName]
    metric: ClassVar[str]
    smooths: ClassVar[bool] = True
    softens: ClassVar[bool] = True
    output: ClassVar[str] = "logit"
    names: ClassVar[str] = "classes"
    points: ClassVar[str] = "percentage points of accuracy"
    alike: ClassVar[str] = "of the same class"

    @abstractmethod
    def label_loss(self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Mean loss from labels."""

    @abstractmethod
    def soft_loss(
        self, student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0
    ) -> Float[Tensor, ""]:
        """Mean loss from a teacher's outputs."""

    @abstractmethod
    def scores(self, logits: Tensor, label: Tensor) -> dict[str, float]:
        """Every metric, in percent; the first is `metric`."""

    def score(self, logits: Tensor, label: Tensor) -> float:
        """The metric that chooses, in percent."""
        return self.scores(logits, label)[self.metric]

    @abstractmethod
    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Share of each sample's labels or pixels that are right, in [0, 1]; NaN for numbers."""

    @abstractmethod
    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Mean entropy of the soft labels, in nats, and share of those with a probability over .99."""

    @abstractmethod
    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Codes of samples that are alike: for stratified splits, and for `mismatched` to shuffle within."""


class SingleLabel(Task):
    """One of several classes: cross-entropy, KL, accuracy."""

    name = "single-label"
    metric = "accuracy"

    def label_loss(self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Cross-entropy."""
        return cross_entropy(logits, label, smoothing=smoothing)

    def soft_loss(
        self, student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0
    ) -> Float[Tensor, ""]:
        """KL, with the factor T^2."""
        return kl_divergence(student_logits, teacher_logits, temperature=temperature)

    def scores(self, logits: Tensor, label: Tensor) -> dict[str, float]:
        """Accuracy."""
        return {self.metric: 100 * float(self.right(logits, label).double().mean())}

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Whether the largest logit is the class."""
        return (logits.argmax(dim=1) == label).float()

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Over samples."""
        largest = functional.softmax(logits / temperature, dim=1).amax(dim=1)
        entropy = soft_label_entropy(logits, temperature=temperature)
        return float(entropy.double().mean()), float((largest > SURE).double().mean())

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """The classes."""
        return label.numpy()


class MultiLabel(Task):
    """Any number of labels a sample: binary cross-entropy, binary KL, mean average precision and macro F1."""

    name = "multi-label"
    metric = "mAP"
    names = "labels"
    points = "percentage points of mean average precision (mAP)"
    alike = "with the same labels"

    def label_loss(self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Binary cross-entropy, the mean over samples and labels; smoothing moves each target toward 1/2."""
        target = label.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, target)

    def soft_loss(
        self, student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0
    ) -> Float[Tensor, ""]:
        """T^2 x KL between the probabilities of each label, the mean over samples and labels."""
        teacher, student = teacher_logits / temperature, student_logits / temperature
        p = teacher.sigmoid()
        on = functional.logsigmoid(teacher) - functional.logsigmoid(student)
        off = functional.logsigmoid(-teacher) - functional.logsigmoid(-student)
        return temperature**2 * (p * on + (1 - p) * off).mean()

    def scores(self, logits: Tensor, label: Tensor) -> dict[str, float]:
        """Mean over labels of the average precision, and of F1 at probability 1/2."""
        from torchmetrics.functional import classification  # slow to import, and only needed here

        count, target = label.shape[1], label.long()
        precision = classification.multilabel_average_precision(logits, target, num_labels=count)
        f1 = classification.multilabel_f1_score(logits, target, num_labels=count)
        return {"mAP": 100 * float(precision), "macro F1": 100 * float(f1)}

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Share of the labels that are right at probability 1/2."""
        return ((logits > 0) == (label > 0)).float().mean(dim=1)

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Over samples and labels."""
        scaled = logits.double() / temperature
        p = scaled.sigmoid()
        entropy = -(p * functional.logsigmoid(scaled) + (1 - p) * functional.logsigmoid(-scaled))
        return float(entropy.mean()), float((p.maximum(1 - p) > SURE).double().mean())

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Samples with the same labels; those whose labels nobody shares, by their number of labels."""
        found, codes, counts = np.unique(label.numpy(), axis=0, return_inverse=True, return_counts=True)
        codes = codes.reshape(-1)
        alone = counts[codes] == 1
        return np.where(alone, len(found) + label.numpy().sum(axis=1).astype(np.int64), codes)


class Regression(Task):
    """Numbers: mean squared error, from labels and from a teacher alike, and R^2.

    Outputs are no probabilities, so there is nothing to smooth or to soften.
    """

    name = "regression"
    metric = "R2"
    output, names = "number", "targets"
    points = "hundredths of R^2 (100 is perfect, 0 no better than the mean of the labels)"
    alike = "from the same fifth of the targets"
    smooths = softens = False

    def label_loss(self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0) -> Float[Tensor, ""]:  # noqa: ARG002
        """Mean squared error."""
        return mse(logits, label.to(logits.dtype))

    def soft_loss(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        temperature: float = 1.0,  # noqa: ARG002
    ) -> Float[Tensor, ""]:
        """Mean squared difference from the teacher's outputs, whatever the temperature."""
        return mse(student_logits, teacher_logits)

    def scores(self, logits: Tensor, label: Tensor) -> dict[str, float]:
        """Mean over targets of 100 x R^2: 100 is perfect, 0 the mean of the labels, below it worse."""
        from torchmetrics.functional.regression import r2_score  # slow to import, and only needed here

        return {self.metric: 100 * float(r2_score(logits.double(), label.double()))}

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:  # noqa: ARG002
        """NaN: a number is not right or wrong."""
        return logits.new_full((len(logits),), float("nan"))

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:  # noqa: ARG002
        """NaN: numbers are no probabilities."""
        return float("nan"), float("nan")

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """Fifths of the samples by their standardised targets' mean."""
        values = label.double().numpy()
        values = (values - values.mean(axis=0)) / np.where(values.std(axis=0) > 0, values.std(axis=0), 1)
        edges = np.quantile(values.mean(axis=1), np.arange(1, NUM_BINS) / NUM_BINS)
        return np.searchsorted(edges, values.mean(axis=1), side="right")


class Dense(Task):
    """A class for every position: cross-entropy and KL by position, mean intersection over union."""

    name = "dense"
    metric = "mIoU"
    points = "percentage points of mean intersection over union (mIoU)"
    alike = "with the same most frequent class"

    def label_loss(self, logits: Tensor, label: Tensor, *, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Cross-entropy, the mean over samples and positions."""
        return functional.cross_entropy(logits, label, label_smoothing=smoothing)

    def soft_loss(
        self, student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0
    ) -> Float[Tensor, ""]:
        """T^2 x KL between the classes of each position, the mean over samples and positions."""
        return kl_divergence(_rows(student_logits), _rows(teacher_logits), temperature=temperature)

    def scores(self, logits: Tensor, label: Tensor) -> dict[str, float]:
        """Mean over the classes that occur of intersection over union, over all positions of all samples."""
        from torchmetrics.functional import classification  # slow to import, and only needed here

        union = classification.multiclass_jaccard_index(logits, label, num_classes=logits.shape[1])
        return {self.metric: 100 * float(union)}

    def right(self, logits: Tensor, label: Tensor) -> Float[Tensor, " sample"]:
        """Share of the positions that are right."""
        return (logits.argmax(dim=1) == label).float().flatten(1).mean(dim=1)

    def softness(self, logits: Tensor, temperature: float) -> tuple[float, float]:
        """Over samples and positions."""
        return SingleLabel().softness(_rows(logits), temperature)

    def strata(self, label: Tensor) -> Int[np.ndarray, " sample"]:
        """The class that most positions of a sample have, the first of equals."""
        counts = functional.one_hot(label.flatten(1)).sum(dim=1)
        return counts.argmax(dim=1).numpy()


TASKS: dict[str, Task] = {task.name: task for task in (SingleLabel(), MultiLabel(), Regression(), Dense())}


def infer_task(label: Shaped[np.ndarray, "..."]) -> TaskName:
    """What labels of this shape and type ask for.

    (sample,) is `single-label` if it holds names or whole numbers, else `regression`; (sample, label) is
    `multi-label` if it holds nothing but 0 and 1, else `regression`; three dimensions or more are `dense`.

    Example:
        >>> infer_task(np.array([0, 2, 1])), infer_task(np.array([0.5, 1.0]))
        ('single-label', 'regression')
    """
    if label.ndim > 2:
        return "dense"
    numbers = label.dtype.kind == "f"
    if label.ndim == 2:
        return "multi-label" if label.dtype.kind in "biuf" and np.isin(label, (0, 1)).all() else "regression"
    whole = not numbers or bool((label == np.round(label)).all()) or not np.isfinite(label).all()
    return "single-label" if whole else "regression"


def _rows(logits: Float[Tensor, "sample output *position"]) -> Float[Tensor, "row output"]:
    """Every position as a row."""
    return logits.movedim(1, -1).reshape(-1, logits.shape[1])
