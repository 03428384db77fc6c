"""Tables too long to lay out, as compact columns from which the page's script draws what is asked for."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from mfh._report.channels import channel_arrays
from mfh.results import StudyResult

MAX_VALUES = 200_000  # of channels: 1.1 MB in the page
MAX_RECORDS = 10_000


def explore_channels(
    result: StudyResult, *, ratios: list[float], ratio: float | None
) -> dict[str, Any] | None:
    """Saliency, standard error and importance of every channel, of as many seeds and splits as fit.

    Returns:
        `sets`, one a seed and split, whose `saliency`, `error` and `importance` are float32, little-endian,
        in base64 (None where there are none); None without arrays, or where a single set would not fit.
    """
    sets, left = [], MAX_VALUES
    found = {split: arrays for split in ("train", "validation") if (arrays := channel_arrays(result, split))}
    config_split = result.saliency.get("split") or result.config.get("saliency_split") or "train"
    order = sorted(found, key=lambda split: split != config_split)
    num_sets = 0
    for place in range(max((len(a["saliency"]) for a in found.values()), default=0)):
        for split in order:
            arrays = found[split]
            if place >= len(arrays["saliency"]):
                continue
            num_sets += 1
            rows = {
                name: arrays[name][place] for name in ("saliency", "error", "importance") if name in arrays
            }
            if sum(map(len, rows.values())) > left:
                rows.pop("error", None)
            size = sum(map(len, rows.values()))
            if size > left:
                continue
            left -= size
            packed = {
                name: _pack(rows[name]) if name in rows else None
                for name in ("saliency", "error", "importance")
            }
            sets.append({"seed": int(arrays["seed"][place]), "split": split, **packed})
    if not sets:
        return None
    return {
        "sets": sets,
        "left_out": num_sets - len(sets),
        "num_channels": found[order[0]]["saliency"].shape[1],
        "score": found[order[0]]["score"],
        "ratios": sorted({*ratios, *([ratio] if ratio else [])}),
        "ratio": ratio,
    }


def explore_students(result: StudyResult) -> dict[str, Any] | None:
    """Every trained student, column by column; a column without values is left out."""
    records = result.records[:MAX_RECORDS]
    if not records:
        return None
    fields: tuple[tuple[str, str, int | None], ...] = (
        ("Arm", "arm", None), ("Ratio", "ratio", 3), ("Seed", "seed", 0), ("Draw", "draw", 0),
        ("Loss", "loss", None), ("Metric", "metric", None), ("Train", "train", 2),
        ("Validation", "validation", 2), ("Test", "test", 2), ("Best epoch", "best_epoch", 0),
        ("Seconds", "seconds", 2),
    )  # fmt: skip
    columns = []
    for label, field, digits in fields:
        values = [getattr(record, field, None) for record in records]
        distinct = {value for value in values if value is not None}
        if not distinct or (field in ("metric", "loss") and len(distinct) == 1):
            continue
        column: dict[str, Any] = {"label": label, "digits": digits}
        if digits is None:
            names = [str(name) for name in dict.fromkeys(values) if name is not None]
            codes = {name: code for code, name in enumerate(names)}
            column |= {"names": names, "values": [-1 if v is None else codes[str(v)] for v in values]}
        else:
            column["values"] = [None if v is None or not np.isfinite(v) else round(v, 3) for v in values]
        columns.append(column)
    return {"columns": columns, "count": len(records), "left_out": len(result.records) - len(records)}


def _pack(values: Mapping[int, float] | np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii")
