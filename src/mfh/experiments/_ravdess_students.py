"""The students of a RAVDESS run: what each learns from, and its training."""

import logging
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh._checks import require
from mfh._focus import FocusedTeacher, channel_means, select, split
from mfh._study.teachers import METRIC, derived_seed
from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.experiments._ravdess_run import Run, Student, read_student, same_settings
from mfh.models.ravdess import layer_of_place
from mfh.results import Record
from mfh.training.device import make_accelerator
from mfh.training.fingerprint import network_fingerprint, short
from mfh.training.loop import FitResult, accuracy, fit, predict
from mfh.training.objectives import Distill
from mfh.training.teacher_outputs import teacher_logits

OUTPUTS = "teacher-outputs"
CACHED_VALUES = 2**20

Config = TypeVar("Config", bound=TrainConfig)

logger = logging.getLogger(__name__)


def train_student(run: Run, arm: str, ratio: float | None, seed: int, place: int, progress: bool) -> None:
    """One student of an arm, unless it is finished."""
    settings, objective = _objective(run, arm, ratio, seed, place)
    path = run.student_file(arm, ratio, seed)
    _require_same_way(run, path, settings)
    if read_student(path) is not None:
        logger.info("Seed %d of %s is finished", seed, path.stem)
        return
    model = run.network("student", "student", seed)
    done = fit_alone(run, path.stem, model, run.config.student, objective, seed, progress)
    logits = answers(model, run.data, run.config.student, torch.arange(len(run.data)))
    correct = (logits[run.test].argmax(dim=1) == run.data.label[run.test]).numpy()
    record = Record(
        arm=arm,
        ratio=ratio,
        seed=seed,
        metric=METRIC,
        **run.accuracies(logits),
        best_epoch=done.best_epoch,
        seconds=done.seconds,
        draw=None,
    )
    if seed == run.config.seed:
        run.save_weights("distilled-" + path.stem.rpartition("-seed-")[0], model)
    run.save_student(Student(record, correct, settings))
    run.drop_training(path.stem)


def fit_alone(
    run: Run, name: str, model: nn.Module, modality: str, objective: Distill, seed: int, progress: bool
) -> FitResult:
    """Train one network and keep its best validation epoch."""
    labels = run.data.label[run.validation]
    return fit(
        model,
        run.data,
        objective,
        modalities=(modality,),
        train=run.train,
        score=lambda m: accuracy(answers(m, run.data, modality, run.validation), labels),
        config=in_parts(run.config, run.data, modality),
        seed=derived_seed(seed, "batches"),
        checkpoint=run.training(name),
        progress=progress,
    )


def answers(
    model: nn.Module, data: PairedDataset, modality: str, rows: Int[Tensor, " sample"]
) -> Float[Tensor, "sample output"]:
    """Logits for some rows, as many at a time as `cached_samples` says."""
    return predict(model, data, modality, rows, batch_size=cached_samples(data, modality))


def cached_samples(data: PairedDataset, *modalities: str) -> int:
    """Samples that stay in a processor's cache while a network computes: 2 pictures of 256 x 512."""
    return max(1, CACHED_VALUES // max(prod(data.shape(modality)) for modality in modalities))


def in_parts(config: Config, data: PairedDataset, *modalities: str) -> Config:
    """The config, on a CPU with batches in parts of that size unless it names another.

    Nothing in these networks looks at other samples of a batch, so the results are the same but for rounding.
    """
    if config.micro_batch is not None or device_of(config).type != "cpu":
        return config
    return replace(config, micro_batch=cached_samples(data, *modalities))


def _require_same_way(run: Run, path: Path, settings: dict[str, object]) -> None:
    """Students that are compared must differ in nothing but their arm, ratio and seed."""
    for student in run.students():
        row = student.record
        same = run.student_file(row.arm, row.ratio, row.seed) == path
        theirs = {n: value for n, value in student.settings.items() if same or n != "channels"}
        changes = same_settings(settings, theirs)
        require(
            not changes,
            f"`out` {run.out} holds students that learn in another way ({row.arm}): {'; '.join(changes)}. "
            "Name another `out`.",
        )


def _objective(
    run: Run, arm: str, ratio: float | None, seed: int, place: int
) -> tuple[dict[str, object], Distill]:
    """What a student learns from, and the settings by which two students can be told apart."""
    config = run.config
    if arm == "no-kd":
        return {}, Distill()
    name = "regular" if arm == "regular" else "joint"
    flag = "" if name == "regular" else ", or hand it in with --joint-teacher"
    way = f"Run `mfh ravdess train` with the same --data and --out first{flag}."
    teacher: nn.Module = run.trained(f"teacher-{name}", way)
    settings: dict[str, object] = {
        "label_weight": config.label_weight,
        "distill_weight": config.distill_weight,
        "temperature": config.temperature,
        f"{name} teacher": network_fingerprint(teacher),
    }
    title = name
    if ratio is not None:
        teacher = _focused(run, on_device(run, teacher), arm, ratio, seed, place)
        settings |= {"place": place, "channels": short(teacher.removed)}
        title = f"{arm}-{ratio:g}" + (f"-seed-{seed:04d}" if arm == "random" else "")
    teacher = on_device(run, teacher)
    logits = teacher_logits(teacher, run.data, config.teacher, folder=run.out / OUTPUTS, name=title)
    record = run.teacher_record(
        f"{arm}@{ratio:g}" if ratio is not None else name,
        logits,
        temperature=config.temperature,
        seed=seed if arm == "random" else config.seed,
    )
    run.save_teachers([record])
    return settings, Distill(
        teacher_logits=logits,
        label_weight=config.label_weight,
        distill_weight=config.distill_weight,
        temperature=config.temperature,
    )


def _focused(run: Run, teacher: nn.Module, arm: str, ratio: float, seed: int, place: int) -> FocusedTeacher:
    """The joint teacher without some channels, which are replaced by their means on the training split."""
    layer = layer_of_place(place, run.config.teacher)
    device = next(teacher.parameters()).device
    trunk, _ = split(teacher, layer)
    batches = (run.data.inputs(run.config.teacher, rows, device=device) for rows in run.train.split(64))
    fill = channel_means(batches, trunk)
    values = np.zeros(len(fill)) if arm == "random" else run.saliency_values(place)
    require(
        len(values) == len(fill),
        f"`saliency` must hold a value for each of the {len(fill)} channels of place {place} ({layer}). It "
        f"holds {len(values)}: it is of another place or of a network of another width.",
    )
    generator = torch.Generator().manual_seed(derived_seed(seed, "random channels"))
    return FocusedTeacher(teacher, layer, select(values, ratio, arm, generator=generator), fill)


def on_device(run: Run, model: nn.Module) -> nn.Module:
    """A network in evaluation mode, where the run computes."""
    return model.to(device_of(run.config)).eval()


def device_of(config: TrainConfig) -> torch.device:
    """Where a config has networks computed."""
    return make_accelerator(replace(config, tracker=())).device
