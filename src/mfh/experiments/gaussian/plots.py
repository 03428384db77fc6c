"""Figures of the Gaussian experiments: sweeps with Venn diagrams, a heat map; saved as SVG, PDF and PNG."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from mfh._checks import require
from mfh._report import style as look
from mfh._report.style import BLUE, INK, MUTED, ORANGE
from mfh._report.venn import apart, circles
from mfh._system.files import write_atomic
from mfh.experiments.gaussian.runs import Point, Runs, signed
from mfh.results import GaussianResult

ALPHA, GAMMA, MINUS = "\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK SMALL LETTER GAMMA}", "\N{MINUS SIGN}"
_METADATA: dict[str, dict[str, Any]] = {  # no dates and versions, so that equal figures are equal files
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
_CROWDED = 0.08
"""Points closer than this share of the axis get their labels on different sides of the curves."""


def save_figure(
    result: GaussianResult, draw: Callable[[GaussianResult], Figure], folder: Path | str
) -> list[Path]:
    """Draw the figure of a result and write it as SVG, PDF and PNG; return their paths.

    Raises:
        InputError: the result has no rows, or the folder cannot be written.
    """
    require(len(result.rows) > 0, "`result` must have rows to draw. Got none: run the experiment first.")
    with look.style(**{"savefig.facecolor": "white", "svg.fonttype": "path"}):
        figure = draw(result)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for each format
        return [
            write_atomic(
                Path(folder) / f"{result.figure}.{kind}",
                partial(figure.savefig, format=kind, dpi=200, metadata=metadata),
            )
            for kind, metadata in _METADATA.items()
        ]


def draw_sweep(
    result: GaussianResult,
    *,
    axis: str,
    label: str,
    legend: Literal["upper left", "upper right"],
    sketch: Callable[[Axes, Mapping[str, Any]], None],
) -> Figure:
    """Draw accuracies over a sweep with bands of one standard deviation, and Venn diagrams of three points.

    Args:
        result: of a sweep.
        axis: column of its rows along the horizontal axis.
        label: label of that axis.
        legend: place of the students' legend.
        sketch: draws the Venn diagram of a row.
    """
    figure = Figure(figsize=(6.6, 4.0), layout="constrained")
    grid = figure.add_gridspec(6, 2, width_ratios=(3.4, 1))
    above, main = figure.add_subplot(grid[:2, 0]), figure.add_subplot(grid[2:, 0])
    runs, x = Runs(result.records), [row[axis] for row in result.rows]
    points = runs.points()
    _draw_band(above, x, runs, points, "teacher", MUTED, "o", "teacher")
    _draw_band(main, x, runs, points, "no_kd", ORANGE, "s", "student without KD")
    _draw_band(main, x, runs, points, "kd", BLUE, "D", "student with KD")
    _label_gains(main, x, result.rows)
    above.tick_params(labelbottom=False)
    above.sharex(main)
    main.set_xlabel(label)
    above.set_ylabel("accuracy (%)")
    main.set_ylabel("accuracy (%)")
    main.legend(loc=legend)
    above.legend(loc="upper left")
    main.margins(y=0.28)
    above.margins(y=0.3)
    num_runs = result.config["runs"]
    main.set_title(
        f"bands: one standard deviation over {num_runs} runs; numbers: gain of KD",
        size=7.5,
        color=MUTED,
        loc="left",
    )
    for position, index in enumerate((0, len(result.rows) // 2, len(result.rows) - 1)):
        axes = figure.add_subplot(grid[2 * position : 2 * position + 2, 1])
        sketch(axes, result.rows[index])
    return figure


def _draw_band(
    axes: Axes,
    x: Sequence[float],
    runs: Runs,
    points: Sequence[Point],
    arm: str,
    color: str,
    marker: str,
    label: str,
) -> None:
    values = np.stack([runs.test(point, arm) for point in points])
    mean, spread = values.mean(axis=1), values.std(axis=1)
    axes.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
    axes.plot(x, mean, color=color, marker=marker, markersize=4, label=label)


def _label_gains(axes: Axes, x: Sequence[float], rows: Sequence[Mapping[str, Any]]) -> None:
    crowded = _CROWDED * (max(x) - min(x))
    for index, (row, at) in enumerate(zip(rows, x, strict=True)):
        below = index > 0 and at - x[index - 1] < crowded
        ends = row["kd_mean"], row["no_kd_mean"]
        axes.annotate(
            signed(row["delta_mean"]),
            (at, min(ends) if below else max(ends)),
            xytext=(0, -6 if below else 6),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            size=7.5,
        )


def draw_venn(
    axes: Axes, radius_a: float, radius_b: float, title: str, *, overlap: float | None = None
) -> None:
    """Draw the decisive features of both modalities as circles; without `overlap` b lies inside a."""
    distance = 0.0 if overlap is None else apart(overlap, radius_a, radius_b)
    circles(axes, radius_a, radius_b, distance, ("a", "b"))
    axes.set(xlim=(-2.3, 2.3), ylim=(-1.35, 1.35))
    axes.set_title(title, size=8, pad=1)


def draw_heat_map(result: GaussianResult) -> Figure:
    """Draw the regime: gain of KD as colour, accuracy as text; a block per noise, a line per sample size."""
    rows = result.rows
    noise, samples, gamma = (sorted({row[key] for row in rows}) for key in ("noise", "num_train", "gamma"))
    gain = np.full((len(samples), len(noise) * len(gamma)), np.nan)
    accuracy, decided = gain.copy(), np.zeros(gain.shape, bool)
    for row in rows:
        at = (
            samples.index(row["num_train"]),
            noise.index(row["noise"]) * len(gamma) + gamma.index(row["gamma"]),
        )
        gain[at], accuracy[at] = row["delta_mean"], row["kd_mean"]
        decided[at] = row["delta_low"] is not None and row["delta_low"] * row["delta_high"] > 0
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    axes = figure.subplots()
    limit = max(float(np.abs(gain).max()), 0.1)
    colors = LinearSegmentedColormap.from_list("gain", [ORANGE, "#ffffff", BLUE])
    image = axes.imshow(gain, cmap=colors, norm=TwoSlopeNorm(0, -limit, limit), aspect="auto", origin="lower")
    for (line, column), value in np.ndenumerate(accuracy):
        points = float(gain[line, column])
        text = f"{value:.1f}\n{signed(points, 1)}{'*' if decided[line, column] else ''}"
        dark = abs(points) > 0.6 * limit
        axes.text(column, line, text, ha="center", va="center", size=6.5, color="white" if dark else INK)
    for block in range(1, len(noise)):
        axes.axvline(block * len(gamma) - 0.5, color=INK, linewidth=1.5)
    axes.set_xticks(range(gain.shape[1]), [f"{g:.2f}" for g in gamma] * len(noise), size=7)
    axes.set_yticks(range(len(samples)), [str(n) for n in samples])
    axes.set(xlabel=GAMMA, ylabel="training samples")
    axes.tick_params(length=0)
    for block, number in enumerate(noise):
        middle = (block + 0.5) * len(gamma) - 0.5
        axes.text(middle, len(samples) - 0.4, f"{number} noise channels", ha="center", va="bottom")
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("gain of KD (points)")
    axes.set_title(
        "accuracy with KD (%), and its gain below; * where the 95% interval leaves out 0",
        size=7.5,
        color=MUTED,
        pad=18,
    )
    return figure
