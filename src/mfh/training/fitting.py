"""One call of `fit`: a training from its first step, or from its checkpoint, to its end."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._system.signals import defer_signals
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric, merit
from mfh.training.batches import feed, shares, step_size, training_order
from mfh.training.checkpoint import Checkpoint, CheckpointFolder, load_optimizer, optimizer_groups
from mfh.training.diverged import DivergedError
from mfh.training.evaluate import require_defined
from mfh.training.monitor import Monitor
from mfh.training.step import Stepper

LOOK_EVERY = 20
"""Steps between two looks at the losses, if a look must wait for an accelerator or other processes."""


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch.

    Attributes:
        number: counted from 1.
        loss: mean training loss.
        validation: validation metric, in its unit; NaN if there is none.
    """

    number: int
    loss: float
    validation: float


@dataclass
class Position:
    """The progress of a training.

    Attributes:
        epoch: the current epoch, counted from 1.
        step: finished steps of this epoch.
        total: sum of the loss over the samples of these steps.
        best_epoch: the best epoch so far; 0 before the end of the first.
        seconds: wall time.
        finished: whether all is trained.
        history: one entry per finished epoch.
    """

    epoch: int = 1
    step: int = 0
    total: float = 0.0
    best_epoch: int = 0
    seconds: float = 0.0
    finished: bool = False
    history: list[Epoch] = field(default_factory=list)


