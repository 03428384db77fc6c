"""What students learn from when a fold of the labels is held out: outputs of teachers that did not see it.

For every fold k, and once for all labels, each teacher has outputs for all pairs. Those of a labelled sample
come from a teacher that saw neither this sample's fold nor fold k; so for every two folds there is a set of
teachers that saw neither. Those of an unlabelled pair come from the teachers that saw all but fold k.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from mfh._study.few.budget import members
from mfh._study.few.members import Part, labelled_job, train_members
from mfh._study.few.stack import combine, fit_weights
from mfh._study.given import recipe_name
from mfh._study.outputs import StudentKey, TeacherOutputs
from mfh._study.parts import Ranked
from mfh._study.ranking import rank
from mfh._study.task import SeedTask
from mfh._study.teachers import trained
from mfh.arms import BASELINE, FEW_LABELS, STACK
from mfh.data.paired import PairedDataset
from mfh.recipe import RANKED, Recipe
from mfh.training.weights import row_weights

SELF = "self"
COPIES = 2
"""Further networks of `self`, beside `no-kd`."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What students learn from where one part of the labels is held out.

    Attributes:
        part: the labels that are seen and those that are held out.
        train: rows of the pairs to train on: none of the held-out samples, or of their groups.
        logits: outputs of each teacher for every sample, by `Recipe.source`.
        weights: of the networks in the stack.
    """

    part: Part
    train: Tensor
    logits: Mapping[str, Tensor]
    weights: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Teachers of every part of the labels, all but the networks without a teacher.

    Attributes:
        folds: the folds of the labelled samples.
        without: numbers of two folds -> the labelled samples of all others.
        complete: all labelled samples.
        ranked: outputs of the teachers of each part, with their channels ranked, by its name.
    """

    folds: Sequence[Part]
    without: Mapping[frozenset[int], Part]
    complete: Part
    ranked: Mapping[str, Ranked]

    @property
    def parts(self) -> list[Part]:
        """All parts of the labels."""
        return [*self.folds, *self.without.values(), self.complete]


def prepare_teachers(
    task: SeedTask, data: PairedDataset, parts: Sequence[Part], *, focused: bool
) -> Prepared:
    """Train the teachers that do not depend on the untaught recipe, and rank their channels.

    Args:
        task: the fit.
        data: its samples, without hidden labels.
        parts: the folds of the labelled samples, then all of them.
        focused: whether teachers without some of their channels teach too.
    """
    *folds, complete = parts
    pairs = combinations(range(len(folds)), 2)
    without = {frozenset(pair): _without(data, task.labelled, folds, pair) for pair in pairs}
    every = [*folds, *without.values(), complete]
    ranking = replace(task, arms=tuple(FEW_LABELS[name] for name in RANKED) if focused else ())
    found: dict[str, Ranked] = {}
    for part, teachers in zip(every, train_members(task, every), strict=True):
        found[part.name] = rank(ranking, teachers, fold=part.name)
        task.progress("saliency", 1)
    return Prepared(folds, without, complete, found)


def make_lessons(task: SeedTask, data: PairedDataset, prepared: Prepared, untaught: Recipe) -> list[Lesson]:
    """Train the networks without a teacher, and return a lesson for each fold and for all labels.

    Args:
        task: the fit.
        data: its samples, without hidden labels.
        prepared: the other teachers.
        untaught: the recipe of the network without a teacher, which is a member of the stack.
    """
    folds, without, complete = prepared.folds, prepared.without, prepared.complete
    outputs = {}
    for part, mine in zip(prepared.parts, _alone(task, prepared.parts, untaught), strict=True):
        theirs = prepared.ranked[part.name].outputs
        outputs[part.name] = replace(theirs, logits={**theirs.logits, **mine})
    lessons = []
    for number, part in enumerate(folds):
        others = {fold: without[frozenset((number, k))] for k, fold in enumerate(folds) if k != number}
        lessons.append(_lesson(task, data, part, outputs, others))
    lessons.append(_lesson(task, data, complete, outputs, {fold: fold for fold in folds}))
    return lessons


