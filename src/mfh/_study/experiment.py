"""`mfh.study`: every arm and control, seed by seed, with statistics and a verdict."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mfh._checks import InputError, require
from mfh._study.assemble import assemble
from mfh._study.cost import announce
from mfh._study.design import Design
from mfh._study.few.budget import Budget
from mfh._study.few.curve import join, make_point
from mfh._study.few.labels import describe_shortage
from mfh._study.given import describe_left_out, require_given
from mfh._study.kept import STUDENTS, Kept
from mfh._study.live import Live
from mfh._study.looks import LookPlan, answers, keep_plan, take_look, with_looks
from mfh._study.networks import Build, Networks, with_modalities
from mfh._study.outcome import SeedResult
from mfh._study.preflight import require_networks
from mfh._study.resume import Store
from mfh._study.search.clock import Share
from mfh._study.search.fit import check_search
from mfh._study.search.summary import as_fit
from mfh._study.seed import run_seed
from mfh._study.tracking import Tracking
from mfh._system.lock import holds
from mfh._system.paths import label_folder
from mfh._system.progress import Progress, is_shown
from mfh._system.workers import TaskOutcome, WorkerPool, open_pool, require_backend, run_tasks
from mfh.arms import BASELINE, STACK
from mfh.config import FitConfig, LabelCount, StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.selection import usable_only
from mfh.data.splits import Split
from mfh.results import ALL_SAMPLES, FailedSeed, Look, StudyResult, fit_words
from mfh.training.device import Processes, make_accelerator

logger = logging.getLogger(__name__)


@holds()
def study(
    data: PairedDataset,
    teacher: Build | None = None,
    student: Build | None = None,
    *,
    config: StudyConfig | None = None,
    out: Path | str | None = None,
    progress: Progress = "auto",
    sources: Mapping[str, Any] | None = None,
) -> StudyResult:
    """Find out whether a teacher of one modality makes a better student of another, and by which channels.

    For each seed: a split, the teachers that the arms need, saliency on two splits, and one student for every
    arm, ratio and draw, all from the same initial weights and the same batches. Test data choose nothing.

    Args:
        data: paired samples of two modalities or more.
        teacher: function without arguments that makes the teacher's network; it sees `config.teacher`, of
            several modalities as positional inputs, by name or in a dict (`mfh.models.both.with_inputs`). By
            default a multilayer perceptron on inputs standardised with training statistics.
        student: the same for the student's network, which sees `config.student`.
        config: the design; see `StudyConfig`.
        out: folder for results, checkpoints and the state from which the same call resumes, within a seed too
            if its networks are large; None keeps all in memory.
        progress: whether to show on stderr what the study will cost, how far it has come, and the time left;
            auto shows it in a terminal and in a notebook.
        sources: where data and networks come from, as plain values; kept in the results for `mfh export`.

    Returns:
        Records of every student, statistics and the verdict, with accuracies in percent. A seed that fails
        `config.retries` + 1 times is left out and named in `failed_seeds`; the same call with the same `out`
        makes up for it.

    Raises:
        InputError: the data or the configuration break a rule, or `out` holds another run's results.
        Exception: the exception of a seed, if no seed has finished and all failed, or two in the same way.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> label = np.arange(120) % 2
        >>> shared = label[:, None] + rng.normal(size=(120, 3))
        >>> data = PairedDataset.from_arrays(
        ...     {"lidar": np.hstack([shared, rng.normal(size=(120, 3))]), "camera": shared}, label=label
        ... )
        >>> quick = StudyConfig(repeats=1, epochs=2, ratio=(0.5,), random_draws=1, hidden=(8,))
        >>> study(data, config=quick).frame("summary").arm.head(3).tolist()
        ['no-kd', 'no-kd-smoothed', 'regular']
    """
    config = config or StudyConfig()
    own = student is not None or (teacher is not None and not config.given_teacher)
    config = with_modalities(data, config, own_networks=own)
    if len(config.labelled) + len(config.label_curve) > 1:
        return _study_curve(data, teacher, student, config, out, progress, sources)
    start = time.perf_counter()
    sides = (str(config.teacher), str(config.student))
    data = usable_only(data.with_task(config.task), *sides, "`study`")
    # trackers follow the study, not each of its networks
    networks = Networks(data, replace(config, tracker=()), teacher, student)
    if config.given_teacher:
        teachers = networks.build_teacher(), networks.build_teacher()
        require_given(data, config, *teachers, networks.losses)
        left_out = describe_left_out(config, networks.arms, few_labels=networks.few_labels)
        logger.info("%s", left_out or "The teacher is given.")
    elif networks.both:
        logger.info("%s", describe_left_out(config, networks.arms))
    check_search(networks)
    require_networks(data, config, networks.build_teacher(), networks.build_student())
    processes = Processes.on(make_accelerator(networks.config).device)
    require(
        processes.count == 1 or (config.jobs in (None, 1) and config.backend == "loky"),
        f"`jobs` must be 1 and `backend` loky where {processes.count} processes train each network together. "
        f"Got {config.jobs} and {config.backend!r}.",
    )
    require_backend(config.backend)
    design = Design.of(data, config)
    first, *_ = design.require_labels(data, config)
    _tell(networks, design, first)
    store = Store.open(out, networks.identity()) if out is not None else None
    fits = _Fits(networks, store, processes, is_shown(progress))
    try:
        tracking = Tracking(config, None if store is None else store.folder)
        fits.train([*design.seeds, *([ALL_SAMPLES] if config.searches else [])], tracking)
        goes_on = config.until == "decided"
        last = max(design.repeats, config.max_repeats) if goes_on else design.repeats
        folder = None if store is None else store.folder
        plan = keep_plan(LookPlan(design.repeats, last), folder, write=goes_on and processes.main)
        design, looks = _until_decided(fits, design, plan, tracking) if goes_on else (design, [])
    except InputError:
        if store is not None:
            store.discard()
        raise
    elapsed, level = time.perf_counter() - start, plan.level(design.repeats)
    finished = fits.finished(design.seeds)
    shown = replace(config, losses=(config.loss,)) if config.searches else config  # others are recipes
    result = assemble(networks, shown, finished, elapsed=elapsed, level=level)
    result = replace(
        result,
        failed_seeds=tuple(sorted(fits.failures, key=lambda failure: failure.seed)),
        data={**result.data, "repeats": design.repeats, "folds": design.folds, "planned_repeats": plan.last},
        kept=fits.kept(),
    )
    result = with_looks(result, looks, design.repeats, plan, "repeats" if design.folds > 1 else "fits")
    if isinstance(config, FitConfig):
        result = as_fit(result, config, Budget.of(networks), finished, fits.finished([ALL_SAMPLES]))
    if answers(result):
        keep_plan(plan, folder, write=processes.main)
    if sources is not None:
        result = result.with_sources(sources)
    tracking.finish(result)
    if store is not None and processes.main:
        result.save(store.folder)
        store.end()
    return result


def _tell(networks: Networks, design: Design, first: Split) -> None:
    """Log how much is trained, and where that is not what was asked for; `first` is the first fit's split."""
    data, config = networks.data, networks.config
    if networks.few_labels and any(arm.teacher for arm in networks.arms):
        logger.info("%s", Budget.of(networks).describe())
    if config.seeds is not None and config.seeds != (count := len(design.seeds)):
        folds = f"{design.repeats} x {design.folds} folds"
        logger.info("`seeds` %d becomes %d, for %s", config.seeds, count, folds)
    wanted = LabelCount.of(config.labelled[0]) if config.labelled else None
    if wanted is not None and (short := describe_shortage(data, wanted, [first])):
        logger.warning("%s", short)


