"""Many small students as one batched computation, with the results of the loop."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.training.jobs import StudentFit, StudentJob
from mfh.training.loop import epoch_order, make_accelerator
from mfh.training.many_networks import stack, weights_matrix
from mfh.training.many_targets import Term, terms

MEMORY = 2**31
Progress = Callable[[int], None]


def why_not_many(job: StudentJob, config: TrainConfig) -> str | None:
    """Why a student cannot be trained together with others; None where it can.

    Its data must lie in memory, and its network must be free of randomness, of running statistics and of
    shared or frozen weights.
    """
    model, data = job.model, job.data
    if config.precision != "no":
        return f"`precision` is {config.precision}"
    if not isinstance(data.modalities[job.modality], Tensor):
        return f"modality `{job.modality}` does not lie in memory"
    parameters = list(model.parameters())
    if not parameters or not all(p.requires_grad for p in parameters):
        return "it has frozen weights, or none"
    if len({p.dtype for p in parameters}) > 1:
        return "its weights have several types"
    if len(parameters) < len(list(model.named_parameters(remove_duplicate=False))):
        return "it shares weights between layers"
    if next(model.buffers(), None) is not None:
        return "it has buffers, such as the running statistics of a batch normalisation"
    return _differs(job)


def train_many(
    jobs: Sequence[StudentJob],
    config: TrainConfig,
    *,
    on_progress: Progress | None = None,
    memory: int = MEMORY,
) -> list[StudentFit]:
    """Train students at once, with the results that `mfh.training.loop.fit` would give one by one.

    Args:
        jobs: the students. Those with the same data, modality, rows, seed and shape of network share their
            batches and are computed together.
        config: how all of them are trained; `precision` must be `no`.
        on_progress: called with the number of student-epochs that have come to an end since the last call.
        memory: bytes that weights, gradients, the optimiser's state, soft labels and activations of the
            students computed together may take, about; more students are trained in several goes.

    Raises:
        InputError: a network cannot be trained with others; a loss is not finite.
    """
    for number, job in enumerate(jobs):
        reason = why_not_many(job, config)
        require(
            reason is None, f"Student {number} cannot be trained with others: {reason}. Use engine `loop`."
        )
    device = make_accelerator(config).device
    groups: dict[object, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(_shared(job), []).append(number)
    fits: dict[int, StudentFit] = {}
    for numbers in groups.values():
        size = _chunk(jobs[numbers[0]], config, memory)
        for start in range(0, len(numbers), size):
            chunk = numbers[start : start + size]
            fits |= _Run(chunk, [jobs[n] for n in chunk], config, device).train(
                on_progress or (lambda _: None)
            )
    return [fits[number] for number in range(len(jobs))]


def learning_rates(config: TrainConfig, steps: int) -> list[float]:
    """The learning rate of every step of a training with `steps` steps an epoch."""
    total = config.epochs * steps
    if config.schedule == "cosine":
        return [config.lr * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    if config.schedule == "step":
        return [config.lr * 0.1 ** (step // (config.step_epochs * steps)) for step in range(total)]
    return [config.lr] * total


@dataclass(eq=False)
class _Optimizer:
    """SGD or AdamW on one row of weights per student, as torch.optim does it."""

    config: TrainConfig
    weights: Tensor
    gradients: Tensor
    step_number: int = 0
    first: Tensor = field(init=False)
    second: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.first = torch.zeros_like(self.weights)
        self.second = torch.zeros_like(self.weights if self.config.optimizer == "adamw" else torch.empty(0))

    def step(self, lr: float) -> None:
        """Change the weights by the gradients."""
        config, gradients = self.config, self.gradients
        self.step_number += 1
        if config.clip is not None:
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
        root = self.second.sqrt().div_(math.sqrt(1 - second**self.step_number)).add_(1e-8)
        self.weights.addcdiv_(self.first, root, value=-lr / (1 - first**self.step_number))


class _Run:
    """The students of one chunk: same inputs, same batches, same shape of network."""

    def __init__(
        self, numbers: Sequence[int], jobs: Sequence[StudentJob], config: TrainConfig, device: torch.device
    ) -> None:
        self.numbers, self.jobs, self.config, self.device = numbers, jobs, config, device
        job = jobs[0]
        self.inputs = job.data.inputs(job.modality, job.train, device=device)
        self.unseen = job.data.inputs(job.modality, job.validation, device=device)
        self.label = job.data.label[job.validation].to(device)
        self.weights = weights_matrix([j.model for j in jobs], device)
        self.gradients = torch.zeros_like(self.weights)
        self.stack = stack(job.model, self.weights, self.gradients)
        outputs = self.stack.predict(self.unseen[:1]).shape[2]
        self.terms: list[Term] = terms(
            [j.objective for j in jobs], job.data.label[job.train], job.train,
            num_classes=outputs, dtype=self.weights.dtype, device=device,
        )  # fmt: skip
        self.optimizer = _Optimizer(config, self.weights, self.gradients)
        self.steps = math.ceil(len(job.train) / config.batch_size)
        self.rates = learning_rates(config, self.steps)

    def train(self, on_progress: Progress) -> dict[int, StudentFit]:
        """All epochs; job number -> result."""
        start, count = time.perf_counter(), len(self.jobs)
        losses, accuracies = [], []
        best = self.weights.clone()
        best_accuracy = torch.full((count,), -1.0, dtype=torch.float64, device=self.device)
        best_epoch = torch.zeros(count, dtype=torch.int64, device=self.device)
        stop = torch.full((count,), self.config.epochs)
        for number in range(1, self.config.epochs + 1):
            losses.append(self._epoch(number))
            accuracies.append(self._validate())
            better = (accuracies[-1] > best_accuracy) & (stop.to(self.device) >= number)
            best[better] = self.weights[better]
            best_accuracy = torch.where(better, accuracies[-1], best_accuracy)
            best_epoch[better] = number
            on_progress(count)
            if self.config.patience:
                stop[(number - best_epoch.cpu() >= self.config.patience) & (stop > number)] = number
        loss, accuracy = torch.stack(losses).T.tolist(), torch.stack(accuracies).T.tolist()
        seconds = (time.perf_counter() - start) / count
        return {
            number: StudentFit(
                state=self._state(job.model, best[place]),
                best_epoch=int(best_epoch[place]),
                validation=tuple(accuracy[place][: int(stop[place])]),
                loss=tuple(loss[place][: int(stop[place])]),
                seconds=seconds,
            )
            for place, (number, job) in enumerate(zip(self.numbers, self.jobs, strict=True))
        }

    def _epoch(self, number: int) -> Tensor:
        job = self.jobs[0]
        order = epoch_order(len(job.train), job.seed, number)
        batches = order.to(self.device).split(self.config.batch_size)
        losses = []
        for step, rows in enumerate(batches):
            logits = self.stack.forward(self.inputs[rows])
            gradient = torch.zeros_like(logits)
            losses.append(sum(term.add(logits, rows, gradient) for term in self.terms))
            self.stack.backward(gradient)
            self.optimizer.step(self.rates[(number - 1) * self.steps + step])
        table = torch.stack(losses).double()
        self._require_finite(table, order, number)
        return table.sum(dim=0) / len(order)

    def _validate(self) -> Tensor:
        right = torch.zeros(len(self.jobs), dtype=torch.float64, device=self.device)
        for inputs, label in zip(self.unseen.split(2048), self.label.split(2048), strict=True):
            right += (self.stack.predict(inputs).argmax(dim=2) == label).sum(dim=1)
        return 100 * (right / len(self.label))

    def _require_finite(self, losses: Tensor, order: Tensor, epoch: int) -> None:
        if torch.isfinite(losses).all():
            return
        step, student = (int(i) for i in (~torch.isfinite(losses)).nonzero()[0])
        job, size = self.jobs[student], self.config.batch_size
        rows = job.train[order[step * size : (step + 1) * size]]
        raise not_finite(self.numbers[student], float(losses[step, student]), epoch, job.data, rows)

    def _state(self, model: nn.Module, weights: Tensor) -> dict[str, Tensor]:
        sizes = [p.numel() for p in model.parameters()]
        parts = weights.cpu().split(sizes)
        return {
            name: part.view(parameter.shape).clone()
            for (name, parameter), part in zip(model.named_parameters(), parts, strict=True)
        }


def not_finite(number: int, loss: float, epoch: int, data: PairedDataset, rows: Tensor) -> InputError:
    """The error of a student whose loss is not finite on some rows of the data set."""
    ids = ", ".join(str(i) for i in data.id[rows.numpy()][:8])
    return InputError(
        f"The loss of student {number} is {loss} in epoch {epoch}, in the batch of samples {ids} ...: lower "
        "`lr`, set `clip`, or look at these samples."
    )


def _shared(job: StudentJob) -> object:
    """Equal for jobs that can share a batch."""
    rows = tuple(rows.numpy().tobytes() for rows in (job.train, job.validation))
    shapes = tuple((name, p.shape, p.dtype) for name, p in job.model.named_parameters())
    return id(job.data), job.modality, rows, job.seed, repr(job.model), shapes


def _chunk(job: StudentJob, config: TrainConfig, memory: int) -> int:
    """How many students of this kind fit into the memory."""
    first = next(job.model.parameters())
    weights = sum(p.numel() for p in job.model.parameters()) * (5 if config.optimizer == "adamw" else 4)
    targets = 2 * len(job.train) * (job.data.num_classes + 1)
    return max(1, memory // ((weights + targets) * first.element_size()))


def _differs(job: StudentJob) -> str | None:
    """Compare a few samples through the stacked network with the network itself."""
    inputs = job.data.inputs(job.modality, job.train[:3])
    alone = torch.cat([job.data.inputs(job.modality, row[None]) for row in job.train[:3]])
    if not torch.equal(inputs, alone):
        return f"the transform of modality `{job.modality}` gives other values each time"
    return None
