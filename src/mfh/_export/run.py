"""Export a student of a finished run."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mfh._checks import InputError, require
from mfh._distill import DistillResult
from mfh._export.choose import Chosen, choose
from mfh._export.deployed import Deployed, network_of, transform_from
from mfh._export.facts import describe_data, describe_score
from mfh._export.files import STUDENT
from mfh._export.runs import as_study, load_run, require_no_protocol
from mfh._export.teacher import TEACHER, write_teacher
from mfh._export.winner import retrain
from mfh._export.write import write_model
from mfh._study.kept import Kept
from mfh._study.networks import Build
from mfh._study.refit import Refitted
from mfh._study.search.space import FIXED
from mfh._system.import_paths import ClassSpec, search_folder_of
from mfh._system.lock import holds
from mfh._system.paths import label_folder
from mfh.arms import SEARCHED
from mfh.data.paired import PairedDataset
from mfh.models.mlp import Standardized, standardized
from mfh.recipe import Recipe
from mfh.results import FitResult, RunResult, StudyResult
from mfh.training.calibration import PROBABILITIES

REPRODUCED = 1e-2
"""Largest difference to the recorded outputs, for outputs up to 1 in size: devices round differently."""
CALIBRATE = ("none", "temperature")
_log = logging.getLogger("mfh")


@holds("to")
def export_run(
    run: RunResult | Path | str,
    to: Path | str,
    *,
    arm: str | None = None,
    seed: int | None = None,
    loss: str | None = None,
    calibrate: str | None = None,
    refit: bool | str | None = None,
    data: PairedDataset | None = None,
    student: Build | None = None,
    with_teacher: bool = False,
    teacher: ClassSpec | None = None,
    ratio: float | None = None,
    command: Sequence[str] = (),
) -> Path:
    """Write a student of a finished run, ready for use without the run; see `RunResult.export`.

    Args:
        run: the result of a run, or its folder: of a study, a search, an experiment, or `mfh.distill`.
        to: folder for the files.
        arm: the arm whose student is wanted. By default the one that the verdict recommends: `general` if it
            helps, `no-kd` if it does not, and where that is open, the one with the better validation metric.
        seed: number of the fit; by default the one whose student has the best validation metric.
        loss: the distillation loss; by default the declared one.
        calibrate: `temperature` divides the scores by the temperature that fits them to validation samples
            (with few labels: to held-out labels), `none` does not. By default as the study did.
        refit: whether the student is trained once more, on all samples; see `mfh._study.refit`. With
            `all-labels` it sees the labels that the study hid, too. By default not; after a search, which has
            trained it already, it is the student of all samples unless `seed` names a fit.
        data: the data of the run, for `refit` and `with_teacher`; not needed in the process of the run.
        student: what makes the student's network, for a run whose student has no import path.
        with_teacher: whether the focused teacher of the arm is written too, into `teacher/`.
        teacher: what makes the teacher's network; None for the default network of the study.
        ratio: share of channels that this teacher loses; by default what its student was trained with.
        command: the command line of the export, for the model card; empty if there is none.

    Returns:
        Path of `export.json`.

    Raises:
        InputError: the run is not finished, is no run with students, or kept no such student; its network
            cannot be made or exported, or gives other outputs than the run recorded.
    """
    found = run if isinstance(run, RunResult) else load_run(run)
    if isinstance(found, DistillResult):
        require_no_protocol(refit=refit, with_teacher=with_teacher)
        student = student or found.build
    result = as_study(found)
    search_folder_of(result.config.get("sources"))
    kept = _kept(result)
    require(
        kept.folder is not None or bool(kept.tensors),
        "`run` must have its folder: pass the folder, or what `mfh.study` or `mfh.load_results` returned.",
    )
    default = str(result.config.get("calibrate", "none"))
    require(
        refit in (None, True, False, "all-labels"),
        f"`refit` must be True, False or 'all-labels'. Got {refit!r}.",
    )
    if refit is None:
        refit = isinstance(result, FitResult) and seed is None
    require(
        not with_teacher or result.kind == "study",
        "`with_teacher` needs a study: a search keeps no teachers. Got a run of kind `fit`.",
    )
    require(
        calibrate in (None, *CALIBRATE),
        f"`calibrate` must be none or temperature. Got {calibrate!r}.",
    )
    chosen = choose(result, kept, arm=arm, seed=seed, loss=loss)
    record = chosen.record
    temperature = _temperature(result, chosen, calibrate or default)
    _log.info(
        "The student of arm %s%s, fit %d%s: validation %s %s",
        record.arm,
        "" if record.ratio is None else f" at ratio {record.ratio:g}",
        record.seed,
        ", and its recipe on all samples" if refit else "",
        record.metric,
        "unknown" if record.validation is None else f"{record.validation:.2f}",
    )
    described = _described(result)
    described = _widths(described, chosen.state)
    model = _model(result, kept, described, chosen.state, chosen.tensors, student)
    _require_recorded(result, chosen, model)
    refitted = None
    if refit:
        refitted = retrain(
            result,
            kept,
            chosen,
            data=data,
            teacher=teacher,
            student=student,
            all_labels=refit == "all-labels",
            calibrated=temperature is not None,
        )
        described = _widths(described, refitted.state)
        model = _model(result, kept, described, refitted.state, refitted.tensors, student)
        temperature = None if temperature is None else refitted.temperature
    if temperature is not None:
        model.temperature.fill_(temperature)
    info = describe_export(result, kept, described, chosen, temperature)
    info |= _threshold(result, chosen, refitted, temperature)
    recipe = _recipe(result, chosen, refitted)
    facts = {
        "score": describe_score(result, chosen, temperature),
        "data": describe_data(result, chosen.arm, recipe),
        "environment": result.environment,
        "commands": [result.environment.get("command", ()), command],
        "label_weight": result.config.get("label_weight"),
        "calibrates": _calibrates(chosen, str(info["task"])),
        "recipe": recipe,
        "words": _words(result, chosen, recipe),
        "refit": None,
    }
    if refitted is not None:
        about = {"samples": refitted.samples, "labelled": refitted.labelled, "steps": refitted.steps}
        info["refit"] = facts["refit"] = about
    more: tuple[str, ...] = ()
    if with_teacher:
        info["teacher"] = _write_teacher(result, kept, chosen, Path(to), data, teacher, ratio)
        more = ("teacher/focus.json", "teacher/model.safetensors")
    return write_model(Path(to), model, chosen.tensors["example"], info, facts, more=more)


def _write_teacher(
    result: StudyResult,
    kept: Kept,
    chosen: Chosen,
    to: Path,
    data: PairedDataset | None,
    spec: ClassSpec | None,
    ratio: float | None,
) -> dict[str, Any]:
    """Write the focused teacher of the student."""
    data = kept.networks.data if data is None and kept.networks is not None else data
    if data is None or kept.folder is None:
        raise InputError(
            "`with_teacher` needs the folder and the data of the run: its features are averaged over the "
            "training samples. Pass `data`, and a run with `out`."
        )
    record = chosen.record
    return write_teacher(
        kept.folder,
        result,
        data,
        to / TEACHER,
        spec=spec,
        seed=record.seed,
        arm=chosen.arm.name,
        ratio=record.ratio if ratio is None else ratio,
    )


def _kept(result: StudyResult) -> Kept:
    """Return the students of a run; those of the first number of labels where there are several."""
    if isinstance(result.kept, Kept):
        return result.kept
    counts: Sequence[str] = result.config.get("labelled") or ()
    several = len(counts) + len(result.config.get("label_curve") or ()) > 1
    return Kept(label_folder(result.kept, counts[0]) if several and result.kept is not None else result.kept)


def _described(result: StudyResult) -> dict[str, Any]:
    """Return the description of the student's side; see `mfh._study.kept.describe_networks`."""
    sides = result.config.get("networks")
    require(
        isinstance(sides, Mapping) and STUDENT in sides,
        "`run` has no description of its networks: an earlier version of mfh wrote it. Repeat the run.",
    )
    return dict(sides[STUDENT])  # type: ignore[index]


