"""One seed of a study: what all of its steps share."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from mfh._study.few.budget import Budget
from mfh._study.networks import Networks
from mfh._study.parts import Parts
from mfh.arms import BASELINE, TEACHERS, Arm
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.splits import Split
from mfh.metrics import Metric
from mfh.results import fit_words
from mfh.training.device import make_accelerator
from mfh.training.evaluate import predict
from mfh.training.objectives import Distill, Pair
from mfh.training.pairs import PairFit, train_pair
from mfh.training.students import StudentFit, StudentJob, train_students

CLIP = 5.0
"""Largest norm of the gradient with few labels."""
Progress = Callable[[str, int], None]
"""Called with a stage and how much of it has been done since the last call."""


def with_fixed_schedule(networks: Networks, budget: Budget, num_pairs: int) -> StudyConfig:
    """Return how networks are trained with few labels: for a fixed number of steps, the last weights kept.

    Args:
        networks: of the study.
        budget: how much is trained.
        num_pairs: training pairs of the fit.
    """
    config = networks.config
    return replace(
        config,
        steps=budget.steps(networks, num_pairs),
        batch_size=budget.batch_size(networks),
        clip=CLIP if config.clip is None else config.clip,
        schedule="cosine" if config.schedule == "cosine" else "linear",
        patience=0,
    )


def derived_seed(seed: int, role: str) -> int:
    """Return a seed of its own for each role (teacher, student, batches, ...) within a seed."""
    entropy = [seed if seed >= 0 else 2**32 + seed, *role.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(2))


class Timer:
    """Counts seconds by stage: of laps that follow each other, or of blocks of code."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Add the time that a block of code takes to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class SeedTask:
    """One seed of a study.

    Attributes:
        networks: what is trained, on which data.
        seed: fixes everything that is random.
        split: rows of each split.
        threads: for networks that are trained side by side.
        place: the repeat and the fold of the fit.
        parts: where unfinished work is kept.
        progress: is told what has been done.
        arms: the arms to train.
        more_teachers: teachers to train although no arm learns from them.
        until: when the searches of the fit should be over, `time.monotonic`; None for no such time.
        training_time: the seconds (`training`) inside the calls that train networks.
    """

    networks: Networks
    seed: int
    split: Split
    threads: int
    place: tuple[int, int] = (0, 0)
    parts: Parts = field(default_factory=lambda: Parts(None))
    progress: Progress = lambda _stage, _count: None
    arms: tuple[Arm, ...] = ()
    more_teachers: tuple[str, ...] = ()
    until: float | None = None
    training_time: Timer = field(default_factory=Timer)

    @property
    def config(self) -> StudyConfig:
        """The design of the study."""
        return self.networks.config

    @property
    def words(self) -> str:
        """What the fit is called in a sentence."""
        return fit_words(self.seed)

    @property
    def teacher(self) -> str:
        """The modality that the teacher sees."""
        return str(self.config.teacher)

    @property
    def student(self) -> str:
        """The modality that the student sees."""
        return str(self.config.student)

    @property
    def source(self) -> str:
        """The teacher whose channels are ranked."""
        return self.config.teacher_source

    @property
    def metric(self) -> Metric:
        """The metric that chooses epochs and ratios."""
        return self.networks.metrics[0]

    @cached_property
    def train(self) -> Tensor:
        """Rows of the training split."""
        return torch.from_numpy(self.split.train)

    @cached_property
    def labelled(self) -> Tensor:
        """Training rows whose labels are seen."""
        return torch.from_numpy(self.split.learnt)

    @cached_property
    def validation(self) -> Tensor:
        """Rows of the validation split; the labelled rows where no labels are held out for validation."""
        return self.labelled if self.split.labelled is not None else torch.from_numpy(self.split.validation)

    @cached_property
    def training(self) -> StudyConfig:
        """How networks are trained."""
        if self.split.labelled is None:
            return self.config
        return with_fixed_schedule(self.networks, self.budget, len(self.train))

    @cached_property
    def budget(self) -> Budget:
        """How much is trained with few labels."""
        return Budget.of(self.networks)

    @cached_property
    def test(self) -> Tensor:
        """Rows of the test split."""
        return torch.from_numpy(self.split.test)

    @cached_property
    def device(self) -> torch.device:
        """Where networks are trained."""
        return make_accelerator(self.config).device

    @property
    def labels(self) -> Distill:
        """The objective of networks without a teacher."""
        return Distill(task=self.networks.data.task)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of the teachers to train."""
        return tuple(dict.fromkeys((*teachers_needed(self.arms, self.source), *self.more_teachers)))

    @property
    def ranks(self) -> bool:
        """Whether an arm removes channels."""
        return any(arm.ranking is not None for arm in self.arms)

    @property
    def compares_features(self) -> bool:
        """Whether a loss compares features."""
        return any(loss.features for loss in self.networks.losses.values())

    def derived(self, role: str) -> int:
        """Return a seed of its own for each role within this seed."""
        return derived_seed(self.seed, role)

    def having(self, rows: Int[Tensor, " row"], side: str) -> Int[Tensor, " kept"]:
        """Return those of some rows that have what a side sees: `teacher`, `student` or `both`."""
        return self.networks.having(rows, side)

    def split_of(self, side: str) -> Split:
        """Return the rows of each split that have what a side sees: `teacher`, `student` or `both`."""
        return self.split.only(self.networks.present[side])

    def taught_by(self, teacher: str) -> Tensor | None:
        """Return whether each sample has outputs of a teacher, bool, (sample,); None if all for students do.

        Args:
            teacher: a name of `mfh.arms.TEACHERS`.
        """
        seen = torch.from_numpy(self.networks.present[side_of(teacher)])
        return None if bool(seen[self.having(self.train, "student")].all()) else seen

    def predict(self, model: nn.Module, data: PairedDataset, side: str) -> Tensor:
        """Return a network's outputs for every sample, (sample, ...), on the CPU; NaN without its modality.

        Args:
            model: the network.
            data: all samples.
            side: which modality it sees: that of the `teacher` or of the `student`.
        """
        rows = self.having(torch.arange(len(data)), side)
        return predict_all(model, data, getattr(self, side), rows)

    def train_side_by_side(
        self,
        jobs: dict[str, StudentJob],
        stage: str,
        *,
        tolerant: bool = False,
    ) -> list[StudentFit]:
        """Train networks of one modality, by name, on all the threads there are.

        `tolerant` is that of `train_students`.
        """
        folders = [folder for name in jobs if (folder := self.parts.folder(name)) is not None]
        inside = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with self.training_time.during("training"):
                return train_students(
                    list(jobs.values()),
                    self.training,
                    engine=self.config.engine,
                    on_progress=lambda count: self.progress(stage, count),
                    folders=folders or None,
                    tolerant=tolerant,
                )
        finally:
            torch.set_num_threads(inside)

    def train_pair(self, pair: Pair, data: PairedDataset, **options: Any) -> PairFit:
        """Train networks of both modalities; `options` are those of `mfh.training.pairs.train_pair`."""
        with self.training_time.during("training"):
            return train_pair(
                pair,
                data,
                config=self.training,
                metric=self.metric,
                engine=self.config.engine,
                on_progress=lambda count: self.progress("teachers", count),
                **options,
            )


def predict_all(
    model: nn.Module, data: PairedDataset, modality: str, rows: Int[Tensor, " row"] | None = None
) -> Tensor:
    """Return a network's outputs for every sample of a data set, (sample, ...), on the CPU.

    Args:
        model: the network.
        data: the samples.
        modality: what the network sees.
        rows: the samples that have it, by default all; the outputs of others are NaN.
    """
    rows = torch.arange(len(data)) if rows is None else rows
    found = predict(model, data, modality, rows, shared=True)
    if len(rows) == len(data):
        return found
    return found.new_full((len(data), *found.shape[1:]), torch.nan).index_copy(0, rows, found)


def teachers_needed(arms: Iterable[Arm], source: str) -> tuple[str, ...]:
    """Return the names of the teachers that some arms learn from."""
    return tuple(dict.fromkeys(name for arm in arms if (name := arm.teacher_name(source)) is not None))


def side_of(teacher: str) -> str:
    """Return what a teacher of the records sees: `teacher`, `student` or `both`.

    Example:
        >>> side_of("fused"), side_of("general@0.5"), side_of("no-kd")
        ('both', 'teacher', 'student')
    """
    if teacher == BASELINE:
        return "student"
    return TEACHERS[teacher].side if teacher in TEACHERS else "teacher"
