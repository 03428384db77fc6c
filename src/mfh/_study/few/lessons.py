"""What students learn from when a fold of the labels is held out: outputs of teachers that did not see it.

For every fold k, and once for all labels, each teacher has outputs for all pairs. Those of a labelled sample
come from a teacher that saw neither this sample's fold nor fold k; so for every two folds there is a set of
teachers that saw neither. Those of an unlabelled pair come from the teachers that saw all but fold k.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from mfh._checks import require
from mfh._study.few.budget import members
from mfh._study.few.members import Part, lone_job
from mfh._study.few.stack import combine, fit_weights
from mfh._study.outputs import TeacherOutputs
from mfh._study.task import SeedTask
from mfh._study.teachers import trained
from mfh.arms import BASELINE, STACK
from mfh.data.paired import PairedDataset
from mfh.training.weights import row_weights

LEAST_FOLDS = 3
"""Folds of the labelled samples that there must be, if teachers are trained without two of them."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What students learn from where one part of the labels is held out.

    Attributes:
        part: the labels that are seen and those that are held out.
        train: rows that students train on: none of the held-out samples, or of their groups.
        outputs: of each teacher and of the stack, for every sample.
        weights: of the networks in the stack.
    """

    part: Part
    train: Tensor
    outputs: TeacherOutputs
    weights: Mapping[str, float]


def require_folds(task: SeedTask, parts: Sequence[Part]) -> None:
    """Check that teachers can be trained without two folds.

    Args:
        task: the fit.
        parts: the folds of the labelled samples, then all of them.

    Raises:
        InputError: there are fewer than three folds.
    """
    folds = len(parts) - 1
    require(
        folds >= LEAST_FOLDS,
        "Teachers are trained without two folds of the labelled samples, so `label_folds` must be 3 or more, "
        "and `data` must have three labelled samples or more outside each test fold. Got "
        f"{folds} folds in {task.words}: give more labels, or more folds.",
    )


def without_two(data: PairedDataset, folds: Sequence[Part]) -> dict[frozenset[int], Part]:
    """Return the labelled samples of all folds but two, by the numbers of these two."""
    found = {}
    for pair in combinations(range(len(folds)), 2):
        first, second = (folds[number] for number in pair)
        held = np.sort(np.concatenate([first.held_out.numpy(), second.held_out.numpy()]))
        kept = torch.from_numpy(np.setdiff1d(first.labelled.numpy(), held))
        name = f" folds {pair[0]} {pair[1]}"
        found[frozenset(pair)] = Part(name, data.without_labels(held), kept, torch.from_numpy(held))
    return found


def lone_outputs(
    task: SeedTask,
    parts: Sequence[Part],
    names: Sequence[str],
    *,
    smoothing: float,
    weight_decay: float,
    rate: float = 1.0,
) -> list[dict[str, Tensor]]:
    """Train networks without a teacher on each part; return for each part their outputs for every sample.

    Args:
        task: the fit.
        parts: the labels to train on.
        names: of the networks; see `lone_job`.
        smoothing: label smoothing.
        weight_decay: the weight decay.
        rate: factor of the learning rate.
    """
    jobs = {
        name + part.name: lone_job(
            task, part, name, smoothing=smoothing, weight_decay=weight_decay, rate=rate
        )
        for part in parts
        for name in names
    }
    fits = task.train_side_by_side(jobs, "teachers")
    logits = {
        name: task.predict(trained(job, fit).to(task.device), job.data, "student")
        for (name, job), fit in zip(jobs.items(), fits, strict=True)
    }
    return [{name: logits[name + part.name] for name in names} for part in parts]


def fold_lessons(
    task: SeedTask,
    data: PairedDataset,
    folds: Sequence[Part],
    without: Mapping[frozenset[int], Part],
    outputs: Mapping[str, TeacherOutputs],
) -> list[Lesson]:
    """Return the lesson of each fold.

    Args:
        task: the fit.
        data: its samples, without hidden labels.
        folds: of the labelled samples.
        without: see `without_two`.
        outputs: of the teachers of each part, by its name; those of `no-kd` included.
    """
    return [
        make_lesson(
            task,
            data,
            part,
            outputs,
            {fold: without[frozenset((number, k))] for k, fold in enumerate(folds) if k != number},
        )
        for number, part in enumerate(folds)
    ]


def make_lesson(
    task: SeedTask,
    data: PairedDataset,
    part: Part,
    outputs: Mapping[str, TeacherOutputs],
    others: Mapping[Part, Part],
) -> Lesson:
    """Put together the outputs for one part.

    Args:
        task: the fit.
        data: its samples, without hidden labels.
        part: the part that is held out.
        outputs: see `fold_lessons`.
        others: another fold -> the part whose teachers saw neither that fold nor this part.
    """
    mine = outputs[part.name]
    for fold, unseen in others.items():
        mine = mine.with_rows_of(outputs[unseen.name], fold.held_out)
    weights = add_stack(task, data, part.labelled, mine)
    return Lesson(part, training_rows(task, part), mine, weights)


def add_stack(
    task: SeedTask, data: PairedDataset, labelled: Tensor, outputs: TeacherOutputs
) -> dict[str, float]:
    """Add the stack to the outputs of its members, which are out-of-fold for labelled samples.

    Args:
        task: the fit.
        data: its samples.
        labelled: rows whose labels the weights are fitted to.
        outputs: of the members.

    Returns:
        The weight of each member.
    """
    rows, known = task.having(labelled, "both"), members(task.networks)
    held_out = {name: logits[rows] for name, logits in outputs.logits.items() if name in known}
    weights = fit_weights(data.task, held_out, data.label[rows], BASELINE, row_weights(data, rows))
    outputs.logits[STACK] = combine(data.task, outputs.logits, weights)
    return weights


def training_rows(task: SeedTask, part: Part) -> Tensor:
    """Return the rows that a student may train on: none of the held-out samples, or of their groups."""
    if not part.name:
        return task.having(task.train, "student")
    train, group = task.split.train, task.networks.data.group
    held = part.held_out.numpy()
    keep = ~np.isin(train, held)
    if group is not None:
        shared = np.intersect1d(group[held], group[part.labelled.numpy()])  # a group that folds had to divide
        keep &= ~np.isin(group[train], np.setdiff1d(group[held], shared))
    return task.having(torch.from_numpy(train[keep]), "student")
