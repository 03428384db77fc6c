"""The tables of a report as captions, columns and cells; the template only lays them out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mfh._report import wording
from mfh._report.wording import interval, number, p_value, percent, signed

Table = dict[str, Any]
Cell = dict[str, Any]

MAX_ROWS = 1000  # of a table; the file of results has all


def cell(text: object, value: wording.Number = None, note: str = "") -> Cell:
    """What stands in a cell, the number that it sorts by, and a smaller line below."""
    return {"text": str(text), "value": value, "note": note}


def table(name: str, caption: str, columns: Iterable[str], rows: Sequence[Sequence[Cell]]) -> Table | None:
    """A table; None without rows. A column whose name ends in `#` holds numbers, and is left out if empty."""
    if not rows:
        return None
    heads = [{"label": label.rstrip("#").strip(), "numeric": label.endswith("#")} for label in columns]
    kept = [
        i for i, h in enumerate(heads) if not h["numeric"] or any(r[i]["value"] is not None for r in rows)
    ]
    return {
        "name": name,
        "caption": caption,
        "columns": [heads[i] for i in kept],
        "rows": [[row[i] for i in kept] for row in rows[:MAX_ROWS]],
        "left_out": max(len(rows) - MAX_ROWS, 0),
    }


def arms(summary: Mapping[str, Any]) -> Table | None:
    """Every arm at every ratio; under every loss and metric where there are several."""
    first = {row["name"]: i for i, row in reversed(list(enumerate(summary["arms"])))}
    told = [(row, row["explain"] * (first[row["name"]] == i)) for i, row in enumerate(summary["arms"])]
    several, losses = len(summary["metrics"]) > 1, len(summary["loss_names"]) > 1
    rows = [
        [
            cell(row["arm"], note=note),
            *([cell(row["loss"] or "")] * losses),
            *([cell(row["metric"])] * several),
            _ratio(row),
            cell(number(row["mean"], 2), row["mean"]),
            cell(interval(row["low"], row["high"], 2), row["low"]),
            cell(number(row["sd"], 2), row["sd"]),
            cell(row["n"], row["n"]),
        ]
        for row, note in told + [(row, "") for row in summary["other_arms"]]
    ]
    unit = f", {summary['unit']}" if summary["unit"] and not several else ""
    caption = f"Test {'metrics' if several else summary['metric']}{unit}, by what the student learned from"
    more = ("Loss",) * losses + ("Metric",) * several
    return table(
        "arms", caption, ("Arm", *more, "Ratio #", "Mean #", "95% interval #", "SD #", "Seeds #"), rows
    )


def comparisons(summary: Mapping[str, Any]) -> Table | None:
    """Every paired difference, primary ones first."""
    rows = []
    losses = len(summary["loss_names"]) > 1
    for row in sorted(summary["comparisons"], key=lambda row: not row["primary"]):
        star = "*" if row["primary"] and row["p_holm"] is not None and row["p_holm"] < 0.05 else ""
        loss, other = row.get("loss") or "", row.get("loss_b")
        cells = [
            cell(f"{row['a']} {wording.MINUS} {row['b']}", note="primary" if row["primary"] else ""),
            *([cell(f"{loss} {wording.MINUS} {other}" if other else loss)] * losses),
            _ratio(row),
            cell(signed(row["difference"], 2) + star, row["difference"]),
            cell(interval(row["low"], row["high"], 2, sign=True), row["low"]),
            cell(interval(row["low_boot"], row["high_boot"], 2, sign=True), row["low_boot"]),
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


def teachers(summary: Mapping[str, Any]) -> Table | None:
    """Means over seeds of every teacher."""
    rows = [
        [
            cell(_teacher(row["teacher"])),
            *(cell(number(row[split], 1), row[split]) for split in ("train", "validation", "test")),
            cell(number(row["entropy"], 3), row["entropy"]),
            cell(percent(row["saturated"]), row["saturated"]),
            cell(row["n"], row["n"]),
        ]
        for row in summary["teachers"]
    ]
    columns = ("Teacher", "Train #", "Validation #", "Test #", "Entropy, nats #", "Over .99 #", "Seeds #")
    caption = (
        f"{wording.title(summary['metric'])} on each split; mean entropy of the soft labels on training "
        "data; share of training samples with a probability over .99"
    )
    if all(row["entropy"] is None for row in summary["teachers"]):
        caption = f"{wording.title(summary['metric'])} on each split"
    return table("teachers", caption, columns, rows)


def overlap(summary: Mapping[str, Any]) -> Table | None:
    """Share of kept channels that `general` and `important` have in common."""
    rows = [
        [
            cell(row.get("split", "")),
            _ratio(row),
            cell(percent(row.get("mean")), row.get("mean")),
            cell(_percents(row.get("low"), row.get("high")), row.get("low")),
            cell(
                percent(1 - row["ratio"]) if row.get("ratio") is not None else wording.NOTHING,
                row.get("ratio"),
            ),
        ]
        for row in summary["saliency"]["overlap"]
    ]
    columns = ("Saliency from split", "Ratio #", "In common #", "95% interval #", "By chance #")
    return table("overlap", "Kept channels that general and important have in common", columns, rows)


def stability(summary: Mapping[str, Any]) -> Table | None:
    """How well defined the ranking is: signs, and rank correlations."""
    saliency = summary["saliency"]
    rows = [
        [cell(f"negative increases, {split} split"), cell(percent(share), share)]
        for split, share in saliency["negative"].items()
        if share is not None
    ]
    for row in saliency["rank_correlation"]:
        if row.get("mean") is not None:
            what = row.get("what") or f"two seeds, {row.get('split')} split"
            name = cell(f"rank correlation: {what}", note=row.get("note") or "")
            rows.append([name, cell(number(row["mean"], 2), row["mean"])])
    return table("stability", "How well defined the ranking is", ("Mean over seeds", "Value #"), rows)


def _ratio(row: Mapping[str, Any]) -> Cell:
    ratio = row.get("ratio")
    return cell(wording.NOTHING if ratio is None else f"{ratio:g}", ratio)


def _percents(low: wording.Number, high: wording.Number) -> str:
    return wording.NOTHING if low is None or high is None else f"{percent(low)} to {percent(high)}"


def _teacher(name: str) -> str:
    arm, _, ratio = name.partition("@")
    return f"{arm} at {ratio}" if ratio else arm
