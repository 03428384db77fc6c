"""Metrics as values: what chooses epochs and ratios, what a verdict is about, what is recorded beside it.

Free of torch and numpy until a metric is computed; `mfh._formulas` has the formulas.
"""

import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

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
PERCENT: Literal["%"] = "%"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as in records, tables and flags.
        function: from logits and labels of some samples to the metric in its unit, NaN where it is
            undefined. `logits` are what the network returns, on the CPU or another device; `label` are the
            labels of the same samples, as `PairedDataset` keeps them. See `docs/tasks.md` for their shapes.
            If it has an argument `weight`, it gets the weights of these samples there, where data have some.
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

    def __call__(
        self, logits: "torch.Tensor", label: "torch.Tensor", weight: "torch.Tensor | None" = None
    ) -> float:
        """Return the metric of these logits, in its unit; `weight` has a number for each sample."""
        if weight is None:
            return float(self.function(logits, label))
        return float(self.function(logits, label, weight=weight))

    @property
    def takes_weights(self) -> bool:
        """Whether samples can have weights."""
        try:
            names = inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # of compiled functions
            return False
        return "weight" in names

    def merit(self, value: float) -> float:
        """Return a number that is larger for better values of this metric; see `merit`."""
        return merit(value, higher_is_better=self.higher_is_better)

    def info(self) -> MetricInfo:
        """Return what results keep of it."""
        return MetricInfo(self.name, self.unit, self.higher_is_better, self.points, self.margin)


@dataclass(frozen=True)
class Formula:
    """A function of `mfh._formulas`, which is imported at the first call: numpy takes long to import.

    It is NaN if a logit is NaN: then no class is the largest, and no sample has a rank.
    """

    name: str

    def __call__(
        self, logits: "torch.Tensor", label: "torch.Tensor", weight: "torch.Tensor | None" = None
    ) -> float:
        """Return the metric of these logits."""
        # a sum is faster than a search; infinities of both signs make it NaN, too
        if math.isnan(logits.sum()) and logits.isnan().any():
            return math.nan
        return self.function(logits, label, weight)

    @cached_property
    def function(self) -> Callable[..., float]:
        """The function of this name."""
        function: Callable[..., float] = getattr(importlib.import_module("mfh._formulas"), self.name)
        return function


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


def metrics_of(task: str, chosen: Metric | None = None, *, weighted: bool = False) -> tuple[Metric, ...]:
    """Return every metric of a task, the chosen one first; by default the task's own comes first.

    Args:
        task: what is predicted.
        chosen: the metric that comes first.
        weighted: whether samples have weights; others than the chosen one that take none are left out.

    Raises:
        InputError: samples have weights, and the chosen metric takes none.
    """
    chosen = chosen or find_metric(AUTO, task)
    require(
        chosen.takes_weights or not weighted,
        f"`metric` must take weights of samples, which the data have. The function of {chosen.name} has no "
        "argument `weight`: add one, or read the data with `weight` 'none'.",
    )
    fitting = (metric for metric in METRICS.values() if task in metric.tasks)
    others = (metric for metric in fitting if metric.name != chosen.name)
    return chosen, *(metric for metric in others if metric.takes_weights or not weighted)


def scores(
    metrics: Sequence[Metric],
    logits: "torch.Tensor",
    label: "torch.Tensor",
    weight: "torch.Tensor | None" = None,
) -> dict[str, float]:
    """Return the value of each metric by its name, in the order of `metrics`.

    Args:
        metrics: see `metrics_of`.
        logits: what the network returns for some samples.
        label: the labels of the same samples.
        weight: their weights, (sample,); None lets all count alike.
    """
    return {metric.name: metric(logits, label, weight) for metric in metrics}


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
        function: from logits and labels to the metric in its unit; see `Metric`.
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


def _key(name: str) -> str:
    """Return a name in the spelling that metrics are found by."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


_CLASSES, _LABELS, _POSITIONS = "single-label", "multi-label", "dense"

METRICS: dict[str, Metric] = {
    _key(metric.name): metric
    for metric in (
        Metric(
            name="accuracy",
            function=Formula("accuracy"),
            tasks=(_CLASSES, _POSITIONS),
            points="percentage points of accuracy",
        ),
        Metric(
            name="balanced-accuracy",
            function=Formula("balanced_accuracy"),
            tasks=(_CLASSES,),
            points="percentage points of balanced accuracy",
        ),
        Metric(
            name="mAP",
            function=Formula("average_precision"),
            tasks=(_LABELS,),
            points="percentage points of mean average precision (mAP)",
        ),
        Metric(
            name="macro-f1",
            function=Formula("macro_f1"),
            tasks=(_CLASSES, _LABELS),
            points="percentage points of macro F1",
        ),
        Metric(
            name="auroc",
            function=Formula("auroc"),
            tasks=(_CLASSES, _LABELS),
            points="percentage points of the area under the ROC curve (AUROC)",
        ),
        Metric(
            name="average-precision",
            function=Formula("average_precision"),
            tasks=(_CLASSES,),
            points="percentage points of average precision",
        ),
        Metric(
            # a hundredth of a nat: the probability of the right class, in the geometric mean, is 1% larger
            name="log-loss",
            function=Formula("log_loss"),
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
            function=Formula("brier"),
            tasks=(_CLASSES, _LABELS),
            higher_is_better=False,
            unit="",
            points="units of the Brier score",
            margin=0.01,
        ),
        Metric(
            name="calibration-error",
            function=Formula("calibration_error"),
            tasks=(_CLASSES,),
            higher_is_better=False,
            points="percentage points of calibration error",
        ),
        Metric(
            name="R2",
            function=Formula("r2"),
            tasks=("regression",),
            unit="",
            points="hundredths of R^2 (100 is perfect, 0 no better than the mean of the labels)",
        ),
        Metric(
            name="mIoU",
            function=Formula("miou"),
            tasks=(_POSITIONS,),
            points="percentage points of mean intersection over union (mIoU)",
        ),
    )
}
"""Metrics by lower-case name; `register_metric` adds to them."""
_BUILT_IN = tuple(METRICS)
