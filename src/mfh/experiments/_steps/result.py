"""Everything in the folder of an experiment that is run step by step, as one result for a report."""

import logging
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mfh._checks import InputError
from mfh._saliency import SaliencyResult
from mfh._system.files import plain, require_files, run_mark
from mfh.comparing import Key, Outcome, Table, compare_arms, summarize
from mfh.experiments._steps.files import ADOPTED, adopted, read_vector, saliency_file
from mfh.experiments._steps.partial_study import PartialStudy
from mfh.experiments._steps.recipe import RankedLayer
from mfh.experiments.modes import MODES
from mfh.results import Comparison, StudyResult, environment

logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]


def collect(partial: PartialStudy) -> StudyResult:
    """Return everything in a folder as one result without a verdict.

    Its intervals cover the seed of the student only: teacher and split are the same for all students.
    """
    students = partial.students()
    table: dict[Key, dict[int, Outcome]] = {}
    for student in students:
        row = student.record
        outcome = Outcome(row.test, float(row.validation or 0.0), student.correct.astype(float))
        table.setdefault((row.arm, row.ratio), {})[row.seed] = outcome
    config = partial.config
    layers = {layer.name: layer for layer in partial.recipe.layers(config)}
    layer = next((layers[s.settings["layer"]] for s in students if "layer" in s.settings), None)
    layer = layer or next(iter(layers.values()))
    arrays = _saliency_of(partial, layer)
    return StudyResult(
        config={**plain(config.to_dict()), "teacher": config.teacher, "layer": layer.layer},
        environment=environment(),
        timings={"students": sum((student.record.seconds for student in students), 0.0)},
        records=tuple(student.record for student in students),
        summary=summarize(Table(table), partial.data.kind.metric, 0.0),
        comparisons=_compare(table, partial.groups),
        teachers=tuple(partial.teachers()),
        saliency=describe_saliency(arrays, layer, score=_score(partial, layer)) if arrays else {},
        data=_describe_data(partial),
        channels=arrays,
    )


def _saliency_of(partial: PartialStudy, layer: RankedLayer) -> Arrays:
    """Return a layer's saliency; empty if there is none, or only one that cannot be used, which is logged."""
    try:
        return saliency_arrays(partial.out, layer)
    except InputError as error:
        logger.warning("%s It is ignored. %s", error, partial.saliency_remedy(layer))
        return {}


def _score(partial: PartialStudy, layer: RankedLayer) -> str:
    return partial.saliency(layer).score if partial.saliency_file(layer).exists() else "increase"


def _compare(table: dict[Key, dict[int, Outcome]], groups: np.ndarray | None) -> tuple[Comparison, ...]:
    """Compare every arm with each that follows it in `MODES`, at one ratio, over the seeds of both."""
    order = list(MODES)
    rows = []
    for key, other in product(sorted(table, key=str), repeat=2):
        comparable = key[1] == other[1] or None in (key[1], other[1])
        seeds = sorted(table[key].keys() & table[other].keys())
        if comparable and seeds and order.index(key[0]) < order.index(other[0]):
            common = {k: {seed: table[k][seed] for seed in seeds} for k in (key, other)}
            by_seed = None if groups is None else dict.fromkeys(seeds, groups)
            rows.append(compare_arms(common, key, other, by_seed, 0.0))
    return tuple(rows)


def _describe_data(partial: PartialStudy) -> dict[str, Any]:
    config, data = partial.config, partial.data
    return {
        "num_samples": len(data),
        "splits": {name: len(getattr(partial.split, name)) for name in ("train", "validation", "test")},
        "redrawn": False,
        "classes": list(data.class_names),
        "num_groups": len(data.group_names) or None,
        "teacher": config.teacher,
        "student": config.student,
        "shapes": {name: list(data.shape(name)) for name in data.modalities},
        "fingerprint": data.fingerprint,
    }


def saliency_arrays(out: Path, layer: RankedLayer) -> Arrays:
    """Return a layer's saliency in a folder as the arrays of `StudyResult.channels`; empty without one."""
    path, mark = saliency_file(out, layer), run_mark(out)
    if path.exists():
        result = SaliencyResult.load(path, mark=f"{mark} {layer.name}" if mark else "")
        arrays = {"increase_train": result.increase, "stderr_train": result.stderr}
        if result.importance is not None:
            arrays["importance_train"] = result.importance
        if result.followed is not None:
            arrays["followed_train"] = result.followed
    elif (path := path.with_suffix(".npy")).exists():
        require_files(out, {path.name: adopted(out, mark).get(path.name, "")}, ADOPTED)
        arrays = {"increase_train": read_vector(path)}
    else:
        return {}
    return {"seed": np.zeros(1, dtype=int)} | {name: values[None] for name, values in arrays.items()}


def describe_saliency(arrays: Arrays, layer: RankedLayer, *, score: str = "increase") -> dict[str, Any]:
    """Return a description of a saliency vector, in the layout of `StudyResult.saliency`."""
    values = arrays["increase_train"]
    return {
        "layer": layer.layer,
        "num_channels": values.shape[1],
        "score": score,
        "split": "train",
        "overlap": [],
        "negative": [{"split": "train", "share": float((values < 0).mean())}],
        "rank_correlation": [],
    }
