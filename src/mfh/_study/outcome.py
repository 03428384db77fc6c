"""The results of one seed of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mfh.data.splits import Split
from mfh.influence import sample_values
from mfh.metrics import Metric
from mfh.results import Choice, FailedStudent, Record, TeacherRecord


@dataclass(frozen=True, eq=False)
class Student:
    """A trained student.

    Attributes:
        record: its metrics.
        outputs: its outputs for the test samples, (test sample, output, *position).
        values: one value for each test sample, whose mean is the test metric, (test sample,). None for a
            metric without such values.
        settings: of a partial study, what the student was trained with; students of one folder must agree.
    """

    record: Record
    outputs: np.ndarray
    values: np.ndarray | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        record: Record,
        metric: Metric,
        logits: Float[Tensor, "sample ..."],
        label: Shaped[Tensor, "sample ..."],
        split: Split,
        settings: Mapping[str, Any] | None = None,
        *,
        weight: Float[Tensor, " sample"] | None = None,
    ) -> "Student":
        """Return a student, with its outputs and values for the test samples.

        Args:
            record: see `mfh.training.scores.make_record`.
            metric: the metric that chose its epoch.
            logits: of every sample of the data set.
            label: of every sample of the data set.
            split: the samples of each split.
            settings: see `Student`.
            weight: of every sample of the data set; None lets all count alike.
        """
        test = torch.from_numpy(split.test)
        values = sample_values(metric, logits[test], label[test], None if weight is None else weight[test])
        return cls(record, logits[test].numpy(), values, settings or {})


@dataclass(frozen=True, eq=False)
class SeedResult:
    """The results of one seed.

    Attributes:
        seed: the seed.
        split: its rows.
        students: the students.
        teachers: one record per teacher.
        repeat, fold: its place in the resampling.
        channels: per-channel arrays, each of shape (channel,).
        overlap: (split, ratio) -> share of the channels kept by `general` that `important` keeps too.
        timings: seconds by stage.
        weights: checkpoint name -> weights.
        chosen: the label smoothing that validation chose.
        layer: the teacher's layer whose channels were ranked; empty if none were.
        curves: training loss and validation metric by epoch: `regular_loss`, `joint_validation` and so on, of
            shape (epoch,), and `students_loss`, `students_validation` of shape (student, epoch), in the order
            of `students`; NaN after an early stop.
        failed: one per student that diverged; they are not among `students`.
        out_of_fold: with few labels and `calibrate`, `rows` of the labelled samples, (row,), and `outputs` of
            students that did not see them, (student, row, output); see `mfh._study.few.own`.
        search: of a search, what was tried and what won, as plain values; see `mfh.results.FitResult`.
    """

    seed: int
    split: Split
    students: tuple[Student, ...] = ()
    teachers: tuple[TeacherRecord, ...] = ()
    repeat: int = 0
    fold: int = 0
    channels: Mapping[str, np.ndarray] = field(default_factory=dict)
    overlap: Mapping[tuple[str, float], float] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)
    chosen: tuple[Choice, ...] = ()
    layer: str = ""
    curves: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    failed: tuple[FailedStudent, ...] = ()
    out_of_fold: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    search: Mapping[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of the students."""
        return tuple(student.record for student in self.students)

    @property
    def outputs(self) -> np.ndarray:
        """The students' outputs for the test samples, (student, test sample, output, *position)."""
        outputs = [student.outputs for student in self.students]
        return np.stack(outputs) if outputs else np.zeros((0, len(self.split.test), 1))

    @property
    def values(self) -> np.ndarray | None:
        """The students' values, (student, test sample); None if one of them has none."""
        values = [student.values for student in self.students if student.values is not None]
        if len(values) < len(self.students):
            return None
        return np.stack(values) if values else np.zeros((0, len(self.split.test)))
