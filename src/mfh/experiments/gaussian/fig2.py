"""Figure 2 of the paper: raise gamma, the share of decisive features that are in both modalities.

    mfh gaussian fig2 --out DIR

Time: about 2 s on 2 CPU cores for the released 10 runs (seeds 0 to 9); `--runs 1000` takes 24 s of CPU time.
Expected: the gain of KD rises from -0.71 points at gamma 0 to +2.50 at gamma 1 (docs/gaussian.md).

Each modality has 10 decisive features, and 0 to 10 of them are the same. Teacher and student are linear;
they have 200 training and 1,000 test samples.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mfh.data.sources.gaussian import FIGURE_2
from mfh.experiments.gaussian.recipe import GaussianRecipe
from mfh.experiments.gaussian.runs import Runs, phrase
from mfh.experiments.gaussian.sweep import gain_slope, gains, run_design, slope, sweep_rows, where_decided
from mfh.results import GaussianResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def notes(runs: Runs) -> list[str]:
    """Return sentences on the effect of raising gamma."""
    lines, rows = gains(runs), sweep_rows(FIGURE_2, runs)
    teacher = [row["teacher_mean"] for row in rows]
    better = slope(runs, lambda point: runs.test(point, "teacher"))
    rises = better["low"] is not None and better["low"] > 0
    shares = ", ".join(f"{row['teacher_share']:.2f} at gamma {row['gamma']:.2f}" for row in rows)
    return [
        f"From gamma {rows[0]['gamma']:.2f} to {rows[-1]['gamma']:.2f} the gain of KD goes from "
        f"{phrase(lines[0])} to {phrase(lines[-1])}. Its slope, fitted in every run, is "
        f"{phrase(gain_slope(runs))} per unit of gamma.",
        where_decided(lines, lambda line: f"gamma {line['gamma']:.2f}"),
        f"The student without KD is the same at every gamma ({rows[0]['no_kd_mean']:.2f}%), because only the "
        "teacher's columns change. Its line is flat by design.",
        f"The teacher's accuracy lies between {min(teacher):.2f}% and {max(teacher):.2f}% and changes by "
        f"{phrase(better)} per unit of gamma. These runs "
        + ("show that a better teacher may be another" if rises else "do not show a better teacher to be a")
        + " reason for the gain.",
        "The axis is the paper's gamma: a share of the features that one modality or the other has. The "
        f"modality-general share of what the teacher can use is another number: {shares}.",
    ]


def draw(result: GaussianResult) -> "Figure":
    """Draw accuracies over gamma, with Venn diagrams of three points."""
    from mfh.experiments.gaussian.plots import GAMMA, draw_sweep, draw_venn  # matplotlib takes long to import

    def sketch(axes: "Axes", row: Mapping[str, Any]) -> None:
        overlap = math.pi * row["teacher_share"]
        draw_venn(axes, 1.0, 1.0, f"{GAMMA} = {row['gamma']:.2f}", overlap=overlap)

    label = f"{GAMMA}, share of decisive features in both"
    return draw_sweep(result, axis="gamma", label=label, legend="upper left", sketch=sketch)


RECIPE = GaussianRecipe(
    name="fig2",
    first_seed=0,
    columns=("gamma", "teacher_share", "teacher_mean", "no_kd_mean", "kd_mean", "delta_mean", "delta_std"),
    run_seed=partial(run_design, FIGURE_2),
    rows=partial(sweep_rows, FIGURE_2),
    differences=gains,
    notes=notes,
    draw=draw,
)
