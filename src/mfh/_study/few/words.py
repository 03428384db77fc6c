"""The sentences of a study with few labels."""

from collections.abc import Mapping
from typing import Any

from mfh.comparing import is_better, is_none, is_worse
from mfh.results import Comparison, MetricInfo


def describe_gain(
    gain: Comparison,
    versus: Mapping[str, Comparison],
    labels: Mapping[str, Any],
    metric: MetricInfo,
    modalities: tuple[str, str],
    level: float,
) -> str:
    """Return the first sentence of the verdict: how many labels, how many pairs, what is gained.

    Args:
        gain: the stack minus `no-kd`.
        versus: the stack against the other arms.
        labels: `labelled` and `unlabelled`, mean numbers of samples of a fit.
        metric: what the points are of.
        modalities: of teacher and student.
        level: coverage of the intervals.
    """
    teacher, student = modalities
    labelled, unlabelled = round(labels["labelled"]), round(labels["unlabelled"])
    pairs = f" and {unlabelled:,} unlabelled pairs" if unlabelled else ""
    span = f"{100 * level:.3g}% {gain.low:+.1f} to {gain.high:+.1f}, {gain.n} fits"
    who = f"A student of `{student}` with {labelled:,} labels{pairs}"
    seen = f"from teachers that also see `{teacher}`"
    if is_better(gain, metric):
        first = f"{who} gains {gain.difference:+.1f} points {seen} ({span})"
    elif is_worse(gain, metric):
        first = f"{who} loses points ({gain.difference:+.1f}) {seen} ({span})"
    elif is_none(gain, metric):
        first = f"{who} gains nothing {seen}: {gain.difference:+.1f} points ({span})"
    else:
        first = f"{who} may or may not gain {seen}: {gain.difference:+.1f} points ({span})"
    return first + _needed(versus.get("self"), metric) + "."


def _needed(row: Comparison | None, metric: MetricInfo) -> str:
    """Return whether the second modality is needed."""
    if row is None or row.low is None:
        return ""
    if is_better(row, metric):
        return f"; the second modality is needed ({row.difference:+.1f} over self-training)"
    if is_worse(row, metric):
        return f"; self-training does better ({-row.difference:+.1f})"
    span = f"{row.difference:+.1f} over self-training, {row.low:+.1f} to {row.high:+.1f}"
    return f"; it is open whether the second modality is needed ({span})"


def describe_equivalent(found: Mapping[str, Any]) -> str:
    """Return how many labels the teachers are worth."""
    if found["further"] is None:
        return f"It is worth more labels than all there are ({round(found['most']):,})."
    high = "more than all" if found["high"] is None else f"{_round(found['high']):,}"
    return f"It is worth {_round(found['further']):,} further labels ({_round(found['low']):,} to {high})."


def _round(value: float) -> int:
    """Return a count with two significant digits."""
    count = round(value)
    return round(count, -max(len(str(count)) - 2, 0))
