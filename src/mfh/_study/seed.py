"""One seed of a study: its teachers, and the students of every arm."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mfh._study.arms import ArmKey, Tables
from mfh._study.describe import curve, pad
from mfh._study.outcome import SeedResult
from mfh._study.teachers import TeacherRun, accuracies, describe_teacher
from mfh.data.splits import divide
from mfh.results import FailedStudent, Record, TeacherRecord
from mfh.training.objectives import Distill
from mfh.training.students import StudentFit, StudentJob, seeded


class SeedRun(TeacherRun):
    """The work of one seed, stage by stage."""

    def run(self) -> SeedResult:
        """Everything, in order."""
        trained = self.fit_teachers(self.data, self.train, fold="")
        self.timer.lap("teachers")
        ranked = self.rank(trained, fold="")
        tables = ranked.tables
        self.progress("saliency", 1)
        self.timer.lap("saliency")
        if self.config.teacher_outputs == "cross-fit":
            self.cross_fit(tables)
            self.timer.lap("teachers")
        teachers = self.describe_teachers(tables)
        jobs = self.jobs(tables)
        named = {key.name: job for key, job in jobs.items()}
        fits = self.train_alone(named, "students", tolerant=len(self.losses) > 1)
        done, failed = self.separate(dict(zip(jobs, fits, strict=True)))
        records, correct, best, smoothing = self.evaluate(done)
        self.timer.lap("students")
        weights = {
            "teacher-regular": trained.regular,
            "teacher-joint": trained.joint_teacher,
            "student-joint": trained.joint_student,
            "teacher-unimodal": trained.unimodal,
        }
        states = {name: model.cpu().state_dict() for name, model in weights.items()}
        return SeedResult(
            self.seed, self.split, records, teachers, correct, ranked.channels, ranked.overlap,
            self.timer.seconds, states | ({"student-general": best} if best else {}), smoothing, self.layer,
            self.curves, failed,
        )  # fmt: skip

    def cross_fit(self, tables: Tables) -> None:
        """Replace the teacher outputs on the training rows by those of teachers not fitted on them."""
        labels, groups = self.data.kind.strata(self.data.label), self.data.group
        train = self.train.numpy()
        rng = np.random.default_rng(self.derived("folds"))
        shares = [1 / self.config.folds] * self.config.folds
        parts = divide(labels[train], None if groups is None else groups[train], shares, rng)
        for number, part in enumerate(parts):
            held = torch.from_numpy(np.sort(train[part]))
            kept = torch.from_numpy(np.sort(np.delete(train, part)))
            data = self.data
            self.data = self.transforms(self.raw, kept)
            fold = f" fold {number}"
            theirs = self.rank(self.fit_teachers(self.data, kept, fold=fold), fold=fold).tables
            self.progress("saliency", 1)
            self.data = data
            tables.take(theirs, held)

    def describe_teachers(self, tables: Tables) -> tuple[TeacherRecord, ...]:
        """Accuracy, entropy and saturation of every teacher."""
        named = dict(tables.logits) | {
            f"{key.arm}@{key.ratio:g}": logits for key, logits in tables.focused.items() if not key.draw
        }
        return tuple(
            describe_teacher(
                name,
                self.seed,
                logits,
                self.data.label,
                self.split,
                temperature=self.config.temperature,
                task=self.data.task,
            )
            for name, logits in named.items()
        )

    def jobs(self, tables: Tables) -> dict[ArmKey, StudentJob]:
        """One student per loss, arm, ratio and draw; all with the same initial weights and batches."""
        config = self.config
        teach = Distill(
            label_weight=config.label_weight,
            distill_weight=config.distill_weight,
            temperature=config.temperature,
            task=self.data.task,
        )
        objectives = {ArmKey("no-kd"): self.labels}
        for number, share in enumerate(config.smoothing if self.data.kind.smooths else ()):
            objectives[ArmKey("no-kd-smoothed", None, number)] = replace(self.labels, smoothing=share)
        shuffled = self.shuffled()
        logits, features = tables.arms(self.train, shuffled), tables.arm_features(shuffled)
        for name, loss in self.losses.items():
            for key in features if loss.features else logits:
                objectives[replace(key, loss=name)] = replace(
                    teach,
                    teacher_logits=logits[key],
                    loss=None if name == "kl" else loss,
                    teacher_features=features[key] if loss.features else None,
                    memory=(self.train, self.data.label[self.train]) if loss.memory else None,
                )
        model = seeded(self.build_student, self.derived("student"))
        seed, rows = self.derived("batches"), (self.train, self.validation)
        return {
            key: StudentJob(
                model, objective, self.data, self.student, *rows, seed, self.student_layer,
                name=f"The student of {key.words}, in seed {self.seed}",
            )
            for key, objective in objectives.items()
        }  # fmt: skip

    def separate(
        self, fits: Mapping[ArmKey, StudentFit]
    ) -> tuple[dict[ArmKey, StudentFit], tuple[FailedStudent, ...]]:
        """Students that were trained, and those that diverged.

        Raises:
            DivergedError: a student without a teacher diverged, to which all others are compared, or every
                student that has one.
        """
        done = {key: fit for key, fit in fits.items() if fit.failure is None}
        taught = any(key.loss is not None for key in done)
        for key, fit in fits.items():
            if fit.failure is not None and (key.loss is None or not taught):
                raise fit.failure
        return done, tuple(
            FailedStudent(
                key.arm, key.ratio, self.seed, key.draw, key.loss, fit.failure.epoch, str(fit.failure)
            )
            for key, fit in fits.items()
            if fit.failure is not None
        )

    def shuffled(self) -> Int[Tensor, " sample"]:
        """For each sample another one of its class in the training split (others stay in place).

        What is alike for another task than single-label, `Task.strata` says.
        """
        rng = np.random.default_rng(self.derived("mismatched"))
        order = np.arange(len(self.data))
        labels = self.data.kind.strata(self.data.label)[self.split.train]
        for label in np.unique(labels):
            rows = self.split.train[labels == label]
            order[rows] = rng.permutation(rows)
        return torch.from_numpy(order)

    def evaluate(
        self, fits: Mapping[ArmKey, StudentFit]
    ) -> tuple[tuple[Record, ...], np.ndarray, Mapping[str, Tensor] | None, float]:
        """Records, right answers on the test split, the chosen general student, the chosen smoothing.

        The student is None where all that could be chosen diverged.
        """
        smoothed = [key for key in fits if key.arm == "no-kd-smoothed"]
        best = max(smoothed, key=lambda key: (max(fits[key].validation), -(key.draw or 0)), default=None)
        general = max(
            (key for key in fits if key.arm in ("general", "joint") and key.loss == self.config.loss),
            key=lambda key: (max(fits[key].validation), -(key.ratio or 0)),
            default=None,
        )
        model = seeded(self.build_student, 0).to(self.device)
        records, correct, kept = [], [], []
        for key, done in fits.items():
            if key.arm == "no-kd-smoothed" and key != best:
                continue
            kept.append(done)
            model.load_state_dict(done.state)
            logits = self.answers(model, self.student)
            label = self.data.label
            correct.append(self.data.kind.right(logits[self.test], label[self.test]).numpy())
            scores = self.data.kind.scores(logits[self.test], label[self.test])
            records.append(
                Record(
                    arm=key.arm,
                    ratio=key.ratio,
                    seed=self.seed,
                    metric=self.data.kind.metric,
                    **accuracies(logits, label, self.split, task=self.data.task),
                    best_epoch=done.best_epoch,
                    seconds=done.seconds,
                    draw=key.draw if key.arm == "random" else None,
                    loss=key.loss,
                    also={name: value for name, value in scores.items() if name != self.data.kind.metric},
                )
            )
        for what in ("loss", "validation"):
            rows = [curve(getattr(done, what))[None] for done in kept]
            longest = max(row.shape[1] for row in rows)
            self.curves[f"students_{what}"] = np.concatenate([pad(row, longest) for row in rows])
        chosen = self.config.smoothing[best.draw or 0] if best else 0.0
        return tuple(records), np.stack(correct), fits[general].state if general else None, chosen
