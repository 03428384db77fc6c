"""The steps of an experiment: Algorithm 1's pair, networks trained alone, the ranking, the students."""

import torch
from torch import Tensor

from mfh._checks import require
from mfh._focus import split
from mfh._saliency import SaliencyResult
from mfh._study.task import derived_seed
from mfh._system.signals import defer_signals
from mfh.experiments._steps.recipe import Site
from mfh.experiments._steps.run import Run
from mfh.experiments._steps.students import OUTPUTS, fit_alone, require_fits, train_student
from mfh.experiments.modes import FOCUSED, arm_of
from mfh.training.loop import fit
from mfh.training.objectives import Distill, Pair, joint
from mfh.training.saliency import dataset_saliency, permutations_of
from mfh.training.teacher_outputs import teacher_logits


def train_pair(run: Run, progress: bool) -> None:
    """Algorithm 1's step 1, unless it is done; its last epoch is kept, as released."""
    if all(run.has(name) for name in ("teacher-joint", "student-joint")):
        return
    config, seed = run.config, run.config.seed
    pair = Pair(run.network("teacher", "teacher"), run.network("student", "joint student"))
    require_fits(run, pair.teacher, config.teacher)
    require_fits(run, pair.student, config.student)
    fit(
        pair,
        run.data,
        joint,
        modalities=(config.teacher, config.student),
        train=run.train,
        config=run.train_config(config.teacher, config.student),
        seed=derived_seed(seed, "batches"),
        checkpoint=run.training("joint"),
        save_end=False,
        progress=progress,
    )
    with defer_signals():
        run.save_weights("teacher-joint", pair.teacher)
        run.save_weights("student-joint", pair.student)
    run.drop_training("joint")


def train_alone(run: Run, side: str, progress: bool) -> None:
    """A regular teacher, or a student without KD, unless it is done; the best epoch is kept."""
    name = f"{side}-regular"
    if run.has(name):
        return
    modality = run.config.teacher if side == "teacher" else run.config.student
    model = run.network(side, side)
    fit_alone(run, name, model, modality, Distill(), run.config.seed, progress)
    with defer_signals():
        run.save_weights(name, model)
    run.drop_training(name)


def describe_teachers(run: Run, *names: str) -> None:
    """Accuracy and softness of the `joint` or `regular` teacher, for the results."""
    rows = []
    for name in names:
        teacher = run.trained(f"teacher-{name}")
        logits = teacher_logits(teacher, run.data, run.config.teacher, folder=run.out / OUTPUTS, name=name)
        seed, temperature = run.config.seed, run.config.temperature
        rows.append(run.teacher_record(name, logits, temperature=temperature, seed=seed))
    run.save_teachers(rows)


def rank(
    run: Run,
    site: Site,
    *,
    distance: str = "mse",
    score: str = "increase",
    num_permutations: int | str | None = None,
    samples: int | None = None,
) -> SaliencyResult:
    """Algorithm 1's step 2 on the training split: writes and returns the saliency of a site's channels.

    The teacher of the site's source is ranked against the student trained like it: in one pair, or alone.

    Args:
        run: the folder.
        site: which channels.
        distance: see `mfh.saliency`.
        score: see `mfh.saliency`.
        num_permutations: see `mfh.training.saliency.dataset_saliency`.
        samples: how many training samples, drawn at random; by default all.

    Raises:
        InputError: nothing is trained yet, or `mfh.saliency` refuses.
    """
    teacher = run.trained(f"teacher-{site.source}")
    name = f"student-{site.source}"
    student = run.trained(name)
    rows = _sampled_rows(run, samples)
    example = run.data.inputs(run.config.teacher, run.train[:2], device=run.device)
    trunk, head = split(teacher, site.layer, example=example)
    with torch.no_grad():
        num_permutations = permutations_of(head, trunk(example), num_permutations)
    folder = run.out / OUTPUTS
    answers = teacher_logits(student, run.data, run.config.student, folder=folder, name=name, rows=rows)
    generator = torch.Generator().manual_seed(derived_seed(run.config.seed, "permutations"))
    result = dataset_saliency(
        trunk, head, run.data, run.config.teacher, rows, answers[rows], distance=distance, score=score,
        num_permutations=num_permutations, generator=generator,
    )  # fmt: skip
    run.save_saliency(site, result)
    return result


def distill(
    run: Run, site: Site, *, mode: str | int, ratio: float, seeds: int, progress: bool = False
) -> None:
    """Fresh students on what a mode's teacher answers, one per seed, unless they are finished.

    Raises:
        InputError: an option breaks a rule, a step is missing, or the folder's other students learn in
            another way.
    """
    arm = arm_of(mode)
    require_options(ratio, seeds)
    for seed in range(run.config.seed, run.config.seed + seeds):
        train_student(run, arm, ratio if arm in FOCUSED else None, seed, site, progress)


def require_options(ratio: float, seeds: int) -> None:
    """Refuse a ratio or a number of seeds that cannot be."""
    require(seeds >= 1, f"`seeds` must be 1 or more. Got {seeds}.")
    require(0 <= ratio < 1, f"`ratio` must lie in [0, 1). Got {ratio}: removing all leaves nothing to teach.")


def _sampled_rows(run: Run, samples: int | None) -> Tensor:
    if samples is None or samples >= len(run.train):
        return run.train
    require(samples >= 2, f"`samples` must be 2 or more. Got {samples}.")
    generator = torch.Generator().manual_seed(derived_seed(run.config.seed, "saliency samples"))
    return run.train[torch.randperm(len(run.train), generator=generator)[:samples]].sort().values
