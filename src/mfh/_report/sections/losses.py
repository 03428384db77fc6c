"""A study of several distillation losses: the page is about the first; these tables are about the others."""

from dataclasses import asdict
from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.sections.comparisons import declared
from mfh._report.tables import Table, cell, ratio_cell, table
from mfh._report.view import StudyView
from mfh._report.wording import interval, number, p_value, shorten, signed


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the mean of every arm under each loss, and the differences that concern the choice of a loss."""
    if len(view.losses) < 2:
        return {"losses": {"names": view.losses, "arms": [], "differences": [], "failed": []}}
    means: dict[tuple[str, float | None], dict[str, Any]] = {}
    for row in view.result.summary:
        if row.metric == view.metric.name:
            means.setdefault((row.arm, row.ratio), {})[row.loss or ""] = asdict(row)
    arms = [
        {"arm": arm, "ratio": ratio, "by_loss": means[arm, ratio]}
        for arm, ratio in sorted(means, key=lambda key: (view.rank(key[0]), key[1] or 0))
    ]
    asked = [row for row in view.result.comparisons if row.loss_b or (row.ratio is None and row.loss)]
    return {
        "losses": {
            "names": view.losses,
            "arms": arms,
            "differences": [asdict(row) for row in asked],
            "failed": [asdict(row) for row in view.result.failed],
        }
    }


def build_losses(summary: Summary) -> Table | None:
    """Return every arm under every loss."""
    found, digits = summary["losses"], summary["digits"] + 1
    rows = []
    for row in found["arms"]:
        cells = [cell(row["arm"]), ratio_cell(row["ratio"])]
        for name in found["names"]:
            mean = row["by_loss"].get(name) or row["by_loss"].get("")
            if mean is None:
                cells.append(cell(wording.NOTHING))
            else:
                ends = interval(mean["low"], mean["high"], digits - 1)
                cells.append(cell(number(mean["mean"], digits), mean["mean"], ends))
        rows.append(cells)
    columns = ("Arm", "Ratio", *(f"{name} #" for name in found["names"]))
    unit = f", {summary['unit']}" if summary["unit"] else ""
    return table("losses", f"Test {summary['metric']}{unit}, by distillation loss", columns, rows)


def build_differences(summary: Summary) -> Table | None:
    """Return the comparisons of arms under each loss, and of each loss with the first."""
    rows, digits = [], summary["digits"] + 1
    for row in summary["losses"]["differences"]:
        what = f"{row['a']} {wording.MINUS} {row['b']}"
        if row["loss_b"]:
            what = f"{row['a']}: {row['loss']} {wording.MINUS} {row['loss_b']}"
        cells = [
            cell(row["loss"]),
            cell(what, note=declared(row)),
            cell(signed(row["difference"], digits), row["difference"]),
            cell(interval(row["low"], row["high"], digits, sign=True), row["low"]),
            cell(interval(row["low_boot"], row["high_boot"], digits, sign=True), row["low_boot"]),
            cell(p_value(row["p"]), row["p"]),
            cell(row["n"], row["n"]),
        ]
        rows.append(cells)
    intervals = (f"{summary['interval_name']} #", "95%, groups resampled #")
    columns = ("Loss", "Comparison", "Difference #", *intervals, "p #", "Fits #")
    return table("loss-differences", "Paired differences under each loss, in points", columns, rows)


def build_failed(summary: Summary) -> Table | None:
    """Return the students that diverged."""
    rows = [
        [
            cell(row["loss"]),
            cell(row["arm"]),
            ratio_cell(row["ratio"]),
            cell(row["seed"], row["seed"]),
            cell(row["epoch"], row["epoch"]),
            cell(shorten(row["reason"], 200)),
        ]
        for row in summary["losses"]["failed"]
    ]
    columns = ("Loss", "Arm", "Ratio", "Fit #", "Epoch #", "Reason")
    return table("failed", "Students that diverged; no other table has them", columns, rows)


def _intro(summary: Summary) -> str:
    return (
        f"All other sections are about the loss `{summary['losses']['names'][0]}`, which was named first "
        "and so declared. Under each further loss the same arms were trained from the same students on the "
        "same batches; all of its comparisons are exploratory. Arms without a teacher are the same under "
        "every loss."
    )


SECTION = Section(
    name="losses",
    heading="Distillation losses",
    summarize=summarize,
    intro=_intro,
    tables=(build_losses, build_differences, build_failed),
    is_shown=lambda summary: len(summary["losses"]["names"]) > 1,
)
