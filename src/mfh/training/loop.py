"""The one training loop: plain fitting, joint training and distillation alike, on Hugging Face Accelerate."""

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
from mfh.training.checkpoint import Store, require_tensors
from mfh.training.device import Processes, make_accelerator, synchronised
from mfh.training.evaluate import predict as predict
from mfh.training.fingerprint import short, structure
from mfh.training.fitting import Epoch as Epoch
from mfh.training.fitting import Fitting
from mfh.training.objectives import Objective
from mfh.training.step import Stepper

HOW_NOT_WHAT = ("device", "micro_batch", "channels_last", "tracker")
"""Fields of the config that change the result by rounding at most: a training may go on with others."""


@dataclass(frozen=True)
class FitResult:
    """A trained network with the weights of its best epoch.

    Attributes:
        model: the network, in evaluation mode, on the device it was trained on.
        best_epoch: the first epoch, counted from 1, with the best validation metric; the last without one.
        history: one entry per epoch.
        seconds: wall time, with that of earlier calls which were stopped.
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
    score: Callable[[nn.Module], float] | None = None,
    metric: Metric | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoint: Path | str | None = None,
    save_every: float = 120.0,
    save_end: bool = True,
    progress: bool = False,
) -> FitResult:
    """Train a network and keep its best epoch.

    The order of the samples depends on `seed` and the epoch alone (`epoch_order`), so networks trained with
    one seed see the same batches whatever they learn from. What dropout and the like draw from torch's
    generators depends on `seed` and the step alone, and the global generators stay as they were. How
    `data.augment` changes a sample depends on `seed`, the step and the sample.

    With `checkpoint`, a call that was stopped goes on where its last checkpoint was written when it is made
    again; on the CPU the result is the same to the last bit. One that came to its end is not trained again.
    Ctrl-C ends it after the current step, and writes a checkpoint then.

    Under `torchrun` or `accelerate launch` every process makes the same call, and each computes its share of
    each batch: `config.batch_size` is the size of the whole. Batch normalisation is synchronised on CUDA.

    Args:
        model: trained in place; called as `model(*inputs)` with one input per entry of `modalities`.
        data: the samples.
        objective: function of (outputs, batch) to the mean loss of the batch; see `Objective`.
        modalities: what the network is fed, in this order.
        train: rows to train on, int64.
        config: optimiser, epochs, device and the like.
        seed: fixes batches and dropout.
        score: validation metric of the network; called after every epoch, with the network in evaluation
            mode and not in mixed precision. An epoch whose score is NaN is worse than every other. Of several
            processes all call it, and the main one's value counts. None keeps the last epoch, and then
            `config.patience` has no effect.
        metric: the metric that `score` returns, which decides whether larger is better; by default it is.
        on_epoch: called after every epoch that this call trains.
        checkpoint: folder for checkpoints; see `mfh.training.checkpoint`.
        save_every: seconds between checkpoints, the work that a kill can cost; 0 writes one after every step.
        save_end: whether to write one of the finished network too; without it, the caller is to keep the
            network at once.
        progress: whether to show loss and rate on stderr once two seconds have passed.

    Raises:
        InputError: the loss is not finite (the text holds the ids of the samples of that batch, and where the
            last good state is); the objective compares the samples of a batch that would be divided; there
            is no such device, precision or tracker; the folder holds another training's checkpoint.

    Example:
        >>> from mfh import PairedDataset, TrainConfig
        >>> from mfh._formulas import accuracy
        >>> from mfh.training.objectives import Distill
        >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
        >>> data = PairedDataset.from_arrays({"a": x, "b": x}, label=[0, 0, 1, 1])
        >>> rows = torch.arange(4)
        >>> result = fit(
        ...     nn.Linear(1, 2), data, Distill(), modalities=["a"], train=rows, seed=0,
        ...     config=TrainConfig(epochs=30, device="cpu"),
        ...     score=lambda model: accuracy(predict(model, data, "a", rows), data.label),
        ... )
        >>> max(epoch.validation for epoch in result.history)
        100.0
    """
    require(len(train) > 0, "`train` must hold one row or more. Got none.")
    require(save_every >= 0, f"`save_every` must be 0 seconds or more. Got {save_every} instead.")
    store = None
    if checkpoint is not None:
        require_tensors(model)
        identity = _identity(model, data, objective, modalities, train, config, seed)
        keeps = "last epoch" if score is None else f"best epoch{f' by {metric.name}' if metric else ''}"
        store = Store(checkpoint, identity | {"keeps": keeps})
    accelerator = make_accelerator(config, folder=None if store is None else store.folder)
    processes = Processes.on(accelerator.device)
    _require_whole_batches(objective, config, processes.count)
    model.to(processes.device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    drawing = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=drawing), synchronised(model, processes):
        augment = tuple(data.augment.get(name) for name in modalities)
        stepper = Stepper(model, objective, config, seed, accelerator, processes, augment)
        run = Fitting(
            stepper, data, tuple(modalities), train, score, metric, on_epoch, store, save_every, save_end
        )
        run.restore()
        with stoppable(signal.SIGINT):
            run.finish(progress=progress)
    if config.channels_last:
        model.to(memory_format=torch.contiguous_format)
    return FitResult(model.eval(), run.at.best_epoch, tuple(run.at.history), run.at.seconds)


def _require_whole_batches(objective: Objective, config: TrainConfig, count: int) -> None:
    """A loss that compares samples with each other has no parts that add up to it."""
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
    """What a training is made of, in words that tell two apart."""
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
