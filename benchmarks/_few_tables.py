"""Tables of studies with few labels for docs/results.md; see `benchmarks.studies`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._study_tables import MINUS, Study, Table, pair, signed

ARMS = ("no-kd", "self", "regular", "fused", "joint", "stack", "hard", "mismatched", "broken", "oracle")
GAINS = ("no-kd", "self", "mismatched")
FIRST = Path(__file__).with_name("few_labels_reference.json")
SETTINGS = {
    "mfeat": "digits, six pairs",
    "cora": "papers",
    "mfcc>au": "speech, mfcc → au",
    "au>mfcc": "speech, au → mfcc",
}
PROBABILITIES = {"calibration-error": 1, "log-loss": 3, "brier": 3}
"""Metrics of probabilities, and digits after the point."""
FOCUSING = ("joint", "important (chosen)", "softened (chosen)")


def points(study: Study) -> list[Study]:
    """Return the numbers of labels at which all arms were trained."""
    curve = study["labels"].get("curve", ())  # empty with one number of labels
    return [point for point in curve if any(row["arm"] == "stack" for row in point["arms"])]


def by_labels(studies: Sequence[Study]) -> Table:
    """Return the metric of each arm, a row for each study and number of labels."""
    columns = ("teacher → student", "labels", *(f"`{arm}`" for arm in ARMS))
    rows = []
    for study in studies:
        for point in points(study):
            means = {row["arm"]: f"{row['mean']:.1f}" for row in point["arms"]}
            rows.append([pair(study), _count(point["labels"]), *(means.get(arm, "") for arm in ARMS)])
    return columns, rows


def gains(studies: Sequence[Study]) -> Table:
    """Return what the stack gains, the verdict, and how many labels it is worth."""
    columns = ("teacher → student", "labels", "verdict", *map(_versus, GAINS), "worth further labels")
    rows = []
    for study in studies:
        for point in points(study):
            found = [_difference(point, "stack", arm) for arm in GAINS]
            worth = _worth(study["labels"]["equivalents"].get(point["count"]), point)
            rows.append([pair(study), _count(point["labels"]), f"`{point['verdict']}`", *found, worth])
    return columns, rows


def focusing(studies: Sequence[Study]) -> Table:
    """Return `general` minus its controls."""
    columns = (
        "teacher → student",
        "labels",
        *(f"minus `{arm.removesuffix(' (chosen)')}`" for arm in FOCUSING),
    )
    rows = []
    for study in studies:
        for point in points(study):
            found = [_difference(point, "general (chosen)", arm) for arm in FOCUSING]
            rows.append([pair(study), _count(point["labels"]), *found])
    return columns, rows


def means(studies: Sequence[Study]) -> Table:
    """Return the mean over studies of what the stack gains, a row for each share of labels."""
    columns = ("share of labels", "studies", *map(_versus, GAINS), "verdicts")
    counts = dict.fromkeys(point["count"] for study in studies for point in points(study))
    rows = []
    for count in sorted(counts, key=float):
        chosen = [p for study in studies for p in points(study) if p["count"] == count]
        values = [
            sum(_row(point, "stack", arm)["difference"] for point in chosen) / len(chosen) for arm in GAINS
        ]
        words = [point["verdict"] for point in chosen]
        told = ", ".join(f"{words.count(word)} `{word}`" for word in dict.fromkeys(sorted(words)))
        shown = [_sign(value) for value in values]
        rows.append([count, str(len(chosen)), *shown, told])
    return columns, rows


def probabilities(studies: Sequence[Study]) -> Table:
    """Return how good probabilities are; studies come in twos: without and with `--calibrate temperature`."""
    columns = (
        "teacher → student",
        "labels",
        "arm",
        "divided by",
        "calibration error, %",
        "log-loss",
        "Brier",
    )
    rows = []
    for plain, calibrated in zip(studies[::2], studies[1::2], strict=True):
        for arm in (*GAINS[:2], "stack"):
            for study in (plain, calibrated):
                found = {row["metric"]: row for row in study["summary"] if row["arm"] == arm}
                shown = [_interval(found[name], digits) for name, digits in PROBABILITIES.items()]
                about = [pair(study), _count(study["labels"]["labelled"]), f"`{arm}`", _divided(study, arm)]
                rows.append([*about, *shown])
    return columns, rows


def _divided(study: Study, arm: str) -> str:
    """Return the mean over fits of what the outputs of an arm were divided by."""
    if study["config"]["calibrate"] == "none":
        return "1"
    told = [row["temperature"] for row in study["records"] if row["arm"] == arm]
    return f"{sum(told) / len(told):.2f}"


def _interval(row: Study, digits: int) -> str:
    return f"{row['mean']:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"


def _versus(arm: str) -> str:
    return f"`stack` minus `{arm}`"


def _row(point: Study, a: str, b: str) -> Study:
    found: Study = next(row for row in point["declared"] if (row["a"], row["b"]) == (a, b))
    return found


def _difference(point: Study, a: str, b: str) -> str:
    row = next((row for row in point["declared"] if (row["a"], row["b"]) == (a, b)), None)
    return "" if row is None else signed(row["low"], row["high"], row["difference"], 1)


def _count(labels: float) -> str:
    return f"{round(labels):,}"


def _worth(found: Any, point: Study) -> str:
    """Return how many further labels the stack is worth, where the study says that it helps."""
    if found is None or point["verdict"] != "help":
        return ""
    if found["further"] is None:
        return "more than all"
    high = "more than all" if found["high"] is None else f"{round(found['high']):,}"
    return f"{round(found['further']):,} ({round(found['low']):,} to {high})"


def first(_: Sequence[Study]) -> Table:
    """Return the gains in the setting of the first measurements, from their own file, beside those."""
    found = json.loads(FIRST.read_text(encoding="utf-8"))
    columns = (
        "data",
        "share of labels",
        "first",
        "now",
        "allowed",
        "within",
        "first six splits",
        "`regular` alone",
    )
    rows = []
    for key in sorted(found, key=lambda key: (list(SETTINGS).index(key.split()[0]), float(key.split()[1]))):
        (name, share), row = key.split(), found[key]
        allowed = f"±{row['limit']:g}" if "limit" in row else ""
        if "range" in row:
            low, high = row["range"]
            allowed = f"at least {_sign(low)}" if high > 50 else f"{_sign(low)} to {_sign(high)}"
        within = "" if "holds" not in row else "yes" if row["holds"] else "**no**"
        now = f"{_sign(row['stack'])} ± {1.96 * row['error']:.1f}"
        given = "" if "first" not in row else _sign(row["first"])
        rows.append(
            [SETTINGS[name], share, given, now, allowed, within, _sign(row["six"]), _sign(row["regular"])]
        )
    return columns, rows


def _sign(value: float) -> str:
    return f"{value:+.1f}".replace("-", MINUS)


FEW_TABLES = {
    "few-first": first,
    "few-arms": by_labels,
    "few-gains": gains,
    "few-focusing": focusing,
    "few-means": means,
    "few-probabilities": probabilities,
}