@dataclass(eq=False)
class Fitting:
    """One call of `fit`; all fields but `stepper`, `checkpoints`, `at` and `best` are its arguments.

    Attributes:
        stepper: changes the network by one batch.
        weight: of each sample in the loss; see `loss_weights`.
        checkpoints: where the state is kept; None keeps none.
        at: how far the training has come.
        best: state dict of the best epoch; empty before the first.
    """

    stepper: Stepper
    data: PairedDataset
    modalities: Sequence[str]
    train: Tensor
    score: Callable[[nn.Module], float] | None
    metric: Metric | None
    on_epoch: Callable[[Epoch], None] | None
    checkpoints: CheckpointFolder | None
    save_every: float
    save_end: bool
    labelled: Tensor | None = None
    weight: Tensor | None = None
    at: Position = field(default_factory=Position)
    best: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Derive the values that every step needs."""
        self.model, self.config = self.stepper.model, self.stepper.config
        self.processes, self.device = self.stepper.processes, self.stepper.processes.device
        self.size = step_size(len(self.train), self.config, self.labelled)
        self.steps = self.config.steps or math.ceil(len(self.train) / self.size)
        self.samples = self.size * self.steps if self.config.steps else len(self.train)
        waits = self.device.type != "cpu" or self.processes.count > 1
        self.look_every = LOOK_EVERY if waits else 1
        self.pending: list[Tensor] = []
        self.parts: tuple[Tensor, ...] = ()
        self.written = 0  # the epoch whose weights this call wrote into the file of the best epoch
        self.kept = "No state was saved yet."
        self.between_steps = True  # else weights and position may disagree
        self.started = self.saved = time.monotonic()

    @property
    def num_steps(self) -> int:
        """Number of finished steps of all epochs."""
        return (self.at.epoch - 1) * self.steps + self.at.step

    def restore(self) -> None:
        """Load the state on disk, if there is one."""
        found = None if self.checkpoints is None else self.checkpoints.load()
        if found is not None:
            values = dict(found.values["position"])
            self.at = Position(**{**values, "history": [Epoch(**epoch) for epoch in values["history"]]})
            self.best = {name: value.to(self.device) for name, value in found.groups.get("best", {}).items()}
            self.model.load_state_dict(dict(found.groups.get("model", self.best)))
            self._note_kept()
        require(
            self.num_steps == self.processes.from_main(float(self.num_steps)),
            "`checkpoint` must be a folder that every process of a distributed run can read.",
        )
        if found is not None and not self.at.finished:
            load_optimizer(
                self.stepper.optimizer, found.groups.get("optimizer", {}), found.values["optimizer"]
            )
            if self.stepper.scaler is not None:
                self.stepper.scaler.load_state_dict(found.values["scaler"])

    def finish(self, *, progress: bool) -> None:
        """Train all remaining epochs, and load the weights of the best one into the network."""
        if not self.at.finished:
            self.started = time.monotonic() - self.at.seconds
            count = self.samples
            done = (self.at.epoch - 1) * count + min(count, self.at.step * self.size)
            with Monitor(
                self.stepper.accelerator,
                self.config,
                total=self.config.epochs * count,
                done=done,
                progress=progress,
            ) as self.monitor:
                try:
                    while self._epoch():
                        pass
                except KeyboardInterrupt:
                    self._save_stopped()
                    raise
            self.at.seconds = time.monotonic() - self.started
            if self.save_end:
                self._save()
        elif self.checkpoints is not None and self.save_end and self.processes.main:
            self._save_best(self.checkpoints)  # in case it was damaged since
        if self.best:
            self.model.load_state_dict(dict(self.best))

    def _epoch(self) -> bool:
        """Train the rest of the epoch and evaluate it; return whether another epoch follows."""
        at, processes = self.at, self.processes
        order = training_order(len(self.train), self.stepper.seed, at.epoch, self.config, self.labelled)
        self.parts = self.train[order].split(self.size)
        plan = [
            shares(rows, rank=processes.rank, count=processes.count, largest=self.config.micro_batch)
            for rows in self.parts[at.step :]
        ]
        rows = [rows for parts in plan for rows, _ in parts]
        self.stepper.forward.train()
        with closing(
            feed(
                self.data,
                self.modalities,
                rows,
                self.device,
                channels_last=self.config.channels_last,
                weight=self.weight,
            )
        ) as batches:
            for parts in plan:
                with defer_signals():
                    self.between_steps = False
                    self.pending.append(self.stepper.step(parts, batches, self.num_steps, self.steps))
                    at.step += 1
                    self.between_steps = True
                    if looks := len(self.pending) >= self.look_every or at.step == self.steps:
                        self._look()
                if looks:
                    self._save_when_due()
        self._evaluate()
        self._save_when_due()
        return not at.finished

    def _look(self) -> None:
        """Add up the losses since the last look.

        Raises:
            DivergedError: a loss is not finite.
        """
        alone = len(self.pending) == 1
        values = [self.pending[0].item()] if alone else torch.stack(self.pending).tolist()
        if self.processes.count > 1:
            values = self.processes.total(values)
        first, samples = self.at.step - len(self.pending), 0
        self.pending.clear()
        for step, loss in enumerate(values, start=first):
            if not math.isfinite(loss):
                raise self._not_finite(f"The loss is {loss}", step)
            self.at.total += loss * len(self.parts[step])
            samples += len(self.parts[step])
        if not self.monitor.idle:
            self.monitor.batches(samples, values[-1], self.num_steps)

    def _evaluate(self) -> None:
        """End the epoch: compute its metric, and decide whether it is the best and whether it is the last."""
        at, number = self.at, self.at.epoch
        self._require_finite_weights()
        self.processes.copy_from_main(list(self.model.buffers()))
        epoch = Epoch(number, at.total / self.samples, self._score())
        with defer_signals():
            at.history.append(epoch)
            if self.score is None:
                at.best_epoch = number
            elif not self.best or self._merit(number) > self._merit(at.best_epoch):
                at.best_epoch, self.best = number, _copy(self.model)
            stopped = self.config.patience and number - at.best_epoch >= self.config.patience
            at.finished = bool(stopped) or number == self.config.epochs
            at.epoch, at.step, at.total = number + 1, 0, 0.0
        if at.finished and self.score is not None:
            name = "score" if self.metric is None else self.metric.name
            require_defined(name, [epoch.validation for epoch in at.history])
        rate = self.stepper.optimizer.param_groups[0]["lr"]
        curves = {"loss": epoch.loss, "validation": epoch.validation, "epoch": float(number), "lr": rate}
        self.monitor.epoch({k: v for k, v in curves.items() if not math.isnan(v)}, self.num_steps)
        if self.on_epoch is not None:
            self.on_epoch(epoch)

    def _score(self) -> float:
        """Return the validation metric; NaN if there is none."""
        if self.score is None:
            return math.nan
        self.model.eval()
        with torch.no_grad():
            return self.processes.from_main(float(self.score(self.model)))

    def _merit(self, number: int) -> float:
        """Return a number that is larger for a better epoch."""
        value, metric = self.at.history[number - 1].validation, self.metric
        return merit(value, higher_is_better=metric is None or metric.higher_is_better)

    def _require_finite_weights(self) -> None:
        """Check the weights before they are kept.

        Raises:
            DivergedError: a weight is not finite.
        """
        if not self.stepper.finite():
            raise self._not_finite("A weight is not finite", self.at.step - 1)

    def _not_finite(self, what: str, step: int) -> DivergedError:
        ids = self.data.id[self.parts[step].numpy()]
        return DivergedError(what, self.at.epoch, ids, kept="" if self.checkpoints is None else self.kept)

    def _save_stopped(self) -> None:
        """Save the state after an interrupt.

        Of several processes none can know how far the others are, so they save nothing.
        """
        if self.processes.count > 1 or not self.between_steps:
            return
        with suppress(InputError):  # the caller must see the interrupt, not an error of saving
            if self.pending:
                self._look()
            self._save()

    def _save_when_due(self) -> None:
        if self.checkpoints is None or self.at.finished:
            return
        due = time.monotonic() - self.saved >= self.save_every
        if self.processes.from_main(float(due)):
            self._save()

    def _save(self) -> None:
        """Write the state; at the end without the parts that only further training needs."""
        if self.checkpoints is None:
            return
        at, optimizer, scaler = self.at, self.stepper.optimizer, self.stepper.scaler
        at.seconds = time.monotonic() - self.started
        if not at.finished and at.step:
            self._require_finite_weights()
        if self.processes.main:
            groups: dict[str, Mapping[str, Any]] = {"best": self.best}
            values: dict[str, Any] = {"position": asdict(at)}
            if not at.finished or not self.best:
                groups["model"] = self.model.state_dict()
            if not at.finished:
                groups["optimizer"], values["optimizer"] = optimizer_groups(optimizer)
                values["scaler"] = None if scaler is None else scaler.state_dict()
            if at.best_epoch != self.written:
                self._save_best(self.checkpoints)
            self.checkpoints.save(Checkpoint(values, groups))
            if at.finished:
                self.checkpoints.close()
        self.saved = time.monotonic()
        self._note_kept()

    def _save_best(self, checkpoints: CheckpointFolder) -> None:
        last = self.at.finished and self.score is None
        if best := self.model.state_dict() if last else self.best:
            checkpoints.save_best(best, epoch=self.at.best_epoch)
            self.written = self.at.best_epoch

    def _note_kept(self) -> None:
        place = f"epoch {self.at.epoch} after {self.at.step} of {self.steps} steps"
        if self.checkpoints is not None:
            self.kept = f"The last good state, {place}, is in `{self.checkpoints.last}`."


def _copy(model: nn.Module) -> dict[str, Any]:
    """Return a copy of a network's state."""
    state = model.state_dict()
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else deepcopy(value)
        for name, value in state.items()
    }
