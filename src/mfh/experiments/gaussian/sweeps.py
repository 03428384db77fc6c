"""Figures 2 and 3 of the paper, and the regime around them.

Figure 2 raises gamma with as many decisive features in each modality; Figure 3 raises alpha, what only the
teacher can see. Linear classifiers, 200 training and 1,000 test samples, 10 runs.

    mfh gaussian fig2 --out DIR        about 2 s on 2 cores; gain -0.71 at gamma 0, +2.50 at gamma 1
    mfh gaussian fig3 --out DIR        about 2 s; gain +1.59 at gamma 1, +0.31 at gamma .2
    mfh gaussian regime --out DIR      about 6 s; Figure 3 over training samples and noise channels
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mfh.data.sources.gaussian import FIGURE_2, FIGURE_3, Design, draw_figure
from mfh.experiments.gaussian.linear import fit, probability
from mfh.experiments.gaussian.runs import Point, Runs, find, interval, phrase, score, signed
from mfh.results import GaussianRecord

REGIME_SAMPLES = (50, 100, 200, 400, 800)
REGIME_NOISE = (0, 10, 40, 90)


def run_design(design: Design, seed: int) -> list[GaussianRecord]:
    """Train the models of one run: the student without KD once, then teacher and student of every point."""
    draw = draw_figure(design, seed=seed)
    teacher_start = draw.weights.linear(design.width)
    kd_start, no_kd_start = (draw.weights.linear(design.student_width) for _ in range(2))
    train, test = draw.train, draw.test
    student_train, student_test = (train.x2, train.label), (test.x2, test.label)
    no_kd = fit(*student_train, no_kd_start)
    records = []
    for columns in design.points:
        point = _point(design, columns)
        x1, x1_test = draw.teacher_inputs(columns)
        teacher = fit(x1, train.label, teacher_start)
        kd = fit(*student_train, kd_start, teacher=probability(x1, teacher))
        records += [
            score("teacher", seed, point, teacher, (x1, train.label), (x1_test, test.label)),
            score("no_kd", seed, point, no_kd, student_train, student_test),
            score("kd", seed, point, kd, student_train, student_test),
        ]
    return records


def _point(design: Design, columns: tuple[int, int]) -> Point:
    noise = design.student_width - design.seen
    return Point(design.shares(columns)[2], None, design.num_train, noise)


def sweep_rows(design: Design, runs: Runs) -> list[dict[str, Any]]:
    """One row per point of a figure."""
    rows = []
    for columns in design.points:
        point, delta = _point(design, columns), runs.delta(_point(design, columns), "kd", "no_kd")
        rows.append(
            {
                "gamma": point.gamma,
                "teacher_share": design.teacher_share(columns),
                "alpha": design.shares(columns)[0],
                "teacher_mean": runs.mean(point, "teacher"),
                "no_kd_mean": runs.mean(point, "no_kd"),
                "kd_mean": runs.mean(point, "kd"),
                "delta_mean": float(delta.mean()),
                "delta_std": float(delta.std()),
            }
        )
    return rows


def sweep_differences(runs: Runs) -> list[dict[str, Any]]:
    """KD minus no KD at every point, with its interval."""
    return [runs.difference(point, "kd", "no_kd") for point in runs.points()]


def _slope(runs: Runs, values: Callable[[Point], np.ndarray]) -> dict[str, Any]:
    """Least-squares slope of a quantity over gamma, fitted in every run so that runs stay paired."""
    gamma = np.array([point.gamma for point in runs.points()])
    centred = gamma - gamma.mean()
    return interval(centred @ np.stack([values(point) for point in runs.points()]) / (centred @ centred))


def _gain_slope(runs: Runs) -> dict[str, Any]:
    return _slope(runs, lambda point: runs.delta(point, "kd", "no_kd"))


def _decided(lines: Sequence[Mapping[str, Any]], axis: Callable[[Mapping[str, Any]], str]) -> str:
    """Where KD helps and where it hurts, by intervals that leave out 0."""
    helps = [axis(line) for line in lines if line["low"] is not None and line["low"] > 0]
    hurts = [axis(line) for line in lines if line["high"] is not None and line["high"] < 0]
    return (
        f"By 95% intervals over {lines[0]['n']} runs, one point at a time, KD helps at "
        f"{', '.join(helps) or 'no point'} and hurts at {', '.join(hurts) or 'no point'}."
    )


def fig2_notes(runs: Runs) -> list[str]:
    """What the run shows about raising gamma."""
    lines, rows = sweep_differences(runs), sweep_rows(FIGURE_2, runs)
    teacher = [row["teacher_mean"] for row in rows]
    better = _slope(runs, lambda point: runs.test(point, "teacher"))
    rises = better["low"] is not None and better["low"] > 0
    shares = ", ".join(f"{row['teacher_share']:.2f} at gamma {row['gamma']:.2f}" for row in rows)
    return [
        f"From gamma {rows[0]['gamma']:.2f} to {rows[-1]['gamma']:.2f} the gain of KD goes from "
        f"{phrase(lines[0])} to {phrase(lines[-1])}; fitted in every run, it changes by "
        f"{phrase(_gain_slope(runs))} per unit of gamma.",
        _decided(lines, lambda line: f"gamma {line['gamma']:.2f}"),
        f"The student without KD is one and the same at every gamma ({rows[0]['no_kd_mean']:.2f}%), because "
        "only the teacher's columns change: its line is flat by construction.",
        f"The teacher's accuracy lies between {min(teacher):.2f}% and {max(teacher):.2f}% and changes by "
        f"{phrase(better)} per unit of gamma: by these runs a better teacher is "
        f"{'another possible' if rises else 'not shown to be a'} reason for the gain.",
        "The axis is the paper's gamma, of the features that either modality holds. Of what the teacher can "
        f"use, another share is modality-general: {shares}.",
    ]


def fig3_notes(runs: Runs) -> list[str]:
    """What the run shows about raising alpha."""
    lines, rows = sweep_differences(runs), sweep_rows(FIGURE_3, runs)
    first, last, points = rows[0], rows[-1], runs.points()
    fitted = [runs.mean_train(points[i], "teacher") for i in (0, -1)]
    return [
        f"While the teacher goes from {first['teacher_mean']:.2f}% to {last['teacher_mean']:.2f}%, the gain "
        f"of KD goes from {phrase(lines[0])} at alpha {first['alpha']:.2f} to {phrase(lines[-1])} at alpha "
        f"{last['alpha']:.2f}; fitted in every run, it changes by {phrase(_gain_slope(runs))} per unit of "
        "gamma, which is 1 - alpha.",
        _decided(lines, lambda line: f"alpha {1 - line['gamma']:.2f}"),
        f"On its own training samples the teacher agrees with the labels in {fitted[0]:.2f}% at the first "
        f"point and {fitted[1]:.2f}% at the last. The closer its soft labels come to the labels, the less KD "
        "differs from training without it, whichever features the teacher reads.",
        f"The label depends on {FIGURE_3.decisive} features, of which the student sees {FIGURE_3.seen}: "
        f"without KD it reaches {first['no_kd_mean']:.2f}%, and gains are small whatever their cause.",
    ]


def regime_designs() -> list[Design]:
    """Figure 3's design over training samples and noise channels of the student; one of them is Figure 3."""
    return [
        replace(FIGURE_3, num_train=n, student_width=FIGURE_3.seen + noise)
        for noise in REGIME_NOISE
        for n in REGIME_SAMPLES
    ]


