"""All comparisons of a study: the paired differences with intervals and p-values."""

from dataclasses import asdict
from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.tables import Table, cell, ratio_cell, table
from mfh._report.view import StudyView
from mfh._report.wording import interval, p_value, signed


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return all comparisons under the declared loss, and whether they resample groups."""
    rows = view.of_loss(view.result.comparisons)
    return {
        "comparisons": [asdict(row) for row in rows],
        "has_groups": any(row.low_boot is not None for row in rows),
    }


def build(summary: Summary) -> Table | None:
    """Return every paired difference, declared ones first."""
    rows, digits = [], summary["digits"] + 1
    losses = len(summary["loss_names"]) > 1
    for row in sorted(summary["comparisons"], key=lambda row: not row["primary"]):
        star = "*" if row["primary"] and row["p_holm"] is not None and row["p_holm"] < 0.05 else ""
        loss, other = row["loss"] or "", row["loss_b"]
        cells = [
            cell(f"{row['a']} {wording.MINUS} {row['b']}", note="declared" if row["primary"] else ""),
            *([cell(f"{loss} {wording.MINUS} {other}" if other else loss)] * losses),
            ratio_cell(row["ratio"]),
            cell(signed(row["difference"], digits) + star, row["difference"]),
            cell(interval(row["low"], row["high"], digits, sign=True), row["low"]),
            cell(interval(row["low_boot"], row["high_boot"], digits, sign=True), row["low_boot"]),
            cell(p_value(row["p"]), row["p"]),
            cell(p_value(row["p_holm"]), row["p_holm"]),
            cell(row["n"], row["n"]),
        ]
        rows.append(cells)
    intervals = ("95% interval #", "95%, groups resampled #")
    columns = ("Comparison", *("Loss",) * losses, "Ratio #", "Difference #", *intervals)
    return table(
        "comparisons",
        "Paired differences on test data, in points",
        (*columns, "p #", "p, Holm #", "Seeds #"),
        rows,
    )


def _intro(summary: Summary) -> str:
    if summary["num_seeds"] <= 1:
        return "Differences are paired by seed."
    groups = (
        " The other interval resamples whole groups, so that what one group has in common counts once."
        if summary["has_groups"]
        else ""
    )
    return (
        "Differences are paired by seed. Intervals are Student's t over seeds with the correction of Nadeau "
        f"and Bengio, since seeds that split the same data anew share samples.{groups} The declared "
        "comparisons were named before the data were seen, and their p-values are corrected by Holm; a star "
        "marks those below .05. All others are exploratory and have no star."
    )


SECTION = Section(
    name="comparisons",
    heading="All comparisons",
    summarize=summarize,
    intro=_intro,
    tables=(build,),
)
