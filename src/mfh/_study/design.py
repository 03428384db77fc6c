"""The whole experiment: every arm and control, seed by seed, with statistics and a verdict."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mfh._checks import InputError, listing, require
from mfh._focus import uncompiled
from mfh._study.describe import describe_data, describe_saliency, stack_channels, stack_curves
from mfh._study.live import Live
from mfh._study.losses import (
    compare_losses,
    study_losses,
    summarize_further,
    summarize_losses,
    tables_by_loss,
    tell_failed,
)
from mfh._study.outcome import SeedResult
from mfh._study.parts import Parts
from mfh._study.preflight import require_networks
from mfh._study.resume import Store
from mfh._study.seed import SeedRun
from mfh._study.teachers import Build, Progress
from mfh._study.tracking import Tracking
from mfh._study.verdict import judge
from mfh._system.lock import holds
from mfh._system.workers import Outcome, Pool, open_pool, require_backend, run_tasks
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.standardize import Standardize
from mfh.losses import DistillLoss
from mfh.models.mlp import mlp
from mfh.results import FailedSeed, StudyResult, environment
from mfh.training.device import Processes, make_accelerator
from mfh.training.fingerprint import short

logger = logging.getLogger(__name__)
C = TypeVar("C", bound=StudyConfig)
SMALL_INPUT = 2_000
SMALL_NETWORK = 500_000


@holds()
def study(
    data: PairedDataset,
    teacher: Build | None = None,
    student: Build | None = None,
    *,
    config: StudyConfig | None = None,
    out: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Find out whether a teacher of one modality makes a better student of another, and by which channels.

    Per seed: a split, a regular teacher, Algorithm 1's pair, a teacher of the student's own modality,
    saliency on two splits, and one student for every arm, control, ratio and draw, all from the same initial
    weights and the same batches. Test data choose nothing.

    Args:
        data: paired samples of two modalities or more.
        teacher: function without arguments that makes the teacher's network; it sees `config.teacher`. By
            default a multilayer perceptron on inputs standardised with training statistics.
        student: the same for the student's network, which sees `config.student`.
        config: the design; see `StudyConfig`.
        out: folder for results, checkpoints and the state that lets the same call resume, within a seed too
            where its networks are large; None keeps all in memory.
        progress: whether to show a progress bar for each stage on stderr.

    Returns:
        Records of every student, statistics and the verdict, with accuracies in percent. A seed that fails
        `config.retries` + 1 times is left out and named in `failed_seeds`; the same call with the same `out`
        makes up for it.

    Raises:
        InputError: the data or the configuration break a rule, or `out` holds another run's results.
        Exception: whatever a seed raised, where no seed has finished and each one failed, or two in the same
            way.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> label = np.arange(120) % 2
        >>> shared = label[:, None] + rng.normal(size=(120, 3))
        >>> data = PairedDataset.from_arrays(
        ...     {"lidar": np.hstack([shared, rng.normal(size=(120, 3))]), "camera": shared}, label=label
        ... )
        >>> quick = StudyConfig(seeds=2, epochs=2, ratio=(0.5,), random_draws=1, hidden=(8,))
        >>> study(data, config=quick).frame("summary").arm.head(3).tolist()
        ['no-kd', 'no-kd-smoothed', 'regular']
    """
    start = time.perf_counter()
    config = with_modalities(data, config or StudyConfig())
    data = data.with_task(config.task)
    networks = Networks(data, config, teacher, student)
    require_networks(data, config, networks.build_teacher(), networks.build_student())
    processes = Processes.on(make_accelerator(replace(config, tracker=())).device)
    require(
        processes.count == 1 or (config.jobs in (None, 1) and config.backend == "loky"),
        f"`jobs` must be 1 and `backend` loky where {processes.count} processes train each network together. "
        f"Got {config.jobs} and {config.backend!r}.",
    )
    require_backend(config.backend)
    seeds = range(config.seed, config.seed + config.seeds)
    store = Store.open(out, networks.identity()) if out is not None else None
    done: dict[int, SeedResult] = {}
    if store is not None:
        done = {seed: kept for seed in seeds if (kept := store.load(seed)) is not None}
        if done:
            logger.info("Resuming: %d of %d seeds are finished", len(done), len(seeds))
    left = [seed for seed in seeds if seed not in done]
    folder = None if store is None else store.folder
    own = folder if processes.main else None
    failures: list[FailedSeed] = []
    try:
        tracking = Tracking(config, folder)
        threads = torch.get_num_threads()
        where = (config.jobs, config.backend, config.address) if left else (1,)
        with (
            open_pool(*where, threads=threads) as pool,
            Live(
                config, seeds, list(done), folder=own, show=progress and processes.main, workers=pool.count
            ) as live,
        ):
            for ended in _run(networks, left, store, live, pool, processes):
                seed = left[ended.number]
                if ended.result is not None:
                    done[seed] = ended.result
                    tracking.seed(ended.result)
                else:
                    _go_on(ended, seed, failures, finished=len(done), seeds=len(seeds))
                if ended.error:
                    failures.append(FailedSeed(seed, ended.tries, ended.error, missing=ended.failed))
    except InputError:
        if store is not None:
            store.discard()
        raise
    finished = [done[seed] for seed in seeds if seed in done]
    result = assemble(data, config, finished, elapsed=time.perf_counter() - start)
    result = replace(result, failed_seeds=tuple(sorted(failures, key=lambda failure: failure.seed)))
    tracking.finish(result)
    if store is not None and processes.main:
        result.save(store.folder)
        store.end()
    return result


