"""`mfh gaussian`: the paper's synthetic experiments."""

import logging
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh._system.lock import holds_out
from mfh.commands._options import add_common, finish, table

name = "gaussian"
help = "the paper's Figures 2 and 3 and Table 2 on Gaussian data, from the released random streams"
description = """Reproduce the Gaussian experiments, and compare them with fairer baselines.

  fig2     raise gamma, the share of decisive features in both modalities: KD hurts, then helps
  fig3     raise alpha, the share only the teacher sees: the teacher gains, its student does not
  table2   choose the teacher's channels: at random, truly, by Algorithm 1; with the fair rows beside it
  regime   beyond the paper: the gain of KD over samples, noise channels and gamma
  all      the three of the paper, one folder each

examples:
  mfh gaussian all --out out/gaussian
  mfh gaussian fig2 --runs 1000 --out out/fig2
"""
FIGURES = ("fig2", "fig3", "table2", "regime")
logger = logging.getLogger(__name__)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh gaussian`."""
    parser.add_argument("figure", choices=[*FIGURES, "all"], help="which experiment")
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for everything that is written"
    )
    parser.add_argument(
        "--runs", type=int, default=10, metavar="INT", help="number of runs, with consecutive seeds"
    )
    parser.add_argument(
        "--seed", type=int, default=None, metavar="INT", help="the first seed (default: 0; 42 for table2)"
    )
    parser.add_argument(
        "--jobs", type=int, default=None, metavar="INT", help="runs side by side (default: one per processor)"
    )
    add_common(parser)


@holds_out
def run(options: Namespace) -> None:
    """Run the experiments, write results, figures and reports, print the rows and notes on them."""
    from mfh.experiments import gaussian

    names = gaussian.PAPER_FIGURES if options.figure == "all" else (options.figure,)
    for name in names:
        gaussian.check(name, runs=options.runs, seed=options.seed, threads=options.jobs)
    for name in names:
        out = Path(options.out) / name if options.figure == "all" else Path(options.out)
        result = gaussian.run(
            name,
            runs=options.runs,
            seed=options.seed,
            out=out,
            progress=not options.quiet,
            threads=options.jobs,
        )
        finish(result, out)
        print(f"\n{name}\n{table(result.rows, gaussian.RECIPES[name].columns)}")  # noqa: T201
        print("\n".join(f"- {note}" for note in result.notes))  # noqa: T201
