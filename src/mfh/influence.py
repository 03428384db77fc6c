"""The share of each sample in a metric: values whose mean over samples is the metric.

Intervals need the spread between samples. Accuracy and log-loss are means over samples. Other metrics are
smooth functions of the distribution of the samples: the value of a sample is then the metric plus the
sample's influence, the derivative of the metric by the sample's weight (the infinitesimal jackknife, Efron
1982), so that the mean of the values is the metric and their spread gives its standard error. A metric of the
user's is differentiated by leaving out one sample at a time.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mfh import _formulas
from mfh.metrics import Formula, Metric

if TYPE_CHECKING:
    import torch

MOST_LEFT_OUT = 500
"""Samples up to which a metric of the user's is computed without each of them in turn."""
Values = Float[np.ndarray, " sample"]


def sample_values(
    metric: Metric, logits: "torch.Tensor", label: "torch.Tensor"
) -> Float[np.ndarray, " sample"] | None:
    """Return one value for each sample, whose mean is the metric; None if they cannot be computed.

    Args:
        metric: the metric.
        logits: outputs, (sample, output, *position).
        label: labels of the same samples.

    Example:
        >>> import torch
        >>> from mfh.metrics import find_metric
        >>> logits, label = torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0])
        >>> sample_values(find_metric("accuracy", "single-label"), logits, label)
        array([100.,   0.])
    """
    if logits.isnan().any():
        return None
    if isinstance(metric.function, Formula):
        return np.asarray(_BUILT_IN[metric.function.name](logits, label), dtype=np.float64)
    return _left_out(metric, logits, label) if 2 < len(label) <= MOST_LEFT_OUT else None


def _left_out(metric: Metric, logits: "torch.Tensor", label: "torch.Tensor") -> Values | None:
    """Return the pseudo-values of the jackknife, moved so that their mean is the metric."""
    whole, count = metric(logits, label), len(label)
    keep = ~np.eye(count, dtype=bool)
    without = np.array([metric(logits[rows], label[rows]) for rows in keep])
    if not np.isfinite(without).all():
        return None
    pseudo = count * whole - (count - 1) * without
    return whole + pseudo - pseudo.mean()


def _accuracy(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    right = (logits.argmax(dim=1) == label).double()
    if (label < 0).any():  # positions that are ignored
        known = (label >= 0).double().flatten(1).sum(dim=1, keepdim=True)
        return _of_ratios(right.flatten(1).sum(dim=1, keepdim=True).numpy(), known.numpy())
    return 100 * right.flatten(1).mean(dim=1).numpy() if right.ndim > 1 else 100 * right.numpy()


def _of_ratios(
    part: Float[np.ndarray, "sample item"], whole: Float[np.ndarray, "sample item"], scale: float = 100.0
) -> Values:
    """Return the values of a mean over items of sum(part) / sum(whole), over items that are not 0 / 0."""
    total = whole.sum(axis=0)
    defined = total > 0
    ratio = part.sum(axis=0)[defined] / total[defined]
    change = (part[:, defined] - ratio * whole[:, defined]) / (total[defined] / len(whole))
    return scale * (ratio.mean() + change.mean(axis=1))


def _indicators(
    logits: "torch.Tensor", label: "torch.Tensor"
) -> tuple[Float[np.ndarray, "sample item"], Float[np.ndarray, "sample item"]]:
    """Return how often each class or label is true and is predicted in each sample."""
    if logits.shape == label.shape:
        return (label > 0).double().numpy(), (logits > 0).double().numpy()
    classes, truth = np.arange(logits.shape[1]), label.numpy()
    told = np.where(truth < 0, truth, logits.argmax(dim=1).numpy())
    found = [
        (codes.reshape(len(label), -1, 1) == classes).sum(axis=1).astype(float) for codes in (truth, told)
    ]
    return found[0], found[1]


def _both(logits: "torch.Tensor", label: "torch.Tensor") -> Float[np.ndarray, "sample item"]:
    """Return how often each class or label is true and predicted at the same place."""
    if logits.shape == label.shape:
        return ((label > 0) & (logits > 0)).double().numpy()
    told = logits.argmax(dim=1)
    codes = np.where((told == label).numpy(), label.numpy(), -1).reshape(len(label), -1, 1)
    return (codes == np.arange(logits.shape[1])).sum(axis=1).astype(float)


def _balanced_accuracy(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    return _of_ratios(_both(logits, label), _indicators(logits, label)[0])


def _macro_f1(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    truth, told = _indicators(logits, label)
    return _of_ratios(2 * _both(logits, label), truth + told)


def _miou(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    both, (truth, told) = _both(logits, label), _indicators(logits, label)
    return _of_ratios(both, truth + told - both)


def _calibration_error(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    gap, mean = _formulas.calibration_gaps(logits, label)
    return np.sign(mean) * gap


def _r2(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    truth, values = label.double().numpy(), logits.double().numpy()
    spread = (truth - truth.mean(axis=0)) ** 2
    varies = truth.max(axis=0) > truth.min(axis=0)
    return _of_ratios((spread - (truth - values) ** 2)[:, varies], spread[:, varies])


def _auroc(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    """Return placement values (DeLong, DeLong and Clarke-Pearson 1988), weighted by class."""
    values, positive = _formulas.class_scores(logits, label)
    defined = positive.any(axis=1) & ~positive.all(axis=1)
    found = []
    for score, hit in zip(values[defined], positive[defined], strict=True):
        others = np.sort(score[hit]), np.sort(score[~hit])
        # share of the other class that a sample is on the right side of; equal scores count half
        below = [
            (np.searchsorted(o, score, "left") + np.searchsorted(o, score, "right")) / (2 * len(o))
            for o in others
        ]
        area = float(below[1][hit].mean())
        placement = np.where(hit, (below[1] - area) / hit.mean(), (1 - below[0] - area) / (1 - hit.mean()))
        found.append(area + placement)
    return 100 * np.mean(found, axis=0)


def _average_precision(logits: "torch.Tensor", label: "torch.Tensor") -> Values:
    """Return the derivative of the weighted average precision; samples of equal score share a threshold."""
    values, positive = _formulas.class_scores(logits, label)
    defined = positive.any(axis=1)
    return 100 * np.mean(
        [_precision_values(s, hit) for s, hit in zip(values[defined], positive[defined], strict=True)],
        axis=0,
    )


def _precision_values(score: Values, hit: np.ndarray) -> Values:
    count, num_hits = len(score), int(hit.sum())
    _, level = np.unique(-score, return_inverse=True)  # thresholds, from the highest score
    hits = np.bincount(level, hit, minlength=level.max() + 1)
    all_ = np.bincount(level, minlength=len(hits)).astype(float)
    above, reached = hits.cumsum(), all_.cumsum()
    precision = above / reached
    average = float((hits * precision).sum() / num_hits)
    # a sample of weight w at a threshold enters the precision of this and of all lower thresholds
    for_hit = np.cumsum((hits * (reached - above) / reached**2)[::-1])[::-1]
    for_miss = np.cumsum((hits * above / reached**2)[::-1])[::-1]
    change = np.where(hit, precision[level] - average + for_hit[level], -for_miss[level]) / num_hits
    return average + count * change


_BUILT_IN: dict[str, Callable[..., Values]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "miou": _miou,
    "auroc": _auroc,
    "average_precision": _average_precision,
    "log_loss": _formulas.log_losses,
    "brier": _formulas.brier_scores,
    "calibration_error": _calibration_error,
    "r2": _r2,
}