def with_modalities(data: PairedDataset, config: C) -> C:
    """Fill in which modality the teacher and the student see, where there are just two."""
    names = list(data.modalities)
    teacher, student = config.teacher, config.student
    for name in filter(None, (teacher, student)):
        data.require_modality(name)
    if len(names) == 2:
        teacher = teacher or next(name for name in names if name != student)
        student = student or next(name for name in names if name != teacher)
    require(
        teacher is not None and student is not None,
        f"`teacher` and `student` must be named: the data hold {len(names)} modalities, {listing(names)}.",
    )
    return replace(config, teacher=teacher, student=student)


@dataclass(eq=False)
class Networks:
    """The two networks of a study, given or default, and the data as they see them."""

    data: PairedDataset
    config: StudyConfig
    teacher: Build | None
    student: Build | None
    standardized: tuple[str, ...] = field(init=False)
    losses: dict[str, DistillLoss] = field(init=False)

    def __post_init__(self) -> None:
        sides = ((str(self.config.teacher), self.teacher), (str(self.config.student), self.student))
        self.standardized = tuple(name for name, build in sides if build is None)
        self.losses = study_losses(self.config, self.data.task)

    def build_teacher(self) -> torch.nn.Module:
        """A new teacher, without what `torch.compile` wraps around it."""
        return uncompiled(self.teacher()) if self.teacher else self._default(str(self.config.teacher))

    def build_student(self) -> torch.nn.Module:
        """A new student, without what `torch.compile` wraps around it."""
        return uncompiled(self.student()) if self.student else self._default(str(self.config.student))

    def _default(self, modality: str) -> torch.nn.Module:
        require(
            self.data.task != "dense",
            "`teacher` and `student` must be given for the task dense: the default networks are perceptrons, "
            "which have no positions.",
        )
        size = int(np.prod(self.data.shape(modality)))
        return mlp(size, self.data.num_classes, hidden=self.config.hidden)

    def transforms(self, data: PairedDataset, train: Tensor) -> PairedDataset:
        """The data standardised with the statistics of some rows, where the default networks want it.

        Targets of a regression are standardised for all networks.
        """
        fitted = {name: Standardize.fit(data.inputs(name, train)) for name in self.standardized}
        values = {name: fit(data.inputs(name, slice(None))) for name, fit in fitted.items()}
        kept = {name: t for name, t in data.transforms.items() if name not in values}
        label = learnt_labels(data, train)
        return replace(data, modalities={**data.modalities, **values}, transforms=kept, label=label)

    def identity(self) -> dict[str, Any]:
        """What must be the same for two runs to share results."""
        free = ("seeds", "jobs", "backend", "address", "retries", "device", "engine", "tracker")
        fields = {name: value for name, value in self.config.to_dict().items() if name not in free}
        return {
            **fields,
            "data": self.data.fingerprint,
            "task": self.data.task,
            "teacher network": repr(self.build_teacher()),
            "student network": repr(self.build_student()),
            **({"augment": short(self.data.augment)} if self.data.augment else {}),
        }

    def small(self) -> bool:
        """Whether both networks read short vectors and have few weights."""
        modalities = (str(self.config.teacher), str(self.config.student))
        values = max(int(np.prod(self.data.shape(name))) for name in modalities)
        networks = (self.build_teacher(), self.build_student())
        weights = max(sum(p.numel() for p in network.parameters()) for network in networks)
        return values <= SMALL_INPUT and weights <= SMALL_NETWORK


def learnt_labels(data: PairedDataset, train: Tensor) -> Tensor:
    """Labels as networks learn them: targets of any unit suit one learning rate, and R^2 does not see it."""
    return Standardize.fit(data.label[train])(data.label) if data.task == "regression" else data.label


def run_seed(
    networks: Networks,
    seed: int,
    progress: Progress,
    threads: int | None = None,
    folder: Path | None = None,
) -> SeedResult:
    """One seed, in this process."""
    before = torch.get_num_threads()
    # a small network's step is over before a second thread has woken up, and waiting for it costs both cores
    torch.set_num_threads(1 if networks.small() else threads or before)
    try:
        return SeedRun(
            networks.data,
            networks.build_teacher,
            networks.build_student,
            replace(networks.config, tracker=()),  # trackers follow the study, not each of its networks
            seed,
            transforms=networks.transforms,
            progress=progress,
            threads=threads or before,
            parts=Parts(folder, f"{short(networks.identity())} {seed}"),
            losses=networks.losses,
        ).run()
    finally:
        torch.set_num_threads(before)


