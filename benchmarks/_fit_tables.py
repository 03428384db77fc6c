"""Tables of searches (`mfh fit`) for docs/results.md; see `benchmarks.studies`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._study_tables import MINUS, Study, Table, pair, signed
from mfh.stats import t_interval

ARMS = ("no-kd", "stack", "searched")
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
FIXED = ("stack", "mismatched", "hard", "joint", "self", "fused", "no-kd", "regular")
SEARCHES = Path(__file__).with_name("search.json")
DRIVERS = {
    "tpe": "Optuna's TPE, test",
    "random": "random, test",
    "stack": "no search (fixed stack), test",
    "tpe, held-out": "Optuna's TPE, best on held-out labels",
    "random, held-out": "random, best on held-out labels",
}


def fits(studies: Sequence[Study]) -> Table:
    """Return what each search gains, against the searched student without a teacher and a fixed recipe."""
    columns = (
        "teacher → student", "labels", *(f"`{arm}`" for arm in ARMS), "`searched` minus `no-kd`",
        "`searched` minus `stack`", "verdict",
    )  # fmt: skip
    rows = [
        [
            f"{pair(study)}{_metric(study)}",
            f"{round(study['labels']['labelled']):,}",
            *(_mean(study, arm) for arm in ARMS),
            *(_difference(study, arm) for arm in ("no-kd", "stack")),
            f"`{study['verdict']['verdict']}`",
        ]
        for study in studies
    ]
    return columns, rows


def shipped(studies: Sequence[Study]) -> Table:
    """Return which student each search ships, and what the fits took."""
    columns = ("teacher → student", "labels", "shipped", "teachers that the fits took")
    rows = []
    for study in studies:
        search = study["search"]
        recipe = search["final"]["winners"][search["shipped"]]["recipe"]
        taken = [r["teacher"] for r in search["winners"] if r["search"] == "searched"]
        counts = sorted({name: taken.count(name) for name in taken}.items(), key=lambda item: -item[1])
        told = ", ".join(f"`{name}` {count}" for name, count in counts)
        labels = f"{round(study['labels']['labelled']):,}"
        rows.append([pair(study), labels, f"`{search['shipped']}`: {recipe}", told])
    return columns, rows


def _metric(study: Study) -> str:
    name = study["metrics"][0]["name"]
    return "" if name == "accuracy" else f", {name}"


def _mean(study: Study, arm: str) -> str:
    metric = study["metrics"][0]["name"]
    row = next(row for row in study["summary"] if (row["arm"], row["metric"]) == (arm, metric))
    return f"{row['mean']:.1f}"


def gain(study: Study, other: str = "no-kd") -> dict[str, Any]:
    """Return the comparison of `searched` with another arm."""
    found: dict[str, Any] = next(
        row for row in study["comparisons"] if (row["a"], row["b"]) == ("searched", other)
    )
    return found


def _difference(study: Study, other: str) -> str:
    row = gain(study, other)
    return signed(row["low"], row["high"], row["difference"], 1)


def drivers(_: Sequence[Study] = ()) -> Table:
    """Return the differences between what drives a search, from the record of `benchmarks._search`."""
    found: dict[str, dict[str, float]] = json.loads(SEARCHES.read_text(encoding="utf-8"))
    shares = dict.fromkeys(name.split()[1] for name in found)
    columns = ("minus successive halving", *(f"labels {share}" for share in shares), "all")
    rows = []
    for key, words in DRIVERS.items():
        base = "halving, held-out" if key.endswith("held-out") else "halving"
        row = [words]
        for share in (*shares, ""):
            mine = [value for name, value in found.items() if share in ("", name.split()[1])]
            gap = t_interval(np.array([value[key] - value[base] for value in mine]))
            row.append(signed(gap.low or 0.0, gap.high or 0.0, gap.mean, 2))
        rows.append(row)
    return columns, rows


def fixed(_: Sequence[Study] = ()) -> Table:
    """Return how far searches are above each fixed recipe, from the tables `fits` and `few-arms` of the page.

    A fixed recipe is an arm of a study with the same teacher, student and number of labels.
    """
    text = PAGE.read_text(encoding="utf-8")
    arms = {(row["teacher → student"], row["labels"]): row for row in _rows_of(text, "few-arms")}
    both = [
        (float(row["searched"]), arms[key])
        for row in _rows_of(text, "fits")
        if (key := (row["teacher → student"], row["labels"])) in arms
    ]
    columns = ("fixed recipe", "settings", "`searched` minus it, mean", "worst", "best")
    rows = []
    for arm in FIXED:
        gaps = [searched - float(row[arm]) for searched, row in both]
        told = [f"{value:+.1f}".replace("-", MINUS) for value in (np.mean(gaps), min(gaps), max(gaps))]
        rows.append([f"`{arm}`", str(len(gaps)), *told])
    return columns, rows


def _rows_of(text: str, name: str) -> list[dict[str, str]]:
    """Return the rows of all tables of a name in a page, by column."""
    found = []
    for table in re.findall(rf"<!-- table: {name} [^\n]*-->\n\n(.*?)\n\n<!-- end", text, re.DOTALL):
        head, _, *lines = [
            [cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()
        ]
        found += [dict(zip(head, line, strict=True)) for line in lines]
    return found


FIT_TABLES = {"fixed": fixed, "drivers": drivers, "fits": fits, "shipped": shipped}
