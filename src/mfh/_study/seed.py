"""One seed of a study: its teachers, their saliency, and the students of every arm."""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._focus import channel_means, select, split
from mfh._saliency import SaliencyResult, linear_start, saliency
from mfh._study.arms import ArmKey, Tables, last_hidden, without
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.splits import Split, divide, draw_split
from mfh.losses import soft_label_entropy
from mfh.results import Record, TeacherRecord
from mfh.training.loop import accuracy, fit, logits_of, predict
from mfh.training.objectives import Distill, Pair, joint
from mfh.training.students import StudentFit, StudentJob, seeded, train_students

Build = Callable[[], nn.Module]
Progress = Callable[[str, int], None]
METRIC = "accuracy"


@dataclass(frozen=True, eq=False)
class SeedResult:
    """What one seed leaves.

    Attributes:
        seed: the seed.
        split: its rows.
        records: one per student, in the order of `correct`.
        teachers: one per teacher.
        correct: whether each student is right about each test sample, shape (student, test sample).
        channels: per-channel arrays, each of shape (channel,).
        overlap: (split, ratio) -> share of the channels kept by `general` that `important` keeps too.
        timings: seconds by stage.
        weights: checkpoint name -> weights.
        smoothing: label smoothing that validation chose.
        layer: the layer that was used.
    """

    seed: int
    split: Split
    records: tuple[Record, ...]
    teachers: tuple[TeacherRecord, ...]
    correct: np.ndarray
    channels: Mapping[str, np.ndarray]
    overlap: Mapping[tuple[str, float], float]
    timings: Mapping[str, float]
    weights: Mapping[str, Mapping[str, Tensor]] = field(repr=False)
    smoothing: float
    layer: str


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


