"""The students of one seed: one for each arm, ratio, draw and loss, trained side by side and evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mfh._study.describe import curve, pad
from mfh._study.kept import keep_students
from mfh._study.networks import Build
from mfh._study.outcome import Student
from mfh._study.outputs import StudentKey, soft_labels, taught_features
from mfh._study.parts import Ranked
from mfh._study.task import SeedTask
from mfh.data.paired import PairedDataset
from mfh.results import Choice, FailedStudent
from mfh.training.calibration import PROBABILITIES, fit_temperature
from mfh.training.objectives import Distill
from mfh.training.scores import HeldOut, make_record
from mfh.training.students import StudentFit, StudentJob, seeded


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What the trained students of one seed give.

    Attributes:
        students: the students that did not diverge.
        curves: training loss and validation metric by epoch, (student, epoch).
        kept: what the fit keeps of its students; see `mfh._study.kept`.
        chosen: the label smoothing that validation chose.
        failed: one per student that diverged.
    """

    students: tuple[Student, ...]
    curves: Mapping[str, np.ndarray]
    kept: Mapping[str, Tensor]
    chosen: tuple[Choice, ...]
    failed: tuple[FailedStudent, ...]


def student_jobs(task: SeedTask, data: PairedDataset, ranked: Ranked) -> dict[StudentKey, StudentJob]:
    """Return one student per arm, ratio, draw and loss; all have the same initial weights and batches."""
    config = task.config
    teach = Distill(
        label_weight=config.label_weight,
        distill_weight=config.distill_weight,
        temperature=config.temperature,
        task=data.task,
    )
    objectives: dict[StudentKey, Distill] = {}
    for arm in task.arms:
        if arm.smoothing:
            for number, share in enumerate(config.smoothing if data.kind.smooths else ()):
                objectives[StudentKey(arm.name, None, number)] = replace(task.labels, smoothing=share)
        elif arm.teacher is None:
            objectives[StudentKey(arm.name)] = task.labels
    pairs = task.having(task.train, "both")
    shuffled = shuffle_within_classes(data, pairs.numpy(), task.derived("mismatched"))
    logits = soft_labels(ranked.outputs, task.arms, task.source, train=pairs, shuffled=shuffled)
    features = taught_features(ranked.outputs, task.arms, task.source, shuffled)
    teachers = {arm.name: arm.teacher_name(task.source) for arm in task.arms}
    train = task.having(task.train, "student")
    for name, loss in task.networks.losses.items():
        for key in features if loss.features else logits:
            taught = task.taught_by(str(teachers[key.arm]))
            known = train if taught is None else train[taught[train]]
            objectives[replace(key, loss=name)] = replace(
                teach,
                teacher_logits=logits[key],
                loss=None if name == "kl" else loss,
                teacher_features=features[key] if loss.features else None,
                memory=(known, data.label[known]) if loss.memory else None,
                taught=taught,
            )
    model = seeded(task.networks.build_student, task.derived("student"))
    seed, rows = task.derived("batches"), (train, task.having(task.validation, "student"))
    return {
        key: StudentJob(
            model, objective, data, task.student, *rows, seed, ranked.student_layer,
            name=f"The student of {key.words}, in {task.words}", metric=task.metric,
        )
        for key, objective in objectives.items()
    }  # fmt: skip


def shuffle_within_classes(
    data: PairedDataset, train: Int[np.ndarray, " train"], seed: int
) -> Int[Tensor, " sample"]:
    """Return for each training sample another one of its class (other samples keep their place).

    What takes the place of a class for other tasks than single-label is defined by `Task.strata`.

    Args:
        data: all samples.
        train: rows of the training samples.
        seed: fixes the order.
    """
    rng, order = np.random.default_rng(seed), np.arange(len(data))
    labels = data.kind.strata(data.label)[train]
    for label in np.unique(labels):
        rows = train[labels == label]
        order[rows] = rng.permutation(rows)
    return torch.from_numpy(order)


def train_and_evaluate(task: SeedTask, data: PairedDataset, ranked: Ranked) -> Evaluated:
    """Train every student and evaluate it on each split.

    Raises:
        DivergedError: a student without a teacher diverged, to which all others are compared, or every
            student that has one.
    """
    jobs = student_jobs(task, data, ranked)
    named = {key.name: job for key, job in jobs.items()}
    fits = task.train_side_by_side(named, "students", tolerant=len(task.networks.losses) > 1)
    done, failed = _separate(dict(zip(jobs, fits, strict=True)), task.seed)
    done, chosen = _choose_smoothing(task, done)
    curves = {}
    for what in ("loss", "validation"):
        rows = [curve(getattr(fit, what))[None] for fit in done.values()]
        longest = max(row.shape[1] for row in rows)
        curves[f"students_{what}"] = np.concatenate([pad(row, longest) for row in rows])
    kept = keep_students(task, done, lambda key: _merit(task, done[key]))
    return Evaluated(evaluate(task, data, done), curves, kept, chosen, failed)


def _separate(
    fits: Mapping[StudentKey, StudentFit], seed: int
) -> tuple[dict[StudentKey, StudentFit], tuple[FailedStudent, ...]]:
    """Return the students that were trained, and those that diverged."""
    done = {key: fit for key, fit in fits.items() if fit.failure is None}
    taught = any(key.loss is not None for key in done)
    for key, fit in fits.items():
        if fit.failure is not None and (key.loss is None or not taught):
            raise fit.failure
    return done, tuple(
        FailedStudent(key.arm, key.ratio, seed, key.draw, key.loss, fit.failure.epoch, str(fit.failure))
        for key, fit in fits.items()
        if fit.failure is not None
    )


def _choose_smoothing(
    task: SeedTask, fits: Mapping[StudentKey, StudentFit]
) -> tuple[dict[StudentKey, StudentFit], tuple[Choice, ...]]:
    """Keep of the smoothed students the one with the best validation metric, the least smoothed of equals."""
    kept, choices = dict(fits), []
    for name in [arm.name for arm in task.arms if arm.smoothing]:
        tried = [key for key in fits if key.arm == name]
        best = max(tried, key=lambda key: (_merit(task, fits[key]), -(key.draw or 0)), default=None)
        kept = {key: fit for key, fit in kept.items() if key.arm != name or key == best}
        if best is not None:
            share = task.config.smoothing[best.draw or 0]
            choices.append(Choice(name, task.seed, smoothing=share))
    return kept, tuple(choices)


def _merit(task: SeedTask, fit: StudentFit) -> float:
    """Return the best validation metric of a student; larger is better."""
    return max(task.metric.merit(value) for value in fit.validation)


def evaluate(
    task: SeedTask,
    data: PairedDataset,
    fits: Mapping[StudentKey, StudentFit],
    held_out: Mapping[StudentKey, HeldOut] | None = None,
    *,
    builds: Mapping[StudentKey, Build] | None = None,
    own: Mapping[StudentKey, HeldOut] | None = None,
    ridge: float | None = None,
) -> tuple[Student, ...]:
    """Compute the outputs and metrics of each student.

    Args:
        task: the fit.
        data: the samples, with all labels that are known.
        fits: the students.
        held_out: where no samples are for validation: the out-of-fold outputs that each student's validation
            metric comes from, those of its teacher or of students with its recipe.
        builds: what makes the networks of students, where these differ.
        own: where no samples are for validation: out-of-fold outputs of students with each student's recipe,
            which its temperature is fitted to; without them it has none.
        ridge: of the temperature; see `fit_temperature`.
    """
    model = seeded(task.networks.build_student, 0).to(task.device)
    drawn = {arm.name for arm in task.arms if arm.is_drawn}
    validation = task.having(task.validation, "student")
    students = []
    for key, fit in fits.items():
        model = model if builds is None else seeded(builds[key], 0).to(task.device)
        model.load_state_dict(fit.state)
        logits = task.predict(model, data, "student")
        temperature = None
        if data.task in PROBABILITIES and (held_out is None or own is not None):
            unseen = HeldOut.of(logits, validation) if own is None else own[key]
            rows = unseen.rows
            weight = data.weight_of(rows)
            temperature = fit_temperature(unseen.outputs, data.label[rows], weight, ridge=ridge)
            logits = logits / temperature if task.config.calibrate == "temperature" else logits
        record = make_record(
            key.arm,
            task.networks.metrics,
            logits,
            data.label,
            task.split_of("student"),
            seed=task.seed,
            best_epoch=fit.best_epoch,
            seconds=fit.seconds,
            ratio=key.ratio,
            draw=key.draw if key.arm in drawn else None,
            loss=key.loss,
            held_out=None if held_out is None else held_out[key],
            temperature=temperature,
            weight=data.weight,
        )
        record = replace(record, repeat=task.place[0], fold=task.place[1])
        students.append(Student.of(record, task.metric, logits, data.label, task.split, weight=data.weight))
    return tuple(students)
