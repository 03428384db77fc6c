"""The figure of Table 2: accuracies, and general minus regular KD for teachers trained on either split."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mfh._report.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE
from mfh.experiments.gaussian.plots import GAMMA, MINUS
from mfh.experiments.gaussian.runs import find
from mfh.experiments.gaussian.table2_models import MODES
from mfh.results import GaussianResult

ACCURACIES = (  # mode, arm, label, colour, marker, line style
    ("gt", "no_kd", "no KD", MUTED, "o", "-"),
    ("gt", "regular_kd", "regular KD, correct", ORANGE, "s", "-"),
    ("gt", "regular_kd_as_released", "regular KD, as released", ORANGE, "x", ":"),
    ("random", "general_kd", "random channels", INK, ".", (0, (2, 2))),
    ("gt", "general_kd", "general KD, true channels", BLUE, "D", "-"),
    ("alg1", "general_kd", "general KD, Algorithm 1", GREEN, "^", "--"),
    ("gt", "no_kd_ab", "no KD, labels of A and B", PURPLE, "v", "-"),
)
DIFFERENCES = (  # arm a, arm b, label, colour, marker
    ("general_kd", "regular_kd", f"general {MINUS} regular KD, as paired in the released code", MUTED, "o"),
    ("general_kd_a", "regular_kd", f"general {MINUS} regular KD, both teachers on A", BLUE, "D"),
    ("general_kd", "regular_kd_b", f"general {MINUS} regular KD, both teachers on B", GREEN, "^"),
    ("no_kd_ab", "general_kd_a", f"no KD, labels of A and B {MINUS} general KD, teacher on A", PURPLE, "v"),
)
SHIFTS = (-0.006, -0.002, 0.002, 0.006)
"""By how much each difference is moved along gamma, so that intervals do not hide each other."""


def draw_table(result: GaussianResult) -> Figure:
    """Draw accuracies over gamma on the left, and differences with their intervals on the right."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_accuracies(left, result)
    _draw_differences(right, result)
    return figure


def _draw_accuracies(axes: Axes, result: GaussianResult) -> None:
    by_mode = {mode: [row for row in result.rows if row["mode"] == mode] for mode in MODES}
    gamma = [row["gamma"] for row in by_mode["gt"]]
    for mode, arm, name, color, marker, style in ACCURACIES:
        values = [row[f"{arm}_mean"] for row in by_mode[mode]]
        axes.plot(gamma, values, color=color, marker=marker, markersize=4, linestyle=style, label=name)
    axes.set(xlabel=GAMMA, ylabel="accuracy (%)")
    axes.legend(fontsize=7)


def _draw_differences(axes: Axes, result: GaussianResult) -> None:
    for shift, (a, b, name, color, marker) in zip(SHIFTS, DIFFERENCES, strict=True):
        lines = find(result.differences, mode="gt", a=a, b=b)
        gamma = np.array([line["gamma"] for line in lines])
        mean = np.array([line["difference"] for line in lines])
        ends = [(line["low"], line["high"]) for line in lines]
        error = None if ends[0][0] is None else np.abs(np.array(ends).T - mean)
        axes.errorbar(
            gamma + shift, mean, error,
            color=color, marker=marker, markersize=4, elinewidth=1, label=name, linewidth=1,
        )  # fmt: skip
    axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.set(xlabel=GAMMA, ylabel="difference (points)")
    axes.legend(fontsize=7, title="95% intervals", title_fontsize=7, loc="best")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))