def _widths(described: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the description of a student with the widths of its default network, which a search chooses."""
    made_of = described["network"]
    if not made_of or "mlp" not in made_of:
        return dict(described)
    hidden = [len(weight) for weight in state.values() if weight.ndim == 2][:-1]
    return {**described, "network": {**made_of, "hidden": hidden}}


def _model(
    result: StudyResult,
    kept: Kept,
    described: Mapping[str, Any],
    state: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    student: Build | None,
) -> Deployed:
    """Return the student with its weights, in evaluation mode."""
    network = _network(kept, described, student)
    if "standardize/mean" in tensors and not isinstance(getattr(network, "standardize", None), Standardized):
        network = standardized(network, described["shape"], fills="standardize/fill" in tensors)
    names = list(result.data["classes"])
    task = str(result.data.get("task", "single-label"))
    model = Deployed(network, len(names), task, transform_from(described["transform"]))
    model.load_trained(state, tensors)
    return model.cpu().eval()


def _network(kept: Kept, described: Mapping[str, Any], student: Build | None) -> nn.Module:
    if student is not None:
        return student()
    if described["network"] is None and kept.networks is not None:
        return kept.networks.build_student()
    require(
        described["network"] is not None,
        "The student's network has no import path, so a folder cannot say how to make it. Export in the "
        "program that made the run (`result.export`), or pass `student`, the function that makes it.",
    )
    return network_of(described["network"])


def _require_recorded(result: StudyResult, chosen: Chosen, model: Deployed) -> None:
    """Compare the outputs of the student with those that the run recorded for the same samples."""
    recorded = result.predictions.get(f"outputs/{chosen.record.seed}")
    if recorded is None:
        return
    expected = torch.from_numpy(np.asarray(recorded[chosen.place]))
    with torch.no_grad():
        found = model.logits(chosen.tensors["example"])
    if result.config.get("calibrate") == "temperature" and chosen.record.temperature:
        found = found / chosen.record.temperature
    expected = expected[: len(found)]
    difference = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    require(
        found.shape == expected.shape and difference <= REPRODUCED,
        f"The student gives other outputs than the run recorded (difference {difference:.2g}): has the code "
        "of its network or of the data's transform changed since?",
    )


def _calibrates(chosen: Chosen, task: str) -> str:
    """Return which command calibrates students like this one; empty if none can."""
    if chosen.record.temperature is not None:
        return "export"
    return "study" if task in PROBABILITIES else ""


def _temperature(result: StudyResult, chosen: Chosen, calibrate: str) -> float | None:
    """Return the temperature that the scores are divided by; None for 1."""
    if calibrate == "none":
        return None
    task = str(result.data.get("task", "single-label"))
    require(
        chosen.record.temperature is not None or not result.labels or task not in PROBABILITIES,
        "`calibrate` must be none: with few labels no samples are for validation, and this study fitted no "
        "temperatures. Repeat the study with --calibrate temperature, and export that one.",
    )
    require(
        chosen.record.temperature is not None,
        f"`calibrate` must be none for the task {task}: its outputs give no probabilities "
        "of a sample, or the run was written by a command that fits no temperature.",
    )
    return chosen.record.temperature


def _threshold(
    result: StudyResult, chosen: Chosen, refitted: Refitted | None, temperature: float | None
) -> dict[str, Any]:
    """Return the threshold of the positive class, for the scores as they are exported.

    Args:
        result: the run.
        chosen: the student of an outer fold.
        refitted: the student of all samples that takes its place.
        temperature: what the exported scores are divided by; None for 1.
    """
    found = result.search["threshold"] if isinstance(result, FitResult) else None
    arm = chosen.record.arm
    if found is None or arm not in found:
        return {}
    value, mine = found[arm]["by_fit"][str(chosen.record.seed)], chosen.record.temperature
    if refitted is not None:
        value, mine = refitted.threshold, refitted.temperature
    if value is None:
        return {}
    inside = min(max(float(value), 1e-12), 1 - 1e-12)
    scale = mine if result.config.get("calibrate") == "temperature" and mine else 1.0
    margin = math.log(inside / (1 - inside)) * scale / (temperature or 1.0)
    about = {name: found[name] for name in ("rule", "positive", "index")}
    return {"threshold": about | {"probability": 1 / (1 + math.exp(-margin)), "margin": margin}}


def _recipe(result: StudyResult, chosen: Chosen, refitted: Refitted | None) -> Recipe | None:
    """Return the recipe of a searched student, or of the one of all samples that takes its place."""
    if refitted is not None or not isinstance(result, FitResult):
        return None if refitted is None else refitted.recipe
    key = chosen.record.seed, chosen.record.arm
    rows = (row for row in result.search["winners"] if (row["fit"], row["search"]) == key)
    return Recipe.from_dict(next(rows, FIXED.to_dict()))


def _words(result: StudyResult, chosen: Chosen, recipe: Recipe | None) -> str:
    """Return what a student learned from."""
    if recipe is not None and not recipe.taught:
        return f"the labels alone{str(recipe).removeprefix('no teacher')}"
    if recipe is not None and chosen.record.arm == SEARCHED:
        return f"a recipe that was searched: {recipe}"
    arm = next(arm for arm in result.arms if arm.name == chosen.record.arm)
    config = result.config
    words = arm.explain(
        teacher=str(config.get("teacher")),
        student=str(config.get("student")),
        source=str(config.get("teacher_source", "joint")),
    )
    removed = f" ({100 * (chosen.record.ratio or 0):g}% of its channels)" if arm.ranking is not None else ""
    return words.removeprefix("control: ") + removed


def describe_export(
    result: StudyResult,
    kept: Kept,
    described: Mapping[str, Any],
    chosen: Chosen,
    temperature: float | None,
) -> dict[str, Any]:
    """Return the content of `export.json`, without version and checksums."""
    record = chosen.record
    return {
        "run": None if kept.folder is None else str(kept.folder),
        "fingerprint": result.data.get("fingerprint"),
        "seed": record.seed,
        "task": result.data.get("task", "single-label"),
        "class_names": list(result.data["classes"]),
        STUDENT: {
            **described,
            "arm": record.arm,
            "ratio": record.ratio,
            "loss": record.loss,
            "metric": record.metric,
            "validation": record.validation,
            "test": record.test,
        },
        "calibration": {"method": None if temperature is None else "temperature", "temperature": temperature},
    }
