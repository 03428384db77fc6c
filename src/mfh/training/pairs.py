"""Step 1 of Algorithm 1: train a teacher and a student together, with close logits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.metrics import AUTO, Metric, find_metric
from mfh.training.batches import step_parts
from mfh.training.device import make_accelerator
from mfh.training.diverged import DivergedError
from mfh.training.evaluate import evaluate, predict
from mfh.training.jobs import StudentJob
from mfh.training.loop import fit
from mfh.training.many import why_not_many
from mfh.training.many.epochs import train_epochs
from mfh.training.many.pair import PairTraining, pair_of
from mfh.training.many.perceptron import Perceptron
from mfh.training.objectives import Distill, Fused, Joint, Pair

__all__ = ["PairFit", "train_pair"]


class PairFit(NamedTuple):
    """The result of training a pair, besides the weights of the best epoch, which are in the pair.

    Attributes:
        best_epoch: the first epoch, counted from 1, with the best validation metric.
        validation: mean of both networks' validation metric after each epoch, in its unit.
        loss: mean training loss of each epoch.
    """

    best_epoch: int
    validation: tuple[float, ...]
    loss: tuple[float, ...]


def train_pair(
    pair: Pair,
    data: PairedDataset,
    *,
    modalities: tuple[str, str],
    train: Tensor,
    validation: Tensor,
    config: TrainConfig,
    seed: int,
    metric: Metric | None = None,
    engine: str = "auto",
    on_progress: Callable[[int], None] = lambda _: None,
    folder: Path | None = None,
    labelled: Tensor | None = None,
) -> PairFit:
    """Train a pair in place and keep the epoch with the best mean of both validation metrics.

    A `Fused` pair is one network, with one validation metric, that learns from labels.

    Multilayer perceptrons on the CPU are trained in compiled code. Its results differ from those of the loop
    by rounding alone.

    Args:
        pair: teacher and student.
        data: the samples.
        modalities: the teacher's (one, or several such as `lidar+camera`) and the student's.
        train: rows of `data` to train on, int64.
        validation: rows that choose the epoch, int64.
        config: how both are trained.
        seed: fixes the batches.
        metric: what chooses the epoch; None takes the task's own metric.
        engine: `loop` for the loop; `auto` or `many` for compiled code, if the networks allow it.
        on_progress: called with the number of epochs that ended since the last call.
        folder: where the loop keeps checkpoints; compiled code keeps none.
        labelled: places in `train` of the rows with a label, if some have none; a third of each batch is
            drawn from these. It needs `config.steps`.

    Raises:
        InputError: a loss is not finite (`DivergedError`), or the metric is NaN in every epoch.
    """
    metric, config = metric or find_metric(AUTO, data.task), config.settled()
    label_share = _label_share(train, labelled, config)
    networks = None if engine == "loop" else _compiled(pair, data, modalities, train, config, seed)
    try:
        if networks is not None:
            training = PairTraining(
                pair, networks, data, modalities, train, validation, config, seed, metric,
                labelled=labelled, label_share=label_share,
            )  # fmt: skip
            done = train_epochs(training, config, on_progress)
            training.load(done.weights)
            return PairFit(done.best_epoch, done.validation, done.loss)
        objective = Distill(task=data.task) if isinstance(pair, Fused) else Joint(data.task, label_share)
        return _by_the_loop(
            pair, data, objective, modalities, train, validation, config, seed, metric, on_progress, folder,
            labelled,
        )  # fmt: skip
    except DivergedError as error:
        who = (
            "teacher of both modalities"
            if isinstance(pair, Fused)
            else "teacher and student trained together"
        )
        raise error.of(f"The {who}") from None


def _label_share(train: Tensor, labelled: Tensor | None, config: TrainConfig) -> float:
    """Return the expected share of the rows of a batch that have a label; see `training_order`."""
    if labelled is None:
        return 1.0
    few, many = step_parts(len(train), len(labelled), config)
    return (few + many * len(labelled) / len(train)) / (few + many)


def _by_the_loop(
    pair: Pair,
    data: PairedDataset,
    objective: Distill | Joint,
    modalities: tuple[str, str],
    train: Tensor,
    validation: Tensor,
    config: TrainConfig,
    seed: int,
    metric: Metric,
    on_progress: Callable[[int], None],
    folder: Path | None,
    labelled: Tensor | None,
) -> PairFit:
    sides = tuple(zip((pair.teacher, pair.student), modalities, strict=True))

    def score(_: nn.Module) -> float:
        if isinstance(pair, Fused):
            logits = [predict(side, data, name, validation, shared=True) for side, name in sides]
            return metric(logits[0] + logits[1], data.label[validation], data.weight_of(validation))
        return sum(evaluate(side, data, name, validation, metric) for side, name in sides) / 2

    done = fit(
        pair,
        data,
        objective,
        modalities=[part for name in modalities for part in data.parts(name)],
        train=train,
        score=score,
        metric=metric,
        config=config,
        seed=seed,
        on_epoch=lambda _: on_progress(1),
        checkpoint=folder,
        labelled=labelled,
    )
    history = done.history
    if len(history) < config.epochs:
        on_progress(config.epochs - len(history))
    return PairFit(done.best_epoch, tuple(e.validation for e in history), tuple(e.loss for e in history))


def _compiled(
    pair: Pair,
    data: PairedDataset,
    modalities: Sequence[str],
    train: Tensor,
    config: TrainConfig,
    seed: int,
) -> tuple[Perceptron, Perceptron] | None:
    """Return the structure of both networks for compiled code; None if it cannot train them."""
    if make_accelerator(config).device.type != "cpu":
        return None
    labels = Distill(task=data.task)
    for model, name in zip((pair.teacher, pair.student), modalities, strict=True):
        if why_not_many(StudentJob(model, labels, data, name, train, train, seed), config) is not None:
            return None
    return pair_of(pair, data, modalities)
