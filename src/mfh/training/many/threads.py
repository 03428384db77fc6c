"""Train multilayer perceptrons on the CPU in compiled code, several students at a time in threads.

A student and its optimiser's state stay in a core's cache for all of its training, and compiled code does not
wait for the interpreter. The result depends on the student's job alone, not on the other students or on the
number of threads.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from mfh._system.signals import raise_if_stopped
from mfh.config import TrainConfig
from mfh.metrics import METRICS
from mfh.training.diverged import DivergedError
from mfh.training.jobs import StudentFit, StudentJob
from mfh.training.many.epochs import Steps, flat_inputs, not_finite_in, orders, pieces, train_epochs
from mfh.training.many.kernel import EVALUATION_ROWS, count_right, lay_out, predict, room, train_epoch
from mfh.training.many.perceptron import Perceptron
from mfh.training.many.targets import terms
from mfh.training.weights import row_weights

_LOOK = 0.1
"""Seconds between two checks for a signal whose exception was lost."""


@dataclass(eq=False)
class _Data:
    """Arrays that students of one data set, split and seed share; made when the first student needs them."""

    job: StudentJob
    config: TrainConfig
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def train(self) -> np.ndarray:
        return flat_inputs(self.job.data, self.job.modality, self.job.train)

    @cached_property
    def validation(self) -> np.ndarray:
        return flat_inputs(self.job.data, self.job.modality, self.job.validation)

    @cached_property
    def label(self) -> torch.Tensor:
        return self.job.data.label[self.job.validation]

    @cached_property
    def judged(self) -> torch.Tensor | None:
        """Weights of the validation samples in the metric."""
        return self.job.data.weight_of(self.job.validation)

    @cached_property
    def each(self) -> np.ndarray | None:
        """Weights of the training samples in the loss."""
        weight = row_weights(self.job.data, self.job.train)
        return None if weight is None else weight.numpy().astype(self.train.dtype)

    @cached_property
    def orders(self) -> np.ndarray:
        """The order of the training samples in each epoch."""
        return orders(len(self.job.train), self.job.seed, self.config)

    def ready(self) -> "_Data":
        """Make all arrays, once; return self."""
        with self.lock:
            _ = self.train, self.validation, self.label, self.judged, self.each, self.orders
        return self


@dataclass(frozen=True, eq=False)
class Threaded:
    """A student for a thread.

    Attributes:
        number: of the student in messages.
        job: the student.
        network: the structure of its network.
        shared: equal for students with the same data, modality, rows and seed.
    """

    number: int
    job: StudentJob
    network: Perceptron
    shared: object


def train_threaded(
    students: Sequence[Threaded],
    config: TrainConfig,
    on_progress: Callable[[int], None],
    *,
    tolerant: bool = False,
) -> list[StudentFit]:
    """Train students in as many threads as torch uses.

    An exception, such as Ctrl-C, stops all students within a tenth of a second.

    Args:
        students: in the order of the results.
        config: how all of them are trained.
        on_progress: called with the epochs of each student when it is done.
        tolerant: whether the others go on if a student diverges.

    Raises:
        DivergedError: a loss or a weight is not finite, and `tolerant` is false.
        InputError: the metric is NaN in every epoch of a student.
    """
    start = time.perf_counter()
    data: dict[object, _Data] = {}
    fits, futures, stop = [], [], threading.Event()
    with ThreadPoolExecutor(min(len(students), torch.get_num_threads())) as pool:
        try:
            for student in students:
                shared = data.setdefault(student.shared, _Data(student.job, config))
                futures.append(pool.submit(_train, student, shared, config, stop, tolerant))
            del data, shared  # the shared arrays are freed with the last student that uses them
            for future in futures:
                while wait([future], timeout=_LOOK).not_done:
                    raise_if_stopped()
                fits.append(future.result())
                on_progress(config.epochs)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    seconds = (time.perf_counter() - start) / len(students)
    return [replace(fit, seconds=seconds) for fit in fits]


def _train(
    student: Threaded, data: _Data, config: TrainConfig, stop: threading.Event, tolerant: bool
) -> StudentFit:
    """Train all epochs of one student, unless `stop` is set."""
    try:
        return _train_all(student, data, config, stop)
    except DivergedError as error:
        if not tolerant:
            raise
        return StudentFit.failed(error)


def _train_all(student: Threaded, data: _Data, config: TrainConfig, stop: threading.Event) -> StudentFit:
    training = _StudentTraining(student, data.ready(), config, stop)
    best, best_epoch, validation, loss = train_epochs(training, config)
    state = student.network.unpack(best, training.layout)
    return StudentFit(state, best_epoch, validation, loss, seconds=0.0)


class _StudentTraining:
    """The weights of one student, and the code that trains them; see `Training`."""

    def __init__(self, student: Threaded, data: _Data, config: TrainConfig, stop: threading.Event) -> None:
        self.student, self.data, self.stop = student, data, stop
        self.config = config = student.job.options(config)
        self.metric = student.job.chosen_by
        job, network, dtype = student.job, student.network, data.train.dtype
        self.batch = min(config.batch_size, len(data.train))
        self.rows = max(self.batch, EVALUATION_ROWS)
        self.classes = network.sizes[-1]
        self.layout = lay_out(network.sizes, network.rectified, network.biased, self.rows, dtype.itemsize)
        self.weights = network.pack(job.model, self.layout)
        self.gradients, self.first, self.transposed = (np.zeros_like(self.weights) for _ in range(3))
        self.second = np.zeros_like(self.weights if config.optimizer == "adamw" else self.weights[:0])
        self.values, self.deltas = room(self.layout, dtype), np.zeros(self.layout.start[-1], dtype)
        self.work = np.empty(self.classes, dtype)
        kind = torch.from_numpy(self.work).dtype
        found = terms(job.objective, job.data.label[job.train], job.train, self.classes, kind)
        self.target = np.stack([term.target.numpy() for term in found])
        self.constant = np.stack([term.constant.numpy() for term in found])
        self.scale = np.array([term.scale for term in found], dtype)
        self.weight = np.stack([term.weights.numpy() for term in found])

    def epoch(self, number: int) -> float:
        """Go once through the training samples; return the mean loss."""
        config, order = self.config, self.data.orders[number - 1]
        rates, done = Steps.of(config, number, len(order))
        losses = np.empty(len(rates))
        for part in pieces(len(rates), self.batch * len(self.weights)):
            train_epoch(
                self.data.train, order[part.start * self.batch : part.stop * self.batch], self.batch,
                self.target, self.constant, self.scale, self.weight, self.data.each,
                self.weights, self.gradients, self.first, self.second,
                self.values, self.deltas, self.transposed, self.work, self.layout,
                rates[part], done + part.start, config.momentum, config.weight_decay, config.clip or 0.0,
                config.optimizer == "adamw", losses[part],
            )  # fmt: skip
            if self.stop.is_set():
                raise CancelledError
        if wrong := not_finite_in(losses, self.weights):
            what, step = wrong
            raise self._not_finite(what, number, step)
        return float(losses.sum()) / len(order)

    def validate(self) -> float:
        """Return the validation metric, in its unit."""
        data = self.data
        if self.metric == METRICS["accuracy"] and data.judged is None:  # without the way through Python
            right = count_right(
                data.validation, data.label.numpy(), self.classes, self.rows,
                self.weights, self.values, self.layout,
            )  # fmt: skip
            return 100 * (right / len(data.label))
        logits = np.empty((len(data.validation), self.classes), data.validation.dtype)
        predict(data.validation, self.rows, self.weights, self.values, self.layout, logits)
        return self.metric(torch.from_numpy(logits), data.label, data.judged)

    def _not_finite(self, what: str, epoch: int, step: int) -> DivergedError:
        job, order = self.student.job, self.data.orders[epoch - 1]
        rows = torch.from_numpy(order[step * self.batch : (step + 1) * self.batch])
        return job.diverged(self.student.number, what, epoch, job.train[rows.long()])
