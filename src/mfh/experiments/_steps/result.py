"""What is in the folder of an experiment in steps, as a result that a report can show."""

import logging
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mfh._checks import InputError
from mfh._saliency import SaliencyResult
from mfh._system.files import plain, require_files, run_mark
from mfh.comparing import Fit, Key, Outcome, Resampling, Table, compare_arms, summarize
from mfh.experiments._steps.files import ADOPTED, adopted, read_vector, saliency_file
from mfh.experiments._steps.recipe import Site
from mfh.experiments._steps.run import Run
from mfh.experiments.modes import MODES
from mfh.results import Comparison, MetricInfo, StudyResult, environment

logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]


def collect(run: Run) -> StudyResult:
    """Everything that is in a run's folder, as one result without a verdict.

    Its intervals are over seeds of the student alone: teacher and split are the same in all of them.
    """
    students = run.students()
    table: dict[Key, dict[int, Outcome]] = {}
    for student in students:
        row = student.record
        outcome = Outcome(row.test, float(row.validation or 0.0), 100.0 * student.correct)
        table.setdefault((row.arm, row.ratio), {})[row.seed] = outcome
    config = run.config
    sites = {site.name: site for site in run.recipe.sites(config)}
    site = next((sites[s.settings["site"]] for s in students if "site" in s.settings), None)
    site = site or next(iter(sites.values()))
    arrays = _saliency_of(run, site)
    return StudyResult(
        config={**plain(config.to_dict()), "teacher": config.teacher, "layer": site.layer},
        environment=environment(),
        timings={"students": sum((student.record.seconds for student in students), 0.0)},
        records=tuple(student.record for student in students),
        summary=summarize(Table(table), run.data.kind.metric, Resampling({})),
        comparisons=_compare(table, run.groups),
        teachers=tuple(run.teachers()),
        saliency=describe_saliency(arrays, site, score=_score(run, site)) if arrays else {},
        data=_describe_data(run),
        channels=arrays,
    )


def _saliency_of(run: Run, site: Site) -> Arrays:
    """A site's saliency; empty where there is none that is this run's, which the log says."""
    try:
        return saliency_arrays(run.out, site)
    except InputError as error:
        logger.warning("%s It is left aside. %s", error, run.way_to_saliency(site))
        return {}


def _score(run: Run, site: Site) -> str:
    return run.saliency(site).score if run.saliency_file(site).exists() else "increase"


def _compare(table: dict[Key, dict[int, Outcome]], groups: np.ndarray | None) -> tuple[Comparison, ...]:
    """Every arm minus each that stands after it in `MODES`, at one ratio, by the seeds that both have."""
    order = list(MODES)
    rows = []
    for key, other in product(sorted(table, key=str), repeat=2):
        comparable = key[1] == other[1] or None in (key[1], other[1])
        seeds = sorted(table[key].keys() & table[other].keys())
        if comparable and seeds and order.index(key[0]) < order.index(other[0]):
            common = {k: {seed: table[k][seed] for seed in seeds} for k in (key, other)}
            fits = {seed: Fit(seed, 0, np.arange(0) if groups is None else groups) for seed in seeds}
            plan = Resampling(fits, groups=groups is not None)
            rows.append(compare_arms(common, key, other, plan, MetricInfo("accuracy")))
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


def saliency_arrays(out: Path, site: Site) -> Arrays:
    """A folder's saliency of a site as the arrays that a report shows; empty where there is none."""
    path, mark = saliency_file(out, site), run_mark(out)
    if path.exists():
        result = SaliencyResult.load(path, mark=f"{mark} {site.name}" if mark else "")
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


def describe_saliency(arrays: Arrays, site: Site, *, score: str = "increase") -> dict[str, Any]:
    """What a report says of a saliency vector."""
    values = arrays["increase_train"]
    return {
        "layer": site.layer,
        "num_channels": values.shape[1],
        "score": score,
        "split": "train",
        "overlap": [],
        "negative": [{"split": "train", "share": float((values < 0).mean())}],
        "rank_correlation": [],
    }
