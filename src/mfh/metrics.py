"""Metrics: what chooses epochs and ratios, what a verdict is about, and what is recorded beside it.

A metric of several classes, labels or targets is the plain mean over those for which it is defined. It is
undefined where its formula is 0 / 0: average precision and AUROC without a positive sample, recall without a
sample of the class, F1 and intersection over union of a class that occurs neither in the labels nor in the
predictions, R^2 of a target that is the same for all samples. If none is left, the metric is NaN.

Values of several classes compare each class with the rest. Free of torch until a metric is computed.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mfh._checks import listing, require
from mfh._rows import MetricInfo

if TYPE_CHECKING:
    import torch

OWN_METRIC: Mapping[str, str] = {
    "single-label": "accuracy",
    "multi-label": "mAP",
    "regression": "R2",
    "dense": "mIoU",
}
"""The metric that `auto` means for each task."""
AUTO = "auto"
SAME = 1e-12
"""Relative difference of two scores up to which they count as equal: softmax rounds."""
PERCENT: Literal["%"] = "%"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as in records, tables and flags.
        function: from logits and labels of some samples to the metric in its unit, NaN where it is
            undefined. `logits` are what the network returns, on the CPU or another device; `label` are the
            labels of the same samples, as `PairedDataset` keeps them. See `docs/tasks.md` for their shapes.
        tasks: the tasks that it fits.
        higher_is_better: whether larger values are better.
        unit: `%`, or empty.
        points: what one point of it is, in words.
        margin: size of a difference, in points, that is still called no difference; above 0.

    Example:
        >>> import torch
        >>> metric = find_metric("auroc", "single-label")
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
        >>> metric(logits, torch.tensor([0, 1, 1]))
        50.0
    """

    _: KW_ONLY
    name: str
    function: Callable[..., Any]
    tasks: tuple[str, ...]
    higher_is_better: bool = True
    unit: Literal["%", ""] = PERCENT
    points: str = "percentage points"
    margin: float = 1.0

    def __call__(self, logits: "torch.Tensor", label: "torch.Tensor") -> float:
        """Return the metric of these logits, in its unit."""
        return float(self.function(logits, label))

    def merit(self, value: float) -> float:
        """Return a number that is larger for better values of this metric; see `merit`."""
        return merit(value, higher_is_better=self.higher_is_better)

    def info(self) -> MetricInfo:
        """Return what results keep of it."""
        return MetricInfo(self.name, self.unit, self.higher_is_better, self.points, self.margin)


def merit(value: float, *, higher_is_better: bool = True) -> float:
    """Return a number that is larger for better values of a metric, and -inf for NaN.

    >>> merit(0.25, higher_is_better=False), merit(math.nan)
    (-0.25, -inf)
    """
    if math.isnan(value):
        return -math.inf
    return value if higher_is_better else -value


def metric_names(task: str | None = None) -> tuple[str, ...]:
    """Return the names of the metrics that fit a task; of all metrics for None."""
    return tuple(metric.name for metric in METRICS.values() if task is None or task in metric.tasks)


def find_metric(name: str, task: str) -> Metric:
    """Return the metric of this name, upper or lower case, or the task's own for `auto`.

    Raises:
        InputError: there is no such metric, or it does not fit the task; the text lists those that fit.

    Example:
        >>> find_metric("auto", "regression").name, find_metric("miou", "dense").name
        ('R2', 'mIoU')
    """
    rule = why_no_metric(name, task)
    require(rule is None, f"`metric` must {rule}. Got {name!r}.")
    return METRICS[_key(OWN_METRIC[task] if _key(name) == AUTO else name)]


def why_no_metric(name: object, task: str | None = None) -> str | None:
    """Return the rule that a metric's name breaks for a task, or for every task; None if it breaks none."""
    fitting = metric_names(task)
    if isinstance(name, str) and _key(name) in {AUTO, *map(_key, fitting)}:
        return None
    return f"be {AUTO} or one of {listing(fitting)}" + (f" for the task {task}" if task else "")


