"""One fit with few labels: the members of the stack, their out-of-fold outputs, and the students."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mfh._study.few.budget import MEMBERS, Budget, members
from mfh._study.few.members import (
    Part,
    Tuned,
    divide_labelled,
    labelled_job,
    train_members,
    tune,
)
from mfh._study.few.stack import combine, fit_weights, with_labels
from mfh._study.kept import STUDENTS, keep_students
from mfh._study.networks import Networks, label_scale
from mfh._study.outcome import SeedResult
from mfh._study.outputs import StudentKey, TeacherOutputs, soft_labels
from mfh._study.parts import Ranked
from mfh._study.ranking import rank
from mfh._study.students import evaluate
from mfh._study.task import SeedTask, Timer, side_of, teachers_needed
from mfh._study.teachers import Teachers, named_focused, teacher_records
from mfh.arms import BASELINE, STACK
from mfh.data.paired import PairedDataset
from mfh.results import Choice
from mfh.training.objectives import Distill
from mfh.training.scores import HeldOut
from mfh.training.students import StudentFit, StudentJob, seeded
from mfh.training.weights import row_weights


@dataclass(frozen=True, eq=False)
class Taught:
    """What the students of a fit learn from.

    Attributes:
        ranked: outputs of all teachers for every sample, out-of-fold for labelled ones; the ranked channels.
        full: outputs of the teachers trained on all labels, for every sample.
        weights: of the networks in the stack.
        tuned: the networks without a teacher.
    """

    ranked: Ranked
    full: Mapping[str, Tensor]
    weights: Mapping[str, float]
    tuned: Tuned


def run_few(task: SeedTask) -> SeedResult:
    """Train the teachers on the labels of a fit, stack them, and train students on all of its pairs."""
    timer, networks = Timer(), task.networks
    data, truth = visible_data(task)
    parts = divide_labelled(task, data)
    stacked, copies = _asked(networks)
    teachers = train_members(task, parts) if stacked else []
    tuned = tune(task, parts, copies)
    timer.lap("teachers")
    taught = _stack(task, parts, teachers, tuned)
    timer.lap("saliency")
    targets = _targets(task, taught.ranked.outputs)
    fits = _train(task, data, truth, targets, tuned)
    fits = {StudentKey(BASELINE): tuned.fit, **fits} if _has(task, BASELINE) else fits
    held_out = {key: _held_out(task, key, targets, taught) for key in fits}
    students = evaluate(task, truth, fits, held_out)
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
            Choice(STACK, task.seed, weights=dict(taught.weights)),
        ),
        layer=taught.ranked.layer,
        repeat=task.place[0],
        fold=task.place[1],
    )


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
    return {
        "teachers": budget.teachers * parts * stacked + tried * (parts - 1) + 1 + copies,
        "saliency": parts * stacked,
        "students": students,
    }


def _asked(networks: Networks) -> tuple[bool, int]:
    """Return whether an arm needs the teachers, and how many networks `self` needs beside `no-kd`."""
    needed = set(teachers_needed(networks.arms, networks.config.teacher_source))
    return bool(needed - {"self"}), (len(members(networks)) - 1) * ("self" in needed)


def _has(task: SeedTask, name: str) -> bool:
    return any(arm.name == name for arm in task.arms)


def _stack(task: SeedTask, parts: list[Part], trained: list[Teachers], tuned: Tuned) -> Taught:
    """Return the outputs of all teachers and of their stack; those of labelled samples are out-of-fold."""
    ranked = Ranked(TeacherOutputs(task.config.temperature, {}, task=task.networks.data.task), {}, {}, "")
    if trained:
        ranked = rank(task, trained[-1])
        task.progress("saliency", 1)
    full, outputs = dict(ranked.outputs.logits), ranked.outputs
    for part, teachers in zip(parts[:-1], trained[:-1], strict=False):
        theirs = rank(task, teachers, fold=part.name).outputs
        task.progress("saliency", 1)
        outputs = outputs.with_rows_of(theirs, part.held_out)
    kind, own, rows = task.networks.data.task, tuned.held_out, task.having(task.labelled, "both")
    full[BASELINE] = tuned.logits[BASELINE]
    outputs.logits[BASELINE] = full[BASELINE].index_copy(0, own.rows, own.outputs)
    held_out = {name: logits[rows] for name, logits in outputs.logits.items() if name in MEMBERS}
    seen = parts[-1].data
    weights = fit_weights(kind, held_out, seen.label[rows], BASELINE, row_weights(seen, rows))
    equal = dict.fromkeys(tuned.logits, 1 / len(tuned.logits))
    full |= {STACK: combine(kind, full, weights), "self": combine(kind, tuned.logits, equal)}
    outputs.logits[STACK] = combine(kind, outputs.logits, weights)
    outputs.logits["self"] = full["self"].index_copy(0, own.rows, own.outputs)
    return Taught(replace(ranked, outputs=outputs), full, weights, tuned)


def _targets(task: SeedTask, outputs: TeacherOutputs) -> dict[StudentKey, Tensor]:
    """Return what each taught student learns from; half of it is the label where there is one."""
    shuffled, broken = _shuffle(task, outputs.logits[STACK])
    pairs = task.having(task.train, "both")
    return soft_labels(outputs, task.arms, task.source, train=pairs, shuffled=shuffled, broken=broken)


def _shuffle(task: SeedTask, logits: Tensor) -> tuple[Int[Tensor, " sample"], Int[Tensor, " sample"]]:
    """Return for each training pair another one that the stack predicts alike, and any other one."""
    kind, train = task.networks.data.kind, task.having(task.train, "both").numpy()
    rng = np.random.default_rng(task.derived("mismatched"))
    alike, other = np.arange(len(logits)), np.arange(len(logits))
    codes = kind.strata(kind.predicted(logits[torch.from_numpy(train)]))
    for code in np.unique(codes):
        rows = train[codes == code]
        alike[rows] = rng.permutation(rows)
    other[train] = rng.permutation(train)
    return torch.from_numpy(alike), torch.from_numpy(other)


def _train(
    task: SeedTask,
    data: PairedDataset,
    truth: PairedDataset,
    targets: Mapping[StudentKey, Tensor],
    tuned: Tuned,
) -> dict[StudentKey, StudentFit]:
    """Train the students of every arm but `no-kd`: on all pairs, and labelled samples that are none."""
    teachers = {arm.name: str(arm.teacher_name(task.source)) for arm in task.arms}
    train, rows = (task.having(every, "student") for every in (task.train, task.labelled))
    label = data.label[rows]
    teach = Distill(label_weight=0.0, distill_weight=1.0, temperature=1.0, task=data.task)
    model, seed = seeded(task.networks.build_student, task.derived("student")), task.derived("batches")
    jobs = {}
    for key, logits in targets.items():
        for name, loss in task.networks.losses.items():
            jobs[replace(key, loss=name)] = StudentJob(
                model,
                replace(
                    teach,
                    teacher_logits=with_labels(data.task, logits, label, rows),
                    loss=None if name == "kl" else loss,
                    taught=task.taught_by(teachers[key.arm]),
                ),
                data, task.student, train, rows, seed,
                name=f"The student of {key.words}, in {task.words}", metric=task.metric,
            )  # fmt: skip
    named = {key.name: job for key, job in jobs.items()}
    fits = dict(zip(jobs, task.train_side_by_side(named, "students"), strict=True))
    for arm in task.arms:
        if arm.hidden_labels:
            known = task.train[torch.from_numpy(truth.labelled[task.split.train])]
            part = Part("", truth, known, rows)
            job = labelled_job(
                task, part, task.networks.build_student, "student", arm.name,
                smoothing=tuned.smoothing, weight_decay=tuned.weight_decay, role="student",
            )  # fmt: skip
            (fit,) = task.train_side_by_side({arm.name: job}, "students")
            fits[StudentKey(arm.name)] = fit
    return fits


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
    found = {**taught.ranked.outputs.logits, **named_focused(taught.ranked.outputs)}
    return {name: taught.full.get(name, logits) for name, logits in found.items()}, found