def _study_curve(
    data: PairedDataset,
    teacher: Build | None,
    student: Build | None,
    config: StudyConfig,
    out: Path | str | None,
    progress: Progress,
    sources: Mapping[str, Any] | None,
) -> StudyResult:
    """Run a study for each number of labels, in folders of their own, and put them together."""
    data = usable_only(data.with_task(config.task), str(config.teacher), str(config.student), "`study`")
    store = None
    if out is not None:
        networks = Networks(data, replace(config, tracker=()), teacher, student)
        store = Store.open(out, networks.identity())
        store.claim()
    try:
        result = _join_curve(data, teacher, student, config, out, progress, sources)
    except InputError:
        if store is not None:
            store.discard()
        raise
    if store is not None and Processes.on(make_accelerator(config).device).main:
        result.save(store.folder)
        store.end()
    return result


def _join_curve(
    data: PairedDataset,
    teacher: Build | None,
    student: Build | None,
    config: StudyConfig,
    out: Path | str | None,
    progress: Progress,
    sources: Mapping[str, Any] | None,
) -> StudyResult:
    """Run the study of each number of labels, and put them together."""
    counts = dict.fromkeys(config.labelled, config.arms)
    counts = dict.fromkeys(config.label_curve, (BASELINE,)) | counts
    results, points = {}, {}
    for count, arms in sorted(counts.items(), key=lambda item: item[0] not in config.labelled):
        part = replace(config, labelled=(count,), label_curve=(), arms=arms)
        logger.info("Labels: %s", count)
        inside = None if out is None else label_folder(out, count)
        found = study(data, teacher, student, config=part, out=inside, progress=progress, sources=sources)
        points[count] = make_point(count, found, (BASELINE, STACK), data.group)
        results[count] = found
    return join(results, list(points.values()), config)


