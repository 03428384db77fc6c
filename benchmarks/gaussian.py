"""The Gaussian experiments against the released procedure written plainly (`_gaussian_plain.py`).

The baseline trains one model after another for 1,000 steps and, as released, measures training and test
accuracy at every step; it is timed on a slice and scaled, since its time is proportional to the number of
models. Both sides run in this process on one thread, data generation included, and are timed by CPU time,
which on one thread is what the clock shows on an idle machine. Ours trains the models of the fair rows of
Table 2 as well, which the baseline does not have. `gaussian_all` is the command, from shell to files.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import _common
from benchmarks import _gaussian_plain as plain
from benchmarks._common import measure, record
from mfh.experiments.gaussian import run as run_figure

RUNS = 10
FIGURE_RUNS = 1  # of the baseline, all points of both figures
TABLE_SHARED, TABLE_RUNS = (5, 30), 1  # of the baseline, all modes


def run() -> None:
    """Time the figures, the table and the command."""
    threads = torch.get_num_threads()
    states = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    torch.set_num_threads(1)
    try:
        figures, table = _figures(), _table()
    finally:
        torch.set_num_threads(threads)
        np.random.set_state(states[0])  # noqa: NPY002
        torch.set_rng_state(states[1])
    _command(figures + table)


def _figures() -> float:
    def slice_of(every_step: bool) -> float:
        trainer, start = plain.Plain(every_step), time.process_time()
        for figure, spec in plain.FIGURES.items():
            for index in range(len(spec["points"])):
                for seed in range(FIGURE_RUNS):
                    plain.figure_point(figure, index, seed, trainer)
        return (time.process_time() - start) * RUNS / FIGURE_RUNS

    baseline, lean = slice_of(True), slice_of(False)
    ours = _cpu(lambda: [_ours(figure) for figure in plain.FIGURES])
    record(
        "gaussian_figures",
        baseline,
        ours,
        ratio_without_evaluation=lean / ours,
        baseline_without_evaluation=lean,
        threads=1,
        clock="CPU time",
        baseline_runs_timed=FIGURE_RUNS,
        baseline_runs_scaled_to=RUNS,
        ours_wall_on_all_processors=measure(lambda: [_ours(figure, None) for figure in plain.FIGURES]),
    )
    print(
        f"gaussian_figures: {baseline / ours:.0f} times, {lean / ours:.0f} without evaluation at every step"
    )
    return baseline


def _table() -> float:
    def slice_of(every_step: bool) -> float:
        trainer, start = plain.Plain(every_step), time.process_time()
        for shared in TABLE_SHARED:
            for mode in ("random", "gt", "alg1"):
                for seed in range(42, 42 + TABLE_RUNS):
                    plain.table_point(shared, mode, seed, trainer)
        share = len(TABLE_SHARED) * TABLE_RUNS / (len(plain.SHARED) * RUNS)
        return (time.process_time() - start) / share

    baseline, lean = slice_of(True), slice_of(False)
    ours = _cpu(lambda: _ours("table2"))
    record(
        "gaussian_table2",
        baseline,
        ours,
        ratio_without_evaluation=lean / ours,
        baseline_without_evaluation=lean,
        threads=1,
        clock="CPU time",
        baseline_gammas_timed=len(TABLE_SHARED),
        baseline_gammas_scaled_to=len(plain.SHARED),
        baseline_runs_timed=TABLE_RUNS,
        baseline_runs_scaled_to=RUNS,
        ours_wall_on_all_processors=measure(lambda: _ours("table2", None)),
    )
    print(f"gaussian_table2: {baseline / ours:.0f} times, {lean / ours:.0f} without evaluation at every step")
    return baseline


def _cpu(function: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds of the fastest of `repeats` calls, after one that is not timed."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


def _ours(figure: str, threads: int | None = 1) -> None:
    run_figure(figure, runs=RUNS, progress=False, threads=threads)


def _command(baseline: float) -> None:
    """CPU time of `mfh gaussian all`, compiled before and compiling, and time of 1,000 runs of Figure 2."""
    first, _ = _shell("all", fresh=True)
    cpu, wall = _shell("all")
    print(f"mfh gaussian all: {cpu:.1f} s of CPU time, {first:.1f} s the first time, {wall:.1f} s wall")
    notes = {}
    if _common.FULL:
        many_cpu, many_wall = _shell("fig2", "--runs", "1000")
        notes = {"fig2_1000_runs_wall": many_wall, "fig2_1000_runs_cpu": many_cpu}
        print(f"mfh gaussian fig2 --runs 1000: {many_wall:.1f} s wall, {many_cpu:.1f} s of CPU time")
    record(
        "gaussian_all",
        baseline,
        cpu,
        unit="seconds of CPU time from shell to files; the baseline trains only",
        wall=wall,
        cpu_with_compilation=first,
        **notes,
    )


def _shell(*arguments: str, fresh: bool = False) -> tuple[float, float]:
    """CPU and wall seconds of `mfh gaussian ...`; `fresh` compiles as on a new machine."""
    with tempfile.TemporaryDirectory() as folder:
        settings = os.environ | ({"NUMBA_CACHE_DIR": str(Path(folder) / "cache")} if fresh else {})
        command = [sys.executable, "-m", "mfh", "gaussian", *arguments, "--out", str(Path(folder) / "out")]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, env=settings, capture_output=True)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall
