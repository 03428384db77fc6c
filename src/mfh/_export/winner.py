"""From a finished study to the recipe that is trained once more on all of its samples."""

import importlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from mfh._checks import InputError, require
from mfh._export.choose import Chosen
from mfh._export.deployed import class_of
from mfh._export.facts import like_it
from mfh._study.kept import STUDENTS, Kept
from mfh._study.networks import Build, Networks
from mfh._study.outputs import StudentKey
from mfh._study.refit import Refitted, Winner, refit
from mfh._study.search.space import FIXED
from mfh._study.search.summary import describe_final
from mfh._study.seed import run_seed
from mfh._system.import_paths import ClassSpec
from mfh.config import FitConfig, StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.selection import usable_only
from mfh.metrics import merit
from mfh.recipe import Recipe
from mfh.results import ALL_SAMPLES, FitResult, StudyResult

PROTOCOLS = {"avmnist": "mfh.experiments.avmnist_training"}
"""Modules of the experiments that train in their own way; each has a function `refit`."""


def retrain(
    result: StudyResult,
    kept: Kept,
    chosen: Chosen,
    *,
    data: PairedDataset | None,
    teacher: Build | None,
    student: Build | None,
    all_labels: bool,
    calibrated: bool,
) -> Refitted:
    """Return a student that was trained on all samples.

    Args:
        result: a study or a search.
        kept: its students.
        chosen: one of them, whose arm and loss are taken.
        data: the data of the run; not needed in the process where `mfh.study` made it, nor for the student
            that a search has trained on all samples.
        teacher: what makes the teacher's network, if a folder cannot say it.
        student: the same for the student's network.
        all_labels: whether labels that the run hid are used too.
        calibrated: whether its temperature is wanted.

    Raises:
        InputError: the data are missing or others, or a network cannot be made.
    """
    find = partial(_networks, result, kept, data, teacher, student)
    if isinstance(result, FitResult):
        return _of_search(result, kept, chosen, find if all_labels else None)
    experiment = result.config.get("experiment")
    if experiment in PROTOCOLS:
        own = importlib.import_module(PROTOCOLS[experiment])
        winner, same = _winner(result, chosen), _same(result, _given(data))
        done: Refitted = own.refit(result, winner, same, seed=chosen.record.seed)
    else:
        networks = find()
        if not calibrated:
            networks = replace(networks, config=replace(networks.config, calibrate="none"))
        done = _of_study(result, chosen, networks, all_labels=all_labels)
        if networks.few_labels:
            return done
    temperatures = [r.temperature for r in like_it(result, chosen) if r.temperature is not None]
    return replace(done, temperature=float(np.median(temperatures)) if temperatures else None)


def _of_search(
    result: FitResult, kept: Kept, chosen: Chosen, find: Callable[[], Networks] | None
) -> Refitted:
    """Return the student that a search has trained on all samples.

    Args:
        result: the search.
        kept: its students.
        chosen: one of them, whose arm is taken.
        find: finds the networks, to search once more with the labels that were hidden; None does not.
    """
    arm, final = chosen.record.arm, result.search["final"]
    require(
        final is not None,
        "`refit` must be False: the search on all samples failed. Repeat the command, or name a fit.",
    )
    steps, found = int(result.labels["training"]["steps"]), result.search["threshold"]
    if find is not None:
        networks = find()
        networks = replace(networks, config=replace(networks.config, labelled=()))
        done = run_seed(networks, ALL_SAMPLES, lambda _stage, _count: None)
        final, tensors = describe_final(done), done.weights[STUDENTS]
        found = done.search.get("threshold")
    else:
        tensors = kept.of(ALL_SAMPLES)
    prefix = f"students/{StudentKey(arm, loss=chosen.record.loss).name}/"
    return Refitted(
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)},
        tensors,
        final["samples"],
        final["labelled"],
        steps,
        temperature=final["temperature"][arm],
        recipe=Recipe.from_dict(final["winners"].get(arm, FIXED.to_dict())),
        threshold=None if found is None or arm not in found else found[arm]["threshold"],
    )


def _of_study(result: StudyResult, chosen: Chosen, networks: Networks, *, all_labels: bool) -> Refitted:
    """Train a student of a study once more, on all samples.

    With few labels its temperature is fitted anew, to held-out labels.
    """
    require(
        bool(result.labels) or not networks.few_labels,
        "`refit` needs a label for every sample, or a study. The steps of this run taught students samples "
        "without a label, and their recipe needs validation samples: leave out `refit`, or run `study`.",
    )
    labelled = None
    if networks.few_labels and not all_labels:
        labelled = result.predictions.get(f"labelled/{chosen.record.seed}")
    return refit(networks, _winner(result, chosen), seed=chosen.record.seed, labelled=labelled)


def _winner(result: StudyResult, chosen: Chosen) -> Winner:
    """Return the recipe: ratio, smoothing and epochs that the fits chose most often, or their median."""
    records = like_it(result, chosen)
    (arm, ratio), _ = Counter((r.arm, r.ratio) for r in records).most_common(1)[0]
    smoothing = [
        choice.smoothing for choice in result.chosen if choice.arm == arm and choice.smoothing is not None
    ]
    return Winner(
        arm=arm,
        ratio=ratio,
        loss=chosen.record.loss,
        smoothing=Counter(smoothing).most_common(1)[0][0] if smoothing else None,
        epochs=round(float(np.median([record.best_epoch for record in records]))),
        teacher_epochs=_teacher_epochs(result, arm),
    )


def _networks(
    result: StudyResult,
    kept: Kept,
    data: PairedDataset | None,
    teacher: Build | None,
    student: Build | None,
) -> Networks:
    """Return data, options and networks of a study."""
    if kept.networks is not None and data is None:
        return kept.networks
    kind = FitConfig if isinstance(result, FitResult) else StudyConfig
    known = {field.name for field in fields(kind)}
    config = kind(**{name: value for name, value in result.config.items() if name in known})
    data = usable_only(
        _given(data).with_task(config.task), str(config.teacher), str(config.student), "a study"
    )
    data = _same(result, data)
    sides = result.config.get("networks", {})
    made = [
        build or _spec(sides.get(side, {}).get("network"), side)
        for side, build in (("teacher", teacher), ("student", student))
    ]
    return Networks(data, config, *made)


def _given(data: PairedDataset | None) -> PairedDataset:
    """Return the data, which must be given."""
    if data is None:
        raise InputError(
            "`data` must be given to train on all samples again: a folder keeps no data. Pass the data set "
            "of the study (`--data`)."
        )
    return data


def _same(result: StudyResult, data: PairedDataset) -> PairedDataset:
    """Return the data, which must be those of the study."""
    require(
        result.data.get("fingerprint") == data.fingerprint,
        "`data` must be those of the study. Their values, labels, ids or splits differ.",
    )
    return data


def _spec(described: Mapping[str, Any] | None, side: str) -> ClassSpec | None:
    """Return what makes a network; None for a default network."""
    require(
        described is not None,
        f"The {side}'s network has no import path, so a folder cannot say how to make it. Pass `{side}`, the "
        "function that makes it, or export in the program that made the run.",
    )
    assert described is not None  # noqa: S101 - was just required
    return ClassSpec.parse(class_of(described)) if "class_path" in described else None


def _teacher_epochs(result: StudyResult, arm: str) -> int:
    """Return the median best epoch of the teacher of an arm, or all epochs where it is not recorded.

    An arm without a teacher has 1.
    """
    found = next(a for a in result.arms if a.name == arm)
    name = found.teacher_name(str(result.config.get("teacher_source", "joint")))
    if name is None:
        return 1
    curves = result.curves.get(f"{name}_validation")
    if curves is None:
        return int(result.config["epochs"])
    higher = result.metrics[0].higher_is_better
    best = [int(np.argmax([merit(float(v), higher_is_better=higher) for v in row])) + 1 for row in curves]
    return round(float(np.median(best)))