def _until_decided(
    fits: "_Fits", design: Design, plan: LookPlan, tracking: Tracking
) -> tuple[Design, list[Look]]:
    """Look after each repeat until the first question is answered; return the last design and all looks."""
    looks: list[Look] = []
    design = replace(design, repeats=max(design.repeats, plan.first))
    while True:
        fits.train(design.seeds, tracking)
        networks = fits.networks
        looks.append(take_look(networks, fits.finished(design.seeds), design.repeats, plan))
        logger.info("%s", looks[-1].words)
        if looks[-1].verdict != "abstain" or design.repeats >= networks.config.max_repeats:
            return design, looks
        design = replace(design, repeats=design.repeats + 1)


class _Fits:
    """The fits of a study as they are trained, or read from the folder where an earlier call left them.

    Attributes:
        done: what each finished fit gave, by seed.
        failures: one entry for each fit that failed once or more.
    """

    def __init__(self, networks: Networks, store: Store | None, processes: Processes, progress: bool) -> None:
        self.networks, self.store, self.processes, self.progress = networks, store, processes, progress
        self.cost: Mapping[str, float] | None = None
        self.done: dict[int, SeedResult] = {}
        self.failures: list[FailedSeed] = []

    def finished(self, seeds: Sequence[int]) -> list[SeedResult]:
        """Return what the finished ones of some fits gave, in their order."""
        return [self.done[seed] for seed in seeds if seed in self.done]

    def kept(self) -> Kept:
        """Return the students that `RunResult.export` may write."""
        if self.store is not None:
            return Kept(self.store.folder, networks=self.networks)
        weights = {seed: result.weights for seed, result in self.done.items()}
        return Kept.in_memory(weights, self.networks)

    def train(self, seeds: Sequence[int], tracking: Tracking) -> None:
        """Train the fits that are not finished.

        Raises:
            Exception: the exception of a fit, if no fit has finished and all failed, or two in the same way.
        """
        tried = {failure.seed for failure in self.failures}
        wanted = [seed for seed in seeds if seed not in self.done and seed not in tried]
        if self.store is not None:
            kept = {seed: result for seed in wanted if (result := self.store.load(seed)) is not None}
            self.done |= kept
            if kept:
                logger.info("Resuming: %d of %d fits are finished", len(self.done), len(seeds))
        left = [seed for seed in wanted if seed not in self.done]
        config, processes = self.networks.config, self.processes
        folder = None if self.store is None or not processes.main else self.store.folder
        where = (config.jobs, config.backend, config.address) if left else (1,)
        threads = torch.get_num_threads()
        with (
            open_pool(*where, threads=threads) as pool,
            Live(
                self.networks,
                seeds,
                [seed for seed in seeds if seed in self.done],
                folder=folder,
                show=self.progress and processes.main,
                workers=pool.count,
                cost=self._announced(len(seeds), len(left), pool, threads),
            ) as live,
        ):
            shares = self._shares(len(left), len(seeds), pool)
            for ended in _run(self.networks, left, self.store, live, pool, processes, shares):
                seed = left[ended.number]
                if ended.result is not None:
                    self.done[seed] = ended.result
                    if seed != ALL_SAMPLES:
                        tracking.seed(ended.result)
                else:
                    _go_on(ended, seed, self.failures, finished=len(self.done), seeds=len(seeds))
                if ended.error:
                    self.failures.append(FailedSeed(seed, ended.tries, ended.error, missing=ended.failed))

    def _shares(self, left: int, fits: int, pool: WorkerPool) -> Sequence[Share | None]:
        """Return what each fit that is left may use of the time for searches; None without such a time."""
        config = self.networks.config
        if not isinstance(config, FitConfig) or config.minutes is None:
            return [None] * left
        return Share.of_all(config.minutes, left=left, fits=fits, workers=pool.count)

    def _announced(self, fits: int, left: int, pool: WorkerPool, threads: int) -> Mapping[str, float]:
        """Say once what the study will cost, and return the seconds of an epoch by stage."""
        if self.cost is None:
            said = self.progress and left and self.processes.count == 1
            threads = pool.threads or threads
            self.cost = (
                announce(self.networks, fits=fits, left=left, workers=pool.count, threads=threads)
                if said
                else {}
            )
        return self.cost


