"""Train one student once more on all samples, with a recipe that was chosen before."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from mfh._checks import listing, require
from mfh._study.few.fit import run_few
from mfh._study.kept import NUM_EXAMPLES, STUDENTS, keep_students
from mfh._study.networks import Networks
from mfh._study.outputs import StudentKey
from mfh._study.ranking import rank
from mfh._study.seed import cross_fit
from mfh._study.students import student_jobs
from mfh._study.task import Progress, SeedTask
from mfh._study.teachers import train_teachers
from mfh.arms import STACK, TEACHERS, Arm
from mfh.config import TrainConfig
from mfh.data.splits import Split
from mfh.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The recipe of a student, chosen on parts of the data.

    Attributes:
        arm: name of its arm.
        ratio: share of channels that its teacher loses; None where nothing is removed.
        loss: its distillation loss; None without a teacher.
        smoothing: share of label smoothing, for an arm that has it.
        epochs: passes over the training samples; ignored with few labels, where the number of steps is fixed.
        teacher_epochs: the same for its teachers.
    """

    arm: str
    ratio: float | None = None
    loss: str | None = None
    smoothing: float | None = None
    epochs: int = 1
    teacher_epochs: int = 1


@dataclass(frozen=True, eq=False)
class Refitted:
    """A student that was trained on all samples.

    Attributes:
        state: its weights.
        tensors: what belongs to it; see `mfh._study.kept`.
        samples: number of its training samples.
        labelled: number of those whose labels it saw.
        steps: number of its training steps.
        teachers: with few labels, the metric of each teacher on labelled samples that it did not see.
        weights: with few labels, the weight of each network in the stack.
        temperature: what its outputs must be divided by to be calibrated; None if that is not known here.
        recipe: after a search, what it learned from, and how; None for the student of a study.
        threshold: after a search, the threshold of the positive class; None if none was asked for.
    """

    state: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    samples: int
    labelled: int
    steps: int
    teachers: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None
    recipe: Recipe | None = None
    threshold: float | None = None


def refit(
    networks: Networks,
    winner: Winner,
    *,
    seed: int = 0,
    labelled: np.ndarray | None = None,
    progress: Progress = lambda _stage, _count: None,
) -> Refitted:
    """Train a student and its teachers on all samples, for a fixed number of steps.

    No sample is held out, so nothing is chosen: the last weights are kept, and the student's performance is
    that of students with the same recipe on parts of the data.

    Args:
        networks: data, networks and options.
        winner: the recipe.
        seed: fixes initial weights and batches.
        labelled: where labels are missing or hidden, the rows whose labels are used; by default all that the
            data have.
        progress: is told what has been done.

    Raises:
        InputError: the arm does not exist, or the schedule is `step`, which counts epochs.
    """
    arms = _arms(networks, winner.arm)
    data = networks.data
    rows = np.arange(len(data))
    seen = np.flatnonzero(networks.present["student"])
    if networks.few_labels:
        known = np.flatnonzero(data.labelled) if labelled is None else np.asarray(labelled)
        pool = np.union1d(np.flatnonzero(networks.present["both"]), known)
        split = Split(pool, rows[:0], np.intersect1d(known, seen), labelled=known)
        return _refit_few(networks, winner, arms, split, seed, progress)
    require_steps(networks.config)
    split = Split(rows, rows, seen[:NUM_EXAMPLES])
    taught = next((name for arm in arms if (name := arm.teacher_name(networks.config.teacher_source))), "")
    trained = {"teachers": TEACHERS[taught].trained_on if taught else "student", "student": "student"}
    epochs = {"teachers": winner.teacher_epochs, "student": winner.epochs}
    count = {
        stage: epochs[stage] * math.ceil(int(networks.present[side].sum()) / networks.config.batch_size)
        for stage, side in trained.items()
    }
    tasks = {
        stage: _task(_with_options(networks, winner, steps=steps), arms, split, seed, progress)
        for stage, steps in count.items()
    }
    task = tasks["teachers"]
    teachers = train_teachers(task, task.train)
    ranked = rank(task, teachers)
    if task.config.teacher_outputs == "cross-fit":
        ranked = replace(ranked, outputs=cross_fit(task, ranked.outputs))
    task = tasks["student"]
    smoothed = 0 if winner.smoothing is not None else None
    key = StudentKey(winner.arm, winner.ratio, smoothed, winner.loss)
    jobs = student_jobs(task, teachers.data, ranked)
    key = key if key in jobs else replace(key, draw=0)  # of random channels the first draw
    require(
        key in jobs,
        f"`winner` must be a student of the study: {listing(k.words for k in jobs)}. Got {key.words}.",
    )
    (fit,) = task.train_side_by_side({key.name: jobs[key]}, "students")
    tensors = keep_students(task, {key: fit}, lambda _: 0.0)
    return Refitted(fit.state, tensors, len(seen), len(seen), count["student"])


