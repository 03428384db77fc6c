"""The trainings of the AV-MNIST study: teachers of audio, of images and of both, and a student of each."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from mfh._study.describe import curve
from mfh._study.design import Design
from mfh._study.kept import STUDENTS, keep
from mfh._study.networks import Build
from mfh._study.outcome import SeedResult, Student
from mfh._study.outputs import StudentKey
from mfh._study.refit import Refitted, Winner, require_steps
from mfh._study.students import shuffle_within_classes
from mfh._study.task import derived_seed
from mfh.arms import ARMS as STUDY_ARMS
from mfh.arms import Arm, Look, ShownArm
from mfh.data.paired import PairedDataset
from mfh.data.splits import Split
from mfh.data.standardize import Standardize
from mfh.experiments.avmnist_config import AvmnistConfig
from mfh.metrics import Metric, find_metric, metrics_of
from mfh.models.avmnist import LateFusion
from mfh.models.mlp import mlp
from mfh.results import StudyResult
from mfh.training.calibration import fit_temperature
from mfh.training.evaluate import predict
from mfh.training.objectives import Distill, learn_from
from mfh.training.scores import make_record, make_teacher_record
from mfh.training.students import StudentFit, StudentJob, seeded, train_students

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        STUDY_ARMS["no-kd"],
        STUDY_ARMS["no-kd-smoothed"],
        ShownArm(
            name="audio",
            teacher="audio",
            words="an audio teacher, which sees the student's own modality",
            look=Look(color="orange", marker="s"),
        ),
        ShownArm(
            name="both",
            teacher="both",
            words="a teacher of image and audio",
            look=Look(color="blue", marker="D"),
        ),
        ShownArm(
            name="image", teacher="image", words="an image teacher", look=Look(color="green", marker="^")
        ),
        ShownArm(
            name="mismatched",
            teacher="both",
            output="shuffled",
            words="control: the teacher of image and audio, its outputs shuffled among samples of the class",
        ),
    )
}
"""The arms of this study; their teachers are named after what they see."""
TEACHERS = tuple(arm.name for arm in ARMS.values() if arm.is_plain)
SMOOTHING = 0.1
"""Label smoothing of the arm `no-kd-smoothed`."""
STUDENT = "audio"
FOLDS = 5
"""Folds of each repeat; with fewer speakers each speaker is a fold."""


def design_of(data: PairedDataset, config: AvmnistConfig) -> Design:
    """Return the folds: `config.seeds` fits, rounded up to whole repeats."""
    folds = min(FOLDS, len(data.group_names))
    return Design("kfold", folds, -(-config.seeds // folds), config.seed)


def run_seed(data: PairedDataset, config: AvmnistConfig, seed: int) -> SeedResult:
    """Train the teachers and then the students of one fit."""
    start = time.perf_counter()
    design = design_of(data, config)
    split, (repeat, fold) = design.draw_fold(data, seed), design.place(seed)
    fit = _Fit.of(data, config, split, seed)
    trained, logits = fit.teachers(TEACHERS)
    network, done = fit.students(tuple(ARMS.values()), logits)
    students, states, validation = [], {}, torch.from_numpy(split.validation)
    for arm, student in zip(ARMS.values(), done, strict=True):
        network.load_state_dict(student.state)
        found = predict(network, fit.data, STUDENT, torch.arange(len(data)))
        record = make_record(
            arm.name, fit.metrics, found, data.label, split, seed=seed, best_epoch=student.best_epoch,
            seconds=student.seconds, loss=None if arm.teacher is None else config.loss,
            temperature=fit_temperature(found[validation], data.label[validation]),
        )  # fmt: skip
        record = replace(record, repeat=repeat, fold=fold)
        students.append(Student.of(record, fit.metrics[0], found, data.label, split))
        states[StudentKey(arm.name, loss=record.loss).name] = student.state
    teachers = tuple(
        make_teacher_record(
            name, fit.metrics[0], table, data.label, split, seed=seed, temperature=config.temperature
        )
        for name, table in logits.items()
    )
    kept = keep(data, STUDENT, states, torch.from_numpy(split.test), inputs=fit.inputs[STUDENT])
    return SeedResult(
        seed,
        split,
        tuple(students),
        teachers,
        repeat=repeat,
        fold=fold,
        timings={"training": time.perf_counter() - start},
        weights={STUDENTS: kept},
        curves={f"{name}_validation": curve(teacher.validation) for name, teacher in trained.items()},
    )


def refit(result: StudyResult, winner: Winner, data: PairedDataset, *, seed: int) -> Refitted:
    """Train a student and its teacher on all samples, for a fixed number of steps.

    Args:
        result: a study with all labels.
        winner: the arm, and the epochs of its student and its teacher.
        data: the data of the study.
        seed: fixes initial weights and batches.

    Raises:
        InputError: the schedule is `step`, which counts epochs.
    """
    known = {field.name for field in fields(AvmnistConfig)}
    config = AvmnistConfig(**{name: value for name, value in result.config.items() if name in known})
    require_steps(config)
    rows = np.arange(len(data))
    split, arm = Split(rows, rows, rows), ARMS[winner.arm]

    def fit(epochs: int) -> _Fit:
        steps = config.steps or epochs * math.ceil(len(data) / config.batch_size)
        return _Fit.of(data, replace(config, steps=steps, patience=0), split, seed)

    _, logits = fit(winner.teacher_epochs).teachers(() if arm.teacher is None else (arm.teacher,))
    last = fit(winner.epochs)
    _, (done,) = last.students((arm,), logits)
    tensors = keep(data, STUDENT, {}, torch.from_numpy(rows), inputs=last.inputs[STUDENT])
    return Refitted(done.state, tensors, len(data), len(data), last.config.steps or 0)


@dataclass(frozen=True, eq=False)
class _Fit:
    """The trainings of one fit.

    Attributes:
        data: the samples, standardised.
        inputs: what standardises each modality.
        config: how networks are trained.
        split: the rows of the fit.
        seed: fixes initial weights and batches.
        metrics: the first one chooses epochs.
    """

    data: PairedDataset
    inputs: Mapping[str, Standardize]
    config: AvmnistConfig
    split: Split
    seed: int
    metrics: tuple[Metric, ...]

    @classmethod
    def of(cls, data: PairedDataset, config: AvmnistConfig, split: Split, seed: int) -> "_Fit":
        """Standardise the data with statistics of the training rows."""
        rows = torch.from_numpy(split.train)
        inputs = {name: Standardize.fit(data.inputs(name, rows)) for name in data.modalities}
        metrics = metrics_of(data.task, find_metric(config.metric, data.task))
        return cls(data.with_transforms(inputs), inputs, config, split, seed, metrics)

    def teachers(self, names: Sequence[str]) -> tuple[dict[str, StudentFit], dict[str, Tensor]]:
        """Train teachers by the names of what they see; return them, and their logits for every sample."""
        jobs = {
            name: self._job(
                seeded(_teacher(self.data, self.config, name), derived_seed(self.seed, name)), Distill(), name
            )
            for name in names
        }
        fits = dict(zip(jobs, train_students(list(jobs.values()), self.config), strict=True))
        logits = {}
        for name, job in jobs.items():
            job.model.load_state_dict(fits[name].state)
            logits[name] = predict(job.model, self.data, name, torch.arange(len(self.data)))
        return fits, logits

    def students(
        self, arms: Sequence[Arm], logits: Mapping[str, Tensor]
    ) -> tuple[nn.Module, list[StudentFit]]:
        """Train a student of each arm; return a network for their weights, and the students."""
        network = seeded(lambda: _student(self.data, self.config), derived_seed(self.seed, "student"))
        shuffled = shuffle_within_classes(self.data, self.split.train, derived_seed(self.seed, "mismatched"))
        jobs = [self._job(network, _objective(arm, logits, shuffled, self.config), STUDENT) for arm in arms]
        return network, train_students(jobs, self.config)

    def _job(self, model: nn.Module, objective: Distill, modality: str) -> StudentJob:
        train, validation = torch.from_numpy(self.split.train), torch.from_numpy(self.split.validation)
        batches = derived_seed(self.seed, "batches")
        return StudentJob(
            model, objective, self.data, modality, train, validation, batches, metric=self.metrics[0]
        )


def _teacher(data: PairedDataset, config: AvmnistConfig, name: str) -> Build:
    sizes = {part: int(np.prod(data.shape(part))) for part in data.modalities}
    if name == "both":
        parts = sizes["image"], sizes["audio"]
        return lambda: LateFusion(parts, data.num_classes, hidden=config.teacher_hidden)
    return lambda: mlp(sizes[name], data.num_classes, hidden=config.teacher_hidden)


def _student(data: PairedDataset, config: AvmnistConfig) -> nn.Module:
    return mlp(int(np.prod(data.shape(STUDENT))), data.num_classes, hidden=config.hidden)


def _objective(arm: Arm, logits: Mapping[str, Tensor], shuffled: Tensor, config: AvmnistConfig) -> Distill:
    if arm.teacher is None:
        return Distill(smoothing=SMOOTHING if arm.smoothing else 0.0)
    table = logits[arm.teacher]
    return learn_from(config, table[shuffled] if arm.output == "shuffled" else table)
