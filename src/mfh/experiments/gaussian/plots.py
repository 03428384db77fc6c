"""Figures of the Gaussian experiments, drawn from their results: SVG, PDF and PNG."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from mfh._checks import require
from mfh._report import style as look
from mfh._report.venn import apart, circles
from mfh._system.files import write_atomic
from mfh.experiments.gaussian.runs import Point, Runs, find, signed
from mfh.results import GaussianResult

BLUE, ORANGE, GREEN, PURPLE, MUTED, INK = (
    look.BLUE,
    look.ORANGE,
    look.GREEN,
    look.PURPLE,
    look.MUTED,
    look.INK,
)
ALPHA, GAMMA, MINUS = "\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK SMALL LETTER GAMMA}", "\N{MINUS SIGN}"
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def save_figures(result: GaussianResult, folder: Path | str) -> list[Path]:
    """Draw the figure of a result and write it as SVG, PDF and PNG; returns their paths.

    Raises:
        InputError: the result holds no rows, or the folder cannot be written.
    """
    require(len(result.rows) > 0, "`result` must hold rows to draw. Got none: run the experiment first.")
    with look.style(**{"savefig.facecolor": "white", "svg.fonttype": "path"}):
        figure = _DRAW[result.figure](result)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for each format
        return [
            write_atomic(
                Path(folder) / f"{result.figure}.{kind}",
                partial(figure.savefig, format=kind, dpi=200, metadata=metadata),
            )
            for kind, metadata in _METADATA.items()
        ]


def _draw_sweep(
    result: GaussianResult, *, axis: str, label: str, sketch: Callable[[Axes, Mapping[str, Any]], None]
) -> Figure:
    """Accuracies over the sweep with bands of one standard deviation, and Venn sketches of three points."""
    figure = Figure(figsize=(6.6, 4.0), layout="constrained")
    grid = figure.add_gridspec(6, 2, width_ratios=(3.4, 1))
    above, main = figure.add_subplot(grid[:2, 0]), figure.add_subplot(grid[2:, 0])
    runs, x = Runs(result.records), [row[axis] for row in result.rows]
    points = runs.points()
    _band(above, x, runs, points, "teacher", MUTED, "o", "teacher")
    _band(main, x, runs, points, "no_kd", ORANGE, "s", "student without KD")
    _band(main, x, runs, points, "kd", BLUE, "D", "student with KD")
    crowded = 0.08 * (max(x) - min(x))
    for index, (row, at) in enumerate(zip(result.rows, x, strict=True)):
        below = index > 0 and at - x[index - 1] < crowded
        ends = row["kd_mean"], row["no_kd_mean"]
        main.annotate(
            signed(row["delta_mean"]),
            (at, min(ends) if below else max(ends)),
            xytext=(0, -6 if below else 6),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            size=7.5,
        )
    above.tick_params(labelbottom=False)
    above.sharex(main)
    main.set_xlabel(label)
    above.set_ylabel("accuracy (%)")
    main.set_ylabel("accuracy (%)")
    main.legend(loc="upper left" if result.figure == "fig2" else "upper right")
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


def _band(
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


def _venn(axes: Axes, radius_a: float, radius_b: float, distance: float, title: str) -> None:
    circles(axes, radius_a, radius_b, distance, ("a", "b"))
    axes.set(xlim=(-2.3, 2.3), ylim=(-1.35, 1.35))
    axes.set_title(title, size=8, pad=1)


def _venn_fig2(axes: Axes, row: Mapping[str, Any]) -> None:
    distance = apart(math.pi * row["teacher_share"], 1.0, 1.0)
    _venn(axes, 1.0, 1.0, distance, f"{GAMMA} = {row['gamma']:.2f}")


def _venn_fig3(axes: Axes, row: Mapping[str, Any]) -> None:
    # The teacher holds all of the student's features and more: b lies inside a.
    radius = 1.2
    inner = radius * math.sqrt(row["gamma"])
    _venn(axes, radius, inner, 0.0, f"{ALPHA} = {row['alpha']:.2f}, {GAMMA} = {row['gamma']:.2f}")


def _draw_table(result: GaussianResult) -> Figure:
    """Table 2 over gamma: accuracies, and general minus regular KD by who learned from which split."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    by_mode = {mode: [row for row in result.rows if row["mode"] == mode] for mode in ("random", "gt", "alg1")}
    gamma = [row["gamma"] for row in by_mode["gt"]]
    lines = (
        ("gt", "no_kd", "no KD", MUTED, "o", "-"),
        ("gt", "regular_kd", "regular KD, correct", ORANGE, "s", "-"),
        ("gt", "regular_kd_as_released", "regular KD, as released", ORANGE, "x", ":"),
        ("random", "general_kd", "random channels", INK, ".", (0, (2, 2))),
        ("gt", "general_kd", "general KD, true channels", BLUE, "D", "-"),
        ("alg1", "general_kd", "general KD, Algorithm 1", GREEN, "^", "--"),
        ("gt", "no_kd_ab", "no KD, labels of A and B", PURPLE, "v", "-"),
    )
    for mode, arm, name, color, marker, style in lines:
        values = [row[f"{arm}_mean"] for row in by_mode[mode]]
        left.plot(gamma, values, color=color, marker=marker, markersize=4, linestyle=style, label=name)
    left.set(xlabel=GAMMA, ylabel="accuracy (%)")
    left.legend(fontsize=7)
    pairs = (
        (
            "general_kd",
            "regular_kd",
            f"general {MINUS} regular KD, as paired in the released code",
            MUTED,
            "o",
        ),
        ("general_kd_a", "regular_kd", f"general {MINUS} regular KD, both teachers on A", BLUE, "D"),
        ("general_kd", "regular_kd_b", f"general {MINUS} regular KD, both teachers on B", GREEN, "^"),
        (
            "no_kd_ab",
            "general_kd_a",
            f"no KD, labels of A and B {MINUS} general KD, teacher on A",
            PURPLE,
            "v",
        ),
    )
    for shift, (a, b, name, color, marker) in zip((-0.006, -0.002, 0.002, 0.006), pairs, strict=True):
        found = find(result.differences, mode="gt", a=a, b=b)
        mean = np.array([line["difference"] for line in found])
        ends = [(line["low"], line["high"]) for line in found]
        error = None if ends[0][0] is None else np.abs(np.array(ends).T - mean)
        at = np.array(gamma) + shift
        right.errorbar(
            at, mean, error, color=color, marker=marker, markersize=4, elinewidth=1, label=name, linewidth=1
        )
    right.axhline(0, color=MUTED, linewidth=0.7)
    right.set(xlabel=GAMMA, ylabel="difference (points)")
    right.legend(fontsize=7, title="95% intervals", title_fontsize=7, loc="best")
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.45 * (high - low))
    return figure


