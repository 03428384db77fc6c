"""The students of an experiment that is run step by step: what each learns from, and its training."""

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._focus import FocusedTeacher, channel_means, select, split
from mfh._formulas import accuracy
from mfh._saliency.heads import evaluating
from mfh._study.task import derived_seed
from mfh.arms import Arm
from mfh.data.paired import PairedDataset
from mfh.experiments._steps.files import describe_changes
from mfh.experiments._steps.partial_study import PartialStudy, Student
from mfh.experiments._steps.parts import cached_samples
from mfh.experiments._steps.recipe import RankedLayer
from mfh.metrics import metrics_of
from mfh.training.evaluate import predict
from mfh.training.fingerprint import network_fingerprint, short
from mfh.training.loop import FitResult, fit
from mfh.training.objectives import Distill, learn_from
from mfh.training.scores import make_record
from mfh.training.teacher_outputs import teacher_logits

OUTPUTS = "teacher-outputs"

logger = logging.getLogger(__name__)


def train_student(
    partial: PartialStudy, arm: Arm, ratio: float | None, seed: int, layer: RankedLayer, progress: bool
) -> None:
    """Train and save one student; skip it if it is finished and its network, where one is kept, is intact.

    The network of the first seed is kept, those of the other seeds are not.
    """
    settings, objective = _objective(partial, arm, ratio, seed, layer)
    path = partial.student_file(arm.name, ratio, seed)
    _require_same_settings(partial, path, settings)
    network = "distilled-" + path.stem.rpartition("-seed-")[0] if seed == partial.config.seed else None
    if partial.student(path) is not None and (network is None or partial.has(network)):
        partial.drop_training(path.stem)  # a process that was killed may have left it
        logger.info("Seed %d of %s is finished", seed, path.stem)
        return
    model = partial.network("student", "student", seed)
    done = fit_alone(partial, path.stem, model, partial.config.student, objective, seed, progress)
    logits = predict_all(model, partial.data, partial.config.student, torch.arange(len(partial.data)))
    correct = (logits[partial.test].argmax(dim=1) == partial.data.label[partial.test]).numpy()
    record = make_record(
        arm.name,
        metrics_of(partial.data.task)[:1],
        logits,
        partial.data.label,
        partial.split,
        seed=seed,
        best_epoch=done.best_epoch,
        seconds=done.seconds,
        ratio=ratio,
        loss=partial.config.loss if objective.distils else None,
    )
    if network is not None:
        partial.save_weights(network, model)
    partial.save_student(Student(record, correct, settings))
    partial.drop_training(path.stem)


def fit_alone(
    partial: PartialStudy,
    name: str,
    model: nn.Module,
    modality: str,
    objective: Distill,
    seed: int,
    progress: bool,
) -> FitResult:
    """Train one network and load the weights of its best validation epoch; the caller must save them."""
    require_fits(partial, model, modality)
    labels = partial.data.label[partial.validation]
    return fit(
        model,
        partial.data,
        objective,
        modalities=(modality,),
        train=partial.train,
        score=lambda m: accuracy(predict_all(m, partial.data, modality, partial.validation), labels),
        config=partial.train_config(modality),
        seed=derived_seed(seed, "batches"),
        checkpoint=partial.training(name),
        save_end=False,
        progress=progress,
    )


def require_fits(partial: PartialStudy, model: nn.Module, modality: str) -> None:
    """Raise `InputError` if a network fails on one sample of the data; call it before any training."""
    inputs = partial.data.inputs(modality, partial.train[:1])
    try:
        with evaluating(model):
            model(inputs)
    except RuntimeError as error:
        raise InputError(
            f"`data` must have samples that the {modality} network accepts. Those of {modality} have the "
            f"shape {tuple(inputs.shape[1:])}, on which the network fails ({str(error).splitlines()[0]}): "
            "prepare larger ones."
        ) from error


def predict_all(
    model: nn.Module, data: PairedDataset, modality: str, rows: Int[Tensor, " sample"]
) -> Float[Tensor, "sample output"]:
    """Return the logits of some rows; if several processes run, each computes its share.

    On a CPU as many samples are computed at a time as `cached_samples` says.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    size = cached_samples(data, modality) if on_cpu else None
    return predict(model, data, modality, rows, batch_size=size, shared=True)


def _require_same_settings(partial: PartialStudy, path: Path, settings: dict[str, object]) -> None:
    """Refuse a student whose settings differ from those of the folder's other students.

    Students that are compared may differ in their arm, ratio and seed only.
    """
    for student in partial.students():
        row = student.record
        same = partial.student_file(row.arm, row.ratio, row.seed) == path
        theirs = {n: value for n, value in student.settings.items() if same or n != "channels"}
        changes = describe_changes(settings, theirs)
        require(
            not changes,
            f"`out` {partial.out} contains students that were trained with other settings ({row.arm}): "
            f"{'; '.join(changes)}. Name another `out`.",
        )


def _objective(
    partial: PartialStudy, arm: Arm, ratio: float | None, seed: int, layer: RankedLayer
) -> tuple[dict[str, object], Distill]:
    """Return the settings of a student, which its file records, and its objective."""
    config = partial.config
    name = arm.teacher_name(layer.source)
    if name is None:
        return {}, Distill()
    teacher = partial.trained(f"teacher-{name}")
    settings: dict[str, object] = {
        "label_weight": config.label_weight,
        "distill_weight": config.distill_weight,
        "temperature": config.temperature,
        "loss": config.loss,
        f"{name} teacher": network_fingerprint(teacher),
    }
    title = name
    if ratio is not None:
        teacher = _focused(partial, teacher, arm, ratio, seed, layer)
        settings |= {"layer": layer.name, "channels": short(teacher.removed)}
        title = f"{arm.name}-{ratio:g}" + (f"-seed-{seed:04d}" if arm.is_drawn else "")
    logits = teacher_logits(teacher, partial.data, config.teacher, folder=partial.out / OUTPUTS, name=title)
    record = partial.teacher_record(
        f"{arm.name}@{ratio:g}" if ratio is not None else name,
        logits,
        temperature=config.temperature,
        seed=seed if arm.is_drawn else config.seed,
    )
    partial.save_teachers([record])
    return settings, learn_from(config, logits)


def _focused(
    partial: PartialStudy, teacher: nn.Module, arm: Arm, ratio: float, seed: int, layer: RankedLayer
) -> FocusedTeacher:
    """Remove channels from a teacher; their means on the training split replace them."""
    trunk, _ = split(teacher, layer.layer)
    inputs, modality = partial.data.inputs, partial.config.teacher
    batches = (inputs(modality, rows, device=partial.device) for rows in partial.train.split(64))
    fill = channel_means(batches, trunk)
    values = np.zeros(len(fill)) if arm.is_drawn else partial.saliency_values(layer)
    require(
        len(values) == len(fill),
        f"`saliency` must have a value for each of the {len(fill)} channels of {layer.words} "
        f"({layer.layer}). It has {len(values)}: it belongs to another layer, or to a network of another "
        "width.",
    )
    generator = torch.Generator().manual_seed(derived_seed(seed, "random channels"))
    return FocusedTeacher(teacher, layer.layer, select(values, ratio, arm.name, generator=generator), fill)
