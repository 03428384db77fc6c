"""The share of each sample in a metric: values whose mean over samples is the metric.

Intervals need the spread between samples. Accuracy and log-loss are means over samples. Other metrics are
smooth functions of the distribution of the samples: the value of a sample is then the metric plus the
sample's influence, the derivative of the metric by the sample's weight (the infinitesimal jackknife, Efron
1982), so that the mean of the values is the metric and their spread gives its standard error. A metric of the
user's is differentiated by leaving out one sample at a time.

Where samples have weights, the influence of a sample is multiplied by its weight. So the mean of the values,
all counted alike, is the weighted metric.
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
    metric: Metric,
    logits: "torch.Tensor",
    label: "torch.Tensor",
    weight: "torch.Tensor | None" = None,
) -> Float[np.ndarray, " sample"] | None:
    """Return one value for each sample, whose mean is the metric; None if they cannot be computed.

    Args:
        metric: the metric.
        logits: outputs, (sample, output, *position).
        label: labels of the same samples.
        weight: their weights, (sample,); None lets all count alike.

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
        find = _BUILT_IN[metric.function.name]
        if weight is None:
            return np.asarray(find(logits, label, None), dtype=np.float64)
        each = weight.double().numpy() / float(weight.double().mean())
        values = np.asarray(find(logits, label, each), dtype=np.float64)
        mean = np.average(values, weights=each)
        return np.asarray(mean + each * (values - mean))
    return _left_out(metric, logits, label, weight) if 2 < len(label) <= MOST_LEFT_OUT else None


def _left_out(
    metric: Metric, logits: "torch.Tensor", label: "torch.Tensor", weight: "torch.Tensor | None"
) -> Values | None:
    """Return the pseudo-values of the jackknife, moved so that their mean is the metric."""
    whole, count = metric(logits, label, weight), len(label)
    keep = ~np.eye(count, dtype=bool)
    without = np.array(
        [metric(logits[rows], label[rows], None if weight is None else weight[rows]) for rows in keep]
    )
    if not np.isfinite(without).all():
        return None
    pseudo = count * whole - (count - 1) * without
    return whole + pseudo - pseudo.mean()


# The functions below return a sample's metric plus its influence in the weighted distribution of the samples;
# `each` has weights whose mean is 1, or None.


def _accuracy(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    right = (logits.argmax(dim=1) == label).double()
    if (label < 0).any():  # positions that are ignored
        known = (label >= 0).double().flatten(1).sum(dim=1, keepdim=True)
        return _of_ratios(right.flatten(1).sum(dim=1, keepdim=True).numpy(), known.numpy(), each)
    return 100 * right.flatten(1).mean(dim=1).numpy() if right.ndim > 1 else 100 * right.numpy()


def _of_ratios(
    part: Float[np.ndarray, "sample item"], whole: Float[np.ndarray, "sample item"], each: Values | None
) -> Values:
    """Return the values of a mean over items of sum(part) / sum(whole), over items that are not 0 / 0."""
    share = 1 if each is None else each[:, None]
    total = (share * whole).sum(axis=0)
    defined = total > 0
    ratio = (share * part).sum(axis=0)[defined] / total[defined]
    change = (part[:, defined] - ratio * whole[:, defined]) / (total[defined] / len(whole))
    return 100.0 * (ratio.mean() + change.mean(axis=1))


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


def _balanced_accuracy(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    return _of_ratios(_both(logits, label), _indicators(logits, label)[0], each)


def _macro_f1(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    truth, told = _indicators(logits, label)
    return _of_ratios(2 * _both(logits, label), truth + told, each)


def _miou(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    both, (truth, told) = _both(logits, label), _indicators(logits, label)
    return _of_ratios(both, truth + told - both, each)


def _log_loss(logits: "torch.Tensor", label: "torch.Tensor", _: Values | None) -> Values:
    return _formulas.log_losses(logits, label)


def _brier(logits: "torch.Tensor", label: "torch.Tensor", _: Values | None) -> Values:
    return _formulas.brier_scores(logits, label)


def _calibration_error(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    gap, mean = _formulas.calibration_gaps(logits, label, each)
    return np.sign(mean) * gap


def _r2(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    truth, values = label.double().numpy(), logits.double().numpy()
    counted = truth if each is None else truth[each > 0]
    spread = (truth - np.average(truth, axis=0, weights=each)) ** 2
    varies = counted.max(axis=0) > counted.min(axis=0)
    return _of_ratios((spread - (truth - values) ** 2)[:, varies], spread[:, varies], each)


def _auroc(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    """Return placement values (DeLong, DeLong and Clarke-Pearson 1988), weighted by class."""
    values, positive = _formulas.class_scores(logits, label)
    counted = positive if each is None else positive[:, each > 0]
    defined = counted.any(axis=1) & ~counted.all(axis=1)
    found = []
    for score, hit in zip(values[defined], positive[defined], strict=True):
        below = [_share_below(score, of, each) for of in (hit, ~hit)]
        area = float(np.average(below[1][hit], weights=None if each is None else each[hit]))
        share = hit.mean() if each is None else np.average(hit, weights=each)
        placement = np.where(hit, (below[1] - area) / share, (1 - below[0] - area) / (1 - share))
        found.append(area + placement)
    return 100 * np.mean(found, axis=0)


def _share_below(score: Values, of: np.ndarray, each: Values | None) -> Values:
    """Return for each sample the share of some samples that have a lower score; equal scores count half."""
    if each is None:
        others = np.sort(score[of])
        ends = (np.searchsorted(others, score, side) for side in ("left", "right"))
        return np.asarray(sum(ends) / (2 * len(others)))
    order = score[of].argsort()
    others, mass = score[of][order], np.concatenate([[0.0], each[of][order].cumsum()])
    weighted = (mass[np.searchsorted(others, score, side)] for side in ("left", "right"))
    return np.asarray(sum(weighted) / (2 * mass[-1]))


def _average_precision(logits: "torch.Tensor", label: "torch.Tensor", each: Values | None) -> Values:
    """Return the derivative of the weighted average precision; samples of equal score share a threshold."""
    values, positive = _formulas.class_scores(logits, label)
    defined = (positive if each is None else positive[:, each > 0]).any(axis=1)
    return 100 * np.mean(
        [_precision_values(s, hit, each) for s, hit in zip(values[defined], positive[defined], strict=True)],
        axis=0,
    )


def _precision_values(score: Values, hit: np.ndarray, each: Values | None) -> Values:
    count = len(score)
    _, level = np.unique(-score, return_inverse=True)  # thresholds, from the highest score
    mass = hit if each is None else each * hit
    num_hits = float(mass.sum())
    hits = np.bincount(level, mass, minlength=level.max() + 1)
    all_ = np.bincount(level, each, minlength=len(hits)).astype(float)
    above, reached = hits.cumsum(), all_.cumsum()
    reached = np.where(reached > 0, reached, 1.0)  # nothing of weight 0 alone counts
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
    "log_loss": _log_loss,
    "brier": _brier,
    "calibration_error": _calibration_error,
    "r2": _r2,
}