def training_rows(task: SeedTask, part: Part) -> Tensor:
    """Return the pairs that a student may train on: none of the held-out samples, or of their groups."""
    if not part.name:
        return task.having(task.train, "student")
    train, group = task.split.train, task.networks.data.group
    held = part.held_out.numpy()
    keep = ~np.isin(train, held)
    if group is not None:
        shared = np.intersect1d(group[held], group[part.labelled.numpy()])  # a group that folds had to divide
        keep &= ~np.isin(group[train], np.setdiff1d(group[held], shared))
    return task.having(torch.from_numpy(train[keep]), "student")


def _without(data: PairedDataset, labelled: Tensor, folds: Sequence[Part], numbers: tuple[int, int]) -> Part:
    """Return the labelled samples of all folds but two."""
    rows = labelled.numpy()
    held = np.sort(np.concatenate([folds[number].held_out.numpy() for number in numbers]))
    kept = np.setdiff1d(rows, held)
    name = f" folds {numbers[0]} {numbers[1]}"
    return Part(name, data.without_labels(held), torch.from_numpy(kept), torch.from_numpy(held))


def _alone(task: SeedTask, parts: Sequence[Part], recipe: Recipe) -> list[dict[str, Tensor]]:
    """Return for each part the outputs of the untaught network and of `self`, for every sample."""
    jobs = {}
    for part in parts:
        for number in range(COPIES + 1):
            role = f"self-{number}" if number else "student"
            jobs[f"{role}{part.name}"] = labelled_job(
                task, part, task.networks.build_student, "student", role + part.name,
                smoothing=recipe.smoothing, weight_decay=recipe.weight_decay, rate=recipe.rate,
                role=role + part.name, batches=f"self-{number}" if number else "batches",
            )  # fmt: skip
    fits = task.train_side_by_side(jobs, "teachers")
    logits = {
        name: task.predict(trained(job, fit).to(task.device), job.data, "student")
        for (name, job), fit in zip(jobs.items(), fits, strict=True)
    }
    found = []
    for part in parts:
        mine = {str(n): logits[f"{f'self-{n}' if n else 'student'}{part.name}"] for n in range(COPIES + 1)}
        equal = dict.fromkeys(mine, 1 / len(mine))
        found.append({BASELINE: mine["0"], SELF: combine(task.networks.data.task, mine, equal)})
    return found


def _lesson(
    task: SeedTask,
    data: PairedDataset,
    part: Part,
    outputs: Mapping[str, TeacherOutputs],
    others: Mapping[Part, Part],
) -> Lesson:
    """Put together the outputs for one part.

    Args:
        task: the fit.
        data: its samples.
        part: the part that is held out.
        outputs: of the teachers of each part, by its name.
        others: another fold -> the part whose teachers saw neither that fold nor this part.
    """
    mine = outputs[part.name]
    for fold, unseen in others.items():
        mine = mine.with_rows_of(outputs[unseen.name], fold.held_out)
    kind, rows = data.task, task.having(part.labelled, "both")
    known = members(task.networks)
    held_out = {name: logits[rows] for name, logits in mine.logits.items() if name in known}
    weights = fit_weights(kind, held_out, data.label[rows], BASELINE, row_weights(data, rows))
    stack = combine(kind, mine.logits, weights)
    focused = {_source(task, key): logits for key, logits in mine.focused.items()}
    named = {recipe_name(task.config, name): logits for name, logits in mine.logits.items()}
    weights = {recipe_name(task.config, name): weight for name, weight in weights.items()}
    return Lesson(part, training_rows(task, part), {**named, **focused, STACK: stack}, weights)


def _source(task: SeedTask, key: StudentKey) -> str:
    teacher = recipe_name(task.config, task.source)
    return Recipe(teacher=teacher, focus=key.arm, ratio=key.ratio or 0.0).source
