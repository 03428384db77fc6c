"""The records of trained networks: their metrics on each split. The one place where records are made."""

from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

from mfh.data.paired import SPLITS
from mfh.data.splits import Split
from mfh.results import Record, TeacherRecord
from mfh.tasks import TASKS


class SplitScores(TypedDict):
    """A metric on each split."""

    train: float
    validation: float
    test: float


def score_splits(
    logits: Float[Tensor, "sample ..."], label: Tensor, split: Split, *, task: str = "single-label"
) -> SplitScores:
    """Return the task's metric on each split, from logits for every sample of the data set."""
    rows = (torch.from_numpy(getattr(split, name)) for name in SPLITS)
    train, validation, test = (TASKS[task].score(logits[chosen], label[chosen]) for chosen in rows)
    return SplitScores(train=train, validation=validation, test=test)


def make_record(
    arm: str,
    seed: int,
    logits: Float[Tensor, "sample ..."],
    label: Tensor,
    split: Split,
    *,
    best_epoch: int,
    seconds: float,
    task: str = "single-label",
    ratio: float | None = None,
    draw: int | None = None,
    loss: str | None = None,
) -> Record:
    """Return the record of a student, from its logits for every sample of the data set.

    Args:
        arm: what it learned from.
        seed: the seed of the split and the training.
        logits: its outputs for every sample.
        label: the labels of every sample.
        split: rows of each split.
        best_epoch: the epoch whose weights it has, counted from 1.
        seconds: wall time of its training.
        task: what is predicted.
        ratio: share of removed channels of its teacher.
        draw: which draw of random channels.
        loss: its distillation loss.
    """
    kind, test = TASKS[task], torch.from_numpy(split.test)
    further = kind.scores(logits[test], label[test])
    return Record(
        arm=arm,
        ratio=ratio,
        seed=seed,
        metric=kind.metric,
        **score_splits(logits, label, split, task=task),
        best_epoch=best_epoch,
        seconds=seconds,
        draw=draw,
        loss=loss,
        also={name: value for name, value in further.items() if name != kind.metric},
    )


def make_teacher_record(
    name: str,
    seed: int,
    logits: Float[Tensor, "sample ..."],
    label: Tensor,
    split: Split,
    *,
    temperature: float,
    task: str = "single-label",
) -> TeacherRecord:
    """Return a teacher's metric on each split, and how soft its soft labels are on the training split."""
    kind, train = TASKS[task], logits[torch.from_numpy(split.train)]
    entropy, saturated = kind.softness(train, temperature) if kind.softens else (None, None)
    return TeacherRecord(
        teacher=name,
        seed=seed,
        metric=kind.metric,
        **score_splits(logits, label, split, task=task),
        entropy=entropy,
        saturated=saturated,
    )
