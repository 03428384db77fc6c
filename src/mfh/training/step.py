"""One step of training: the loss of a batch, in parts if asked for, and a change of the weights."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh.config import TrainConfig
from mfh.data.augment import Augment
from mfh.models.weights import all_finite
from mfh.training.batches import sample_draws, step_seed
from mfh.training.device import Processes, reseed
from mfh.training.objectives import Batch, Objective

Part = tuple[Tensor, float]


class Stepper:
    """Changes a network by one batch at a time.

    Args:
        model: the network, on its device.
        objective: what the network is trained for.
        config: optimiser, learning rate, clipping.
        seed: fixes dropout.
        accelerator: has the precision and the processes.
        processes: the processes that train the network together.
        augment: the random change of each of the network's inputs; by default none is changed.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        config: TrainConfig,
        seed: int,
        accelerator: Accelerator,
        processes: Processes,
        augment: Sequence[Augment | None] = (),
    ) -> None:
        self.model, self.objective, self.config, self.seed = model, objective, config, seed
        self.accelerator, self.processes, self.augment = accelerator, processes, augment
        self.optimizer = make_optimizer(model, config)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.scaler: Any = accelerator.scaler
        self.forward: nn.Module = model
        if accelerator.native_amp or processes.count > 1:
            # A network that Accelerate has prepared stays in mixed precision; `model` itself must not.
            self.forward = accelerator.prepare_model(_Forward(model))

    def step(self, parts: Sequence[Part], batches: Iterator[Batch], number: int, steps: int) -> Tensor:
        """Change the weights by one batch.

        Args:
            parts: this process's rows of the batch, and their shares of it.
            batches: yields the batch of each part.
            number: steps before this one, over all epochs.
            steps: steps of an epoch.

        Returns:
            The sum over parts of share x loss, without gradient.
        """
        processes = self.processes
        reseed(processes.device, step_seed(self.seed, number, processes.rank))
        values = []
        for place, (_, share) in enumerate(parts, start=1):
            batch = self._augmented(next(batches), number)
            # processes exchange gradients once in a step, with the last part
            last = processes.count == 1 or place == len(parts)
            with nullcontext() if last else self.accelerator.no_sync(self.forward):
                loss = self.objective(self._outputs(batch), batch)
                self._backward(loss, share * processes.count)
            values.append(loss.detach() if share == 1 else loss.detach() * share)
        self._update(self.config.learning_rate(number, steps))
        return values[0] if len(values) == 1 else torch.stack(values).sum()

    def _outputs(self, batch: Batch) -> Any:
        """Return the network's outputs.

        Raises:
            InputError: batch normalisation gets a single sample.
        """
        try:
            return self.forward(*batch.inputs)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            count = self.processes.count
            alone = "" if count == 1 else f" for each of {count} processes"
            raise InputError(
                f"Batch normalisation needs two samples or more{alone}, and the last batch of an epoch leaves"
                f" {len(batch.rows)}. Change `batch_size`, now {self.config.batch_size}, or `micro_batch`."
            ) from error

    def _augmented(self, batch: Batch, number: int) -> Batch:
        """Return the batch with its inputs changed at random; each sample has its own random numbers."""
        if not any(self.augment):
            return batch
        inputs = [
            change(x, sample_draws(self.seed, number, batch.rows, change.num_draws, place).to(x.device))
            if change
            else x
            for place, (x, change) in enumerate(zip(batch.inputs, self.augment, strict=True))
        ]
        return replace(batch, inputs=tuple(inputs))

    def _backward(self, loss: Tensor, weight: float) -> None:
        loss = loss if weight == 1 else loss * weight
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def _update(self, lr: float) -> None:
        optimizer, scaler, clip = self.optimizer, self.scaler, self.config.clip
        for group in optimizer.param_groups:
            group["lr"] = lr
        if clip:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters, clip)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        for parameter in self.parameters:  # as `zero_grad`, which takes ten times as long for a small network
            parameter.grad = None

    def finite(self) -> bool:
        """Return whether all trained weights are finite."""
        return all_finite(self.parameters)


class _Forward(nn.Module):
    """Wraps the network, so that Accelerate does not replace the network's own `forward`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Any:
        return self.model(*inputs)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return SGD with momentum, or AdamW.

    Raises:
        InputError: the network has no parameters to train.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    require(len(parameters) > 0, "The network has no parameters to train.")
    lr = config.peak_rate
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay)
