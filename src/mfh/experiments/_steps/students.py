"""The students of a partial study: what each learns from, and its training."""

import logging

import numpy as np
import torch
from torch import nn

from mfh._checks import require
from mfh._focus import FocusedTeacher, channel_means, select, split
from mfh._study.kept import DISTILLED, MOST_BYTES
from mfh._study.outcome import Student
from mfh._study.outputs import StudentKey
from mfh._study.task import derived_seed
from mfh._system.files import plain
from mfh.arms import Arm
from mfh.experiments._steps.partial_study import PartialStudy, name_of
from mfh.experiments._steps.recipe import RankedLayer
from mfh.experiments._steps.saliency import saliency_values
from mfh.experiments._steps.training import describe_teacher, fit_alone, predict_rows
from mfh.experiments.modes import find_mode
from mfh.training.calibration import fit_temperature
from mfh.training.fingerprint import network_fingerprint, short
from mfh.training.objectives import Distill, learn_from
from mfh.training.scores import make_record

LEARNING = ("label_weight", "distill_weight", "temperature", "loss", "loss_options")
"""Options that all students of a folder that learn from a teacher must share."""
logger = logging.getLogger(__name__)


def distill(
    partial: PartialStudy,
    layer: RankedLayer,
    *,
    mode: str | int,
    ratio: float,
    seeds: int,
    progress: bool = False,
) -> None:
    """Train the students of a mode, one per seed; skip those that are finished.

    Raises:
        InputError: an option breaks a rule, a step is missing, or the folder's other students were trained
            with other settings.
    """
    arm = find_mode(mode)
    require_options(ratio, seeds)
    for seed in range(partial.config.seed, partial.config.seed + seeds):
        train_student(partial, arm, ratio if arm.takes_ratio else None, seed, layer, progress)


def require_options(ratio: float, seeds: int) -> None:
    """Raise `InputError` unless the ratio lies in [0, 1) and there is at least one seed."""
    require(seeds >= 1, f"`seeds` must be 1 or more. Got {seeds}.")
    require(0 <= ratio < 1, f"`ratio` must lie in [0, 1). Got {ratio}: removing all leaves nothing to teach.")


def train_student(
    partial: PartialStudy, arm: Arm, ratio: float | None, seed: int, layer: RankedLayer, progress: bool
) -> None:
    """Train and save one student; skip it if it is finished and its network, where one is kept, is intact.

    The network of the first seed is kept, and those of other seeds if they have at most `MOST_BYTES`.
    """
    config, data = partial.config, partial.data
    settings, objective = _objective(partial, arm, ratio, seed, layer)
    loss = config.loss if objective.distils else None
    name = StudentKey(arm.name, ratio, loss=loss).name
    _require_same_settings(partial, name, seed, settings)
    model = partial.network("student", "student", seed)
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    network = f"{DISTILLED}{name}" if seed == config.seed or size <= MOST_BYTES else None
    finished = name in map(name_of, partial.seed(seed).students)
    if finished and (network is None or partial.has(network, seed)):
        partial.drop_training(name, seed)  # a process that was killed may have left it
        logger.info("Seed %d of %s is finished", seed, name)
        return
    done = fit_alone(partial, name, model, config.student, objective, seed, progress)
    logits = predict_rows(model, data, config.student, torch.arange(len(data)))
    record = make_record(
        arm.name,
        partial.metrics,
        logits,
        data.label,
        partial.split,
        seed=seed,
        best_epoch=done.best_epoch,
        seconds=done.seconds,
        ratio=ratio,
        loss=loss,
        temperature=fit_temperature(logits[partial.validation], data.label[partial.validation]),
    )
    if network is not None:
        partial.save_weights(network, model, seed)
    student = Student.of(record, partial.metrics[0], logits, data.label, partial.split, plain(settings))
    partial.add_student(student)
    partial.drop_training(name, seed)


def _require_same_settings(partial: PartialStudy, name: str, seed: int, settings: dict[str, object]) -> None:
    """Refuse a student whose settings differ from those of the folder's other students.

    Students that are compared may differ in their arm, ratio and seed only.
    """
    mine = plain(settings)
    for student in (student for result in partial.seeds() for student in result.students):
        same = (name_of(student), student.record.seed) == (name, seed)
        theirs = {n: value for n, value in student.settings.items() if same or n != "channels"}
        changes = [
            f"`{n}` was {theirs[n]}, is {mine[n]}"
            for n in sorted(mine.keys() & theirs.keys())
            if mine[n] != theirs[n]
        ]
        require(
            not changes,
            f"`out` {partial.out} contains students that were trained with other settings "
            f"({student.record.arm}): {'; '.join(changes)}. Name another `out`.",
        )


def _objective(
    partial: PartialStudy, arm: Arm, ratio: float | None, seed: int, layer: RankedLayer
) -> tuple[dict[str, object], Distill]:
    """Return the settings of a student, which its seed records, and its objective."""
    config = partial.config
    name = arm.teacher_name(layer.source)
    if name is None:
        return {}, Distill()
    teacher, labelled = partial.trained(f"teacher-{name}"), len(partial.labelled) == len(partial.train)
    settings: dict[str, object] = {option: getattr(config, option) for option in LEARNING}
    settings[f"{name} teacher"] = network_fingerprint(teacher)
    if ratio is None:
        return settings, learn_from(config, describe_teacher(partial, name, teacher), labelled=labelled)
    focused = _focused(partial, teacher, arm, ratio, seed, layer)
    settings |= {"layer": layer.name, "channels": short(focused.removed)}
    drawn = seed if arm.is_drawn else None
    logits = describe_teacher(partial, f"{arm.name}@{ratio:g}", focused, drawn=drawn)
    return settings, learn_from(config, logits, labelled=labelled)


def _focused(
    partial: PartialStudy, teacher: nn.Module, arm: Arm, ratio: float, seed: int, layer: RankedLayer
) -> FocusedTeacher:
    """Remove channels from a teacher; their means on the training split replace them."""
    trunk, _ = split(teacher, layer.layer)
    inputs, modality = partial.data.inputs, partial.config.teacher
    batches = (inputs(modality, rows, device=partial.device) for rows in partial.train.split(64))
    fill = channel_means(batches, trunk)
    values = np.zeros(len(fill)) if arm.is_drawn else saliency_values(partial, layer)
    require(
        len(values) == len(fill),
        f"`saliency` must have a value for each of the {len(fill)} channels of {layer.words} "
        f"({layer.layer}). It has {len(values)}: it belongs to another layer, or to a network of another "
        "width.",
    )
    generator = torch.Generator().manual_seed(derived_seed(seed, "random channels"))
    return FocusedTeacher(teacher, layer.layer, select(values, ratio, arm, generator=generator), fill)
