"""A study of several distillation losses: the page is of the first; what the others did stands in tables."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from mfh._report import wording
from mfh._report.tables import Table, cell, table
from mfh._report.wording import interval, number, p_value, shorten, signed
from mfh.results import StudyResult


def first_loss(result: StudyResult) -> StudyResult:
    """The result without what belongs to losses other than the first, the declared one."""
    names = loss_names(result)
    if len(names) < 2:
        return result
    kept = (None, names[0])
    return replace(
        result,
        records=tuple(row for row in result.records if row.loss in kept),
        summary=tuple(row for row in result.summary if row.loss in kept),
        comparisons=tuple(row for row in result.comparisons if row.loss in kept),
    )


def loss_names(result: StudyResult) -> list[str]:
    """The losses of a result, the declared one first, with those of which every student diverged."""
    trained = dict.fromkeys(row.loss for row in result.records if row.loss is not None)
    trained |= dict.fromkeys(row.loss for row in result.failed if row.loss is not None)
    declared = [name for name in result.config.get("losses") or () if name in trained]
    return list(dict.fromkeys([*declared, *trained]))


def summarize_losses(result: StudyResult) -> dict[str, Any]:
    """Names of the losses, mean of every arm under each, and the differences that bear on the choice."""
    names = loss_names(result)
    if len(names) < 2:
        return {"names": names, "arms": [], "differences": [], "failed": []}
    means: dict[tuple[str, float | None], dict[str, Any]] = {}
    first = [row for row in result.summary if row.metric == result.summary[0].metric]
    for row in first:
        means.setdefault((row.arm, row.ratio), {})[row.loss or ""] = asdict(row)
    arms = [
        {"arm": arm, "ratio": ratio, "by_loss": by_loss}
        for (arm, ratio), by_loss in sorted(
            means.items(), key=lambda item: (wording.rank(item[0][0]), item[0][1] or 0)
        )
    ]
    asked = [row for row in result.comparisons if row.loss_b or (row.ratio is None and row.loss)]
    return {
        "names": names,
        "arms": arms,
        "differences": [asdict(row) for row in asked],
        "failed": [asdict(row) for row in result.failed],
    }


def losses(summary: Mapping[str, Any]) -> Table | None:
    """Every arm under every loss."""
    found = summary["losses"]
    rows = []
    for row in found["arms"]:
        cells = [cell(row["arm"]), cell(wording.NOTHING if row["ratio"] is None else f"{row['ratio']:g}")]
        for name in found["names"]:
            mean = row["by_loss"].get(name) or row["by_loss"].get("")
            if mean is None:
                cells.append(cell(wording.NOTHING))
            else:
                cells.append(
                    cell(number(mean["mean"], 2), mean["mean"], interval(mean["low"], mean["high"], 1))
                )
        rows.append(cells)
    columns = ("Arm", "Ratio", *(f"{name} #" for name in found["names"]))
    unit = f", {summary['unit']}" if summary["unit"] else ""
    return table("losses", f"Test {summary['metric']}{unit}, by distillation loss", columns, rows)


def loss_differences(summary: Mapping[str, Any]) -> Table | None:
    """Under each loss what `general` and the controls do, and each loss against the first."""
    rows = []
    for row in summary["losses"]["differences"]:
        what = f"{row['a']} {wording.MINUS} {row['b']}"
        if row["loss_b"]:
            what = f"{row['a']}: {row['loss']} {wording.MINUS} {row['loss_b']}"
        cells = [
            cell(row["loss"]),
            cell(what, note="primary" if row["primary"] else ""),
            cell(signed(row["difference"], 2), row["difference"]),
            cell(interval(row["low"], row["high"], 2, sign=True), row["low"]),
            cell(interval(row["low_boot"], row["high_boot"], 2, sign=True), row["low_boot"]),
            cell(p_value(row["p"]), row["p"]),
            cell(row["n"], row["n"]),
        ]
        rows.append(cells)
    intervals = ("95% interval #", "95%, groups resampled #")
    columns = ("Loss", "Comparison", "Difference #", *intervals, "p #", "Seeds #")
    return table("loss-differences", "Paired differences under each loss, in points", columns, rows)


def failed(summary: Mapping[str, Any]) -> Table | None:
    """The students that diverged."""
    rows = [
        [
            cell(row["loss"]),
            cell(row["arm"]),
            cell(wording.NOTHING if row["ratio"] is None else f"{row['ratio']:g}"),
            cell(row["seed"], row["seed"]),
            cell(row["epoch"], row["epoch"]),
            cell(shorten(row["reason"], 200)),
        ]
        for row in summary["losses"]["failed"]
    ]
    columns = ("Loss", "Arm", "Ratio", "Seed #", "Epoch #", "Reason")
    return table("failed", "Students that diverged, in no other table", columns, rows)