def metrics_of(task: str, chosen: Metric | None = None) -> tuple[Metric, ...]:
    """Return every metric of a task, the chosen one first; by default the task's own comes first."""
    chosen = chosen or find_metric(AUTO, task)
    fitting = (metric for metric in METRICS.values() if task in metric.tasks)
    return chosen, *(metric for metric in fitting if metric.name != chosen.name)


def scores(metrics: Sequence[Metric], logits: "torch.Tensor", label: "torch.Tensor") -> dict[str, float]:
    """Return the value of each metric by its name, in the order of `metrics`.

    Args:
        metrics: see `metrics_of`.
        logits: what the network returns for some samples.
        label: the labels of the same samples.
    """
    return {metric.name: metric(logits, label) for metric in metrics}


def register_metric(
    name: str,
    function: Callable[..., Any],
    *,
    tasks: Sequence[str] = ("single-label",),
    higher_is_better: bool = True,
    unit: Literal["%", ""] = "",
    points: str | None = None,
    margin: float | None = None,
) -> Metric:
    """Make a metric known by its name, for `StudyConfig.metric`, `DistillConfig.metric` and `--metric`.

    A metric of the same name that was registered before is replaced.

    Args:
        name: letters, digits, dots, hyphens and underscores; it appears in records, tables and flags.
        function: from logits and labels to the metric in its unit; see `Metric`. It must be defined at the
            top of a module if seeds of a study are computed by other processes (`jobs`).
        tasks: the tasks that it fits: single-label, multi-label, regression, dense.
        higher_is_better: whether larger values are better.
        unit: `%` if the function returns percent, else empty.
        points: what one point is, in words; by default its name, with "percentage points of" for `%`.
        margin: size of a difference, in points, that is still called no difference; by default 1 for `%`,
            else 0.01.

    Returns:
        The metric.

    Raises:
        InputError: an argument breaks a rule, or the name is that of a metric that comes with mfh.

    Example:
        >>> def worst_recall(logits, label):
        ...     right = logits.argmax(dim=1) == label
        ...     return 100 * min(right[label == k].float().mean() for k in label.unique())
        >>> register_metric("worst-recall", worst_recall, unit="%").margin
        1.0
        >>> del METRICS["worst-recall"]
    """
    require(
        isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) is not None,
        f"`name` of a metric must be letters, digits, dots, hyphens and underscores. Got {name!r}.",
    )
    require(
        _key(name) not in {AUTO, *_BUILT_IN},
        f"`name` must not be {AUTO} or that of a metric that comes with mfh. Got {name!r}.",
    )
    require(callable(function), f"`function` of a metric must be a function. Got {function!r}.")
    tasks = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    require(
        bool(tasks) and all(task in OWN_METRIC for task in tasks),
        f"`tasks` of a metric must be names of {listing(OWN_METRIC)}. Got {tasks!r}.",
    )
    require(unit in (PERCENT, ""), f"`unit` of a metric must be '%' or ''. Got {unit!r}.")
    if margin is None:
        margin = 1.0 if unit else 0.01
    require(0 < margin < math.inf, f"`margin` of a metric must be above 0. Got {margin!r}.")
    metric = Metric(
        name=name,
        function=function,
        tasks=tasks,
        higher_is_better=higher_is_better,
        unit=unit,
        points=points or (f"percentage points of {name}" if unit else name),
        margin=margin,
    )
    METRICS[_key(name)] = metric
    return metric


