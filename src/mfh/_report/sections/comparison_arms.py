"""The arms and students of several studies on one page, joined by arm, ratio and fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.sections.comparison import Runs
from mfh._report.sections.student_explorer import name_column, number_column
from mfh._report.tables import Cell, Table, cell, ratio_cell, table
from mfh._report.view import arm_order, by_fit
from mfh._report.wording import interval, number, shorten, signed
from mfh.results import Record, StudyResult
from mfh.stats import t_interval

MAX_RUNS = 200  # columns of the joined table


def _summarize_arms(runs: Runs, _: Summary) -> dict[str, Any]:
    """Return the mean of each arm in each run, at the chosen ratio or the one at which arms are shown."""
    found: dict[str, dict[str, Any]] = {}
    for name in runs.order:
        for row in runs.summaries[name]["arms"]:
            if row["main"]:
                values = {key: row[key] for key in ("mean", "low", "high", "ratio")}
                found.setdefault(row["arm"], {})[name] = values
    return {
        "arms": {arm: found[arm] for arm in sorted(found, key=_rank(runs))},
        "first": runs.order[0],
        "against_first": _against_first(runs),
    }


def _rank(runs: Runs) -> Any:
    return arm_order(dict.fromkeys(arm.name for run in runs.results.values() for arm in run.arms))


def _against_first(runs: Runs) -> list[dict[str, Any]]:
    """Return each run of the first one's metric minus the first, over the fits that both have."""
    first, *others = runs.order
    metric = runs.summaries[first]["metric"]
    base = {(row["arm"], row["ratio"]): row["fits"] for row in runs.summaries[first]["arms"]}
    rows = []
    for name in others:
        for row in runs.summaries[name]["arms"] if runs.summaries[name]["metric"] == metric else ():
            other = base.get((row["arm"], row["ratio"]), {})
            pairs = [row["fits"][fit] - other[fit] for fit in row["fits"] if fit in other]
            if pairs:
                ends = t_interval(np.array(pairs), test_over_train=_test_over_train(runs.results[name]))
                rows.append(
                    {
                        "name": name, "arm": row["arm"], "ratio": row["ratio"], "n": len(pairs),
                        "difference": ends.mean, "low": ends.low, "high": ends.high,
                    }
                )  # fmt: skip
    return rows


def _test_over_train(run: StudyResult) -> float:
    """Return the size of the test split over that of the training split; 0 if all fits share one split."""
    splits = run.data.get("splits") or {}
    if not run.data.get("redrawn") or not splits.get("train"):
        return 0.0
    return float(splits.get("test", 0) / splits["train"])


def _build_arms(summary: Summary) -> Table | None:
    """Return one row for each run, one column for each arm."""
    rows = []
    for run in summary["runs"]:
        cells = [_mean(summary["arms"][arm].get(run["name"]), run["digits"]) for arm in summary["arms"]]
        rows.append([cell(run["name"]), *cells])
    caption = "Test metric by arm: mean over fits"
    return table("arms", caption, ("Run", *(f"{arm} #" for arm in summary["arms"])), rows)


def _mean(found: Mapping[str, Any] | None, digits: int) -> Cell:
    if found is None:
        return cell(wording.NOTHING)
    at = "" if found["ratio"] is None else f"at {found['ratio']:g}"
    return cell(number(found["mean"], digits + 1), found["mean"], at)


def _build_against_first(summary: Summary) -> Table | None:
    """Return each run minus the first."""
    digits = {run["name"]: run["digits"] + 1 for run in summary["runs"]}
    rows = [
        [
            cell(row["name"]),
            cell(row["arm"]),
            ratio_cell(row["ratio"]),
            cell(signed(row["difference"], digits[row["name"]]), row["difference"]),
            cell(interval(row["low"], row["high"], digits[row["name"]], sign=True), row["low"]),
            cell(row["n"], row["n"]),
        ]
        for row in summary["against_first"]
    ]
    caption = f"Each run minus {shorten(summary['first'], 40)}, paired by fit, in points"
    columns = ("Run", "Arm", "Ratio #", "Difference #", "95% interval #", "Fits #")
    return table("against-first", caption, columns, rows)


def _intro(summary: Summary) -> str:
    if not summary["against_first"]:
        return ""
    return (
        "Intervals are Student's t over the fits that both runs have, with the correction of Nadeau and "
        "Bengio where each fit has a split of its own. They concern a design only where both runs drew the "
        "same splits, as fits of one number do on equal data and folds; they are exploratory and not "
        "corrected for their number."
    )


def _summarize_students(runs: Runs, _: Summary) -> dict[str, Any]:
    """Return the test metric of every student: one row for each arm, ratio, loss and fit."""
    shown = runs.order[:MAX_RUNS]
    values: dict[tuple[str, str, float | None, int], dict[str, float]] = {}
    for name in shown:
        by_loss: dict[str, list[Record]] = {}
        for record in runs.results[name].records:
            by_loss.setdefault(record.loss or "", []).append(record)
        for loss, records in by_loss.items():
            for (arm, ratio), fits in by_fit(records).items():
                for fit, value in fits.items():
                    values.setdefault((arm, loss, ratio, fit), {})[name] = value
    if not values:
        return {"joined": None}
    rank = _rank(runs)
    keys = sorted(values, key=lambda k: (rank(k[0]), k[1], k[2] is not None, k[2] or 0.0, k[3]))
    columns = [name_column("Arm", [key[0] for key in keys])]
    if any(key[1] for key in keys):
        columns.append(name_column("Loss", [key[1] or wording.NOTHING for key in keys]))
    columns.append(number_column("Ratio", [key[2] for key in keys], 3))
    columns.append(number_column("Fit", [key[3] for key in keys], 0))
    for name in shown:
        digits = runs.summaries[name]["digits"] + 1
        columns.append(number_column(name, [values[key].get(name) for key in keys], digits))
    return {"joined": {"columns": columns, "count": len(keys), "left_out": 0}}


ARMS = Section(
    name="arms",
    heading="Results by arm",
    summarize=_summarize_arms,
    intro=_intro,
    tables=(_build_arms, _build_against_first),
)
STUDENTS = Section(
    name="joined",
    heading="Every student, joined by arm, ratio and fit",
    summarize=_summarize_students,
    intro=lambda _: "Test metric; draws of random channels are averaged.",
    template="""{{ explorer("students", "Test metric of every student, by run", s.joined) }}""",
    is_shown=lambda summary: bool(summary["joined"]),
)
