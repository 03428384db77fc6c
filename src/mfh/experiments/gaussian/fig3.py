"""Figure 3 of the paper: raise alpha, the share of decisive features that only the teacher's modality has.

    mfh gaussian fig3 --out DIR

Time: about 2 s on 2 CPU cores for the released 10 runs (seeds 0 to 9).
Expected: the gain of KD falls from +1.59 points at alpha 0 to +0.31 at alpha .8, while the teacher's accuracy
rises from 58.5 to 90.5% (docs/gaussian.md).

Of 50 decisive features the student sees 10, and the teacher sees these 10 and 0 to 40 others.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mfh.data.sources.gaussian import FIGURE_3
from mfh.experiments.gaussian.recipe import GaussianRecipe
from mfh.experiments.gaussian.runs import Runs, phrase
from mfh.experiments.gaussian.sweep import gain_slope, gains, run_design, sweep_rows, where_decided
from mfh.results import GaussianResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEACHER_RADIUS = 1.2
"""Radius of the teacher's circle in the Venn diagrams; the student's circle lies inside it."""


def notes(runs: Runs) -> list[str]:
    """Return sentences on the effect of raising alpha."""
    lines, rows = gains(runs), sweep_rows(FIGURE_3, runs)
    first, last, points = rows[0], rows[-1], runs.points()
    fitted = [runs.mean_train(points[i], "teacher") for i in (0, -1)]
    return [
        f"While the teacher's accuracy goes from {first['teacher_mean']:.2f}% to "
        f"{last['teacher_mean']:.2f}%, the gain of KD goes from {phrase(lines[0])} at alpha "
        f"{first['alpha']:.2f} to {phrase(lines[-1])} at alpha {last['alpha']:.2f}. Its slope, fitted in "
        f"every run, is {phrase(gain_slope(runs))} per unit of gamma, which is 1 - alpha.",
        where_decided(lines, lambda line: f"alpha {1 - line['gamma']:.2f}"),
        f"On its own training samples the teacher agrees with {fitted[0]:.2f}% of the labels at the first "
        f"point and with {fitted[1]:.2f}% at the last. The closer its soft labels are to the labels, the "
        "less KD differs from training without KD, whichever features the teacher uses.",
        f"The label depends on {FIGURE_3.decisive} features, and the student sees {FIGURE_3.seen} of them. "
        f"Without KD its accuracy is {first['no_kd_mean']:.2f}%, so gains are small whatever their cause.",
    ]


def draw(result: GaussianResult) -> "Figure":
    """Draw accuracies over alpha, with Venn diagrams of three points."""
    from mfh.experiments.gaussian.plots import (
        ALPHA,
        GAMMA,
        draw_sweep,
        draw_venn,
    )  # matplotlib takes long to import

    def sketch(axes: "Axes", row: Mapping[str, Any]) -> None:
        title = f"{ALPHA} = {row['alpha']:.2f}, {GAMMA} = {row['gamma']:.2f}"
        draw_venn(axes, TEACHER_RADIUS, TEACHER_RADIUS * math.sqrt(row["gamma"]), title)

    label = f"{ALPHA}, share of decisive features in the teacher's alone"
    return draw_sweep(result, axis="alpha", label=label, legend="upper right", sketch=sketch)


RECIPE = GaussianRecipe(
    name="fig3",
    first_seed=0,
    columns=("alpha", "gamma", "teacher_mean", "no_kd_mean", "kd_mean", "delta_mean", "delta_std"),
    run_seed=partial(run_design, FIGURE_3),
    rows=partial(sweep_rows, FIGURE_3),
    differences=gains,
    notes=notes,
    draw=draw,
)