def run_regime(seed: int) -> list[GaussianRecord]:
    """Train the models of one run of every cell."""
    return [record for design in regime_designs() for record in run_design(design, seed)]


def regime_rows(runs: Runs) -> list[dict[str, Any]]:
    """One row per cell of the heat map."""
    rows = []
    for design in regime_designs():
        for columns, row in zip(design.points, sweep_rows(design, runs), strict=True):
            line = runs.difference(_point(design, columns), "kd", "no_kd")
            place = {"num_train": design.num_train, "noise": design.student_width - design.seen}
            rows.append({**place, **row, "delta_low": line["low"], "delta_high": line["high"]})
    return rows


def regime_notes(runs: Runs) -> list[str]:
    """Where in the regime KD helps, where it does not, and whether gamma orders the gains everywhere."""
    lines = sweep_differences(runs)
    helps = sum(line["low"] is not None and line["low"] > 0 for line in lines)
    hurts = sum(line["high"] is not None and line["high"] < 0 for line in lines)
    by_gain = sorted(lines, key=lambda line: line["difference"])
    groups = [
        find(lines, num_train=design.num_train, noise=design.student_width - design.seen)
        for design in regime_designs()
    ]
    rising = sum(max(group, key=lambda line: line["difference"])["gamma"] == 1 for group in groups)
    by_noise = [f"{signed(_mean(lines, noise=noise))} with {noise}" for noise in REGIME_NOISE]
    by_samples = [f"{signed(_mean(lines, num_train=n))} with {n}" for n in REGIME_SAMPLES]
    return [
        f"KD helps in {helps} and hurts in {hurts} of {len(lines)} cells by 95% intervals over "
        f"{lines[0]['n']} runs, one cell at a time; were KD without effect, about {len(lines) * 0.05:.0f} "
        "would be decided by chance.",
        f"The highest gain is {phrase(by_gain[-1])} at {_cell(by_gain[-1])}, the lowest {phrase(by_gain[0])} "
        f"at {_cell(by_gain[0])}.",
        f"Gamma = 1 has the highest gain in {rising} of {len(groups)} pairs of training samples and noise "
        f"channels, {len(FIGURE_3.points)} gammas each.",
        f"Mean gain at gamma = 1 by the student's noise channels: {', '.join(by_noise)}; by training "
        f"samples: {', '.join(by_samples)}.",
    ]


def _mean(lines: Sequence[Mapping[str, Any]], **place: int) -> float:
    return float(np.mean([line["difference"] for line in find(lines, gamma=1.0, **place)]))


def _cell(line: Mapping[str, Any]) -> str:
    return f"{line['num_train']} training samples, {line['noise']} noise channels, gamma {line['gamma']:.2f}"
