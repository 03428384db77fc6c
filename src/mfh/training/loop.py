"""The one training loop: plain fitting, joint training and distillation alike, on Hugging Face Accelerate."""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.training.objectives import Batch, Objective

EVALUATION_BATCH = 2048


@dataclass(frozen=True)
class Epoch:
    """What one epoch left: number from 1, mean training loss, validation metric."""

    number: int
    loss: float
    validation: float


@dataclass(frozen=True)
class FitResult:
    """A trained network with the weights of its best epoch.

    Attributes:
        model: the network, in evaluation mode, on the device it was trained on.
        best_epoch: the first epoch, counted from 1, with the best validation metric.
        history: one entry per epoch.
        seconds: wall time.
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
    score: Callable[[nn.Module], float],
    config: TrainConfig,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Train a network and keep its best epoch.

    The order of the samples depends on `seed` and the epoch alone (`epoch_order`), so networks trained with
    one seed see the same batches whatever they learn from.

    Args:
        model: trained in place; called as `model(*inputs)` with one input per entry of `modalities`.
        data: the samples.
        objective: function of (outputs, batch) to the mean loss of the batch.
        modalities: what the network is fed, in this order.
        train: rows to train on, int64.
        score: validation metric of the network, the larger the better; called after every epoch.
        config: optimiser, epochs, device and the like.
        seed: fixes the batches.
        on_epoch: called after every epoch.

    Raises:
        InputError: the loss is not finite; the text holds the ids of the samples of that batch.
    """
    require(len(train) > 0, "`train` must hold one row or more. Got none.")
    accelerator = make_accelerator(config)
    model.to(accelerator.device)
    optimizer = make_optimizer(model, config)
    steps = math.ceil(len(train) / config.batch_size)
    scheduler = _scheduler(optimizer, config, steps)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    history: list[Epoch] = []
    best: dict[str, Tensor] = {}
    best_epoch, start = 0, time.perf_counter()
    for number in range(1, config.epochs + 1):
        prepared.train()
        total = torch.zeros((), device=accelerator.device)
        for rows in train[epoch_order(len(train), seed, number)].split(config.batch_size):
            batch = make_batch(data, modalities, rows, accelerator.device)
            with accelerator.autocast():
                loss = objective(prepared(*batch.inputs), batch)
            _require_finite(loss, rows, data, number)
            accelerator.backward(loss)
            if config.clip is not None:
                accelerator.clip_grad_norm_(prepared.parameters(), config.clip)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            total += loss.detach() * len(rows)
        model.eval()
        epoch = Epoch(number, float(total) / len(train), score(model))
        history.append(epoch)
        if on_epoch is not None:
            on_epoch(epoch)
        if not best or epoch.validation > history[best_epoch - 1].validation:
            best, best_epoch = deepcopy(model.state_dict()), number
        if config.patience and number - best_epoch >= config.patience:
            break
    model.load_state_dict(best)
    return FitResult(model.eval(), best_epoch, tuple(history), time.perf_counter() - start)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Order of `count` training rows in an epoch (counted from 1): a permutation fixed by these three."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(count, generator=generator)


def make_batch(data: PairedDataset, modalities: Sequence[str], rows: Tensor, device: torch.device) -> Batch:
    """The inputs and labels of some rows, on a device."""
    inputs = tuple(data.inputs(name, rows, device=device) for name in modalities)
    return Batch(inputs, data.label[rows].to(device), rows)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    require(len(parameters) > 0, "The network has no parameters to train.")
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Where to train, and in which precision.

    Raises:
        InputError: there is no such device.
    """
    if config.device not in ("auto", "cpu"):
        try:
            torch.zeros(1, device=config.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"`device` {config.device!r} cannot be used here: {reason}") from error
        if config.device.startswith("cuda"):
            torch.cuda.set_device(config.device)
    return Accelerator(cpu=config.device == "cpu", mixed_precision=config.precision)


@torch.no_grad()
def predict(
    model: nn.Module,
    data: PairedDataset,
    modality: str,
    rows: Tensor,
    *,
    batch_size: int = EVALUATION_BATCH,
) -> Tensor:
    """What a network answers to some rows, in their order, in evaluation mode, on the CPU.

    The network may return a tensor, or an object with `.logits`.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    training = model.training
    model.eval()
    parts = [logits_of(model(data.inputs(modality, part, device=device))) for part in rows.split(batch_size)]
    model.train(training)
    return torch.cat(parts).float().cpu()


def logits_of(outputs: Any) -> Tensor:
    """The logits in what a network returns: the tensor itself, `.logits`, or the first of a tuple."""
    if isinstance(outputs, Tensor):
        return outputs
    if hasattr(outputs, "logits"):
        return outputs.logits
    if isinstance(outputs, (tuple, list)) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0]
    raise InputError(
        "A network must return a tensor of logits, an object with `.logits`, or a tuple that begins with the "
        f"logits. Got {type(outputs).__name__} instead: wrap it in a module that returns its logits."
    )


def accuracy(logits: Tensor, label: Tensor) -> float:
    """Share of samples whose largest logit is their class, in percent."""
    return 100 * float((logits.argmax(dim=1) == label).double().mean())


def _scheduler(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs * steps)
    size = config.step_epochs * steps if config.schedule == "step" else 2**62
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=size, gamma=0.1)


def _require_finite(loss: Tensor, rows: Tensor, data: PairedDataset, epoch: int) -> None:
    if not torch.isfinite(loss):
        ids = ", ".join(str(i) for i in data.id[rows.numpy()][:8])
        raise InputError(
            f"The loss is {loss.item()} in epoch {epoch}, in the batch of samples {ids} ...: lower `lr`, set "
            "`clip`, or look at these samples."
        )
