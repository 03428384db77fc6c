"""The teachers of one seed: trained, ranked channel by channel, and focused."""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._focus import channel_means, channel_split, select
from mfh._saliency import SaliencyResult, linear_start, saliency
from mfh._saliency.dense import pointwise
from mfh._saliency.heads import logits_of
from mfh._study.arms import ArmKey, Tables, filled, last_hidden, without
from mfh._study.describe import curve
from mfh._study.losses import study_losses
from mfh._study.parts import Parts, Ranked
from mfh.config import StudyConfig
from mfh.data.paired import SPLITS, PairedDataset
from mfh.data.splits import Split, draw_split
from mfh.losses import DistillLoss
from mfh.results import TeacherRecord
from mfh.tasks import TASKS
from mfh.training.device import make_accelerator
from mfh.training.loop import predict
from mfh.training.objectives import Distill, Pair
from mfh.training.pairs import train_pair
from mfh.training.students import StudentFit, StudentJob, seeded, train_students
from mfh.training.watched import pooled

Build = Callable[[], nn.Module]
Progress = Callable[[str, int], None]
METRIC = "accuracy"


@dataclass(eq=False)
class Trained:
    """The networks of one seed (or of one fold of cross-fitting), trained on `train`."""

    regular: nn.Module
    joint_teacher: nn.Module
    joint_student: nn.Module
    unimodal: nn.Module
    train: Tensor
    lone_student: nn.Module | None = None
    """Trained on labels alone: what a regular teacher's channels are ranked against."""


def derived_seed(seed: int, role: str) -> int:
    """A seed of its own for each role (teacher, student, batches, ...) within a seed."""
    entropy = [seed, *role.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(2))


class Scores(TypedDict):
    """A metric on each split."""

    train: float
    validation: float
    test: float


def accuracies(
    logits: Float[Tensor, "sample ..."], label: Tensor, split: Split, *, task: str = "single-label"
) -> Scores:
    """The task's metric on each split, in percent, of logits for every sample of the data set."""
    rows = (torch.from_numpy(getattr(split, name)) for name in SPLITS)
    train, validation, test = (TASKS[task].score(logits[chosen], label[chosen]) for chosen in rows)
    return Scores(train=train, validation=validation, test=test)


def describe_teacher(
    name: str,
    seed: int,
    logits: Float[Tensor, "sample ..."],
    label: Tensor,
    split: Split,
    *,
    temperature: float,
    task: str = "single-label",
) -> TeacherRecord:
    """How good a teacher is, and how soft its soft labels are on the training split."""
    kind, train = TASKS[task], logits[torch.from_numpy(split.train)]
    entropy, saturated = kind.softness(train, temperature) if kind.softens else (None, None)
    return TeacherRecord(
        teacher=name,
        seed=seed,
        metric=kind.metric,
        **accuracies(logits, label, split, task=task),
        entropy=entropy,
        saturated=saturated,
    )


