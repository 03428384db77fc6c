"""The tables that every kind of run has: data, configuration, environment, timings, rows of any keys."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mfh._report import wording
from mfh._report.tables import Table, cell, table
from mfh._report.wording import duration, number, percent, shorten

MAX_CLASSES = 12


def data(summary: Mapping[str, Any]) -> Table | None:
    """Sizes, splits, classes, groups, origin."""
    values = dict(summary["data"])
    names = summary["modalities"]
    shapes = values.pop("shapes", None) or {}
    splits = values.pop("splits", None) or {}
    classes = values.pop("classes", None) or []
    values.pop("alike", None)
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
        noun = wording.OUTPUTS.get(values.get("task", ""), "").capitalize()
        rows.append((f"{noun}s" if noun else "Classes", f"{len(classes):,}: {shown}{more}"))
    if "num_groups" in values:
        count, name = values.pop("num_groups"), values.pop("group", None)
        none = "none; samples of one person or recording, if any, may lie in several splits"
        rows.append(("Groups", f"{count:,} ({name or 'group'}), never split" if count else none))
    leaks = values.pop("leaks", None) or {}
    if leaks.get("duplicates") is not None:
        rows.append(("Copies across splits", f"{leaks['duplicates']:,} (first seed)"))
    rows += [(label(key), plain_text(value)) for key, value in values.items()]
    return pairs("data", "The data", rows)


def config(summary: Mapping[str, Any]) -> Table | None:
    """The resolved configuration."""
    rows = [(key, plain_text(value)) for key, value in summary["config"].items()]
    return pairs("config", "Resolved configuration", rows)


def environment(summary: Mapping[str, Any]) -> Table | None:
    """Versions and machine."""
    values = dict(summary["environment"])
    packages = values.pop("packages", None) or {}
    rows = [(label(key), plain_text(value)) for key, value in [*values.items(), *packages.items()]]
    return pairs("environment", "Versions and machine", rows)


def timings(summary: Mapping[str, Any]) -> Table | None:
    """Seconds by stage, with their share; stages that ran side by side add up to more than the whole."""
    stages = {key: value for key, value in summary["timings"].items() if _is_number(value)}
    total = stages.pop("total", None) or sum(stages.values())
    rows = [
        [
            cell(label(stage)),
            cell(duration(seconds), seconds),
            cell(percent(seconds / sum(stages.values())) if seconds else wording.NOTHING, seconds),
        ]
        for stage, seconds in stages.items()
    ]
    return table("timings", f"Time by stage; {duration(total)} in all", ("Stage", "Time #", "Share #"), rows)


def companions(summary: Mapping[str, Any]) -> Table | None:
    """What a diagnosis says beside gamma."""
    return mappings(
        "companions",
        "What stands beside gamma, and what shuffled pairs give",
        summary["diagnosis"].get("companions") or (),
    )


def pilot(summary: Mapping[str, Any]) -> Table | None:
    """The short trainings of a diagnosis."""
    return mappings(
        "pilot", "A pilot: short trainings inside the training data", summary["diagnosis"].get("pilot") or ()
    )


def gaussian_rows(summary: Mapping[str, Any]) -> Table | None:
    """The rows of a Gaussian run."""
    return mappings("rows", "The experiment", summary["rows"])


def gaussian_differences(summary: Mapping[str, Any]) -> Table | None:
    """What the claims of a Gaussian run rest on."""
    return mappings("differences", "Differences a - b in points, paired by run", summary["differences"])


def mappings(name: str, caption: str, rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Mappings as a table, with the keys of any of them as columns."""
    columns: dict[Any, int | None] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        known = [row[key] for row in rows if row.get(key) not in (None, "")]
        if known:
            columns[key] = _digits(known) if all(map(_is_number, known)) else None
    cells = [
        [
            cell(shorten(plain_text(row.get(key)), 60))
            if digits is None
            else cell(number(row.get(key), digits), row.get(key))
            for key, digits in columns.items()
        ]
        for row in rows
    ]
    heads = [label(key) + ("" if digits is None else " #") for key, digits in columns.items()]
    return table(name, caption, heads, cells)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _digits(values: Sequence[float | int]) -> int:
    """Decimals of a column: none for whole numbers, three for shares, two for accuracies and points."""
    if all(float(value).is_integer() for value in values):
        return 0
    return 3 if all(0 <= value <= 1 for value in values) else 2


def label(key: object) -> str:
    """A key as words."""
    return str(key).replace("_", " ")


def plain_text(value: object) -> str:
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


def pairs(name: str, caption: str, rows: Sequence[tuple[str, object]]) -> Table | None:
    """A table of two columns."""
    return table(name, caption, ("Field", "Value"), [[cell(key), cell(value)] for key, value in rows])
