"""The tables of a report as captions, columns and cells; the template only lays them out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mfh._report import wording
from mfh._report.wording import duration, interval, number, p_value, percent, shorten, signed

Table = dict[str, Any]
Cell = dict[str, Any]

MAX_CLASSES = 12
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
    """Every arm at every ratio."""
    first = {row["name"]: i for i, row in reversed(list(enumerate(summary["arms"])))}
    rows = [
        [
            cell(row["arm"], note=row["explain"] if first[row["name"]] == i else ""),
            _ratio(row),
            cell(number(row["mean"], 2), row["mean"]),
            cell(interval(row["low"], row["high"], 2), row["low"]),
            cell(number(row["sd"], 2), row["sd"]),
            cell(row["n"], row["n"]),
        ]
        for i, row in enumerate(summary["arms"])
    ]
    unit = f", {summary['unit']}" if summary["unit"] else ""
    caption = f"Test {summary['metric']}{unit}, by what the student learned from"
    columns = ("Arm", "Ratio #", "Mean #", "95% interval #", "SD #", "Seeds #")
    return table("arms", caption, columns, rows)


def comparisons(summary: Mapping[str, Any]) -> Table | None:
    """Every paired difference, primary ones first."""
    rows = []
    for row in sorted(summary["comparisons"], key=lambda row: not row["primary"]):
        star = "*" if row["primary"] and row["p_holm"] is not None and row["p_holm"] < 0.05 else ""
        cells = [
            cell(f"{row['a']} {wording.MINUS} {row['b']}", note="primary" if row["primary"] else ""),
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
    columns = ("Comparison", "Ratio #", "Difference #", *intervals, "p #", "p, Holm #", "Seeds #")
    return table("comparisons", "Paired differences on test data, in points", columns, rows)


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
        f"{summary['metric'].capitalize()} on each split; mean entropy of the soft labels on training data; "
        "share of training samples with a probability over .99"
    )
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


def data(summary: Mapping[str, Any]) -> Table | None:
    """Sizes, splits, classes, groups, origin."""
    values = dict(summary["data"])
    names = summary["modalities"]
    shapes = values.pop("shapes", None) or {}
    splits = values.pop("splits", None) or {}
    classes = values.pop("classes", None) or []
    rows: list[tuple[str, object]] = []
    for role in ("teacher", "student"):
        name = values.pop(role, None) or names[role]
        shape = shapes.get(name)
        sizes = " \N{MULTIPLICATION SIGN} ".join(map(str, shape or ()))
        size = f" ({sizes} values a sample)" if shape else ""
        rows.append((f"{role.capitalize()} sees", name + size))
    if values.get("num_samples"):
        rows.append(("Samples", f"{values.pop('num_samples'):,}"))
    redrawn = values.pop("redrawn", None)
    if splits:
        drawn = "" if redrawn is None else "; drawn anew in every seed" if redrawn else "; one for all seeds"
        rows.append(("Splits", ", ".join(f"{name} {size:,}" for name, size in splits.items()) + drawn))
    if classes:
        shown = ", ".join(shorten(name, 40) for name in classes[:MAX_CLASSES])
        more = f" and {len(classes) - MAX_CLASSES:,} more" if len(classes) > MAX_CLASSES else ""
        rows.append(("Classes", f"{len(classes):,}: {shown}{more}"))
    if "num_groups" in values:
        count, name = values.pop("num_groups"), values.pop("group", None)
        none = "none; samples of one person or recording, if any, may lie in several splits"
        rows.append(("Groups", f"{count:,} ({name or 'group'}), never split" if count else none))
    rows += [(_label(key), _plain(value)) for key, value in values.items()]
    return _pairs("data", "The data", rows)


def config(summary: Mapping[str, Any]) -> Table | None:
    """The resolved configuration."""
    rows = [(key, _plain(value)) for key, value in summary["config"].items()]
    return _pairs("config", "Resolved configuration", rows)


def environment(summary: Mapping[str, Any]) -> Table | None:
    """Versions and machine."""
    values = dict(summary["environment"])
    packages = values.pop("packages", None) or {}
    rows = [(_label(key), _plain(value)) for key, value in [*values.items(), *packages.items()]]
    return _pairs("environment", "Versions and machine", rows)


def timings(summary: Mapping[str, Any]) -> Table | None:
    """Seconds by stage, with their share; stages that ran side by side add up to more than the whole."""
    stages = {key: value for key, value in summary["timings"].items() if _is_number(value)}
    total = stages.pop("total", None) or sum(stages.values())
    rows = [
        [
            cell(_label(stage)),
            cell(duration(seconds), seconds),
            cell(percent(seconds / sum(stages.values())) if seconds else wording.NOTHING, seconds),
        ]
        for stage, seconds in stages.items()
    ]
    return table("timings", f"Time by stage; {duration(total)} in all", ("Stage", "Time #", "Share #"), rows)


def gaussian_rows(summary: Mapping[str, Any]) -> Table | None:
    """The rows of a Gaussian run."""
    return _mappings("rows", "The experiment", summary["rows"])


def gaussian_differences(summary: Mapping[str, Any]) -> Table | None:
    """What the claims of a Gaussian run rest on."""
    return _mappings("differences", "Differences a - b in points, paired by run", summary["differences"])


def _mappings(name: str, caption: str, rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Mappings as a table, with the keys of any of them as columns."""
    columns: dict[Any, int | None] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        known = [row[key] for row in rows if row.get(key) is not None]
        if known:
            columns[key] = _digits(known) if all(map(_is_number, known)) else None
    cells = [
        [
            cell(shorten(_plain(row.get(key)), 60))
            if digits is None
            else cell(number(row.get(key), digits), row.get(key))
            for key, digits in columns.items()
        ]
        for row in rows
    ]
    heads = [_label(key) + ("" if digits is None else " #") for key, digits in columns.items()]
    return table(name, caption, heads, cells)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _digits(values: Sequence[float | int]) -> int:
    """Decimals of a column: none for whole numbers, three for shares, two for accuracies and points."""
    if all(float(value).is_integer() for value in values):
        return 0
    return 3 if all(0 <= value <= 1 for value in values) else 2


def _ratio(row: Mapping[str, Any]) -> Cell:
    ratio = row.get("ratio")
    return cell(wording.NOTHING if ratio is None else f"{ratio:g}", ratio)


def _percents(low: wording.Number, high: wording.Number) -> str:
    return wording.NOTHING if low is None or high is None else f"{percent(low)} to {percent(high)}"


def _teacher(name: str) -> str:
    arm, _, ratio = name.partition("@")
    return f"{arm} at {ratio}" if ratio else arm


def _label(key: object) -> str:
    return str(key).replace("_", " ")


def _plain(value: object) -> str:
    """A value as text; structures as short JSON."""
    if value is None:
        return wording.NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and all(not isinstance(item, (list, dict)) for item in value):
        more = f" and {len(value) - 50:,} more" if len(value) > 50 else ""
        return ", ".join(str(item) for item in value[:50]) + more
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
    return text if len(text) <= 2000 else text[:2000] + "\N{HORIZONTAL ELLIPSIS}"


def _pairs(name: str, caption: str, rows: Sequence[tuple[str, object]]) -> Table | None:
    return table(name, caption, ("Field", "Value"), [[cell(key), cell(value)] for key, value in rows])
