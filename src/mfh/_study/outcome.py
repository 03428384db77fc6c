"""The results of one seed of a study."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from mfh.data.splits import Split
from mfh.results import Choice, FailedStudent, Record, TeacherRecord


@dataclass(frozen=True, eq=False)
class SeedResult:
    """The results of one seed.

    Attributes:
        seed: the seed.
        split: its rows.
        repeat, fold: its place in the resampling.
        records: one per student, in the order of `values`.
        teachers: one per teacher.
        values: one value per student and test sample, whose mean over samples is the student's test metric;
            (student, test sample). None for a metric without such values.
        outputs: the students' outputs for the test samples, (student, test sample, output, *position).
        channels: per-channel arrays, each of shape (channel,).
        overlap: (split, ratio) -> share of the channels kept by `general` that `important` keeps too.
        timings: seconds by stage.
        weights: checkpoint name -> weights.
        chosen: the label smoothing that validation chose.
        layer: the teacher's layer whose channels were ranked; empty if none were.
        curves: training loss and validation metric by epoch: `regular_loss`, `joint_validation` and so on, of
            shape (epoch,), and `students_loss`, `students_validation` of shape (student, epoch), in the order
            of `records`; NaN after an early stop.
        failed: one per student that diverged; they have no record.
        settings: of a partial study, what each student was trained with, by the student's name.
    """

    seed: int
    split: Split
    records: tuple[Record, ...]
    teachers: tuple[TeacherRecord, ...]
    values: np.ndarray | None
    outputs: np.ndarray
    channels: Mapping[str, np.ndarray]
    overlap: Mapping[tuple[str, float], float]
    timings: Mapping[str, float]
    weights: Mapping[str, Mapping[str, Tensor]] = field(repr=False)
    chosen: tuple[Choice, ...]
    layer: str
    curves: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    failed: tuple[FailedStudent, ...] = ()
    repeat: int = 0
    fold: int = 0
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
