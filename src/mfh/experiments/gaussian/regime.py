"""Beyond the paper: Figure 3 with other numbers of training samples and of the student's noise channels.

    mfh gaussian regime --out DIR

Time: about 6 s on 2 CPU cores for 10 runs (seeds 0 to 9).
Expected: with 200 samples or more and some noise channels, the gain of KD is highest at gamma 1; without
noise channels there is no gain at any gamma (docs/gaussian.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mfh.data.sources.gaussian import FIGURE_3, Design
from mfh.experiments.gaussian.recipe import GaussianRecipe
from mfh.experiments.gaussian.runs import Runs, find, phrase, signed
from mfh.experiments.gaussian.sweep import gains, point_of, run_design, sweep_rows
from mfh.results import GaussianRecord, GaussianResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = (50, 100, 200, 400, 800)
NOISE = (0, 10, 40, 90)


def designs() -> list[Design]:
    """Return Figure 3's design with each number of training samples and noise channels; one is Figure 3."""
    return [
        replace(FIGURE_3, num_train=n, student_width=FIGURE_3.seen + noise)
        for noise in NOISE
        for n in SAMPLES
    ]


def run_seed(seed: int) -> list[GaussianRecord]:
    """Train the models of one run of every design."""
    return [record for design in designs() for record in run_design(design, seed)]


def rows(runs: Runs) -> list[dict[str, Any]]:
    """Return one row for each cell of the heat map."""
    found = []
    for design in designs():
        place = {"num_train": design.num_train, "noise": design.student_width - design.seen}
        for columns, row in zip(design.points, sweep_rows(design, runs), strict=True):
            line = runs.difference(point_of(design, columns), "kd", "no_kd")
            found.append({**place, **row, "delta_low": line["low"], "delta_high": line["high"]})
    return found


def notes(runs: Runs) -> list[str]:
    """Return sentences: where KD helps and hurts, and where the gain is highest at gamma 1."""
    lines = gains(runs)
    helps = sum(line["low"] is not None and line["low"] > 0 for line in lines)
    hurts = sum(line["high"] is not None and line["high"] < 0 for line in lines)
    by_gain = sorted(lines, key=lambda line: line["difference"])
    groups = [
        find(lines, num_train=design.num_train, noise=design.student_width - design.seen)
        for design in designs()
    ]
    rising = sum(max(group, key=lambda line: line["difference"])["gamma"] == 1 for group in groups)
    by_noise = [f"{signed(_mean_gain(lines, noise=noise))} with {noise}" for noise in NOISE]
    by_samples = [f"{signed(_mean_gain(lines, num_train=n))} with {n}" for n in SAMPLES]
    return [
        f"KD helps in {helps} and hurts in {hurts} of {len(lines)} cells, judged by 95% intervals over "
        f"{lines[0]['n']} runs, one cell at a time. If KD had no effect, about {len(lines) * 0.05:.0f} cells "
        "would be decided by chance.",
        f"The highest gain is {phrase(by_gain[-1])} at {_cell(by_gain[-1])}, the lowest {phrase(by_gain[0])} "
        f"at {_cell(by_gain[0])}.",
        f"The gain is highest at gamma = 1 in {rising} of {len(groups)} combinations of training samples and "
        f"noise channels, which have {len(FIGURE_3.points)} gammas each.",
        f"Mean gain at gamma = 1 by the student's noise channels: {', '.join(by_noise)}; by training "
        f"samples: {', '.join(by_samples)}.",
    ]


def draw(result: GaussianResult) -> "Figure":
    """Draw the gains as a heat map."""
    from mfh.experiments.gaussian.plots import draw_heat_map  # matplotlib takes long to import

    return draw_heat_map(result)


def _mean_gain(lines: Sequence[Mapping[str, Any]], **place: int) -> float:
    return float(np.mean([line["difference"] for line in find(lines, gamma=1.0, **place)]))


def _cell(line: Mapping[str, Any]) -> str:
    return f"{line['num_train']} training samples, {line['noise']} noise channels, gamma {line['gamma']:.2f}"


RECIPE = GaussianRecipe(
    name="regime",
    first_seed=0,
    columns=("num_train", "noise", "gamma", "no_kd_mean", "kd_mean", "delta_mean"),
    run_seed=run_seed,
    rows=rows,
    differences=gains,
    notes=notes,
    draw=draw,
)