class Timer:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class TeacherRun:
    """One seed up to the outputs of its teachers."""

    def __init__(
        self,
        data: PairedDataset,
        build_teacher: Build,
        build_student: Build,
        config: StudyConfig,
        seed: int,
        *,
        transforms: Callable[[PairedDataset, Tensor], PairedDataset],
        progress: Progress = lambda _stage, _count: None,
        threads: int | None = None,
        parts: Parts | None = None,
        losses: Mapping[str, DistillLoss] | None = None,
    ) -> None:
        require(config.teacher is not None and config.student is not None, "Name `teacher` and `student`.")
        self.teacher, self.student = str(config.teacher), str(config.student)
        self.config, self.seed, self.progress = config, seed, progress
        self.threads = threads or torch.get_num_threads()
        self.build_teacher, self.build_student = build_teacher, build_student
        self.split = draw_split(data, config.seed if config.fix_split else seed)
        self.train, self.validation, self.test = (
            torch.from_numpy(rows) for rows in (self.split.train, self.split.validation, self.split.test)
        )
        self.transforms = transforms
        self.raw = data
        self.data = transforms(data, self.train)
        self.all = torch.arange(len(data))
        self.timer = Timer()
        self.layer, self.student_layer = config.layer or "", config.student_layer or ""
        self.losses = losses or study_losses(config)
        self.curves: dict[str, np.ndarray] = {}
        self.parts = parts or Parts(None)
        self.device = make_accelerator(config).device

    @property
    def labels(self) -> Distill:
        """What networks learn from that have no teacher."""
        return Distill(task=self.data.task)

    def derived(self, role: str) -> int:
        """A seed of its own for each role within this seed."""
        return derived_seed(self.seed, role)

    def train_alone(
        self, jobs: dict[str, StudentJob], stage: str, *, tolerant: bool = False
    ) -> list[StudentFit]:
        """Train networks of one modality, by name, side by side on all the threads there are.

        `tolerant` is that of `train_students`.
        """
        kept = [folder for name in jobs if (folder := self.parts.folder(name)) is not None]
        inside = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return train_students(
                list(jobs.values()),
                self.config,
                engine=self.config.engine,
                on_progress=lambda count: self.progress(stage, count),
                folders=kept or None,
                tolerant=tolerant,
            )
        finally:
            torch.set_num_threads(inside)

    def fit_teachers(self, data: PairedDataset, train: Tensor, *, fold: str) -> Trained:
        """The regular teacher, Algorithm 1's pair, a teacher of the student's modality, a lone student."""
        validation = self.validation

        def alone(build: Build, modality: str, role: str) -> StudentJob:
            model = seeded(build, self.derived(role))
            return StudentJob(
                model,
                self.labels,
                data,
                modality,
                train,
                validation,
                self.derived("batches" + fold),
                name=f"The network `{role}` of seed {self.seed}",
            )

        jobs = {
            "teacher-regular" + fold: alone(self.build_teacher, self.teacher, "teacher" + fold),
            "teacher-unimodal" + fold: alone(self.build_student, self.student, "unimodal" + fold),
        }
        if self.config.teacher_source == "regular":
            jobs["student-lone" + fold] = alone(self.build_student, self.student, "student")
        fits = self.train_alone(jobs, "teachers")
        regular, unimodal, *lone = (
            load(job, done).to(self.device) for job, done in zip(jobs.values(), fits, strict=True)
        )
        pair = Pair(
            seeded(self.build_teacher, self.derived("teacher" + fold)),
            seeded(self.build_student, self.derived("joint student" + fold)),
        )
        together = train_pair(
            pair,
            data,
            modalities=(self.teacher, self.student),
            train=train,
            validation=validation,
            config=self.config,
            seed=self.derived("batches" + fold),
            engine=self.config.engine,
            on_progress=lambda count: self.progress("teachers", count),
            folder=self.parts.folder("pair" + fold),
        )
        if not fold:
            self.curves = _curves(regular=fits[0], unimodal=fits[1]) | {
                "joint_loss": curve(together.loss),
                "joint_validation": curve(together.validation),
            }
        return Trained(regular, pair.teacher, pair.student, unimodal, train, *lone)

    def rank(self, trained: Trained, *, fold: str) -> Ranked:
        """Saliency on training and validation split, and every arm's teacher outputs; or what is kept."""
        ranked = self.parts.load("ranked" + fold)
        if ranked is None:
            ranked = self._rank(trained)
            self.parts.save("ranked" + fold, ranked)
        self.layer, self.student_layer = ranked.layer, ranked.student_layer
        return ranked

    def _rank(self, trained: Trained) -> Ranked:
        from_joint = self.config.teacher_source == "joint"
        model = trained.joint_teacher if from_joint else trained.regular
        partner = trained.joint_student if from_joint else trained.lone_student
        if partner is None:
            raise InputError(
                "A regular teacher is ranked against a student trained on labels; there is none."
            )
        example = self.data.inputs(self.teacher, self.all[:2], device=self.device)
        self.layer = self.layer or last_hidden(model, example)
        trunk, head = channel_split(model, self.layer, example, self.config.channel_dim)
        student_logits = self.answers(partner, self.student)
        features = self.answers(trunk, self.teacher).to(self.device)
        tables = Tables(
            self.config.temperature,
            logits={
                "regular": self.answers(trained.regular, self.teacher),
                "joint": self.answers(trained.joint_teacher, self.teacher),
                "unimodal": self.answers(trained.unimodal, self.student),
            },
            task=self.data.task,
        )
        channels: dict[str, np.ndarray] = {}
        overlap: dict[tuple[str, float], float] = {}
        for name, rows in (("train", trained.train), ("validation", self.validation)):
            ranked = self.saliency(features[rows], head, student_logits[rows])
            importance = self.importance(ranked, features[rows], head)
            channels |= {
                f"increase_{name}": ranked.increase,
                f"importance_{name}": importance,
                f"stderr_{name}": ranked.stderr_data,
            }
            if ranked.followed is not None:
                channels[f"followed_{name}"] = ranked.followed
            for ratio in self.config.ratio:
                kept = [
                    set(range(len(importance))) - set(select(values, ratio, "general").tolist())
                    for values in (ranked.values, importance)
                ]
                overlap[name, ratio] = len(kept[0] & kept[1]) / len(kept[0])
            if name == self.config.saliency_split:
                chosen = ranked.values, importance
        self.focus(tables, features, head, chosen, trained.train)
        if self.watches:
            self.add_features(tables, trained)
        return Ranked(tables, channels, overlap, self.layer, self.student_layer)

    @property
    def watches(self) -> bool:
        """Whether a loss compares features."""
        return any(loss.features for loss in self.losses.values())

    def add_features(self, tables: Tables, trained: Trained) -> None:
        """The features of the whole teachers, for losses that compare them; `focus` adds the focused ones."""
        example = self.data.inputs(self.student, self.all[:2], device=self.device)
        self.student_layer = self.student_layer or last_hidden(trained.unimodal, example)
        teachers = (
            ("regular", trained.regular, self.layer, self.teacher, self.config.channel_dim),
            ("joint", trained.joint_teacher, self.layer, self.teacher, self.config.channel_dim),
            ("unimodal", trained.unimodal, self.student_layer, self.student, None),
        )
        for name, model, layer, modality, dim in teachers:
            example = self.data.inputs(modality, self.all[:2], device=self.device)
            trunk, _ = channel_split(model, layer, example, dim)
            tables.features[name] = pooled(self.answers(trunk, modality))

    def answers(self, model: nn.Module, modality: str) -> Float[Tensor, "sample ..."]:
        """What a network gives for every sample of the data set, on the CPU."""
        return predict(model, self.data, modality, self.all, shared=True)

    def saliency(self, features: Tensor, head: nn.Module, student_logits: Tensor) -> SaliencyResult:
        """Exact where the head is linear, else sampled."""
        if student_logits.ndim > 2:
            exact = pointwise(head) is not None
        else:
            start = linear_start(head, features)
            exact = start is not None and start.rest is None
        return saliency(
            features,
            head,
            student_logits,
            num_permutations="exact" if exact else self.config.num_permutations,
            score=self.config.score,
            generator=torch.Generator().manual_seed(self.derived("permutations")),
            precision=None if exact else self.config.saliency_precision,
            warn=False,
        )

    def importance(self, ranked: SaliencyResult, features: Tensor, head: nn.Module) -> np.ndarray:
        """What the control ranks by: the teacher alone."""
        if ranked.importance is not None:
            return ranked.importance
        with torch.no_grad():
            own = logits_of(head(features))
        return self.saliency(features, head, own).increase

    def focus(
        self,
        tables: Tables,
        features: Tensor,
        head: nn.Module,
        rankings: tuple[np.ndarray, np.ndarray],
        train: Tensor,
    ) -> None:
        """Teacher outputs with channels removed, for every selection and ratio."""
        values, importance = rankings
        fill = channel_means(features[train])
        generator = torch.Generator().manual_seed(self.derived("random channels"))
        for ratio in self.config.ratio:
            removed = {
                ArmKey("general", ratio): select(values, ratio, "general"),
                ArmKey("specific", ratio): select(values, ratio, "specific"),
                ArmKey("important", ratio): select(importance, ratio, "important"),
            }
            for draw in range(self.config.random_draws):
                removed[ArmKey("random", ratio, draw)] = select(values, ratio, "random", generator=generator)
            for key, gone in removed.items():
                tables.focused[key] = without(features, head, gone, fill)
                if self.watches:
                    tables.focused_features[key] = pooled(filled(features, gone, fill)).cpu()


def _curves(**fits: StudentFit) -> dict[str, np.ndarray]:
    return {
        f"{name}_{what}": curve(getattr(done, what))
        for name, done in fits.items()
        for what in ("loss", "validation")
    }


def load(job: StudentJob, done: StudentFit) -> nn.Module:
    """A network of its own with the trained weights."""
    model = deepcopy(job.model)
    model.load_state_dict(done.state)
    return model.eval()