def require_steps(config: TrainConfig) -> None:
    """Check that networks can be trained for a fixed number of steps.

    Raises:
        InputError: the schedule is `step`, which counts epochs.
    """
    require(
        config.schedule != "step",
        "`schedule` must be constant, cosine or linear to train once more on all samples: the schedule step "
        "counts epochs, and the number of steps is fixed here. Got 'step': leave out `refit`, or repeat the "
        "run with another schedule.",
    )


def _refit_few(
    networks: Networks, winner: Winner, arms: tuple[Arm, ...], split: Split, seed: int, progress: Progress
) -> Refitted:
    """Train teachers and student on all pairs; the stack, smoothing and weight decay come from the labels."""
    task = _task(_with_options(networks, winner), arms, split, seed, progress)
    result = run_few(task)
    tensors = result.weights[STUDENTS]
    name = StudentKey(winner.arm, winner.ratio, 0 if _is_drawn(arms, winner.arm) else None, winner.loss).name
    prefix = f"students/{name}/"
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    steps = task.training.steps or 0
    weights = next((choice.weights for choice in result.chosen if choice.arm == STACK), None)
    return Refitted(
        state,
        tensors,
        len(task.having(task.train, "student")),
        len(task.having(task.labelled, "student")),
        steps,
        {record.teacher: record.validation for record in result.teachers},
        weights or {},
        next(r.temperature for r in result.records if (r.arm, r.ratio) == (winner.arm, winner.ratio)),
    )


def _arms(networks: Networks, name: str) -> tuple[Arm, ...]:
    """Return an arm, and the one whose entropy it has."""
    arms = {arm.name: arm for arm in networks.arms}
    require(name in arms, f"`arm` must be one of the arms of the study, {listing(arms)}. Got {name!r}.")
    like = arms[name].like
    return tuple(arm for arm in networks.arms if arm.name in (name, like))


def _is_drawn(arms: tuple[Arm, ...], name: str) -> bool:
    return any(arm.name == name and arm.is_drawn for arm in arms)


def _with_options(networks: Networks, winner: Winner, *, steps: int | None = None) -> Networks:
    """Return the networks of a study with the options of the winner alone."""
    config = networks.config
    config = replace(
        config,
        ratio=config.ratio if winner.ratio is None else (winner.ratio,),
        losses=config.losses if winner.loss is None else (winner.loss,),
        smoothing=(winner.smoothing,) if winner.smoothing else config.smoothing,
        random_draws=1,
        steps=config.steps or steps,
        patience=0,
        tracker=(),
    )
    return Networks(networks.data, config, networks.teacher, networks.student)


def _task(networks: Networks, arms: tuple[Arm, ...], split: Split, seed: int, progress: Progress) -> SeedTask:
    return SeedTask(
        networks=networks,
        seed=seed,
        split=split,
        threads=torch.get_num_threads(),
        progress=progress,
        arms=arms,
    )
