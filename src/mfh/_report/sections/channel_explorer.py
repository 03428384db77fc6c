"""All channels of the teacher's layer, as compact columns that the page's script draws as asked for."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from mfh._report.section import Section, Summary
from mfh._report.sections.channels import channel_arrays, saliency_split
from mfh._report.view import StudyView
from mfh.results import StudyResult

MAX_VALUES = 200_000  # of channels: 1.1 MB in the page
COLUMNS = ("saliency", "error", "importance")


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the channels, with the names of the arms that keep some of them."""
    packed = pack_channels(view.result, ratios=view.ratios, ratio=view.ratio)
    names = {"first": view.ranked_by("saliency"), "second": view.ranked_by("importance")}
    return {"channel_explorer": packed and packed | {"arms": names}}


def pack_channels(
    result: StudyResult, *, ratios: Sequence[float], ratio: float | None
) -> dict[str, Any] | None:
    """Return saliency, standard error and importance of every channel, of as many networks as have room.

    Args:
        result: of the study.
        ratios: that can be selected.
        ratio: the one that is selected first.

    Returns:
        `sets`, one for each fit and split, whose `saliency`, `error` and `importance` are float32,
        little-endian, in base64, or None where there are none. None without arrays, or where a single set
        would not fit.
    """
    found = {split: arrays for split in ("train", "validation") if (arrays := channel_arrays(result, split))}
    order = sorted(found, key=lambda split: split != saliency_split(result))
    sets: list[dict[str, Any]] = []
    left, num_sets = MAX_VALUES, 0
    for place in range(max((len(arrays["saliency"]) for arrays in found.values()), default=0)):
        for split in order:
            arrays = found[split]
            if place >= len(arrays["saliency"]):
                continue
            num_sets += 1
            rows = {name: arrays[name][place] for name in COLUMNS if name in arrays}
            if sum(map(len, rows.values())) > left:
                rows.pop("error", None)
            size = sum(map(len, rows.values()))
            if size > left:
                continue
            left -= size
            packed = {name: _pack(rows[name]) if name in rows else None for name in COLUMNS}
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


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii")


SECTION = Section(
    name="channels",
    heading="Every channel",
    summarize=summarize,
    intro=lambda _: (
        "Sort the table by a column to order the plot by it. Ratio and network decide which channels are "
        "kept."
    ),
    template="""{{ explorer("channels", "Channels of the teacher's layer", s.channel_explorer) }}""",
    is_shown=lambda summary: bool(summary["channel_explorer"]),
)
