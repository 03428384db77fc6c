"""The records of trained students and teachers: their metrics on each split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mfh._checks import require
from mfh.data.paired import SPLITS
from mfh.data.splits import Split
from mfh.metrics import Metric, scores
from mfh.results import Record, TeacherRecord
from mfh.tasks import TASKS


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Outputs for labelled samples, of networks that were not trained on them.

    Attributes:
        rows: the samples, int64.
        outputs: one row for each of them.
    """

    rows: Int[Tensor, " row"]
    outputs: Float[Tensor, "row ..."]

    @classmethod
    def of(cls, logits: Float[Tensor, "sample ..."], rows: Int[Tensor, " row"]) -> "HeldOut":
        """Return those rows of a table of all samples."""
        return cls(rows, logits[rows])


class SplitScores(TypedDict):
    """A metric on each split, in its unit."""

    train: float
    validation: float
    test: float


def score_splits(
    metric: Metric,
    logits: Float[Tensor, "sample ..."],
    label: Shaped[Tensor, "sample ..."],
    split: Split,
    *,
    held_out: HeldOut | None = None,
    weight: Float[Tensor, " sample"] | None = None,
) -> SplitScores:
    """Return a metric on each split.

    Args:
        metric: the metric.
        logits: of every sample of the data set.
        label: of every sample of the data set.
        split: the samples of each split.
        held_out: where no samples are for validation: what takes their place.
        weight: of every sample of the data set; None lets all count alike.

    Raises:
        InputError: the metric is NaN on a split.
    """
    rows = {name: torch.from_numpy(getattr(split, name)) for name in SPLITS}
    rows["train"] = torch.from_numpy(split.learnt)
    outputs = {name: logits[chosen] for name, chosen in rows.items()}
    if held_out is not None:
        rows["validation"], outputs["validation"] = held_out.rows, held_out.outputs
    found = {
        name: metric(outputs[name], label[chosen], None if weight is None else weight[chosen])
        for name, chosen in rows.items()
    }
    undefined = next((name for name, value in found.items() if math.isnan(value)), None)
    require(
        undefined is None,
        f"`metric` must be defined on every split. {metric.name} is NaN on {undefined}: use another "
        "metric, or more samples in that split.",
    )
    return SplitScores(train=found["train"], validation=found["validation"], test=found["test"])


def make_record(
    arm: str,
    metrics: Sequence[Metric],
    logits: Float[Tensor, "sample ..."],
    label: Shaped[Tensor, "sample ..."],
    split: Split,
    *,
    seed: int,
    best_epoch: int,
    seconds: float,
    ratio: float | None = None,
    draw: int | None = None,
    loss: str | None = None,
    held_out: HeldOut | None = None,
    temperature: float | None = None,
    weight: Float[Tensor, " sample"] | None = None,
) -> Record:
    """Return the record of a trained student; see `Record` for the arguments that are not named here.

    Args:
        arm: what the student learned from.
        metrics: the first one is computed on each split, the others on the test split; see
            `mfh.metrics.metrics_of`.
        logits: of every sample of the data set.
        label: of every sample of the data set.
        split: the samples of each split.
        seed: the seed.
        best_epoch: the epoch whose weights the student has.
        seconds: wall time of its training.
        ratio: share of channels removed from its teacher.
        draw: which of several draws.
        loss: the distillation loss.
        held_out: see `score_splits`; of the student's teacher where there is one.
        temperature: that calibrates its outputs.
        weight: see `score_splits`.

    Raises:
        InputError: the first metric is NaN on a split.
    """
    chosen, *others = metrics
    test = torch.from_numpy(split.test)
    return Record(
        arm=arm,
        ratio=ratio,
        seed=seed,
        metric=chosen.name,
        best_epoch=best_epoch,
        seconds=seconds,
        draw=draw,
        loss=loss,
        temperature=temperature,
        also=scores(others, logits[test], label[test], None if weight is None else weight[test]),
        **score_splits(chosen, logits, label, split, held_out=held_out, weight=weight),
    )


def make_teacher_record(
    name: str,
    metric: Metric,
    logits: Float[Tensor, "sample ..."],
    label: Shaped[Tensor, "sample ..."],
    split: Split,
    *,
    seed: int,
    temperature: float,
    task: str = "single-label",
    held_out: HeldOut | None = None,
    weight: Float[Tensor, " sample"] | None = None,
) -> TeacherRecord:
    """Return the record of a teacher: its metric on each split, and how soft its training soft labels are.

    Args:
        name: of the teacher.
        metric: the metric.
        logits: of every sample of the data set.
        label: of every sample of the data set.
        split: the samples of each split.
        seed: the seed.
        temperature: of the soft labels, above 0.
        task: what is predicted; outputs that are no probabilities have no entropy.
        held_out: see `score_splits`.
        weight: see `score_splits`.

    Raises:
        InputError: the metric is NaN on a split.
    """
    kind, train = TASKS[task], logits[torch.from_numpy(split.train)]
    entropy, saturated = kind.softness(train, temperature) if kind.softens else (None, None)
    test = torch.from_numpy(split.test)
    return TeacherRecord(
        teacher=name,
        seed=seed,
        metric=metric.name,
        **score_splits(metric, logits, label, split, held_out=held_out, weight=weight),
        entropy=entropy,
        saturated=saturated,
        test_loss=None if held_out is None else float(kind.label_loss(logits[test], label[test])),
    )
