"""One seed of a study: its teachers, their channels ranked, and the students of every arm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mfh._study.design import Design, require_pairs
from mfh._study.few.fit import run_few
from mfh._study.kept import STUDENTS
from mfh._study.networks import Networks
from mfh._study.outcome import SeedResult
from mfh._study.outputs import TeacherOutputs
from mfh._study.parts import Parts
from mfh._study.ranking import rank
from mfh._study.search.clock import Share
from mfh._study.search.fit import run_search
from mfh._study.students import train_and_evaluate
from mfh._study.task import Progress, SeedTask, Timer
from mfh._study.teachers import named_focused, teacher_records, train_teachers
from mfh.config import FitConfig
from mfh.data.splits import divide
from mfh.results import Choice
from mfh.training.fingerprint import short


def run_seed(
    networks: Networks,
    seed: int,
    progress: Progress,
    threads: int | None = None,
    folder: Path | None = None,
    share: Share | None = None,
) -> SeedResult:
    """Run one seed in this process.

    Args:
        networks: what is trained, on which data.
        seed: fixes everything that is random.
        progress: is told what has been done.
        threads: for networks that are trained side by side; by default those that torch uses.
        folder: where unfinished work is kept; None keeps none.
        share: of a search, what it may use of `minutes`; by default the same part of them as every fit.
    """
    before = torch.get_num_threads()
    # a small network's step is over before a second thread has woken up, and waiting for it costs both cores
    torch.set_num_threads(1 if networks.small() else threads or before)
    design = Design.of(networks.data, networks.config)
    config = networks.config
    if share is None and isinstance(config, FitConfig) and config.minutes is not None:
        (share,) = Share.of_all(config.minutes, left=1, fits=len(design.seeds) + 1)
    split = design.draw(networks.data, networks.config, seed)
    require_pairs(networks.present["both"], split, seed)
    searched = networks.config.lr == "auto"
    networks = networks.with_rate(seed, torch.from_numpy(split.learnt))
    task = SeedTask(
        networks=networks,
        seed=seed,
        split=split,
        place=design.place(seed),
        threads=threads or before,
        parts=Parts(folder, f"{short(networks.identity())} {seed}"),
        progress=progress,
        arms=networks.arms,
        until=None if share is None else share.begin(),
    )
    try:
        result = _protocol(task)(task)
        rate = (Choice("", seed, lr=task.config.peak_rate),) if searched else ()
        return replace(result, chosen=(*result.chosen, *rate))
    finally:
        torch.set_num_threads(before)


def _protocol(task: SeedTask) -> Callable[[SeedTask], SeedResult]:
    """Return how a fit is run."""
    if task.config.searches:
        return run_search
    return run_task if task.split.labelled is None else run_few


def run_task(task: SeedTask) -> SeedResult:
    """Train teachers, rank their channels, train and evaluate the students."""
    timer = Timer()
    teachers = train_teachers(task, task.train)
    timer.lap("teachers")
    ranked = rank(task, teachers)
    task.progress("saliency", 1)
    timer.lap("saliency")
    if task.config.teacher_outputs == "cross-fit":
        ranked = replace(ranked, outputs=cross_fit(task, ranked.outputs))
        timer.lap("teachers")
    students = train_and_evaluate(task, teachers.data, ranked)
    timer.lap("students")
    return SeedResult(
        seed=task.seed,
        split=task.split,
        students=students.students,
        teachers=teacher_records(
            task, teachers.data, {**ranked.outputs.logits, **named_focused(ranked.outputs)}
        ),
        channels=ranked.channels,
        overlap=ranked.overlap,
        timings=timer.seconds,
        weights={**teachers.weights(), STUDENTS: students.kept},
        chosen=students.chosen,
        layer=ranked.layer,
        curves={**teachers.curves, **students.curves},
        failed=students.failed,
        repeat=task.place[0],
        fold=task.place[1],
    )


def cross_fit(task: SeedTask, outputs: TeacherOutputs) -> TeacherOutputs:
    """Replace the outputs on the training rows by those of teachers that were not fitted on them."""
    data = task.networks.data
    labels, groups = data.kind.strata(data.label), data.group
    train = task.split.train
    rng = np.random.default_rng(task.derived("folds"))
    count = task.config.cross_fit_folds
    shares = [1 / count] * count
    parts = divide(labels[train], None if groups is None else groups[train], shares, rng)
    for number, part in enumerate(parts):
        fold = f" fold {number}"
        kept = torch.from_numpy(np.sort(np.delete(train, part)))
        theirs = rank(task, train_teachers(task, kept, fold=fold), fold=fold).outputs
        task.progress("saliency", 1)
        outputs = outputs.with_rows_of(theirs, torch.from_numpy(np.sort(train[part])))
    return outputs
