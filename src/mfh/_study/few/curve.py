"""A study at several numbers of labels: the curve, and how many labels a teacher is worth."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mfh._study.few.words import describe_equivalent, insert_second
from mfh.arms import BASELINE, STACK
from mfh.config import StudyConfig
from mfh.results import StudyResult

logger = logging.getLogger(__name__)
RESAMPLES = 2000
"""Resamples of the samples, or groups, for the interval of a label equivalent."""


@dataclass(frozen=True, eq=False)
class Point:
    """One number of labels on the curve.

    Attributes:
        count: as the study was asked for it.
        labels: mean number of labels of a fit.
        values: arm -> metric of each sample, or each group, that was tested; the mean over fits; (unit,).
            Larger is better: a metric that is better when it is lower has the other sign.
    """

    count: str
    labels: float
    values: Mapping[str, np.ndarray]


def join(results: Mapping[str, StudyResult], points: Sequence[Point], config: StudyConfig) -> StudyResult:
    """Return the result at the first number of labels, with the curve and the label equivalents.

    Args:
        results: of the studies, by the number of labels; those of `no-kd` alone included.
        points: of the same studies.
        config: the options of the study.
    """
    first = results[config.labelled[0]]
    equivalents = {
        point.count: label_equivalent(points, point, seed=config.seed)
        for point in points
        if STACK in point.values
    }
    curve = [
        {
            "count": count,
            "labels": result.labels["labelled"],
            "verdict": result.verdict.verdict,
            "arms": _summary(result),
            "declared": _declared(result),
        }
        for count, result in sorted(results.items(), key=lambda item: item[1].labels["labelled"])
    ]
    labels = {**first.labels, "curve": curve, "equivalents": equivalents}
    own, sentence = equivalents.get(config.labelled[0]), first.verdict.sentence
    if own is not None and first.verdict.verdict == "help":
        sentence = insert_second(sentence, describe_equivalent(own))
    return replace(
        first,
        config={**first.config, "labelled": list(config.labelled), "label_curve": list(config.label_curve)},
        labels=labels,
        verdict=replace(first.verdict, sentence=sentence),
    )


def _declared(result: StudyResult) -> list[dict[str, Any]]:
    """Return the comparisons that answer declared questions."""
    kept = ("a", "b", "question", "shown", "difference", "low", "high", "n")
    return [
        {name: getattr(row, name) for name in kept} for row in result.comparisons if row.question is not None
    ]


def _summary(result: StudyResult) -> list[dict[str, Any]]:
    """Return mean and interval of each arm, and its difference from `no-kd` where that is compared."""
    metric = result.metrics[0].name
    versus = {row.a: row for row in result.comparisons if row.b == BASELINE and row.ratio is None}
    rows = []
    for row in result.summary:
        if row.metric == metric and row.ratio is None:
            gain = versus.get(row.arm)
            mine = {"arm": row.arm, "mean": row.mean, "low": row.low, "high": row.high, "n": row.n}
            if gain is not None:
                mine |= {"gain": gain.difference, "gain_low": gain.low, "gain_high": gain.high}
            rows.append(mine)
    return rows


def label_equivalent(points: Sequence[Point], point: Point, *, seed: int = 0) -> dict[str, Any]:
    """Return how many further labels `no-kd` needs to be as good as the stack, with a 95% interval.

    The curve of `no-kd` is interpolated in the logarithm of the number of labels. The interval resamples
    samples, or groups, for all numbers of labels at once.

    Args:
        points: all numbers of labels.
        point: that of the stack.
        seed: of the resampling.

    Returns:
        `labels` of the stack; `further`, `low` and `high`, None where the curve ends before; `most`, the
        number of labels at the end of the curve.
    """
    ordered = sorted((p for p in points if BASELINE in p.values), key=lambda p: p.labels)
    at = np.array([p.labels for p in ordered])
    base = np.stack([p.values[BASELINE] for p in ordered])
    mine = point.values[STACK]
    rng = np.random.default_rng([seed, 0xE9])
    draws = rng.integers(len(mine), size=(RESAMPLES, len(mine)))
    found = np.array([_reached(at, base[:, d].mean(axis=1), mine[d].mean()) for d in draws])
    value = _reached(at, base.mean(axis=1), mine.mean())
    low = np.quantile(found, 0.025, method="lower")
    high = np.quantile(found, 0.975, method="higher")
    numbers = {"further": value, "low": low, "high": high}
    return {
        "labels": point.labels,
        "most": float(at[-1]),
        **{name: None if math.isinf(x) else max(float(x) - point.labels, 0.0) for name, x in numbers.items()},
    }


def _reached(labels: np.ndarray, curve: np.ndarray, level: float) -> float:
    """Return the number of labels at which a curve reaches a level; infinite where it does not."""
    above = np.flatnonzero(curve >= level)
    if not len(above):
        return math.inf
    place = int(above[0])
    if place == 0:
        return float(labels[0])
    low, high = curve[place - 1], curve[place]
    share = (level - low) / (high - low)
    return float(labels[place - 1] * (labels[place] / labels[place - 1]) ** share)


def make_point(count: str, result: StudyResult, arms: Sequence[str], group: np.ndarray | None) -> Point:
    """Return a point of the curve from a study's values by sample.

    Args:
        count: the number of labels as it was asked for.
        result: the study; its `sample_values` are read.
        arms: the arms of which values are wanted.
        group: the group of each sample of the data set; None without groups.
    """
    values = {}
    for arm in arms:
        if (found := result.sample_values.get(arm)) is not None:
            rows, means = found
            if group is not None:
                codes = np.unique(group[rows], return_inverse=True)[1]
                means = np.bincount(codes, means) / np.bincount(codes)
            values[arm] = means if result.metrics[0].higher_is_better else -means
    return Point(count, float(result.labels["labelled"]), values)
