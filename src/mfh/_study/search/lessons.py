"""The teachers of a search: trained without every two folds of the labels, without every one, and on all."""

from collections.abc import Sequence
from dataclasses import replace

from mfh._study.few.lessons import Lesson, fold_lessons, lone_outputs, make_lesson, without_two
from mfh._study.few.members import Part, train_members
from mfh._study.few.stack import combine
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


def make_lessons(
    task: SeedTask, data: PairedDataset, parts: Sequence[Part], untaught: Recipe, *, focused: bool
) -> tuple[list[Lesson], Ranked]:
    """Train the teachers and return a lesson for each part, and the ranking of the channels by all labels.

    The outputs of a focused teacher are among those of the others, by `Recipe.source`.

    Args:
        task: the fit.
        data: its samples, without hidden labels.
        parts: the folds of the labelled samples, then all of them.
        untaught: the recipe of the network without a teacher, which is a member of the stack.
        focused: whether teachers without some of their channels teach too.
    """
    *folds, complete = parts
    without = without_two(data, folds)
    every = [*folds, *without.values(), complete]
    ranking = replace(task, arms=tuple(FEW_LABELS[name] for name in RANKED) if focused else ())
    found: list[Ranked] = []
    for part, teachers in zip(every, train_members(task, every), strict=True):
        found.append(rank(ranking, teachers, fold=part.name))
        task.progress("saliency", 1)
    names = (BASELINE, *(f"{SELF}-{number}" for number in range(1, COPIES + 1)))
    alone = lone_outputs(
        task, every, names, smoothing=untaught.smoothing, weight_decay=untaught.weight_decay,
        rate=untaught.rate,
    )  # fmt: skip
    equal = dict.fromkeys(names, 1 / len(names))
    outputs = {}
    for part, ranked, mine in zip(every, found, alone, strict=True):
        lone = {BASELINE: mine[BASELINE], SELF: combine(data.task, mine, equal)}
        without_some = {_source(task, key): logits for key, logits in ranked.outputs.focused.items()}
        logits = {**ranked.outputs.logits, **lone, **without_some}
        outputs[part.name] = replace(ranked.outputs, logits=logits, focused={})
    lessons = fold_lessons(task, data, folds, without, outputs)
    lessons.append(make_lesson(task, data, complete, outputs, {fold: fold for fold in folds}))
    return lessons, found[-1]


def _source(task: SeedTask, key: StudentKey) -> str:
    return Recipe(teacher=task.source, focus=key.arm, ratio=key.ratio or 0.0).source
