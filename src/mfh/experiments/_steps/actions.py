"""The steps of an experiment: train Algorithm 1's pair, train a network alone, rank channels, distil."""

import torch
from torch import Tensor

from mfh._checks import require
from mfh._focus import split
from mfh._saliency import SaliencyResult
from mfh._study.task import derived_seed
from mfh._system.signals import defer_signals
from mfh.experiments._steps.partial_study import PartialStudy
from mfh.experiments._steps.recipe import RankedLayer
from mfh.experiments._steps.students import OUTPUTS, fit_alone, require_fits, train_student
from mfh.experiments.modes import find_mode
from mfh.training.loop import fit
from mfh.training.objectives import Distill, Pair, joint
from mfh.training.saliency import dataset_saliency, permutations_of
from mfh.training.teacher_outputs import teacher_logits


def train_pair(partial: PartialStudy, progress: bool) -> None:
    """Train Algorithm 1's pair (step 1) and keep its last epoch, as released; skip it if it is finished."""
    if all(partial.has(name) for name in ("teacher-joint", "student-joint")):
        return
    config, seed = partial.config, partial.config.seed
    pair = Pair(partial.network("teacher", "teacher"), partial.network("student", "joint student"))
    require_fits(partial, pair.teacher, config.teacher)
    require_fits(partial, pair.student, config.student)
    fit(
        pair,
        partial.data,
        joint,
        modalities=(config.teacher, config.student),
        train=partial.train,
        config=partial.train_config(config.teacher, config.student),
        seed=derived_seed(seed, "batches"),
        checkpoint=partial.training("joint"),
        save_end=False,
        progress=progress,
    )
    with defer_signals():
        partial.save_weights("teacher-joint", pair.teacher)
        partial.save_weights("student-joint", pair.student)
    partial.drop_training("joint")


def train_alone(partial: PartialStudy, side: str, progress: bool) -> None:
    """Train a regular teacher or a student without KD and keep its best epoch; skip it if it is finished."""
    name = f"{side}-regular"
    if partial.has(name):
        return
    modality = partial.config.teacher if side == "teacher" else partial.config.student
    model = partial.network(side, side)
    fit_alone(partial, name, model, modality, Distill(), partial.config.seed, progress)
    with defer_signals():
        partial.save_weights(name, model)
    partial.drop_training(name)


def describe_teachers(partial: PartialStudy, *names: str) -> None:
    """Save accuracy and softness of the `joint` or `regular` teacher for the results."""
    rows = []
    for name in names:
        teacher = partial.trained(f"teacher-{name}")
        logits = teacher_logits(
            teacher, partial.data, partial.config.teacher, folder=partial.out / OUTPUTS, name=name
        )
        seed, temperature = partial.config.seed, partial.config.temperature
        rows.append(partial.teacher_record(name, logits, temperature=temperature, seed=seed))
    partial.save_teachers(rows)


def rank(
    partial: PartialStudy,
    layer: RankedLayer,
    *,
    distance: str = "mse",
    score: str = "increase",
    num_permutations: int | str | None = None,
    samples: int | None = None,
) -> SaliencyResult:
    """Compute and save the saliency of a layer's channels on the training split: step 2 of Algorithm 1.

    The source teacher is ranked against the student that was trained like it: in its pair, or alone.

    Args:
        partial: the folder.
        layer: the layer.
        distance: see `mfh.saliency`.
        score: see `mfh.saliency`.
        num_permutations: see `mfh.training.saliency.dataset_saliency`.
        samples: number of training samples, drawn at random; by default all.

    Raises:
        InputError: nothing is trained yet, or `mfh.saliency` raises it.
    """
    teacher = partial.trained(f"teacher-{layer.source}")
    name = f"student-{layer.source}"
    student = partial.trained(name)
    rows = _sampled_rows(partial, samples)
    example = partial.data.inputs(partial.config.teacher, partial.train[:2], device=partial.device)
    trunk, head = split(teacher, layer.layer, example=example)
    with torch.no_grad():
        num_permutations = permutations_of(head, trunk(example), num_permutations)
    folder = partial.out / OUTPUTS
    student_logits = teacher_logits(
        student, partial.data, partial.config.student, folder=folder, name=name, rows=rows
    )
    generator = torch.Generator().manual_seed(derived_seed(partial.config.seed, "permutations"))
    result = dataset_saliency(
        trunk, head, partial.data, partial.config.teacher, rows, student_logits[rows], distance=distance,
        score=score, num_permutations=num_permutations, generator=generator,
    )  # fmt: skip
    partial.save_saliency(layer, result)
    return result


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


def _sampled_rows(partial: PartialStudy, samples: int | None) -> Tensor:
    if samples is None or samples >= len(partial.train):
        return partial.train
    require(samples >= 2, f"`samples` must be 2 or more. Got {samples}.")
    generator = torch.Generator().manual_seed(derived_seed(partial.config.seed, "saliency samples"))
    return partial.train[torch.randperm(len(partial.train), generator=generator)[:samples]].sort().values
