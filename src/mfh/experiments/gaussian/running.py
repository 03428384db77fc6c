"""Run Gaussian recipes: train, compute rows, differences and notes, draw, save."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mfh._checks import choice, require
from mfh._system.files import writable_folder
from mfh._system.lock import holds
from mfh.data.sources.gaussian import LARGEST_SEED, check_seed
from mfh.experiments.gaussian import fig2, fig3, regime, table2
from mfh.experiments.gaussian.runs import STEPS, Runs, map_seeds
from mfh.results import GaussianResult, environment

RECIPES = {module.RECIPE.name: module.RECIPE for module in (fig2, fig3, table2, regime)}
FIGURES = tuple(RECIPES)
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
        runs: number of runs, 1 or more. Their seeds follow each other.
        seed: the first seed, 0 or more; by default that of the released code, 0 for the figures and 42 for
            Table 2.
        out: folder for `results.json` and `figures/`; by default nothing is written.
        progress: whether to show a progress bar. It appears after two seconds.
        threads: number of threads, each of which computes one run at a time; by default one per processor.
            The result does not depend on it.

    Returns:
        Records of all models, and the rows, differences and notes that are computed from them.

    Raises:
        InputError: `figure` is unknown, `runs` or `threads` is below 1, the random streams do not take the
            seeds, or the folder cannot be written.

    Example:
        >>> result = run("fig2", runs=2, progress=False)
        >>> [round(row["gamma"], 2) for row in result.rows]
        [0.0, 0.11, 0.25, 0.43, 0.67, 1.0]
    """
    check(figure, runs=runs, seed=seed, threads=threads)
    folder = None if out is None else writable_folder(out)
    recipe = RECIPES[figure]
    first = recipe.first_seed if seed is None else seed
    start = time.perf_counter()
    records = map_seeds(
        recipe.run_seed, range(first, first + runs), threads=threads, progress=progress, label=figure
    )
    trained = time.perf_counter()
    by_point = Runs(records)
    result = GaussianResult(
        config={"figure": figure, "runs": runs, "seed": first, "steps": STEPS},
        environment=environment(),
        timings={"draw and train": trained - start},
        records=records,
        figure=figure,
        rows=recipe.rows(by_point),
        differences=recipe.differences(by_point),
        notes=recipe.notes(by_point),
    )
    if folder is None:
        return result
    from mfh.experiments.gaussian.plots import save_figure  # matplotlib takes long to import

    save_figure(result, recipe.draw, folder / "figures")
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
    """Run several experiments, by default the paper's three, each into a folder of its name under `out`.

    All arguments are checked before the first experiment starts; see `run` for their meaning.
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
    """Raise `InputError` unless `run` accepts these arguments."""
    choice("figure", figure, FIGURES)
    for name, value in (("runs", runs), ("threads", 1 if threads is None else threads)):
        require(
            isinstance(value, int) and not isinstance(value, bool) and value >= 1,
            f"`{name}` must be a whole number of 1 or more. Got {value!r} instead.",
        )
    if seed is not None:
        check_seed(seed)
    last = (RECIPES[figure].first_seed if seed is None else seed) + runs
    require(
        last <= LARGEST_SEED,
        f"`seed` + `runs` must be at most {LARGEST_SEED}, the largest seed. Got {last}: choose a smaller "
        "`seed`.",
    )