def _go_on(
    ended: TaskOutcome[SeedResult], seed: int, before: Sequence[FailedSeed], *, finished: int, seeds: int
) -> None:
    """Raise the last failure of a seed, unless the other seeds may succeed."""
    assert ended.exception is not None  # noqa: S101
    again = any(failure.missing and failure.error == ended.error for failure in before)
    alike = isinstance(ended.exception, InputError) or again
    none_left = finished == 0 and 1 + sum(failure.missing for failure in before) == seeds
    if none_left or (finished == 0 and alike):
        raise ended.exception
    logger.warning("The study goes on without %s.\n%s", fit_words(seed), ended.trace)


def _run(
    networks: Networks,
    seeds: Sequence[int],
    store: Store | None,
    live: Live,
    pool: WorkerPool,
    processes: Processes,
    shares: Sequence[Share | None],
) -> Iterator[TaskOutcome[SeedResult]]:
    """Run the seeds that are left; save each as it ends, and yield it."""
    folders: dict[int, Path | None] = dict.fromkeys(seeds)
    if store is not None and not networks.small():  # a small network is trained again in no time
        folders = {seed: store.base(seed).absolute() for seed in seeds}
        if processes.main:
            store.claim()
    if processes.count > 1:  # a process that retried by itself would wait for the others forever
        outcomes: Iterator[TaskOutcome[SeedResult]] = (
            TaskOutcome(number, run_seed(networks, seed, live.advance, folder=folders[seed], share=share), 1)
            for number, (seed, share) in enumerate(zip(seeds, shares, strict=True))
        )
    else:
        progress = live.advance if pool.here else _silent
        threads = None if pool.here else pool.threads
        outcomes = run_tasks(
            run_seed,
            [
                (networks, seed, progress, threads, folders[seed], share)
                for seed, share in zip(seeds, shares, strict=True)
            ],
            pool,
            names=[fit_words(seed).capitalize() for seed in seeds],
            retries=networks.config.retries,
        )
    for ended in outcomes:
        if ended.result is not None:
            if store is not None and processes.main:
                store.save(ended.result)
            live.end_seed(ended.result, elsewhere=not pool.here)
            kept = {STUDENTS: ended.result.weights[STUDENTS]} if store is None else {}  # others may be large
            ended = replace(ended, result=replace(ended.result, weights=kept))
        yield ended


def _silent(stage: str, count: int) -> None:
    """Count nothing: the progress of a seed in another process is counted when it ends."""
