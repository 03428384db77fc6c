"""Out-of-fold outputs of the students themselves, which their temperatures are fitted to.

No labelled sample serves validation alone, so no student has outputs for labelled samples that it did not
see. But a student of the same arm has that was trained without a fold of the labels: its targets come from
teachers that did not see this fold, and it trains on none of the fold's samples (see `lessons`).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mfh._study.few.lessons import Lesson, fold_lessons, lone_outputs, without_two
from mfh._study.few.members import Part, Tuned, predict_rows, train_members
from mfh._study.few.stack import combine
from mfh._study.few.students import make_targets, train_taught
from mfh._study.outputs import StudentKey, TeacherOutputs
from mfh._study.ranking import rank
from mfh._study.task import SeedTask
from mfh._study.teachers import trained
from mfh.arms import BASELINE
from mfh.data.paired import PairedDataset
from mfh.training.scores import HeldOut


def lessons_by_fold(
    task: SeedTask,
    parts: Sequence[Part],
    by_fold: Sequence[TeacherOutputs],
    tuned: Tuned,
    copies: Sequence[str],
) -> list[Lesson]:
    """Train teachers without every two folds, and return what students learn from without each fold.

    Args:
        task: the fit.
        parts: the folds of the labelled samples, then all of them.
        by_fold: outputs of the teachers that were trained without each fold; empty if no arm needs them.
        tuned: the networks without a teacher.
        copies: names of the further networks of `self`.
    """
    *folds, complete = parts
    kind, without = complete.data.task, without_two(complete.data, folds)
    outputs: dict[str, TeacherOutputs] = {}
    nothing = TeacherOutputs(task.config.temperature, {}, task=kind)
    choice = {"smoothing": tuned.smoothing, "weight_decay": tuned.weight_decay}
    further = lone_outputs(task, folds, copies, **choice)
    for number, fold in enumerate(folds):
        lone = {BASELINE: tuned.by_fold[number], **further[number]}
        product = combine(kind, lone, dict.fromkeys(lone, 1 / len(lone)))
        theirs = by_fold[number] if by_fold else nothing
        outputs[fold.name] = _with_lone(theirs, lone[BASELINE], product)
    twice = list(without.values())
    alone = lone_outputs(task, twice, (BASELINE,), **choice)
    teachers = train_members(task, twice) if by_fold else []
    for number, part in enumerate(twice):
        theirs = nothing
        if teachers:
            theirs = rank(task, teachers[number], fold=part.name).outputs
            task.progress("saliency", 1)
        outputs[part.name] = _with_lone(theirs, *2 * [alone[number][BASELINE]])
    return fold_lessons(task, complete.data, folds, without, outputs)


def _with_lone(outputs: TeacherOutputs, single: Tensor, product: Tensor) -> TeacherOutputs:
    """Return outputs with those of `no-kd` and of `self`."""
    return replace(outputs, logits={**outputs.logits, BASELINE: single, "self": product})


def own_outputs(
    task: SeedTask, truth: PairedDataset, lessons: Sequence[Lesson], tuned: Tuned
) -> dict[StudentKey, HeldOut]:
    """Return the outputs of each student's like for the labelled samples that these did not see.

    Args:
        task: the fit.
        truth: the samples, with all labels that are known.
        lessons: of each fold; empty if there is no arm but `no-kd`.
        tuned: the networks without a teacher.
    """
    found: dict[StudentKey, list[HeldOut]] = {StudentKey(BASELINE): [tuned.held_out]}
    for lesson in lessons:
        rows = task.having(lesson.part.held_out, "student")
        targets = make_targets(task, lesson)
        for key, (job, fit) in train_taught(task, lesson, truth, targets, tuned).items():
            outputs = predict_rows(task, trained(job, fit), lesson.part.data, rows)
            found.setdefault(key, []).append(HeldOut(rows, outputs))
    return {key: _joined(parts) for key, parts in found.items()}


def _joined(parts: Sequence[HeldOut]) -> HeldOut:
    """Return outputs for several sets of samples as one, by ascending row."""
    rows = torch.cat([part.rows for part in parts])
    order = torch.argsort(rows)
    return HeldOut(rows[order], torch.cat([part.outputs for part in parts])[order])
