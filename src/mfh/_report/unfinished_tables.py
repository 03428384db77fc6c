"""The tables of a page about an unfinished study."""

from collections.abc import Mapping
from typing import Any

from mfh._report import wording
from mfh._report.tables import Table, cell, table
from mfh._report.wording import duration, number, percent


def stages(summary: Mapping[str, Any]) -> Table | None:
    """How far each stage has come."""
    rows = []
    for stage in summary["stages"]:
        share = stage["done"] / stage["total"] if stage["total"] else 1.0
        left = duration(stage["seconds_left"]) if stage["done"] < stage["total"] else "done"
        rows.append(
            [
                cell(stage["name"]),
                cell(percent(share), share),
                cell(f"{stage['done']:,} of {stage['total']:,}", stage["done"]),
                cell(left, stage["seconds_left"] or 0.0),
            ]
        )
    return table("stages", "Stages, over all seeds", ("Stage", "Done #", "Amount #", "Time left #"), rows)


def arms(summary: Mapping[str, Any]) -> Table | None:
    """Mean test metric of the finished seeds."""
    losses = any(row["loss"] for row in summary["arms"])
    rows = [
        [
            cell(row["arm"]),
            *([cell(row["loss"])] * losses),
            cell(wording.NOTHING if row["ratio"] is None else f"{row['ratio']:g}", row["ratio"]),
            cell(row["metric"]),
            cell(number(row["mean"], 2), row["mean"]),
            cell(row["n"], row["n"]),
        ]
        for row in summary["arms"]
    ]
    columns = ("Arm", *("Loss",) * losses, "Ratio #", "Metric", "Mean #", "Seeds #")
    return table("arms", "Test metric of the finished seeds", columns, rows)
