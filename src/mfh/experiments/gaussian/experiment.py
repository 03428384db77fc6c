"""The Gaussian experiments of the paper: Figures 2 and 3, Table 2, and a regime beyond them.

    mfh gaussian all --out DIR         one folder each, under 15 s of CPU time (the released scripts: 870 s)

Default seeds and 10 runs give what the released code prints, from the same random streams.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mfh._checks import choice, require
from mfh._system.files import writable_folder
from mfh._system.lock import holds
from mfh.data.sources.gaussian import FIGURE_2, FIGURE_3, LARGEST_SEED, check_seed
from mfh.experiments.gaussian import sweeps, table
from mfh.experiments.gaussian.runs import STEPS, Runs, map_seeds
from mfh.results import GaussianRecord, GaussianResult, environment


@dataclass(frozen=True)
class _Experiment:
    """How one figure is made: the models of a seed, and what is read off all of them."""

    seed: int
    run_seed: Callable[[int], list[GaussianRecord]]
    rows: Callable[[Runs], list[dict[str, Any]]]
    differences: Callable[[Runs], list[dict[str, Any]]]
    notes: Callable[[Runs], list[str]]


_EXPERIMENTS = {
    "fig2": _Experiment(
        0,
        lambda seed: sweeps.run_design(FIGURE_2, seed),
        lambda runs: sweeps.sweep_rows(FIGURE_2, runs),
        sweeps.sweep_differences,
        sweeps.fig2_notes,
    ),
    "fig3": _Experiment(
        0,
        lambda seed: sweeps.run_design(FIGURE_3, seed),
        lambda runs: sweeps.sweep_rows(FIGURE_3, runs),
        sweeps.sweep_differences,
        sweeps.fig3_notes,
    ),
    "table2": _Experiment(42, table.run_table, table.table_rows, table.table_differences, table.table_notes),
    "regime": _Experiment(
        0, sweeps.run_regime, sweeps.regime_rows, sweeps.sweep_differences, sweeps.regime_notes
    ),
}
FIGURES = tuple(_EXPERIMENTS)
PAPER_FIGURES = ("fig2", "fig3", "table2")


@holds()
def run(
    figure: str,
    *,
    runs: int = 10,
    seed: int | None = None,
    out: Path | str | None = None,
    progress: bool = True,
    threads: int | None = None,
) -> GaussianResult:
    """Run one Gaussian experiment.

    Args:
        figure: `fig2`, `fig3`, `table2` or `regime`.
        runs: number of runs, 1 or more, from consecutive seeds.
        seed: the first seed, 0 or more; by default that of the released code, 0 for the figures and 42 for
            Table 2.
        out: folder for `results.json` and `figures/`; by default nothing is written.
        progress: whether to show a bar after two seconds.
        threads: runs computed side by side; by default one per processor. The result does not depend on it.

    Raises:
        InputError: an unknown figure, no runs, a seed that the random streams do not take, a folder that
            cannot be written.

    Example:
        >>> result = run("fig2", runs=2, progress=False)
        >>> [round(row["gamma"], 2) for row in result.rows]
        [0.0, 0.11, 0.25, 0.43, 0.67, 1.0]
    """
    check(figure, runs=runs, seed=seed, threads=threads)
    folder = None if out is None else writable_folder(out)
    experiment = _EXPERIMENTS[figure]
    first = experiment.seed if seed is None else seed
    start = time.perf_counter()
    records = map_seeds(
        experiment.run_seed, range(first, first + runs), threads=threads, progress=progress, label=figure
    )
    trained = time.perf_counter()
    by_point = Runs(records)
    result = GaussianResult(
        config={"figure": figure, "runs": runs, "seed": first, "steps": STEPS},
        environment=environment(),
        timings={"draw and train": trained - start},
        records=records,
        figure=figure,
        rows=experiment.rows(by_point),
        differences=experiment.differences(by_point),
        notes=experiment.notes(by_point),
    )
    if folder is None:
        return result
    from mfh.experiments.gaussian.plots import save_figures  # matplotlib is slow to import

    save_figures(result, folder / "figures")
    result = replace(result, timings={**result.timings, "figures": time.perf_counter() - trained})
    result.save(folder)
    return result


def run_all(
    *,
    runs: int = 10,
    seed: int | None = None,
    out: Path | str | None = None,
    progress: bool = True,
    threads: int | None = None,
    figures: Sequence[str] = PAPER_FIGURES,
) -> dict[str, GaussianResult]:
    """Run several experiments, the paper's three by default, each into a folder of its name under `out`.

    Arguments as of `run`; everything is checked before the first one starts.
    """
    for figure in figures:
        check(figure, runs=runs, seed=seed, threads=threads)
    folder = None if out is None else writable_folder(out)
    return {
        figure: run(
            figure,
            runs=runs,
            seed=seed,
            out=None if folder is None else folder / figure,
            progress=progress,
            threads=threads,
        )
        for figure in figures
    }


def check(figure: str, *, runs: int, seed: int | None, threads: int | None = None) -> None:
    """Raise `InputError` unless `run` takes these arguments."""
    choice("figure", figure, FIGURES)
    for name, value in (("runs", runs), ("threads", 1 if threads is None else threads)):
        require(
            isinstance(value, int) and not isinstance(value, bool) and value >= 1,
            f"`{name}` must be a whole number of 1 or more. Got {value!r} instead.",
        )
    if seed is not None:
        check_seed(seed)
    last = (_EXPERIMENTS[figure].seed if seed is None else seed) + runs
    require(
        last <= LARGEST_SEED,
        f"`seed` + `runs` must be at most {LARGEST_SEED}, the last seed there is. Got {last}: start lower.",
    )
