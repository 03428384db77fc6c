"""What a model card says about a student: how good it is, by class and by group, and what it was made of."""

from collections.abc import Mapping
from typing import Any

from mfh._export.choose import Chosen
from mfh._study.by_part import by_part
from mfh.arms import BASELINE, CHOSEN, Arm
from mfh.comparing import source_arm
from mfh.results import MetricInfo, Record, StudyResult


def describe_score(result: StudyResult, chosen: Chosen) -> dict[str, Any]:
    """Return how good students like this one are on test data.

    Returns:
        `metric`, its `unit`, `mean`, `low` and `high` over `fits`, `gain` over the student without a teacher
        with its interval (None for that student itself), `test` of this student alone, and `by_class` and
        `by_group`, each a list of `name`, `samples` and `value`; None where they are not known.
    """
    info, key = result.metrics[0], _key(result, chosen)
    row = next(
        (
            row
            for row in result.summary
            if (row.arm, row.ratio) == key
            and row.metric == info.name
            and row.loss in (None, chosen.record.loss)
        ),
        None,
    )
    return {
        "metric": info.name,
        "unit": info.unit,
        "higher_is_better": info.higher_is_better,
        "mean": None if row is None else row.mean,
        "low": None if row is None else row.low,
        "high": None if row is None else row.high,
        "fits": None if row is None else row.n,
        "test": chosen.record.test,
        "gain": _gain(result, chosen),
        "also": dict(chosen.record.also),
        **_by_part(result, chosen, info),
    }


def _key(result: StudyResult, chosen: Chosen) -> tuple[str, float | None]:
    """Return the key of an arm's row in tables: of its chosen ratio where it has one, else of its ratio."""
    key = chosen.arm.name + CHOSEN, None
    known = {(row.arm, row.ratio) for row in result.summary}
    return key if key in known else (chosen.arm.name, chosen.record.ratio)


def _gain(result: StudyResult, chosen: Chosen) -> dict[str, Any] | None:
    arm, ratio = _key(result, chosen)
    for row in result.comparisons:
        if (row.a, row.b, row.ratio) == (arm, BASELINE, ratio) and row.loss in (None, chosen.record.loss):
            return {"difference": row.difference, "low": row.low, "high": row.high}
    return None


def _by_part(result: StudyResult, chosen: Chosen, info: MetricInfo) -> dict[str, Any]:
    """Return the metric by class and by group, over the test samples of all fits."""
    if "label" not in result.predictions:
        return {"by_class": None, "by_group": None}
    return by_part(result, like_it(result, chosen), info)


def like_it(result: StudyResult, chosen: Chosen) -> list[Record]:
    """Return the students of all fits that validation chose as it chose this one: one for each fit."""
    ratios = {
        choice.seed: choice.ratio
        for choice in result.chosen
        if choice.arm == chosen.arm.name
        and choice.ratio is not None
        and choice.loss in (None, chosen.record.loss)
    }
    plain = source_arm(result.arms, str(result.config.get("teacher_source", "joint")))
    mine = {}
    for record in result.records:
        ratio = ratios.get(record.seed) if ratios else chosen.record.ratio
        wanted = (plain.name, None) if plain and ratio == 0 else (chosen.arm.name, ratio)
        same = (record.arm, record.ratio) == wanted and record.loss in (None, chosen.record.loss)
        if same and not record.draw:
            mine[record.seed] = record
    return list(mine.values())


def describe_data(result: StudyResult, arm: Arm) -> dict[str, Any]:
    """Return what the data of a run are, and how they were used for the students of an arm."""
    data: Mapping[str, Any] = result.data
    config: Mapping[str, Any] = result.config
    own = config.get("experiment") and arm.teacher  # named after what it sees
    return {
        "file": data.get("file"),
        "fingerprint": data.get("fingerprint"),
        "samples": data.get("num_samples"),
        "splits": data.get("splits"),
        "groups": data.get("num_groups"),
        "repeats": data.get("repeats"),
        "folds": data.get("folds"),
        "label": (config.get("sources") or {}).get("label"),
        "labelled": result.labels.get("labelled"),
        "hidden": result.labels.get("hidden"),
        "teacher": own or config.get("teacher"),
        "student": config.get("student"),
    }