def _draw_regime(result: GaussianResult) -> Figure:
    """One heat map: gain of KD by colour, accuracy with KD in the cells; noise by block, samples by line."""
    rows = result.rows
    noise, samples, gamma = (sorted({row[key] for row in rows}) for key in ("noise", "num_train", "gamma"))
    gain = np.full((len(samples), len(noise) * len(gamma)), np.nan)
    accuracy, sure = gain.copy(), np.zeros(gain.shape, bool)
    for row in rows:
        at = (
            samples.index(row["num_train"]),
            noise.index(row["noise"]) * len(gamma) + gamma.index(row["gamma"]),
        )
        gain[at], accuracy[at] = row["delta_mean"], row["kd_mean"]
        sure[at] = row["delta_low"] is not None and row["delta_low"] * row["delta_high"] > 0
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    axes = figure.subplots()
    limit = max(float(np.abs(gain).max()), 0.1)
    colors = LinearSegmentedColormap.from_list("gain", [ORANGE, "#ffffff", BLUE])
    image = axes.imshow(gain, cmap=colors, norm=TwoSlopeNorm(0, -limit, limit), aspect="auto", origin="lower")
    for (line, column), value in np.ndenumerate(accuracy):
        points = float(gain[line, column])
        text = f"{value:.1f}\n{signed(points, 1)}{'*' if sure[line, column] else ''}"
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


_DRAW: dict[str, Callable[[GaussianResult], Figure]] = {
    "fig2": partial(
        _draw_sweep, axis="gamma", label=f"{GAMMA}, share of decisive features in both", sketch=_venn_fig2
    ),
    "fig3": partial(
        _draw_sweep,
        axis="alpha",
        label=f"{ALPHA}, share of decisive features in the teacher's alone",
        sketch=_venn_fig3,
    ),
    "table2": _draw_table,
    "regime": _draw_regime,
}