def accuracy(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the share of samples, or of positions, whose largest logit is their class, in percent."""
    return 100 * float((logits.argmax(dim=1) == label).double().mean())


def balanced_accuracy(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the mean over classes of the share of their samples that are right, in percent."""
    right, labelled, _ = _class_counts(logits, label)
    return _mean_ratio(right, labelled)


def macro_f1(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the mean F1 over classes or labels, in percent.

    The class with the largest logit is predicted; of several labels those with a logit above 0.
    """
    right, labelled, predicted = _class_counts(logits, label)
    return _mean_ratio(2 * right, labelled + predicted)


def miou(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the mean intersection over union in percent, over all positions of all samples."""
    right, labelled, predicted = _class_counts(logits, label)
    return _mean_ratio(right, labelled + predicted - right)


def auroc(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the mean area under the ROC curve in percent; see `_class_scores` for what is ranked."""
    values, positive = _class_scores(logits, label)
    hits, count = positive.sum(axis=1), positive.shape[1]
    defined = (hits > 0) & (hits < count)
    hit, first, last = _ranked(values, positive)
    # pairs of a positive and a negative sample ranked below it; a pair of equal scores counts half
    pairs = (hit * (first + last)).sum(axis=1) / 2 - hits * (hits - 1) / 2
    return 100 * _mean(pairs[defined] / (hits * (count - hits))[defined])


def average_precision(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the mean average precision in percent; see `_class_scores` for what is ranked.

    It is the mean over positive samples of the precision at the threshold of their score; precisions are not
    interpolated.
    """
    values, positive = _class_scores(logits, label)
    hits, count = positive.sum(axis=1), positive.shape[1]
    hit, first, _ = _ranked(values, positive)
    before = hit.cumsum(axis=1) - hit
    if first.ndim == 2:
        before = np.take_along_axis(before, first, axis=1)
    precision = (hits[:, None] - before) / (count - first)
    return 100 * _mean((hit * precision).sum(axis=1)[hits > 0] / hits[hits > 0])


def log_loss(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the mean of -log of the probability of the right class, in nats; of several labels, their mean.

    Probabilities are not clipped.
    """
    if label.ndim == 2:
        values, truth = _array(logits), _array(label)
        return _mean(np.logaddexp(0, values) - truth * values)
    values = _by_class(logits)
    values -= values.max(axis=0)
    return _mean(np.log(np.exp(values).sum(axis=0)) - values[label.cpu().numpy(), np.arange(len(label))])


def brier(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return the Brier score: the mean squared error of probabilities.

    It is summed over classes, and halved for two classes, as scikit-learn does; of several labels it is their
    mean. So it lies in [0, 2] for three classes or more, else in [0, 1].
    """
    if label.ndim == 2:
        values, truth = _array(logits), _array(label)
        return _mean((np.exp(-np.logaddexp(0, -values)) - truth) ** 2)
    p = _probabilities(logits)
    errors = (p**2).sum(axis=0) - 2 * p[label.cpu().numpy(), np.arange(len(label))] + 1
    return _mean(errors) / (2 if len(p) == 2 else 1)


def r2(logits: "torch.Tensor", label: "torch.Tensor") -> float:
    """Return 100 x R^2, the mean over targets: 100 is perfect, 0 is no better than the mean of the labels."""
    values, truth = _array(logits), _array(label)
    varies = truth.max(axis=0) > truth.min(axis=0)
    error = ((truth - values) ** 2).sum(axis=0)[varies]
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)[varies]
    return 100 * _mean(1 - error / spread)


def _array(values: "torch.Tensor") -> np.ndarray:
    """Return float64 values on the CPU."""
    return values.detach().cpu().numpy().astype(np.float64)


def _by_class(values: "torch.Tensor") -> np.ndarray:
    """Return float64 values on the CPU, (class, sample), each class in one piece of memory."""
    return np.array(values.detach().cpu().numpy().T, dtype=np.float64, order="C")


def _mean(values: np.ndarray) -> float:
    """Return the mean; NaN for no values."""
    return float(values.mean()) if values.size else math.nan


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> float:
    """Return the mean of part / whole in percent, over classes for which it is not 0 / 0."""
    defined = whole > 0
    return 100 * _mean(part[defined] / whole[defined])


def _class_counts(logits: "torch.Tensor", label: "torch.Tensor") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three counts for each class or label: predicted and right, in the labels, predicted."""
    if logits.shape == label.shape:
        truth, told = (label > 0).cpu().numpy(), (logits > 0).cpu().numpy()
        return (truth & told).sum(axis=0), truth.sum(axis=0), told.sum(axis=0)
    truth, told = label.cpu().numpy().reshape(-1), logits.argmax(dim=1).cpu().numpy().reshape(-1)
    counted = (truth[truth == told], truth, told)
    right, labelled, predicted = (np.bincount(values, minlength=logits.shape[1]) for values in counted)
    return right, labelled, predicted


def _class_scores(logits: "torch.Tensor", label: "torch.Tensor") -> tuple[np.ndarray, np.ndarray]:
    """Return what ranks the samples for each class, (class, sample), and which samples belong to it.

    Of several labels that is the logit. Of one class out of several it is the probability, by softmax in
    float64: the logit of a class does not rank samples, since it counts against the others of its sample.
    """
    truth = label.cpu().numpy()
    if truth.ndim == 2:
        return _by_class(logits), truth.T > 0
    return _probabilities(logits), truth == np.arange(logits.shape[1])[:, None]


def _probabilities(logits: "torch.Tensor") -> np.ndarray:
    """Return softmax, (class, sample)."""
    values = _by_class(logits)
    powers = np.exp(values - values.max(axis=0))
    return powers / powers.sum(axis=0)


def _ranked(values: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort the samples of each class by rising score.

    The last bit of each score carries whether the sample is positive: sorting numbers is several times faster
    than sorting their places. Scores that differ by rounding alone count as equal (`SAME`).

    Args:
        values: scores, (class, sample).
        positive: whether a sample belongs to the class, of the same shape.

    Returns:
        1 for each positive in the sorted order, else 0; the first and the last place of equal scores, for
        each place, of shape (place,) if no two scores are equal.
    """
    marked = (values.view(np.int64) & ~1) | positive
    ordered = np.sort(marked.view(np.float64), axis=1).view(np.int64)
    hit, level = ordered & 1, ordered.view(np.float64)
    place = np.arange(values.shape[1])
    differs = level[:, 1:] - level[:, :-1] > SAME * np.abs(level[:, 1:]) + np.finfo(np.float64).tiny
    if differs.all():
        return hit, place, place
    edge = np.ones((len(values), 1), dtype=bool)
    first = np.maximum.accumulate(np.where(np.hstack([edge, differs]), place, 0), axis=1)
    ends = np.where(np.hstack([differs, edge]), place, values.shape[1])
    return hit, first, np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]


def _key(name: str) -> str:
    """Return a name in the spelling that metrics are found by."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


_CLASSES, _LABELS, _POSITIONS = "single-label", "multi-label", "dense"

METRICS: dict[str, Metric] = {
    _key(metric.name): metric
    for metric in (
        Metric(
            name="accuracy",
            function=accuracy,
            tasks=(_CLASSES, _POSITIONS),
            points="percentage points of accuracy",
        ),
        Metric(
            name="balanced-accuracy",
            function=balanced_accuracy,
            tasks=(_CLASSES,),
            points="percentage points of balanced accuracy",
        ),
        Metric(
            name="mAP",
            function=average_precision,
            tasks=(_LABELS,),
            points="percentage points of mean average precision (mAP)",
        ),
        Metric(
            name="macro-f1",
            function=macro_f1,
            tasks=(_CLASSES, _LABELS),
            points="percentage points of macro F1",
        ),
        Metric(
            name="auroc",
            function=auroc,
            tasks=(_CLASSES, _LABELS),
            points="percentage points of the area under the ROC curve (AUROC)",
        ),
        Metric(
            name="average-precision",
            function=average_precision,
            tasks=(_CLASSES,),
            points="percentage points of average precision",
        ),
        Metric(
            # a hundredth of a nat: the probability of the right class, in the geometric mean, is 1% larger
            name="log-loss",
            function=log_loss,
            tasks=(_CLASSES, _LABELS),
            higher_is_better=False,
            unit="",
            points="nats of log-loss",
            margin=0.01,
        ),
        Metric(
            # a percentage point of accuracy: of two classes and probabilities that are all 0 or 1, the score
            # is the share of errors
            name="brier",
            function=brier,
            tasks=(_CLASSES, _LABELS),
            higher_is_better=False,
            unit="",
            points="units of the Brier score",
            margin=0.01,
        ),
        Metric(
            name="R2",
            function=r2,
            tasks=("regression",),
            unit="",
            points="hundredths of R^2 (100 is perfect, 0 no better than the mean of the labels)",
        ),
        Metric(
            name="mIoU",
            function=miou,
            tasks=(_POSITIONS,),
            points="percentage points of mean intersection over union (mIoU)",
        ),
    )
}
"""Metrics by lower-case name; `register_metric` adds to them."""
_BUILT_IN = tuple(METRICS)
