"""Train students with networks of one shape as one batched computation in torch, on any device."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mfh.config import TrainConfig
from mfh.metrics import METRICS, Metric
from mfh.training.batches import step_size, training_order
from mfh.training.diverged import DivergedError
from mfh.training.evaluate import EVALUATION_BATCH, require_defined
from mfh.training.jobs import StudentFit, StudentJob
from mfh.training.many.networks import stack, views, weights_matrix
from mfh.training.many.targets import StackedLoss, StackedTerm, stack_terms, terms
from mfh.training.weights import row_weights


def train_stacked(
    numbers: Sequence[int],
    jobs: Sequence[StudentJob],
    config: TrainConfig,
    device: torch.device,
    on_progress: Callable[[int], None],
    *,
    tolerant: bool = False,
) -> list[StudentFit]:
    """Train students with the same data, modality, rows, seed, loss and shape of network.

    Args:
        numbers: of the students in messages.
        jobs: the students.
        config: how all of them are trained.
        device: where they are trained.
        on_progress: called with the number of student-epochs that ended since the last call.
        tolerant: whether the others go on if a student diverges.

    Raises:
        DivergedError: a loss or a weight is not finite, and `tolerant` is false.
        InputError: the metric is NaN in every epoch of a student.
    """
    training = _StackedTraining(numbers, jobs, config, device)
    start = time.perf_counter()
    count, history = (
        len(jobs),
        _History(len(jobs), training.metric, config.patience, tolerant, fixed=config.steps is not None),
    )
    best = training.weights.clone()
    for epoch in range(1, config.epochs + 1):
        found = training.epoch(epoch, history), training.validate()
        better = history.add(*found).to(device)
        best = torch.where(better[:, None], training.weights, best)
        on_progress(count)
        if not history.going().any():
            on_progress(count * (config.epochs - epoch))
            break
    seconds = (time.perf_counter() - start) / count
    rows = best.cpu()
    return [
        StudentFit.failed(history.failures[place])
        if place in history.failures
        else StudentFit(_state(job.model, rows[place]), *history.of(place), seconds)
        for place, job in enumerate(jobs)
    ]


@dataclass(eq=False)
class _History:
    """Losses, validation metrics and the best epoch of each student, and which students diverged."""

    count: int
    metric: Metric
    patience: int
    tolerant: bool
    fixed: bool = False
    failures: dict[int, DivergedError] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)
    validation: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.best = torch.zeros(self.count, dtype=torch.int64)
        self.last = torch.zeros(self.count, dtype=torch.int64)
        self.highest = torch.full((self.count,), -math.inf, dtype=torch.float64)

    def add(self, losses: Tensor, validation: Tensor) -> Tensor:
        """Add the results of an epoch; return which students are better than in every epoch before."""
        self.losses.append(losses)
        self.validation.append(validation)
        number = len(self.losses)
        going = self.going()
        self.last[going] = number
        merit = torch.tensor([self.metric.merit(value) for value in validation.tolist()], dtype=torch.float64)
        better = going & ((self.best == 0) | (merit > self.highest))
        self.highest[better] = merit[better]
        self.best[better] = number
        return better

    def of(self, place: int) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
        """Return the best epoch, the validation metrics and the losses of one student.

        Raises:
            InputError: the metric is NaN in every epoch.
        """
        last = int(self.last[place])
        tables = (self.validation[:last], self.losses[:last])
        validation, losses = (tuple(float(row[place]) for row in table) for table in tables)
        if not self.fixed:
            require_defined(self.metric.name, validation)
        return int(self.best[place]), validation, losses

    def going(self) -> Tensor:
        """Return which students have neither been stopped nor diverged."""
        sound = torch.ones(self.count, dtype=torch.bool)
        sound[list(self.failures)] = False
        return sound & (self.last - self.best < self.patience) if self.patience else sound

    def fail(self, place: int, error: DivergedError) -> None:
        """Record that a student diverged; raise its error if none may.

        Raises:
            DivergedError: the others shall not go on without it.
        """
        if not self.tolerant:
            raise error
        self.failures[place] = error


class _StackedTraining:
    """The students' weights, and what changes them."""

    def __init__(
        self, numbers: Sequence[int], jobs: Sequence[StudentJob], config: TrainConfig, device: torch.device
    ) -> None:
        self.numbers, self.jobs, self.config, self.device = numbers, jobs, config, device
        job = jobs[0]
        self.metric = job.chosen_by
        self.inputs = job.data.inputs(job.modality, job.train, device=device)
        self.unseen = job.data.inputs(job.modality, job.validation, device=device)
        self.label = job.data.label[job.validation].to(device)
        self.judged = job.data.weight_of(job.validation)
        self.weights = weights_matrix([j.model for j in jobs], device)
        self.gradients = torch.zeros_like(self.weights)
        self.stack = stack(job.model, self.weights, self.gradients, self.unseen.shape[1:])
        outputs = self.stack.predict(self.unseen[:1]).shape[2]
        label = job.data.label[job.train]
        found = [terms(j.objective, label, j.train, outputs, self.weights.dtype) for j in jobs]
        weight = row_weights(job.data, job.train)
        each = None if weight is None else weight.to(device, self.weights.dtype)
        self.terms: list[StackedTerm | StackedLoss] = [*stack_terms(found, device, each)]
        if (loss := job.objective.loss) is not None and job.objective.distils:
            self.terms.append(StackedLoss(loss, jobs, self.weights))
        self.optimizer = _Optimizer(config, self.weights, self.gradients)
        self.size = step_size(len(job.train), config)
        self.steps = config.steps or math.ceil(len(job.train) / self.size)

    def epoch(self, number: int, history: _History) -> Tensor:
        """Go once through the training samples; return each student's mean loss, in float64 on the CPU.

        Students that diverge are added to `history.failures`; their weights do not matter from then on.
        """
        job = self.jobs[0]
        order = training_order(len(job.train), job.seed, number, self.config)
        losses = []
        for step, rows in enumerate(order.to(self.device).split(self.size)):
            logits = self.stack.forward(self.inputs[rows])
            gradient = torch.zeros_like(logits)
            losses.append(torch.stack([term.add(logits, rows, gradient) for term in self.terms]).sum(dim=0))
            self.stack.backward(gradient)
            self.optimizer.step(self.config.learning_rate((number - 1) * self.steps + step, self.steps))
        table = torch.stack(losses).cpu().double()
        self._find_diverged(table, history, order, number)
        return table.sum(dim=0) / len(order)

    def validate(self) -> Tensor:
        """Return each student's validation metric in its unit, in float64; NaN with fixed steps."""
        if self.config.steps:
            return torch.full((len(self.jobs),), math.nan, dtype=torch.float64)
        size = max(self.config.batch_size, EVALUATION_BATCH // len(self.jobs))
        parts = zip(self.unseen.split(size), self.label.split(size), strict=True)
        if self.metric == METRICS["accuracy"] and self.judged is None:  # counted where the logits are
            right = [
                (self.stack.predict(inputs).argmax(dim=2) == label).sum(dim=1) for inputs, label in parts
            ]
            return 100 * (torch.stack(right).sum(dim=0).cpu().double() / len(self.label))
        logits = torch.cat([self.stack.predict(inputs).float().cpu() for inputs, _ in parts], dim=1)
        label = self.label.cpu()
        return torch.tensor([self.metric(one, label, self.judged) for one in logits], dtype=torch.float64)

    def _find_diverged(self, losses: Tensor, history: _History, order: Tensor, epoch: int) -> None:
        for step, place in (~torch.isfinite(losses) & history.going()).nonzero().tolist():  # by step
            if place not in history.failures:
                what = f"The loss is {float(losses[step, place])}"
                history.fail(place, self._not_finite(what, order, epoch, step, place))
        bad = ~torch.isfinite(self.weights).all(dim=1).cpu() & history.going()
        for (place,) in bad.nonzero().tolist():
            what = "A weight is not finite"
            history.fail(place, self._not_finite(what, order, epoch, self.steps - 1, place))

    def _not_finite(self, what: str, order: Tensor, epoch: int, step: int, place: int) -> DivergedError:
        job, size = self.jobs[place], self.size
        rows = job.train[order[step * size : (step + 1) * size]]
        return job.diverged(self.numbers[place], what, epoch, rows)


@dataclass(eq=False)
class _Optimizer:
    """SGD or AdamW as in torch.optim, on one row of weights per student."""

    config: TrainConfig
    weights: Tensor
    gradients: Tensor
    number: int = 0

    def __post_init__(self) -> None:
        self.first = torch.zeros_like(self.weights)
        self.second = torch.zeros_like(self.weights if self.config.optimizer == "adamw" else self.weights[:0])

    def step(self, lr: float) -> None:
        """Change the weights by the gradients, which are overwritten."""
        config, gradients = self.config, self.gradients
        self.number += 1
        if config.clip:
            norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            gradients *= (config.clip / (norm + 1e-6)).clamp_(max=1)
        if config.optimizer == "adamw":
            self._adamw(lr)
            return
        if config.weight_decay:
            gradients.add_(self.weights, alpha=config.weight_decay)
        if config.momentum:
            gradients = self.first.mul_(config.momentum).add_(gradients)
        self.weights.add_(gradients, alpha=-lr)

    def _adamw(self, lr: float) -> None:
        first, second = 0.9, 0.999
        self.weights.mul_(1 - lr * self.config.weight_decay)
        self.first.lerp_(self.gradients, 1 - first)
        self.second.mul_(second).addcmul_(self.gradients, self.gradients, value=1 - second)
        root = self.second.sqrt().div_(math.sqrt(1 - second**self.number)).add_(1e-8)
        self.weights.addcdiv_(self.first, root, value=-lr / (1 - first**self.number))


def _state(model: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    return {name: part[0].clone() for name, part in views(weights[None], model).items()}
