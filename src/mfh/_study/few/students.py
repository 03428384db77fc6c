"""The students of a fit with few labels: what each of them learns from, and their training."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mfh._study.few.lessons import Lesson
from mfh._study.few.members import Part, Tuned, labelled_job
from mfh._study.few.stack import with_labels
from mfh._study.outputs import StudentKey, soft_labels
from mfh._study.task import SeedTask
from mfh.arms import STACK
from mfh.data.paired import PairedDataset
from mfh.training.objectives import Distill
from mfh.training.students import StudentFit, StudentJob, seeded

Trained = dict[StudentKey, tuple[StudentJob, StudentFit]]
"""Students, and how each was trained."""


def make_targets(task: SeedTask, lesson: Lesson) -> dict[StudentKey, Tensor]:
    """Return what each taught student learns from; half of it is the label where there is one."""
    pairs = task.having(lesson.train, "both")
    shuffled, broken = _shuffle(task, lesson, pairs.numpy())
    return soft_labels(lesson.outputs, task.arms, task.source, train=pairs, shuffled=shuffled, broken=broken)


def _shuffle(
    task: SeedTask, lesson: Lesson, train: Int[np.ndarray, " pair"]
) -> tuple[Int[Tensor, " sample"], Int[Tensor, " sample"]]:
    """Return for each training pair another one that the stack predicts alike, and any other one."""
    kind, logits = task.networks.data.kind, lesson.outputs.logits[STACK]
    rng = np.random.default_rng(task.derived("mismatched" + lesson.part.name))
    alike, other = np.arange(len(logits)), np.arange(len(logits))
    codes = kind.strata(kind.predicted(logits[torch.from_numpy(train)]))
    for code in np.unique(codes):
        rows = train[codes == code]
        alike[rows] = rng.permutation(rows)
    other[train] = rng.permutation(train)
    return torch.from_numpy(alike), torch.from_numpy(other)


def train_taught(
    task: SeedTask,
    lesson: Lesson,
    truth: PairedDataset,
    targets: Mapping[StudentKey, Tensor],
    tuned: Tuned,
) -> Trained:
    """Train the students of every arm but `no-kd`: on all pairs, and labelled samples that are none.

    Args:
        task: the fit.
        lesson: the labels and the pairs that the students see.
        truth: the samples, with all labels that are known: for arms that see hidden labels.
        targets: see `make_targets`.
        tuned: the networks without a teacher.
    """
    part, train, data = lesson.part, lesson.train, lesson.part.data
    teachers = {arm.name: str(arm.teacher_name(task.source)) for arm in task.arms}
    rows = task.having(part.labelled, "student")
    label = data.label[rows]
    teach = Distill(label_weight=0.0, distill_weight=1.0, temperature=1.0, task=data.task)
    model = seeded(task.networks.build_student, task.derived("student" + part.name))
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
                data, task.student, train, rows, task.derived("batches" + part.name),
                name=f"The student of {key.words}{part.name}, in fit {task.seed}", metric=task.metric,
            )  # fmt: skip
    fits = _train(task, part, jobs)
    known = train[torch.from_numpy(truth.labelled)[train]]
    for arm in task.arms:
        if arm.hidden_labels:
            job = labelled_job(
                task, Part(part.name, truth, known, rows), task.networks.build_student, "student",
                arm.name + part.name, smoothing=tuned.smoothing, weight_decay=tuned.weight_decay,
                role="student" + part.name,
            )  # fmt: skip
            fits |= _train(task, part, {StudentKey(arm.name): job})
    return fits


def _train(task: SeedTask, part: Part, jobs: Mapping[StudentKey, StudentJob]) -> Trained:
    fits = task.train_side_by_side({key.name + part.name: job for key, job in jobs.items()}, "students")
    return {key: (job, fit) for (key, job), fit in zip(jobs.items(), fits, strict=True)}
