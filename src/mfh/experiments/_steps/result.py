"""Everything in the folder of a partial study, as one result for a report."""

import logging
from itertools import product

import numpy as np

from mfh._checks import InputError
from mfh._study.describe import describe_data
from mfh._system.files import plain
from mfh.comparing import Fit, Key, Outcome, Resampling, Table, compare_arms, summarize
from mfh.experiments._steps.partial_study import PartialStudy
from mfh.experiments._steps.recipe import RankedLayer
from mfh.experiments._steps.saliency import (
    LayerSaliency,
    describe_saliency,
    load_saliency,
    saliency_remedy,
)
from mfh.experiments.modes import MODES
from mfh.results import Comparison, MetricInfo, StudyResult, environment

logger = logging.getLogger(__name__)


def collect(partial: PartialStudy) -> StudyResult:
    """Return everything in a folder as one result without a verdict.

    Its intervals cover the seed of the student only: teacher and split are the same for all students.
    """
    students, config, data = partial.students(), partial.config, partial.data
    table: dict[Key, dict[int, Outcome]] = {}
    for student in students:
        row = student.record
        outcome = Outcome(row.test, float(row.validation or 0.0), student.values)
        table.setdefault((row.arm, row.ratio), {})[row.seed] = outcome
    layers = {layer.name: layer for layer in partial.recipe.layers(config)}
    used = (student.settings["layer"] for student in students if "layer" in student.settings)
    layer = layers[next(used, next(iter(layers)))]
    saliency = _usable_saliency(partial, layer)
    return StudyResult(
        config={**plain(config.to_dict()), "teacher": config.teacher, "layer": layer.layer},
        environment=environment(),
        timings={"students": sum((student.record.seconds for student in students), 0.0)},
        records=tuple(student.record for student in students),
        summary=summarize(Table(table), data.kind.metric, Resampling({})),
        comparisons=_compare(table, partial.groups),
        teachers=tuple(partial.teachers()),
        saliency=describe_saliency(saliency, layer) if saliency else {},
        data=describe_data(
            data, partial.split, teacher=config.teacher, student=config.student, redrawn=False
        ),
        channels=saliency.arrays if saliency else {},
    )


def _usable_saliency(partial: PartialStudy, layer: RankedLayer) -> LayerSaliency | None:
    """Return a layer's saliency; None if there is none, or it is damaged, which is logged."""
    try:
        return load_saliency(partial.out, layer)
    except InputError as error:
        logger.warning("%s It is ignored. %s", error, saliency_remedy(partial, layer))
        return None


def _compare(table: dict[Key, dict[int, Outcome]], groups: np.ndarray | None) -> tuple[Comparison, ...]:
    """Compare every arm with each that follows it in `MODES`, at one ratio, over the seeds of both."""
    order = list(MODES)
    rows = []
    for key, other in product(sorted(table, key=str), repeat=2):
        comparable = key[1] == other[1] or None in (key[1], other[1])
        seeds = sorted(table[key].keys() & table[other].keys())
        if comparable and seeds and order.index(key[0]) < order.index(other[0]):
            fits = {seed: Fit(seed, 0, np.arange(0) if groups is None else groups) for seed in seeds}
            plan = Resampling(fits, groups=groups is not None)
            rows.append(compare_arms(table, key, other, plan, MetricInfo("accuracy")))
    return tuple(rows)
