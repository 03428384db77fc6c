"""The training loop, for every objective: labels, joint training and distillation. It uses Accelerate."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh._system.signals import stoppable
from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric
from mfh.training.checkpoint import CheckpointFolder, require_tensors
from mfh.training.device import Processes, make_accelerator, synchronised
from mfh.training.fingerprint import short, structure
from mfh.training.fitting import Epoch, Fitting
from mfh.training.objectives import Objective
from mfh.training.step import Stepper
from mfh.training.weights import loss_weights

HOW_NOT_WHAT = ("device", "micro_batch", "channels_last", "tracker")
"""Fields of the config that change the result by rounding at most; a resumed training may have others."""


@dataclass(frozen=True)
class LoopResult:
    """A trained network with the weights of its best epoch.

    Attributes:
        model: the network, in evaluation mode, on the device it was trained on.
        best_epoch: the first epoch, counted from 1, with the best validation metric; the last without one.
        history: one entry per epoch.
        seconds: wall time, including earlier calls that were stopped.
    """

    model: nn.Module
    best_epoch: int
    history: tuple[Epoch, ...] = field(repr=False)
    seconds: float


def fit(
    model: nn.Module,
    data: PairedDataset,
    objective: Objective,
    *,
    modalities: Sequence[str],
    train: Tensor,
    config: TrainConfig,
    seed: int,
    labelled: Tensor | None = None,
    score: Callable[[nn.Module], float] | None = None,
    metric: Metric | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoint: Path | str | None = None,
    save_every: float = 120.0,
    save_end: bool = True,
    progress: bool = False,
) -> LoopResult:
    """Train a network and keep its best epoch.

    The order of the samples depends on `seed` and the epoch alone (`epoch_order`), so all networks of one
    seed see the same batches, whatever they learn from. Random numbers of dropout depend on `seed` and the
    step alone, and the state of torch's global generators is restored. How `data.augment` changes a sample
    depends on `seed`, the step and the sample.

    With `checkpoint`, repeating a call that was stopped resumes from its last checkpoint; on the CPU the
    result is the same to the last bit. A finished training is not repeated. Ctrl-C ends the call after the
    current step and writes a checkpoint.

    Under `torchrun` or `accelerate launch` every process makes the same call and computes its share of each
    batch; `config.batch_size` counts the samples of all processes. Batch normalisation is synchronised on
    CUDA.

    Args:
        model: trained in place; called as `model(*inputs)` with one input per entry of `modalities`.
        data: the samples. Weights of samples and classes multiply losses; see `mfh.training.weights`.
        objective: function of (outputs, batch) to the mean loss of the batch; see `Objective`.
        modalities: the network's inputs, in this order.
        train: rows to train on, int64.
        config: optimiser, epochs, device and the like.
        seed: fixes batches and dropout.
        labelled: places in `train` that a third of each batch is drawn from; only with `config.steps`.
        score: validation metric of the network; called after every epoch, with the network in evaluation
            mode and not in mixed precision, but not with `config.steps`. An epoch whose score is NaN is worse
            than every other. Of several processes all call it, and the main one's value counts. None keeps
            the last epoch, and then `config.patience` has no effect.
        metric: the metric that `score` returns, which decides whether larger is better; by default it is.
        on_epoch: called after every epoch that this call trains.
        checkpoint: folder for checkpoints; see `mfh.training.checkpoint`.
        save_every: seconds between checkpoints, so at most this much work is lost; 0 writes one after every
            step.
        save_end: whether to write a checkpoint of the finished network too; without it, the caller must save
            the network at once.
        progress: whether to show loss and rate on stderr after the first two seconds.

    Raises:
        InputError: the loss is not finite (the text names the samples of that batch and the last good state);
            the score is NaN in every epoch; the objective compares the samples of a batch that would be
            divided; there is no such device, precision or tracker; the folder has a checkpoint of another
            training.

    Example:
        >>> from mfh import PairedDataset, TrainConfig
        >>> from mfh.metrics import find_metric
        >>> from mfh.training.evaluate import evaluate
        >>> from mfh.training.objectives import Distill
        >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
        >>> data = PairedDataset.from_arrays({"a": x, "b": x}, label=[0, 0, 1, 1])
        >>> rows, metric = torch.arange(4), find_metric("accuracy", data.task)
        >>> result = fit(
        ...     nn.Linear(1, 2), data, Distill(), modalities=["a"], train=rows, seed=0,
        ...     config=TrainConfig(epochs=30, device="cpu"),
        ...     score=lambda model: evaluate(model, data, "a", rows, metric), metric=metric,
        ... )
        >>> max(epoch.validation for epoch in result.history)
        100.0
    """
    require(len(train) > 0, "`train` must hold one row or more. Got none.")
    config = config.settled()
    require(save_every >= 0, f"`save_every` must be 0 seconds or more. Got {save_every} instead.")
    checkpoints = None
    if checkpoint is not None:
        require_tensors(model)
        identity = _identity(model, data, objective, modalities, train, config, seed)
        if labelled is not None:
            identity["labelled"] = f"{len(labelled)} rows {short(labelled)}"
        keeps = (
            "last epoch"
            if score is None or config.steps
            else f"best epoch{f' by {metric.name}' if metric else ''}"
        )
        checkpoints = CheckpointFolder(checkpoint, identity | {"keeps": keeps})
    score = None if config.steps else score
    accelerator = make_accelerator(config, folder=None if checkpoints is None else checkpoints.folder)
    processes = Processes.on(accelerator.device)
    _require_whole_batches(objective, config, processes.count)
    model.to(processes.device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    drawing = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=drawing), synchronised(model, processes):
        augment = tuple(data.augment.get(name) for name in modalities)
        stepper = Stepper(model, objective, config, seed, accelerator, processes, augment)
        fitting = Fitting(
            stepper, data, tuple(modalities), train, score, metric,
            on_epoch, checkpoints, save_every, save_end, labelled, loss_weights(data, train),
        )  # fmt: skip
        fitting.restore()
        with stoppable(signal.SIGINT):
            fitting.finish(progress=progress)
    if config.channels_last:
        model.to(memory_format=torch.contiguous_format)
    return LoopResult(model.eval(), fitting.at.best_epoch, tuple(fitting.at.history), fitting.at.seconds)


def _require_whole_batches(objective: Objective, config: TrainConfig, count: int) -> None:
    """Check that no batch is divided if the loss compares its samples with each other."""
    if not getattr(objective, "batchwise", False):
        return
    name = getattr(getattr(objective, "loss", None), "name", type(objective).__name__)
    why = f"The loss {name} compares the samples of a batch with each other, so a batch cannot be divided"
    parts = config.micro_batch is not None and config.micro_batch < config.batch_size
    require(not parts, f"{why}: leave `micro_batch` out, or lower `batch_size` to {config.micro_batch}.")
    require(count == 1, f"{why} among {count} processes: train it in one process.")


def _identity(
    model: nn.Module,
    data: PairedDataset,
    objective: Objective,
    modalities: Sequence[str],
    train: Tensor,
    config: TrainConfig,
    seed: int,
) -> dict[str, Any]:
    """Return what fixes the result of a training, as JSON."""
    names = [spec.name for spec in fields(TrainConfig) if spec.name not in HOW_NOT_WHAT]
    kind = getattr(objective, "__qualname__", type(objective).__qualname__)
    changes = {name: data.augment[name] for name in modalities if name in data.augment}
    shapes = {name: str(getattr(value, "shape", "")) for name, value in model.state_dict().items()}
    return {
        **{name: getattr(config, name) for name in names},
        "modalities": list(modalities),
        "seed": seed,
        "objective": f"{kind} {short(objective)}",
        "network": f"{type(model).__qualname__} {short([structure(model), shapes])}",
        "train": f"{len(train)} rows {short(train)}",
        "data": data.fingerprint,
        "transforms": short({name: data.transforms.get(name) for name in modalities}),
        "augment": short(changes) if changes else None,
    }
