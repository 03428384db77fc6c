"""The teachers of one seed, trained: those that the arms of the study learn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from mfh._study.describe import curve
from mfh._study.given import GIVEN
from mfh._study.networks import Build
from mfh._study.outputs import TeacherOutputs
from mfh._study.task import SeedTask, side_of
from mfh.arms import FUSED
from mfh.data.paired import PairedDataset
from mfh.models.both import SideBySide
from mfh.models.copies import copied
from mfh.results import TeacherRecord
from mfh.training.objectives import Fused, Pair
from mfh.training.scores import HeldOut, make_teacher_record
from mfh.training.students import StudentFit, StudentJob, seeded


@dataclass(frozen=True, eq=False)
class Teachers:
    """The teachers of one seed, or of one fold of cross-fitting.

    Attributes:
        networks: by the names of `mfh.arms.TEACHERS`; those that no arm needs are absent.
        joint_student: the student of Algorithm 1's step 1; None where the joint teacher is absent.
        lone_student: a student trained on labels alone, against which a regular or fused teacher is ranked;
            None unless its channels are ranked.
        data: the samples as these networks see them.
        train: rows that they were fitted on.
        curves: training loss and validation metric of each by epoch.
        known: outputs for every sample of networks that need not be run for them, by name.
    """

    networks: Mapping[str, nn.Module]
    joint_student: nn.Module | None
    lone_student: nn.Module | None
    data: PairedDataset
    train: Tensor
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    known: Mapping[str, Tensor] = field(default_factory=dict)

    def partner(self, source: str) -> nn.Module | None:
        """Return the student network that the channels of the source teacher are ranked against."""
        return self.joint_student if source == "joint" else self.lone_student

    def weights(self) -> dict[str, Mapping[str, Tensor]]:
        """Return the weights to keep, by the names of their checkpoints."""
        named = {f"teacher-{name}": network for name, network in self.networks.items()}
        if self.joint_student is not None:
            named["student-joint"] = self.joint_student
        states = {name: network.cpu().state_dict() for name, network in named.items()}
        return {name: state for name, state in states.items() if state}


def train_teachers(task: SeedTask, train: Tensor, *, fold: str = "") -> Teachers:
    """Train the teachers that the arms need on some rows.

    Args:
        task: the seed.
        train: rows to train on, int64.
        fold: part of the names and random streams of a fold of cross-fitting, empty for the whole split.
    """
    data = task.networks.prepared(train)
    jobs = _jobs(task, data, train, fold)
    fits = train_alone(task, jobs)
    alone = {name: trained(job, fits[name]).to(task.device) for name, job in jobs.items()}
    networks: dict[str, nn.Module] = {}
    curves: dict[str, np.ndarray] = {}
    joint_student = None
    for name in task.teachers:
        if name == "joint":
            pair, joint_curves = _train_joint(task, data, train, fold)
            networks[name], joint_student = pair.teacher, pair.student
            curves |= joint_curves
        elif name == GIVEN and task.config.given_teacher:
            networks[name] = task.networks.build_teacher().to(task.device).eval()
        else:
            fit = fits[f"teacher-{name}{fold}"]
            networks[name] = alone[f"teacher-{name}{fold}"]
            curves |= {f"{name}_loss": curve(fit.loss), f"{name}_validation": curve(fit.validation)}
    lone_student = alone.get(f"student-lone{fold}")
    return Teachers(networks, joint_student, lone_student, data, train, curves)


def _jobs(task: SeedTask, data: PairedDataset, train: Tensor, fold: str) -> dict[str, StudentJob]:
    """Return the networks that are trained by themselves, by the names of their checkpoints."""

    def alone(build: Build, side: str, role: str) -> StudentJob:
        return StudentJob(
            seeded(build, task.derived(role)),
            task.labels,
            data,
            getattr(task, side),
            task.having(train, side),
            task.having(task.validation, side),
            task.derived("batches" + fold),
            name=f"The network `{role}` of {task.words}",
            metric=task.metric,
        )

    jobs = {}
    if "regular" in task.teachers and not task.config.given_teacher:
        jobs["teacher-regular" + fold] = alone(task.networks.build_teacher, "teacher", "teacher" + fold)
    if "unimodal" in task.teachers:
        jobs["teacher-unimodal" + fold] = alone(task.networks.build_student, "student", "unimodal" + fold)
    if FUSED in task.teachers:
        jobs["teacher-fused" + fold] = alone(task.networks.build_teacher, "teacher", "teacher" + fold)
    if task.ranks and task.source != "joint":
        jobs["student-lone" + fold] = alone(task.networks.build_student, "student", "student")
    return jobs


def train_alone(task: SeedTask, jobs: Mapping[str, StudentJob]) -> dict[str, StudentFit]:
    """Train networks by themselves, by the names of their checkpoints.

    The default network of two modalities is trained as two perceptrons whose logits are added, which compiled
    code can do; see `Fused`.
    """
    halved = {name: job for name, job in jobs.items() if isinstance(job.model, SideBySide)}
    halved = {name: job for name, job in halved.items() if len(job.data.parts(job.modality)) == 2}
    others = {name: job for name, job in jobs.items() if name not in halved}
    fits = dict(zip(others, task.train_side_by_side(others, "teachers"), strict=True))
    return fits | {name: _train_halves(task, name, job) for name, job in halved.items()}


def _train_halves(task: SeedTask, name: str, job: StudentJob) -> StudentFit:
    """Train the default network of two modalities."""
    network, (first, second) = copied(job.model), job.data.parts(job.modality)
    assert isinstance(network, SideBySide)  # noqa: S101 - `train_alone` takes no others here
    teacher, student = network.halves()
    pair = Fused(teacher, student)
    fit = task.train_pair(
        pair,
        job.data,
        modalities=(first, second),
        train=job.train,
        validation=job.validation,
        seed=job.seed,
        folder=task.parts.folder(name),
    )
    network.load_halves([teacher.cpu(), student.cpu()])
    return StudentFit(network.state_dict(), fit.best_epoch, fit.validation, fit.loss, 0.0)


def _train_joint(
    task: SeedTask, data: PairedDataset, train: Tensor, fold: str
) -> tuple[Pair, dict[str, np.ndarray]]:
    """Train teacher and student together, step 1 of Algorithm 1; return both and their curves."""
    pair = Pair(
        seeded(task.networks.build_teacher, task.derived("teacher" + fold)),
        seeded(task.networks.build_student, task.derived("joint student" + fold)),
    )
    fit = task.train_pair(
        pair,
        data,
        modalities=(task.teacher, task.student),
        train=task.having(train, "both"),
        validation=task.having(task.validation, "both"),
        seed=task.derived("batches" + fold),
        folder=task.parts.folder("pair" + fold),
    )
    return pair, {"joint_loss": curve(fit.loss), "joint_validation": curve(fit.validation)}


def teacher_records(
    task: SeedTask,
    data: PairedDataset,
    outputs: Mapping[str, Tensor],
    held_out: Mapping[str, Tensor] | None = None,
) -> tuple[TeacherRecord, ...]:
    """Return a record of each teacher.

    Args:
        task: the fit.
        data: the samples, with all labels that are known.
        outputs: of each teacher for every sample.
        held_out: the same, out-of-fold for labelled samples, where these take the place of validation.
    """
    return tuple(
        make_teacher_record(
            name,
            task.metric,
            logits,
            data.label,
            task.split_of(side_of(name)),
            seed=task.seed,
            temperature=task.config.temperature,
            task=data.task,
            held_out=None
            if held_out is None
            else HeldOut.of(held_out[name], task.having(task.labelled, side_of(name))),
            weight=data.weight,
        )
        for name, logits in outputs.items()
    )


def named_focused(outputs: TeacherOutputs) -> dict[str, Tensor]:
    """Return the outputs of focused teachers by name, such as `general@0.5`; of random ones one draw."""
    return {f"{key.arm}@{key.ratio:g}": logits for key, logits in outputs.focused.items() if not key.draw}


def trained(job: StudentJob, fit: StudentFit) -> nn.Module:
    """Return a network of its own with the trained weights."""
    model = copied(job.model)
    model.load_state_dict(fit.state)
    return model.eval()
