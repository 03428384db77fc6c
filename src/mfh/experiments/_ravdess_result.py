"""What is in the folder of a RAVDESS run, as a result that a report can show."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mfh._files import plain
from mfh._saliency import SaliencyResult
from mfh._study.teachers import METRIC
from mfh._study.verdict import Key, Outcome, compare_arms, summarize_arms
from mfh.experiments._ravdess_run import Run, read_vector
from mfh.experiments.ravdess_config import MODES
from mfh.models.ravdess import DEFAULT_PLACE, PLACES
from mfh.results import Comparison, StudyResult, environment

NUM_RESAMPLES = 2000
Arrays = Mapping[str, np.ndarray]


def collect(run: Run) -> StudyResult:
    """Everything that is in a run's folder, as one result without a verdict.

    Its intervals are over seeds of the student alone: teacher and split are the same in all of them.
    """
    students = run.students()
    table: dict[Key, dict[int, Outcome]] = {}
    for student in students:
        row = student.record
        outcome = Outcome(row.test, float(row.validation or 0.0), student.correct.astype(float))
        table.setdefault((row.arm, row.ratio), {})[row.seed] = outcome
    place = next((s.settings["place"] for s in students if "place" in s.settings), DEFAULT_PLACE)
    arrays = saliency_arrays(run.out, place)
    config = run.config
    return StudyResult(
        config={**plain(config.to_dict()), "teacher": config.teacher, "layer": PLACES[place]},
        environment=environment(),
        timings={"students": sum(student.record.seconds for student in students)},
        records=tuple(student.record for student in students),
        summary=summarize_arms(table, METRIC, 0.0),
        comparisons=_compare(table, run.groups),
        teachers=tuple(run.teachers()),
        saliency=describe_saliency(arrays, place) if arrays else {},
        data=_describe_data(run),
        channels=arrays,
    )


def _compare(table: dict[Key, dict[int, Outcome]], groups: np.ndarray | None) -> tuple[Comparison, ...]:
    """Every arm minus each that stands after it in `MODES`, at one ratio, by the seeds that both have."""
    order = list(MODES)
    rows = []
    for key, other in product(sorted(table, key=str), repeat=2):
        comparable = key[1] == other[1] or None in (key[1], other[1])
        seeds = sorted(table[key].keys() & table[other].keys())
        if comparable and seeds and order.index(key[0]) < order.index(other[0]):
            common = {k: {seed: table[k][seed] for seed in seeds} for k in (key, other)}
            by_seed = None if groups is None else dict.fromkeys(seeds, groups)
            rows.append(compare_arms(common, key, other, by_seed, 0.0, False, NUM_RESAMPLES))
    return tuple(rows)


def _describe_data(run: Run) -> dict[str, Any]:
    config, data = run.config, run.data
    return {
        "num_samples": len(data),
        "splits": {name: len(getattr(run.split, name)) for name in ("train", "validation", "test")},
        "redrawn": False,
        "classes": list(data.class_names),
        "num_groups": len(data.group_names) or None,
        "teacher": config.teacher,
        "student": config.student,
        "shapes": {name: list(data.shape(name)) for name in data.modalities},
        "fingerprint": data.fingerprint,
    }


def saliency_arrays(out: Path, place: int) -> Arrays:
    """A folder's saliency of a place as the arrays that a report shows; empty where there is none."""
    path = out / f"saliency-place{place}.npz"
    if path.exists():
        result = SaliencyResult.load(path)
        arrays = {"increase_train": result.increase, "stderr_train": result.stderr}
        if result.importance is not None:
            arrays["importance_train"] = result.importance
    elif path.with_suffix(".npy").exists():
        arrays = {"increase_train": read_vector(path.with_suffix(".npy"))}
    else:
        return {}
    return {"seed": np.zeros(1, dtype=int)} | {name: values[None] for name, values in arrays.items()}


def describe_saliency(arrays: Arrays, place: int) -> dict[str, Any]:
    """What a report says of a saliency vector."""
    values = arrays["increase_train"]
    return {
        "layer": PLACES[place],
        "num_channels": values.shape[1],
        "score": "increase",
        "split": "train",
        "overlap": [],
        "negative": [{"split": "train", "share": float((values < 0).mean())}],
        "rank_correlation": [],
    }
