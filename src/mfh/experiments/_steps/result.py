"""Everything in the folder of a partial study, as one result for a report."""

import logging
from itertools import product

from mfh._checks import InputError
from mfh._study.describe import describe_data
from mfh._study.kept import describe_input
from mfh._study.summary import fits_of, predictions_of, summarize_seeds
from mfh._system.files import plain
from mfh.comparing import Outcomes, Resampling, comparable, compare_arms
from mfh.experiments._steps.partial_study import PartialStudy
from mfh.experiments._steps.recipe import RankedLayer
from mfh.experiments._steps.saliency import (
    LayerSaliency,
    describe_saliency,
    load_saliency,
    saliency_remedy,
)
from mfh.experiments._steps.students import LEARNING
from mfh.experiments.modes import MODES
from mfh.results import Comparison, MetricInfo, StudyResult, environment

logger = logging.getLogger(__name__)


def collect(partial: PartialStudy) -> StudyResult:
    """Return everything in a folder as one result without a verdict.

    Its intervals cover the seed of the student only: teacher and split are the same for all students.
    """
    seeds, config, data = partial.seeds(), partial.config, partial.data
    students = [student for seed in seeds for student in seed.students]
    plan = Resampling(fits_of(data, seeds), groups=data.group is not None)
    metrics = tuple(metric.info() for metric in partial.metrics)
    unlabelled = len(partial.train) - len(partial.labelled)
    layers = {layer.name: layer for layer in partial.recipe.layers(config)}
    common = {name: value for student in students for name, value in student.settings.items()}
    layer = layers[common.get("layer", next(iter(layers)))]
    saliency = _usable_saliency(partial, layer)
    arms = tuple(MODES.values())
    table, summary = summarize_seeds(seeds, partial.metrics, plan, arms=arms, source=layer.source)
    described = {
        "teacher": config.teacher,
        "student": config.student,
        "teacher_source": layer.source,
        "layer": layer.layer,
        "resampling": "splits",
        "fix_split": True,  # the first seed draws one split for all students
        "networks": {
            side: describe_input(data, getattr(config, side)) | {"network": made.to_dict()}
            for side, made in partial.recipe.networks(config, data.num_classes).items()
        },
        **{name: common[name] for name in LEARNING if name in common},
        **({"score": saliency.score} if saliency else {}),
    }
    return StudyResult(
        config={**plain(config.to_dict()), **described},
        environment=environment(),
        timings={"students": sum((student.record.seconds for student in students), 0.0)},
        records=tuple(student.record for student in students),
        summary=summary,
        comparisons=_compare(table.outcomes, plan, metrics[0]),
        teachers=tuple(teacher for seed in seeds for teacher in seed.teachers),
        saliency=describe_saliency(saliency, layer) if saliency else {},
        metrics=metrics,
        chosen=table.chosen,
        data={
            **describe_data(
                data, partial.split, teacher=config.teacher, student=config.student, redrawn=False
            ),
            **({"unlabelled_training_samples": unlabelled} if unlabelled else {}),
        },
        channels=saliency.arrays if saliency else {},
        predictions=predictions_of(data, seeds),
    )


def _usable_saliency(partial: PartialStudy, layer: RankedLayer) -> LayerSaliency | None:
    """Return a layer's saliency; None if there is none, or it is damaged, which is logged."""
    try:
        return load_saliency(partial.out, layer, partial.config.seed)
    except InputError as error:
        logger.warning("%s It is ignored. %s", error, saliency_remedy(partial, layer))
        return None


def _compare(outcomes: Outcomes, plan: Resampling, metric: MetricInfo) -> tuple[Comparison, ...]:
    """Compare every arm with each that follows it in `MODES`, at one ratio, over the seeds of both."""
    order = list(MODES)
    keys = sorted((key for key in outcomes if key[0] in MODES), key=str)
    return tuple(
        compare_arms(outcomes, a, b, plan, metric)
        for a, b in product(keys, repeat=2)
        if a[1] == b[1] or None in (a[1], b[1])
        if order.index(a[0]) < order.index(b[0]) and comparable(outcomes, a, b)
    )