def _go_on(
    ended: Outcome[SeedResult], seed: int, before: Sequence[FailedSeed], *, finished: int, seeds: int
) -> None:
    """After the last failure of a seed: raise it, unless the other seeds may fare better."""
    assert ended.exception is not None  # noqa: S101
    again = any(failure.missing and failure.error == ended.error for failure in before)
    alike = isinstance(ended.exception, InputError) or again
    none_left = finished == 0 and 1 + sum(failure.missing for failure in before) == seeds
    if none_left or (finished == 0 and alike):
        raise ended.exception
    logger.warning("The study goes on without seed %d.\n%s", seed, ended.trace)


def _run(
    networks: Networks,
    seeds: Sequence[int],
    store: Store | None,
    live: Live,
    pool: Pool,
    processes: Processes,
) -> Iterator[Outcome[SeedResult]]:
    """Run the seeds that are left, save each as it ends, and hand it over."""
    folders: dict[int, Path | None] = dict.fromkeys(seeds)
    if store is not None and not networks.small():  # a small network is trained again in no time
        folders = {seed: store.base(seed).absolute() for seed in seeds}
        if processes.main:
            store.claim()
    if processes.count > 1:  # a process that began again by itself would wait for the others forever
        outcomes: Iterator[Outcome[SeedResult]] = (
            Outcome(number, run_seed(networks, seed, live.advance, folder=folders[seed]), 1)
            for number, seed in enumerate(seeds)
        )
    else:
        told = live.advance if pool.here else _silent
        threads = None if pool.here else pool.threads
        outcomes = run_tasks(
            run_seed,
            [(networks, seed, told, threads, folders[seed]) for seed in seeds],
            pool,
            names=[f"Seed {seed}" for seed in seeds],
            retries=networks.config.retries,
        )
    for ended in outcomes:
        if ended.result is not None:
            if store is not None and processes.main:
                store.save(ended.result)
            live.end_seed(ended.result, elsewhere=not pool.here)
            ended = replace(ended, result=replace(ended.result, weights={}))  # they may be large
        yield ended


def _silent(stage: str, count: int) -> None:
    """Progress of a seed in another process is counted when it ends."""


def assemble(
    data: PairedDataset, config: StudyConfig, seeds: Sequence[SeedResult], *, elapsed: float
) -> StudyResult:
    """Statistics, verdict and everything the report shows, from the results of the seeds."""
    records = [record for seed in seeds for record in seed.records]
    correct = [right for seed in seeds for right in seed.correct]
    redrawn = all(seed.split.redrawn for seed in seeds) and data.split is None and not config.fix_split
    ratios = [len(seed.split.test) / len(seed.split.train) for seed in seeds]
    test_over_train = float(np.mean(ratios)) if redrawn else 0.0
    groups = None
    if data.group is not None and data.task == "single-label":
        groups = {seed.seed: data.group[seed.split.test] for seed in seeds}
    tables = tables_by_loss(records, correct, config.losses, source=config.teacher_source)
    comparisons = compare_losses(tables, groups, test_over_train)
    declared = config.losses[0] if len(config.losses) > 1 else None
    failed = tuple(student for seed in seeds for student in seed.failed)
    diverged = {student.arm for student in failed if student.loss == config.losses[0]}
    verdict = judge(
        comparisons, source=config.teacher_source, task=data.kind, loss=declared, diverged=diverged
    )
    if failed:
        verdict = replace(verdict, reasons=(*verdict.reasons, *tell_failed(failed, config.losses)))
    if data.group is not None and groups is None:
        note = f"No groups were resampled: {data.kind.metric} is not a mean over samples."
        verdict = replace(verdict, reasons=(*verdict.reasons, note))
    if data.task != "single-label":
        note = f"Points are {data.kind.points}; a difference whose interval lies within 1 point of 0 is none."
        verdict = replace(verdict, reasons=(*verdict.reasons, note))
    if not redrawn and len(seeds) > 1:
        note = "The split is the same in every seed: the intervals do not cover the choice of test samples."
        verdict = replace(verdict, reasons=(*verdict.reasons, note))
    stages: dict[str, float] = {}
    for seed in seeds:
        for stage, seconds in seed.timings.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return StudyResult(
        config=config.to_dict() | {"layer": seeds[0].layer},
        environment=environment(),
        timings=stages | {"total": elapsed},
        records=tuple(records),
        summary=summarize_losses(tables, data.kind.metric, test_over_train)
        + summarize_further(records, correct, config, test_over_train),
        comparisons=comparisons,
        teachers=tuple(teacher for seed in seeds for teacher in seed.teachers),
        saliency=describe_saliency(config, seeds),
        verdict=verdict,
        data=describe_data(data, config, seeds[0]),
        channels=stack_channels(seeds),
        curves=stack_curves(seeds),
        failed=failed,
    )
