"""The sentences of a study with few labels."""

import re
from collections.abc import Mapping
from typing import Any

from mfh.arms import BASELINE, STACK
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
        modalities: what the teachers see that the student does not, and the student's.
        level: coverage of the intervals.
    """
    teacher, student = modalities
    labelled, unlabelled = round(labels["labelled"]), round(labels["unlabelled"])
    pairs = f" and {unlabelled:,} unlabelled pairs" if unlabelled else ""
    who = f"student of `{student}` with {labelled:,} labels{pairs}"
    seen = f"teachers that also see `{teacher}`"
    digits = 1 if metric.margin >= 1 else 2
    mean, size = f"{gain.difference:+.{digits}f}", f"{abs(gain.difference):.{digits}f}"
    span = f"{100 * level:.3g}% {gain.low:+.{digits}f} to {gain.high:+.{digits}f}, {gain.n} fits"
    if is_better(gain, metric):
        gained = mean if metric.higher_is_better else size
        needed = _needed(versus.get("self"), metric, digits)
        return f"A {who} gains {gained} points from {seen} ({span}){needed}."
    if is_worse(gain, metric):
        return f"A {who} loses {size} points with {seen} ({span})."
    if is_none(gain, metric):
        points = "a point" if metric.margin == 1 else f"{metric.margin:g} points"
        return f"A {who} neither gains nor loses {points} with {seen} ({mean} points, {span})."
    return f"It is open whether a {who} gains from {seen} ({mean} points, {span})."


def _needed(row: Comparison | None, metric: MetricInfo, digits: int) -> str:
    """Return whether the second modality is needed, given that the stack beats `no-kd`."""
    if row is None or row.low is None or row.high is None:
        return ""
    mean = f"{row.difference:+.{digits}f} over self-training"
    span = f"{mean}, {row.low:+.{digits}f} to {row.high:+.{digits}f}"
    if is_better(row, metric):
        return f"; the second modality is needed ({mean})"
    if is_worse(row, metric):
        return f"; self-training alone does better ({span})"
    if is_none(row, metric):
        return f"; the second modality is not needed ({span})"
    return f"; it is open whether the second modality is needed ({span})"


def describe_equivalent(found: Mapping[str, Any]) -> str:
    """Return how many labels the teachers are worth, from `label_equivalent`.

    Example:
        >>> describe_equivalent({"further": 223.4, "low": 143.9, "high": None, "most": 1600.0})
        'The teachers are worth 220 further labels (95% 140 to more than all 1,600).'
    """
    most, low = f"{round(found['most']):,}", found["low"]
    if found["further"] is None:
        least = "" if low is None else f" (95% {rounded(low):,} further labels or more)"
        return f"The teachers are worth more than all {most} labels{least}."
    high = f"more than all {most}" if found["high"] is None else f"{rounded(found['high']):,}"
    further, least = f"{rounded(found['further']):,}", f"{rounded(low):,}"
    return f"The teachers are worth {further} further labels (95% {least} to {high})."


def describe_curve(labels: Mapping[str, Any], metric: MetricInfo) -> list[str]:
    """Return a line for each number of labels, for the terminal; none without several numbers.

    Args:
        labels: of a `StudyResult`.
        metric: what the points are of.
    """
    lines, digits = [], 1 if metric.margin >= 1 else 2
    for point in labels.get("curve", ()):
        arms = {row["arm"]: row for row in point["arms"]}
        means = [f"{arm} {arms[arm]['mean']:.{digits}f}" for arm in (BASELINE, STACK) if arm in arms]
        line = f"{round(point['labels']):,} labels: {', '.join(means)}"
        gain = arms.get(STACK, {})
        if gain.get("gain_low") is not None:
            line += f" ({gain['gain']:+.{digits}f}, 95% {gain['gain_low']:+.{digits}f} to "
            line += f"{gain['gain_high']:+.{digits}f})"
        helps = gain.get("gain_low") is not None and (
            gain["gain_low"] > 0 if metric.higher_is_better else gain["gain_high"] < 0
        )
        found = labels.get("equivalents", {}).get(point["count"]) if helps else None
        lines.append(line + ("." if found is None else f". {describe_equivalent(found)}"))
    return lines


def insert_second(text: str, sentence: str) -> str:
    """Return a text with one more sentence after its first one; names between backticks may have full stops.

    Example:
        >>> insert_second("A student of `v. 2` gains. Focusing is open.", "It is much.")
        'A student of `v. 2` gains. It is much. Focusing is open.'
    """
    first = re.match(r"(?:`[^`]*`|[^`])*?\.(?= |$)", text)
    end = first.end() if first else len(text)
    return f"{text[:end]} {sentence}{text[end:]}"


def rounded(value: float | int) -> int:
    """Return a count with two significant digits."""
    count = round(value)
    return round(count, -max(len(str(count)) - 2, 0))
