"""The teachers of a search: trained without every two folds of the labels, without every one, and on all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mfh._study.few.lessons import Lesson, fold_lessons, lone_outputs, make_lesson, without_two
from mfh._study.few.members import Part, train_members
from mfh._study.few.stack import combine
from mfh._study.given import recipe_name
from mfh._study.outputs import StudentKey
from mfh._study.parts import Ranked
from mfh._study.ranking import rank
from mfh._study.task import SeedTask
from mfh.arms import BASELINE, FEW_LABELS
from mfh.data.paired import PairedDataset
from mfh.recipe import RANKED, Recipe

SELF = "self"
COPIES = 2
"""Further networks of `self`, beside `no-kd`."""


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

    The outputs of a focused teacher are among those of the others, by `Recipe.source`.

    Args:
        task: the fit.
        data: its samples, without hidden labels.
        parts: the folds of the labelled samples, then all of them.
        focused: whether teachers without some of their channels teach too.
    """
    *folds, complete = parts
    without = without_two(data, folds)
    every = [*folds, *without.values(), complete]
    ranking = replace(task, arms=tuple(FEW_LABELS[name] for name in RANKED) if focused else ())
    found: dict[str, Ranked] = {}
    for part, teachers in zip(every, train_members(task, every), strict=True):
        found[part.name] = rank(ranking, teachers, fold=part.name)
        task.progress("saliency", 1)
    return Prepared(folds, without, complete, found)


def make_lessons(task: SeedTask, data: PairedDataset, prepared: Prepared, untaught: Recipe) -> list[Lesson]:
    """Train the networks without a teacher, and return a lesson for each fold and for all labels.

    The outputs of a focused teacher are among those of the others, by `Recipe.source`.

    Args:
        task: the fit.
        data: its samples, without hidden labels.
        prepared: the other teachers.
        untaught: the recipe of the network without a teacher, which is a member of the stack.
    """
    names = (BASELINE, *(f"{SELF}-{number}" for number in range(1, COPIES + 1)))
    alone = lone_outputs(
        task, prepared.parts, names, smoothing=untaught.smoothing, weight_decay=untaught.weight_decay,
        rate=untaught.rate,
    )  # fmt: skip
    equal = dict.fromkeys(names, 1 / len(names))
    outputs = {}
    for part, mine in zip(prepared.parts, alone, strict=True):
        theirs = prepared.ranked[part.name].outputs
        lone = {BASELINE: mine[BASELINE], SELF: combine(data.task, mine, equal)}
        without_some = {_source(task, key): logits for key, logits in theirs.focused.items()}
        logits = {**theirs.logits, **lone, **without_some}
        outputs[part.name] = replace(theirs, logits=logits, focused={})
    folds = prepared.folds
    lessons = fold_lessons(task, data, folds, prepared.without, outputs)
    lessons.append(make_lesson(task, data, prepared.complete, outputs, {fold: fold for fold in folds}))
    return [_named(task, lesson) for lesson in lessons]


def _named(task: SeedTask, lesson: Lesson) -> Lesson:
    """Return a lesson with the names that recipes have for teachers."""
    logits = {recipe_name(task.config, name): values for name, values in lesson.outputs.logits.items()}
    weights = {recipe_name(task.config, name): weight for name, weight in lesson.weights.items()}
    return replace(lesson, outputs=replace(lesson.outputs, logits=logits), weights=weights)


def _source(task: SeedTask, key: StudentKey) -> str:
    teacher = recipe_name(task.config, task.source)
    return Recipe(teacher=teacher, focus=key.arm, ratio=key.ratio or 0.0).source
