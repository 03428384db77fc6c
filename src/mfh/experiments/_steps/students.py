"""The students of an experiment in steps: what each learns from, and its training."""

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
from mfh.arms import ARMS, BASELINE
from mfh.data.paired import PairedDataset
from mfh.experiments._steps.files import same_settings
from mfh.experiments._steps.parts import cached_samples
from mfh.experiments._steps.recipe import Site
from mfh.experiments._steps.run import Run, Student
from mfh.metrics import metrics_of
from mfh.training.evaluate import predict
from mfh.training.fingerprint import network_fingerprint, short
from mfh.training.loop import FitResult, fit
from mfh.training.objectives import Distill, learn_from
from mfh.training.scores import make_record
from mfh.training.teacher_outputs import teacher_logits

OUTPUTS = "teacher-outputs"

logger = logging.getLogger(__name__)


def train_student(run: Run, arm: str, ratio: float | None, seed: int, site: Site, progress: bool) -> None:
    """One student of an arm, unless it is finished and its network, where one is kept, is whole."""
    settings, objective = _objective(run, arm, ratio, seed, site)
    path = run.student_file(arm, ratio, seed)
    _require_same_way(run, path, settings)
    network = "distilled-" + path.stem.rpartition("-seed-")[0] if seed == run.config.seed else None
    if run.student(path) is not None and (network is None or run.has(network)):
        run.drop_training(path.stem)  # where a kill came before it was removed
        logger.info("Seed %d of %s is finished", seed, path.stem)
        return
    model = run.network("student", "student", seed)
    done = fit_alone(run, path.stem, model, run.config.student, objective, seed, progress)
    logits = answers(model, run.data, run.config.student, torch.arange(len(run.data)))
    correct = (logits[run.test].argmax(dim=1) == run.data.label[run.test]).numpy()
    record = make_record(
        arm,
        metrics_of(run.data.task)[:1],
        logits,
        run.data.label,
        run.split,
        seed=seed,
        best_epoch=done.best_epoch,
        seconds=done.seconds,
        ratio=ratio,
        loss=run.config.loss if objective.distils else None,
    )
    if network is not None:
        run.save_weights(network, model)
    run.save_student(Student(record, correct, settings))
    run.drop_training(path.stem)


def fit_alone(
    run: Run,
    name: str,
    model: nn.Module,
    modality: str,
    objective: Distill,
    seed: int,
    progress: bool,
) -> FitResult:
    """Train one network and keep its best validation epoch; what comes of it is to be written at once."""
    require_fits(run, model, modality)
    labels = run.data.label[run.validation]
    return fit(
        model,
        run.data,
        objective,
        modalities=(modality,),
        train=run.train,
        score=lambda m: accuracy(answers(m, run.data, modality, run.validation), labels),
        config=run.train_config(modality),
        seed=derived_seed(seed, "batches"),
        checkpoint=run.training(name),
        save_end=False,
        progress=progress,
    )


def require_fits(run: Run, model: nn.Module, modality: str) -> None:
    """Refuse data that a network cannot take, by one sample, before anything is trained.

    Raises:
        InputError: the network fails on it.
    """
    inputs = run.data.inputs(modality, run.train[:1])
    try:
        with evaluating(model):
            model(inputs)
    except RuntimeError as error:
        raise InputError(
            f"`data` must hold samples that the {modality} network takes. Those of {modality} have shape "
            f"{tuple(inputs.shape[1:])}, on which the network fails ({str(error).splitlines()[0]}): prepare "
            "larger ones."
        ) from error


def answers(
    model: nn.Module, data: PairedDataset, modality: str, rows: Int[Tensor, " sample"]
) -> Float[Tensor, "sample output"]:
    """Logits for some rows, of which every process computes its share.

    On a processor as many at a time as `cached_samples` says.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    size = cached_samples(data, modality) if on_cpu else None
    return predict(model, data, modality, rows, batch_size=size, shared=True)


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
    run: Run, arm: str, ratio: float | None, seed: int, site: Site
) -> tuple[dict[str, object], Distill]:
    """What a student learns from, and the settings by which two students can be told apart."""
    config = run.config
    if arm == BASELINE:
        return {}, Distill()
    name = site.source if ratio is not None else arm
    teacher = run.trained(f"teacher-{name}")
    settings: dict[str, object] = {
        "label_weight": config.label_weight,
        "distill_weight": config.distill_weight,
        "temperature": config.temperature,
        "loss": config.loss,
        f"{name} teacher": network_fingerprint(teacher),
    }
    title, drawn = name, ARMS[arm].is_drawn
    if ratio is not None:
        teacher = _focused(run, teacher, arm, ratio, seed, site)
        settings |= {"site": site.name, "channels": short(teacher.removed)}
        title = f"{arm}-{ratio:g}" + (f"-seed-{seed:04d}" if drawn else "")
    logits = teacher_logits(teacher, run.data, config.teacher, folder=run.out / OUTPUTS, name=title)
    record = run.teacher_record(
        f"{arm}@{ratio:g}" if ratio is not None else name,
        logits,
        temperature=config.temperature,
        seed=seed if drawn else config.seed,
    )
    run.save_teachers([record])
    return settings, learn_from(config, logits)


def _focused(run: Run, teacher: nn.Module, arm: str, ratio: float, seed: int, site: Site) -> FocusedTeacher:
    """A teacher without some channels, which are replaced by their means on the training split."""
    trunk, _ = split(teacher, site.layer)
    batches = (run.data.inputs(run.config.teacher, rows, device=run.device) for rows in run.train.split(64))
    fill = channel_means(batches, trunk)
    values = np.zeros(len(fill)) if ARMS[arm].is_drawn else run.saliency_values(site)
    require(
        len(values) == len(fill),
        f"`saliency` must hold a value for each of the {len(fill)} channels of {site.told} ({site.layer}). "
        f"It holds {len(values)}: it is of another layer or of a network of another width.",
    )
    generator = torch.Generator().manual_seed(derived_seed(seed, "random channels"))
    return FocusedTeacher(teacher, site.layer, select(values, ratio, arm, generator=generator), fill)