class SeedRun:
    """The work of one seed, stage by stage."""

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
    ) -> None:
        require(config.teacher is not None and config.student is not None, "Name `teacher` and `student`.")
        self.teacher, self.student = str(config.teacher), str(config.student)
        self.config, self.seed, self.progress = config, seed, progress
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
        self.layer = config.layer or ""

    def derived(self, role: str) -> int:
        """A seed of its own for each role within this seed."""
        entropy = [self.seed, *role.encode()]
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(2))

    def run(self) -> SeedResult:
        """Everything, in order."""
        trained = self.fit_teachers(self.data, self.train, fold="")
        self.timer.lap("teachers")
        tables, channels, overlap = self.rank(trained)
        self.timer.lap("saliency")
        if self.config.teacher_outputs == "cross-fit":
            self.cross_fit(tables)
            self.timer.lap("teachers")
        teachers = self.describe_teachers(tables)
        jobs = self.jobs(tables)
        fits = train_students(
            list(jobs.values()),
            self.config,
            engine=self.config.engine,
            on_progress=lambda count: self.progress("students", count),
        )
        records, correct, best, smoothing = self.evaluate(dict(zip(jobs, fits, strict=True)))
        self.timer.lap("students")
        weights = {
            "teacher-regular": trained.regular.state_dict(),
            "teacher-joint": trained.joint_teacher.state_dict(),
            "student-joint": trained.joint_student.state_dict(),
            "teacher-unimodal": trained.unimodal.state_dict(),
            "student-general": best,
        }
        return SeedResult(
            self.seed, self.split, records, teachers, correct, channels, overlap, self.timer.seconds,
            weights, smoothing, self.layer,
        )  # fmt: skip

    def fit_teachers(self, data: PairedDataset, train: Tensor, *, fold: str) -> Trained:
        """The regular teacher, Algorithm 1's pair, a teacher of the student's modality, a lone student."""
        validation = self.validation

        def alone(build: Build, modality: str, role: str) -> StudentJob:
            model = seeded(build, self.derived(role))
            return StudentJob(
                model, Distill(), data, modality, train, validation, self.derived("batches" + fold)
            )

        jobs = [
            alone(self.build_teacher, self.teacher, "teacher" + fold),
            alone(self.build_student, self.student, "unimodal" + fold),
        ]
        if self.config.teacher_source == "regular":
            jobs.append(alone(self.build_student, self.student, "student"))
        fits = train_students(
            jobs,
            self.config,
            engine=self.config.engine,
            on_progress=lambda count: self.progress("teachers", count),
        )
        regular, unimodal, *lone = (load(job, done) for job, done in zip(jobs, fits, strict=True))
        pair = Pair(
            seeded(self.build_teacher, self.derived("teacher" + fold)),
            seeded(self.build_student, self.derived("joint student" + fold)),
        )
        labels = data.label[validation]
        sides = ((pair.teacher, self.teacher), (pair.student, self.student))

        def score(_: nn.Module) -> float:
            return sum(accuracy(predict(side, data, name, validation), labels) for side, name in sides) / 2

        fit(
            pair,
            data,
            joint,
            modalities=(self.teacher, self.student),
            train=train,
            score=score,
            config=self.config,
            seed=self.derived("batches" + fold),
            on_epoch=lambda _: self.progress("teachers", 1),
        )
        return Trained(regular, pair.teacher, pair.student, unimodal, train, *lone)

    def rank(self, trained: Trained) -> tuple[Tables, dict[str, np.ndarray], dict[tuple[str, float], float]]:
        """Saliency on training and validation split, and every arm's teacher outputs."""
        from_joint = self.config.teacher_source == "joint"
        model = trained.joint_teacher if from_joint else trained.regular
        partner = trained.joint_student if from_joint else trained.lone_student
        if partner is None:
            raise InputError(
                "A regular teacher is ranked against a student trained on labels; there is none."
            )
        example = self.data.inputs(self.teacher, self.all[:2])
        self.layer = self.layer or last_hidden(model, example)
        trunk, head = split(model, self.layer, example=example)
        student_logits = predict(partner, self.data, self.student, self.all)
        features = self.features(trunk)
        tables = Tables(
            self.config.temperature,
            logits={
                "regular": predict(trained.regular, self.data, self.teacher, self.all),
                "joint": predict(trained.joint_teacher, self.data, self.teacher, self.all),
                "unimodal": predict(trained.unimodal, self.data, self.student, self.all),
            },
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
        return tables, channels, overlap

    def features(self, trunk: nn.Module) -> Float[Tensor, "sample ..."]:
        """The layer's output for every sample of the data set, on the CPU."""
        return predict(trunk, self.data, self.teacher, self.all)

    def saliency(self, features: Tensor, head: nn.Module, student_logits: Tensor) -> SaliencyResult:
        """Exact where the head is linear, else sampled."""
        start = linear_start(head, features)
        exact = start is not None and start.rest is None
        return saliency(
            features,
            head,
            student_logits,
            num_permutations="exact" if exact else self.config.num_permutations,
            score=self.config.score,
            generator=torch.Generator().manual_seed(self.derived("permutations")),
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

    def cross_fit(self, tables: Tables) -> None:
        """Replace the teacher outputs on the training rows by those of teachers not fitted on them."""
        labels, groups = self.data.label.numpy(), self.data.group
        train = self.train.numpy()
        rng = np.random.default_rng(self.derived("folds"))
        shares = [1 / self.config.folds] * self.config.folds
        parts = divide(labels[train], None if groups is None else groups[train], shares, rng)
        for number, part in enumerate(parts):
            held = torch.from_numpy(np.sort(train[part]))
            kept = torch.from_numpy(np.sort(np.delete(train, part)))
            data = self.data
            self.data = self.transforms(self.raw, kept)
            trained = self.fit_teachers(self.data, kept, fold=f" fold {number}")
            fold, _, _ = self.rank(trained)
            self.data = data
            tables.take(fold, held)

    def describe_teachers(self, tables: Tables) -> tuple[TeacherRecord, ...]:
        """Accuracy, entropy and saturation of every teacher."""
        named = dict(tables.logits) | {
            f"{key.arm}@{key.ratio:g}": logits for key, logits in tables.focused.items() if not key.draw
        }
        return tuple(self.teacher_record(name, logits) for name, logits in named.items())

    def teacher_record(self, name: str, logits: Tensor) -> TeacherRecord:
        """How good one teacher is, and how soft its soft labels are on the training split."""
        temperature = self.config.temperature
        soft = torch.softmax(logits[self.train] / temperature, dim=1)
        entropy = soft_label_entropy(logits[self.train], temperature=temperature)
        return TeacherRecord(
            teacher=name,
            seed=self.seed,
            metric=METRIC,
            **self.accuracies(logits),
            entropy=float(entropy.double().mean()),
            saturated=float((soft.max(dim=1).values > 0.99).double().mean()),
        )

    def accuracies(self, logits: Float[Tensor, "sample output"]) -> dict[str, float]:
        """Accuracy on each split, in percent, of logits for every sample of the data set."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: accuracy(logits[rows], self.data.label[rows]) for name, rows in splits.items()}

    def jobs(self, tables: Tables) -> dict[ArmKey, StudentJob]:
        """One student per arm, ratio and draw; all begin with the same weights and see the same batches."""
        config = self.config
        teach = Distill(
            label_weight=config.label_weight,
            distill_weight=config.distill_weight,
            temperature=config.temperature,
        )
        objectives = {ArmKey("no-kd"): Distill()}
        for number, share in enumerate(config.smoothing):
            objectives[ArmKey("no-kd-smoothed", None, number)] = Distill(smoothing=share)
        for key, logits in tables.arms(self.train, self.shuffled()).items():
            objectives[key] = replace(teach, teacher_logits=logits)
        model = seeded(self.build_student, self.derived("student"))
        seed = self.derived("batches")
        return {
            key: StudentJob(model, objective, self.data, self.student, self.train, self.validation, seed)
            for key, objective in objectives.items()
        }

    def shuffled(self) -> Int[Tensor, " sample"]:
        """For each sample another one of its class in the training split (others stay in place)."""
        rng = np.random.default_rng(self.derived("mismatched"))
        order = np.arange(len(self.data))
        labels = self.data.label.numpy()[self.split.train]
        for label in np.unique(labels):
            rows = self.split.train[labels == label]
            order[rows] = rng.permutation(rows)
        return torch.from_numpy(order)

    def evaluate(
        self, fits: Mapping[ArmKey, StudentFit]
    ) -> tuple[tuple[Record, ...], np.ndarray, Mapping[str, Tensor], float]:
        """Records, right answers on the test split, the chosen general student, the chosen smoothing."""
        smoothed = [key for key in fits if key.arm == "no-kd-smoothed"]
        best = max(smoothed, key=lambda key: (max(fits[key].validation), -(key.draw or 0)))
        general = max(
            (key for key in fits if key.arm == "general" or key.arm == "joint"),
            key=lambda key: (max(fits[key].validation), -(key.ratio or 0)),
        )
        model = seeded(self.build_student, 0)
        records, correct = [], []
        for key, done in fits.items():
            if key.arm == "no-kd-smoothed" and key != best:
                continue
            model.load_state_dict(done.state)
            logits = predict(model, self.data, self.student, self.all)
            correct.append((logits[self.test].argmax(dim=1) == self.data.label[self.test]).numpy())
            records.append(
                Record(
                    arm=key.arm,
                    ratio=key.ratio,
                    seed=self.seed,
                    metric=METRIC,
                    **self.accuracies(logits),
                    best_epoch=done.best_epoch,
                    seconds=done.seconds,
                    draw=key.draw if key.arm == "random" else None,
                )
            )
        chosen = self.config.smoothing[best.draw or 0]
        return tuple(records), np.stack(correct), fits[general].state, chosen


def load(job: StudentJob, done: StudentFit) -> nn.Module:
    """A network of its own with the trained weights."""
    model = deepcopy(job.model)
    model.load_state_dict(done.state)
    return model.eval()
