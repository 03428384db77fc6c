"""Which of the recipes that a search has judged is taken.

The best of many noisy values is too good to be true, the more so the fewer labels they rest on. So a search
with teachers has an anchor: a recipe that is taken unless another one is better by more than a multiple of
the standard error of their difference. The difference is paired: both are judged on the same samples. The
search without teachers, which gains are measured against, takes the best recipe as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mfh._study.search.halving import Tried
from mfh.influence import sample_values
from mfh.metrics import Metric

ERRORS = 1.5
"""Standard errors by which a taught recipe must be better than the anchor."""


@dataclass(frozen=True, eq=False)
class Taken:
    """The recipe that a search takes.

    Attributes:
        best: the recipe.
        difference: of the metric to the anchor's, in points, positive if it is better; 0 for the anchor.
        error: standard error of the difference; NaN if it is not known.
    """

    best: Tried
    difference: float
    error: float


def choose(
    tried: Sequence[Tried],
    anchor: Tried,
    label: Shaped[Tensor, "row ..."],
    group: np.ndarray | None,
    metric: Metric,
    errors: float = 0.0,
    *,
    weight: Float[Tensor, " row"] | None = None,
) -> Taken:
    """Return the best recipe, or the anchor if no recipe is clearly better.

    Args:
        tried: recipes; those that were not judged on all folds are left out.
        anchor: the recipe that is taken in doubt.
        label: labels of the held-out samples, all folds one after the other.
        group: groups of the same samples; differences within a group are not independent.
        metric: what the recipes are judged by.
        errors: standard errors by which a recipe must be better than the anchor.
        weight: of the held-out samples; None lets all count alike.
    """
    chosen = Taken(anchor, 0.0, math.nan)
    for one, (gain, error) in compare(tried, anchor, label, group, metric, weight=weight).items():
        better = (gain, one.merit[1]) > (chosen.difference, chosen.best.merit[1])
        if better and gain > errors * error:
            chosen = Taken(one, gain, error)
    return chosen


def compare(
    tried: Sequence[Tried],
    anchor: Tried,
    label: Shaped[Tensor, "row ..."],
    group: np.ndarray | None,
    metric: Metric,
    *,
    weight: Float[Tensor, " row"] | None = None,
) -> dict[Tried, tuple[float, float]]:
    """Return how much better than the anchor each recipe is, with the standard error; see `choose`.

    The anchor itself and recipes that were not judged on all folds are left out.
    """
    folds = len(anchor.merits)
    complete = [one for one in tried if len(one.merits) == folds and one is not anchor]
    start = _values(anchor, label, metric, weight)
    found = {}
    for one in complete:
        values = _values(one, label, metric, weight)
        if start is None or values is None:
            gains = np.array([a[0] - b[0] for a, b in zip(one.merits, anchor.merits, strict=True)])
            gain = one.merit[0] - anchor.merit[0]
            error = float(gains.std(ddof=1) / math.sqrt(folds)) if np.isfinite(gains).all() else math.nan
        else:
            gain = metric.merit(float(values.mean())) - metric.merit(float(start.mean()))
            error = standard_error(values - start, group)
        found[one] = (gain, error)
    return found


def standard_error(values: Float[np.ndarray, " row"], group: np.ndarray | None) -> float:
    """Return the standard error of a mean; samples of a group count as one unit.

    >>> standard_error(np.array([1.0, -1.0, 1.0, -1.0]), None)
    0.5773502691896257
    """
    if group is not None and len(np.unique(group)) > 1:
        codes = np.unique(group, return_inverse=True)[1]
        sums = np.bincount(codes, values - values.mean())
        units = len(sums)
        return float(math.sqrt((sums**2).sum() * units / (units - 1)) / len(values))
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _values(one: Tried, label: Tensor, metric: Metric, weight: Tensor | None) -> np.ndarray | None:
    return sample_values(metric, torch.cat(one.outputs), label, weight)
