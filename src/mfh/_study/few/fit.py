"""One fit with few labels: the members of the stack, their out-of-fold outputs, and the students."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mfh._study.few.budget import Budget, members
from mfh._study.few.lessons import Lesson, add_stack, require_folds, training_rows
from mfh._study.few.members import Part, Tuned, divide_labelled, train_members, tune
from mfh._study.few.own import lessons_by_fold, own_outputs
from mfh._study.few.stack import RIDGE, combine
from mfh._study.few.students import make_targets, train_taught
from mfh._study.kept import STUDENTS, keep_students
from mfh._study.networks import Networks, label_scale
from mfh._study.outcome import SeedResult
from mfh._study.outputs import StudentKey, TeacherOutputs
from mfh._study.parts import Ranked
from mfh._study.ranking import rank
from mfh._study.students import evaluate
from mfh._study.task import SeedTask, Timer, side_of, teachers_needed
from mfh._study.teachers import Teachers, named_focused, teacher_records
from mfh.arms import BASELINE, STACK
from mfh.data.paired import PairedDataset
from mfh.results import Choice
from mfh.training.scores import HeldOut


@dataclass(frozen=True, eq=False)
class Taught:
    """What the students of a fit learn from.

    Attributes:
        ranked: the ranked channels.
        lesson: outputs of all teachers for every sample, out-of-fold for labelled ones.
        full: outputs of the teachers trained on all labels, for every sample.
        tuned: the networks without a teacher.
        by_fold: where students are calibrated, outputs of the teachers that were trained without each fold.
    """

    ranked: Ranked
    lesson: Lesson
    full: Mapping[str, Tensor]
    tuned: Tuned
    by_fold: Sequence[TeacherOutputs]


def run_few(task: SeedTask) -> SeedResult:
    """Train the teachers on the labels of a fit, stack them, and train students on all of its pairs."""
    timer, networks = Timer(), task.networks
    data, truth = visible_data(task)
    parts = divide_labelled(task, data)
    twice = _learns_twice(networks)
    if twice:
        require_folds(task, parts)
    stacked, copies = _asked(networks)
    teachers = train_members(task, parts) if stacked else []
    tuned = tune(task, parts, copies)
    timer.lap("teachers")
    taught = _stack(task, parts, teachers, tuned)
    timer.lap("saliency")
    targets = make_targets(task, taught.lesson)
    done = train_taught(task, taught.lesson, truth, targets, tuned)
    fits = {key: fit for key, (_, fit) in done.items()}
    fits = {StudentKey(BASELINE): tuned.fit, **fits} if _has(task, BASELINE) else fits
    timer.lap("students")
    lessons = lessons_by_fold(task, parts, taught.by_fold, tuned, copies) if twice else []
    timer.lap("teachers")
    own = own_outputs(task, truth, lessons, tuned) if task.budget.calibrates else None
    held_out = {key: _held_out(task, key, targets, taught) for key in fits}
    students = evaluate(task, truth, fits, held_out, own=own, ridge=RIDGE)
    timer.lap("students")
    merits = dict(zip(fits, (task.metric.merit(s.record.validation or 0.0) for s in students), strict=True))
    return SeedResult(
        seed=task.seed,
        split=task.split,
        students=students,
        teachers=teacher_records(task, truth, *_of_teachers(taught)),
        channels=taught.ranked.channels,
        overlap=taught.ranked.overlap,
        timings=timer.seconds,
        weights={
            **(teachers[-1].weights() if teachers else {}),
            STUDENTS: keep_students(task, fits, merits.__getitem__),
        },
        chosen=(
            Choice(BASELINE, task.seed, smoothing=tuned.smoothing, weight_decay=tuned.weight_decay),
            Choice(STACK, task.seed, weights=dict(taught.lesson.weights)),
        ),
        layer=taught.ranked.layer,
        repeat=task.place[0],
        fold=task.place[1],
        out_of_fold={} if own is None else _arrays([own[key] for key in fits]),
    )


def _arrays(own: Sequence[HeldOut]) -> dict[str, np.ndarray]:
    """Return out-of-fold outputs of students as they are kept; see `SeedResult`."""
    return {"rows": own[0].rows.numpy(), "outputs": torch.stack([one.outputs for one in own]).numpy()}


def visible_data(task: SeedTask) -> tuple[PairedDataset, PairedDataset]:
    """Return the samples as the networks of a fit see them: without the labels it hides, and with all."""
    networks, rows = task.networks, np.arange(len(task.networks.data))
    visible = networks.data.without_labels(np.setdiff1d(rows, task.split.learnt))
    data = networks.prepared(task.train, visible)
    return data, replace(data, label=label_scale(visible, task.labelled)(networks.data.label))


def units_per_fit(networks: Networks) -> dict[str, int]:
    """Return the work of each stage of one fit: networks to train, or rankings of channels."""
    config, budget = networks.config, Budget.of(networks)
    parts, tried = budget.folds + 1, len(budget.trials)
    stacked, copies = _asked(networks)
    students = sum(
        arm.count(len(config.ratio), config.random_draws, 0)
        * (1 if arm.hidden_labels else len(networks.losses))
        for arm in networks.arms
        if arm.name != BASELINE
    )
    once = {
        "teachers": budget.teachers * parts * stacked + tried * (parts - 1) + 1 + len(copies),
        "saliency": parts * stacked,
        "students": students,
    }
    if not _learns_twice(networks):
        return once
    more = {
        "teachers": (budget.teachers * stacked + 1) * budget.pairs + len(copies) * budget.folds,
        "saliency": budget.pairs * stacked,
        "students": students * budget.folds,
    }
    return {stage: count + more[stage] for stage, count in once.items()}


def _asked(networks: Networks) -> tuple[bool, tuple[str, ...]]:
    """Return whether an arm needs the teachers, and the names of the networks of `self` beside `no-kd`."""
    needed = set(teachers_needed(networks.arms, networks.config.teacher_source))
    copies = len(members(networks)) - 1 if "self" in needed else 0
    return bool(needed - {"self"}), tuple(f"self-{number}" for number in range(copies))


def _learns_twice(networks: Networks) -> bool:
    """Return whether students are trained without each fold too; `no-kd` always is, to be tuned."""
    return Budget.of(networks).calibrates and any(arm.name != BASELINE for arm in networks.arms)


def _has(task: SeedTask, name: str) -> bool:
    return any(arm.name == name for arm in task.arms)


def _stack(task: SeedTask, parts: list[Part], trained: list[Teachers], tuned: Tuned) -> Taught:
    """Return the outputs of all teachers and of their stack; those of labelled samples are out-of-fold."""
    kind, complete = task.networks.data.task, parts[-1]
    ranked = Ranked(TeacherOutputs(task.config.temperature, {}, task=kind), {}, {}, "")
    if trained:
        ranked = rank(task, trained[-1])
        task.progress("saliency", 1)
    full, outputs, by_fold = dict(ranked.outputs.logits), ranked.outputs, []
    for part, teachers in zip(parts[:-1], trained[:-1], strict=False):
        theirs = rank(task, teachers, fold=part.name).outputs
        task.progress("saliency", 1)
        outputs = outputs.with_rows_of(theirs, part.held_out)
        by_fold += [theirs] * task.budget.calibrates
    own = tuned.held_out
    full[BASELINE] = tuned.logits[BASELINE]
    outputs.logits[BASELINE] = full[BASELINE].index_copy(0, own.rows, own.outputs)
    weights = add_stack(task, complete.data, task.labelled, outputs)
    equal = dict.fromkeys(tuned.logits, 1 / len(tuned.logits))
    full |= {STACK: combine(kind, full, weights), "self": combine(kind, tuned.logits, equal)}
    outputs.logits["self"] = full["self"].index_copy(0, own.rows, own.outputs)
    lesson = Lesson(complete, training_rows(task, complete), outputs, weights)
    return Taught(ranked, lesson, full, tuned, by_fold)


def _held_out(
    task: SeedTask, key: StudentKey, targets: Mapping[StudentKey, Tensor], taught: Taught
) -> HeldOut:
    """Return the out-of-fold outputs that a student is judged by: its teacher's, or those of `no-kd`."""
    target = targets.get(replace(key, loss=None))
    if target is None:
        return taught.tuned.held_out
    teacher = next(arm.teacher_name(task.source) for arm in task.arms if arm.name == key.arm)
    return HeldOut.of(target, task.having(task.labelled, side_of(str(teacher))))


def _of_teachers(taught: Taught) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the outputs of each teacher, of the focused ones too: trained on all labels, and out-of-fold."""
    found = {**taught.lesson.outputs.logits, **named_focused(taught.lesson.outputs)}
    return {name: taught.full.get(name, logits) for name, logits in found.items()}, found
