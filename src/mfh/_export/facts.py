"""What a model card says about a student: how good it is, by class and by group, and what it was made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mfh._export.choose import Chosen
from mfh._study.by_part import OF_CLASSES, by_part, test_outputs, worst
from mfh._study.search.threshold import Decision
from mfh._study.task import side_of
from mfh.arms import BASELINE, CHOSEN, Arm
from mfh.comparing import source_arm
from mfh.metrics import METRICS, find_metric
from mfh.recipe import Recipe
from mfh.results import MetricInfo, Record, StudyResult


def describe_score(result: StudyResult, chosen: Chosen, temperature: float | None) -> dict[str, Any]:
    """Return how good students like this one are on test data.

    Args:
        result: the run.
        chosen: the student.
        temperature: what the exported scores are divided by; None for 1.

    Returns:
        `metric`, its `unit`, `mean`, `low` and `high` over `fits`, `gain` over the student without a teacher
        with its interval (None for that student itself), `test` of this student alone, and `by_class` and
        `by_group`, each a list of `name`, `samples` and `value`; None where they are not known. Of many
        parts they have the worst, and `num_parts` says how many there are. `also` has the other metrics of
        this student, with its temperature if the exported scores have one. `threshold` says what the students
        do at their thresholds; None for the likeliest class. `of_classes` says whether the metric depends on
        the class that is decided alone, `rescaled` whether the exported scores have a temperature and those
        of the run had none, or the reverse.
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
        "also": _also(result, chosen, temperature),
        "of_classes": info.name in OF_CLASSES,
        "rescaled": _rescaled(result, temperature),
        "threshold": _at_threshold(result, chosen, info),
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
    found: dict[str, Any] = {"by_class": None, "by_group": None, "num_parts": {}}
    if "label" not in result.predictions:
        return found
    decision = Decision.of(result, chosen.record.arm)
    for kind, rows in by_part(result, like_it(result, chosen), info, decision).items():
        if rows is not None:
            better = kind == "by_class" or info.higher_is_better
            found[kind] = worst(rows, higher_is_better=better)
            found["num_parts"][kind] = len(rows)
    return found


def _rescaled(result: StudyResult, temperature: float | None) -> bool:
    return (temperature is not None) != (result.config.get("calibrate") == "temperature")


def _also(result: StudyResult, chosen: Chosen, temperature: float | None) -> dict[str, float]:
    """Return the other metrics of a student, for scores and classes as they are exported."""
    record, task = chosen.record, str(result.data.get("task", "single-label"))
    decision = Decision.of(result, record.arm)
    if decision is None and not _rescaled(result, temperature):
        return dict(record.also)
    outputs, label, weight = _tested(result, record)
    scaled = torch.from_numpy(outputs)
    if _rescaled(result, temperature) and record.temperature:
        scaled = scaled * record.temperature if temperature is None else scaled / record.temperature
    decided = scaled
    if decision is not None:
        decided = torch.from_numpy(decision.outputs(decision.positive(outputs, record.seed)))
    found = {}
    for name in record.also:
        if name.lower() in METRICS:  # of others the function is not known
            mine = decided if name in OF_CLASSES else scaled
            found[name] = find_metric(name, task)(mine, torch.from_numpy(label), weight)
    return found


def _at_threshold(result: StudyResult, chosen: Chosen, info: MetricInfo) -> dict[str, Any] | None:
    """Return what students like this one, and this one alone, do at the thresholds of their own.

    Returns:
        `mean` over `fits` and `alone`, each with `precision`, `recall` and `cost`, and `value`, the metric if
        it depends on the class that is decided, else None.
    """
    decision = Decision.of(result, chosen.record.arm)
    if decision is None or "label" not in result.predictions:
        return None
    found = {}
    for record in like_it(result, chosen):
        outputs, label, weight = _tested(result, record)
        told = decision.positive(outputs, record.seed)
        each = None if weight is None else weight.double().numpy()
        row = decision.judge(told, label, each) | {"value": None}
        if info.name in OF_CLASSES:
            metric = find_metric(info.name, "single-label")
            row["value"] = metric(torch.from_numpy(decision.outputs(told)), torch.from_numpy(label), weight)
        found[record.seed] = row
    values = [row["value"] for row in found.values() if row["value"] is not None]
    mean = {**decision.test, "value": float(np.mean(values)) if values else None}
    return {"fits": len(found), "mean": mean, "alone": found[chosen.record.seed]}


def _tested(result: StudyResult, record: Record) -> tuple[np.ndarray, np.ndarray, torch.Tensor | None]:
    """Return outputs, labels and weights of the test samples of a student."""
    rows = result.predictions[f"rows/{record.seed}"]
    weight = result.predictions.get("weight")
    each = None if weight is None else torch.from_numpy(weight)[rows]
    return test_outputs(result, record), result.predictions["label"][rows], each


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


def describe_data(result: StudyResult, arm: Arm, recipe: Recipe | None) -> dict[str, Any]:
    """Return what the data of a run are, and how they were used for the students of an arm.

    Args:
        result: the run.
        arm: the arm.
        recipe: of the exported student, after a search; None for the student of a study.
    """
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
        "needs": _needs(own or config.get("teacher"), config, arm, recipe),
        "student": config.get("student"),
    }


def _needs(teacher: Any, config: Mapping[str, Any], arm: Arm, recipe: Recipe | None) -> str | None:
    """Return the modality that the student's training needed besides its own; None if it needed no other."""
    taught = arm.teacher_name(str(config.get("teacher_source", "joint")))
    if recipe is not None:
        taught = recipe.teacher if recipe.taught else None
    if taught is None or side_of(taught) == "student" or teacher == config.get("student"):
        return None
    return None if teacher is None else str(teacher)
