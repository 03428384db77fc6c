"""Formulas of the metrics that come with mfh.

A metric of several classes, labels or targets is the plain mean over those for which it is defined; it
compares each class with all others. It is undefined where its formula is 0 / 0: average precision and AUROC
of a class without a sample, AUROC of a class that all samples belong to, F1 and intersection over union of a
class that occurs neither in the labels nor in the predictions, R^2 of a target that is the same for all
samples. If none is left, the metric is NaN. `mfh.metrics` returns NaN, too, if a logit is NaN.

`logits` is what a network returns and `label` has the labels of the same samples. Their shapes are
(sample, class) and (sample,) for one class out of several, (sample, label) for several labels,
(sample, target) for numbers, and (sample, class, *position) and (sample, *position) for classes of positions.
Positions of class -1 are left out.

`weight` has a number for each sample, 0 or more: a sample of weight 2 counts as two samples. None lets all
count alike.
"""

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from mfh._formula_kernels import LARGEST, SAME, below_largest, hit_precisions, mark, roc_areas, sum_others

Weight = Tensor | None
NUM_BINS = 15
"""Bins of the calibration error."""


def accuracy(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the share of samples, or of positions, whose largest logit is their class, in percent."""
    right, known = logits.argmax(dim=1) == label, label >= 0
    each = None if weight is None else _by_position(weight, label)[known.cpu().numpy()]
    return 100 * _mean(_array(right[known]), each)


def balanced_accuracy(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the mean over classes of the share of their samples that are right, in percent."""
    right, labelled, _ = _class_counts(logits, label, weight)
    return _mean_ratio(right, labelled)


def macro_f1(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the mean F1 over classes or labels, in percent.

    The class with the largest logit is predicted; of several labels those with a logit above 0.
    """
    right, labelled, predicted = _class_counts(logits, label, weight)
    return _mean_ratio(2 * right, labelled + predicted)


def miou(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the mean intersection over union in percent, over all positions of all samples that count."""
    right, labelled, predicted = _class_counts(logits, label, weight)
    return _mean_ratio(right, labelled + predicted - right)


def auroc(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the mean area under the ROC curve in percent; see `class_scores` for what is ranked."""
    if weight is None:
        areas = roc_areas(*_ranked(logits, label))
        return 100 * _mean(areas[~np.isnan(areas)])
    levels = _weighted_levels(logits, label, weight)
    found = [
        (hits * (misses.cumsum() - misses / 2)).sum() / (hits.sum() * misses.sum())
        for hits, misses in levels
        if hits.any() and misses.any()
    ]
    return 100 * _mean(np.array(found))


def average_precision(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the mean average precision in percent; see `class_scores` for what is ranked.

    It is the mean over positive samples of the precision at the threshold of their score; precisions are not
    interpolated.
    """
    if weight is None:
        precisions, hits = hit_precisions(*_ranked(logits, label))
        return 100 * _mean(precisions.sum(axis=1)[hits > 0] / hits[hits > 0])
    found = []
    for hits, misses in _weighted_levels(logits, label, weight):
        if hits.any():
            at, above = hits[::-1], hits[::-1].cumsum()
            reached = above + misses[::-1].cumsum()
            found.append((at * above / np.where(at > 0, reached, 1.0)).sum() / above[-1])
    return 100 * _mean(np.array(found))


def log_loss(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the mean of -log of the probability of the right class, in nats; of several labels, their mean.

    Probabilities are not clipped.
    """
    return _mean(log_losses(logits, label), _numbers(weight))


def log_losses(logits: Tensor, label: Tensor) -> np.ndarray:
    """Return the log-loss of each sample; of several labels, their mean."""
    if label.ndim == 2:
        values, truth = _array(logits), _array(label)
        return np.asarray((np.logaddexp(0, values) - truth * values).mean(axis=1))
    values = _by_class(logits)
    values -= values.max(axis=0)
    right = values[label.cpu().numpy(), np.arange(len(label))]
    return np.asarray(np.log(np.exp(values).sum(axis=0)) - right)


def brier(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the Brier score: the mean squared error of probabilities.

    It is summed over classes, and halved for two classes, as scikit-learn does; of several labels it is their
    mean. So it lies in [0, 2] for three classes or more, else in [0, 1].
    """
    return _mean(brier_scores(logits, label), _numbers(weight))


def brier_scores(logits: Tensor, label: Tensor) -> np.ndarray:
    """Return the squared error of the probabilities of each sample, as `brier` sums and halves it."""
    if label.ndim == 2:
        values, truth = _array(logits), _array(label)
        return np.asarray(((np.exp(-np.logaddexp(0, -values)) - truth) ** 2).mean(axis=1))
    p = _probabilities(logits)
    errors = (p**2).sum(axis=0) - 2 * p[label.cpu().numpy(), np.arange(len(label))] + 1
    return np.asarray(errors / (2 if len(p) == 2 else 1))


def calibration_error(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return the expected calibration error in percent, over `NUM_BINS` bins of equal width.

    A bin has the samples whose largest probability lies in it; a probability of exactly 1 has a bin of its
    own, as in torchmetrics. The error is the mean over samples of the distance, in their bin, between the
    mean of this probability and the share of samples that are right (Guo et al. 2017, equation 3).
    """
    each = _numbers(weight)
    return _mean(np.abs(calibration_gaps(logits, label, each)[1]), each)


def calibration_gaps(
    logits: Tensor, label: Tensor, each: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return 100 x (right - largest probability) of each sample, and the mean of that in the sample's bin."""
    p = _probabilities(logits)
    sure, right = p.max(axis=0), p.argmax(axis=0) == label.cpu().numpy()
    places = np.searchsorted(np.linspace(0, 1, NUM_BINS + 1), sure.clip(0, 1), side="right") - 1
    gap = 100 * (right - sure)
    counts = np.bincount(places, each, minlength=NUM_BINS + 1)
    sums = np.bincount(places, gap if each is None else each * gap, minlength=NUM_BINS + 1)
    return gap, (sums / np.where(counts > 0, counts, 1))[places]


def r2(logits: Tensor, label: Tensor, weight: Weight = None) -> float:
    """Return 100 x R^2, the mean over targets: 100 is perfect, 0 is no better than the mean of the labels."""
    values, truth, each = _array(logits), _array(label), _numbers(weight)
    if each is not None:
        values, truth, each = values[each > 0], truth[each > 0], each[each > 0]
    if not len(truth):
        return math.nan
    varies = truth.max(axis=0) > truth.min(axis=0)
    share = 1 if each is None else each[:, None]
    error = (share * (truth - values) ** 2).sum(axis=0)[varies]
    spread = (share * (truth - np.average(truth, axis=0, weights=each)) ** 2).sum(axis=0)[varies]
    return 100 * _mean(1 - error / spread)


def _array(values: Tensor) -> np.ndarray:
    """Return float64 values on the CPU."""
    return values.detach().cpu().double().numpy()


def _by_class(values: Tensor) -> np.ndarray:
    """Return float64 values on the CPU, (class, sample), each class in one piece of memory."""
    return np.array(values.detach().cpu().double().numpy().T, order="C")


def _numbers(weight: Weight) -> np.ndarray | None:
    """Return weights as float64 values on the CPU."""
    return None if weight is None else _array(weight)


def _by_position(weight: Tensor, label: Tensor) -> np.ndarray:
    """Return the weight of each sample for all of its positions, in the shape of the label."""
    return np.broadcast_to(_array(weight).reshape(-1, *[1] * (label.ndim - 1)), label.shape)


def _mean(values: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the mean, of weighted values if weights are given; NaN if nothing counts."""
    if weight is None:
        return float(values.mean()) if values.size else math.nan
    return float(np.average(values, weights=weight)) if weight.sum() > 0 else math.nan


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> float:
    """Return the mean of part / whole in percent, over classes for which it is not 0 / 0."""
    defined = whole > 0
    return 100 * _mean(part[defined] / whole[defined])


def _class_counts(logits: Tensor, label: Tensor, weight: Weight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return three counts for each class or label: predicted and right, in the labels, predicted."""
    if logits.shape == label.shape:
        truth, predicted = (label > 0).cpu().numpy(), (logits > 0).cpu().numpy()
        each = 1 if weight is None else _array(weight)[:, None]
        right, labelled, found = ((each * h).sum(axis=0) for h in (truth & predicted, truth, predicted))
        return right, labelled, found
    truth, predicted = label.cpu().numpy().reshape(-1), logits.argmax(dim=1).cpu().numpy().reshape(-1)
    known = truth >= 0
    counted = None if weight is None else _by_position(weight, label).reshape(-1)[known]
    truth, predicted = truth[known], predicted[known]
    same, size = truth == predicted, logits.shape[1]
    return (
        np.bincount(truth[same], None if counted is None else counted[same], minlength=size),
        np.bincount(truth, counted, minlength=size),
        np.bincount(predicted, counted, minlength=size),
    )


def class_scores(logits: Tensor, label: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return what ranks the samples for each class, (class, sample), and which samples belong to it.

    For several labels it is the logit. For one class out of several it is the logarithm of the odds
    p / (1 - p) of the class, where p is its probability by softmax. The logit of a class does not rank
    samples, since it counts against the others of its sample, and p itself rounds to 1 for sure networks.
    """
    truth = label.cpu().numpy()
    if truth.ndim == 2:
        return _by_class(logits).clip(-LARGEST, LARGEST), truth.T > 0
    return _log_odds(logits), truth == np.arange(logits.shape[1])[:, None]


def _log_odds(logits: Tensor) -> np.ndarray:
    """Return log(p / (1 - p)) of the probabilities p of softmax, (class, sample).

    It is z - log(sum of exp(z) of the other classes). The largest logit of a sample is left out of that sum
    for its own class and taken as the unit for the others, so nothing cancels.
    """
    values = _by_class(logits)
    powers, second, largest = below_largest(values)
    rest = sum_others(np.exp(powers, out=powers), np.exp(second))
    values -= np.log1p(powers, out=powers)
    values.put(largest, -second - np.log(rest))
    return values


def _probabilities(logits: Tensor) -> np.ndarray:
    """Return softmax, (class, sample)."""
    values = _by_class(logits)
    powers = np.exp(values - values.max(axis=0))
    return powers / powers.sum(axis=0)


def _ranked(logits: Tensor, label: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Sort the scores of each class; return the arguments of `roc_areas`. See `class_scores`.

    The last bit of each score carries whether the sample is positive: sorting numbers is several times faster
    than sorting their places.
    """
    if label.ndim == 2:
        values, positive = class_scores(logits, label)
        marks = values.view(np.int64)
        marks &= ~1
        marks |= positive
        least = float(np.finfo(np.float64).tiny)
    else:
        values, least = _log_odds(logits), SAME
        marks = values.view(np.int64)
        mark(marks, label.cpu().numpy())
    values.sort(axis=1)
    return values, marks, least


def _weighted_levels(
    logits: Tensor, label: Tensor, weight: Tensor
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each class the weight of its samples, and of the others, at each score, the lowest first."""
    values, positive = class_scores(logits, label)
    least = float(np.finfo(np.float64).tiny) if label.ndim == 2 else SAME
    each = _array(weight)
    for score, hit in zip(values, positive, strict=True):
        order = score.argsort()
        ranked = score[order]
        higher = np.diff(ranked) > SAME * np.abs(ranked[1:]) + least
        level = np.concatenate([[0], higher.cumsum()])
        yield np.bincount(level, (each * hit)[order]), np.bincount(level, (each * ~hit)[order])
