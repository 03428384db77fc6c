"""Common parts of Figure 2, Figure 3 and the regime: a teacher and students with and without KD per point."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mfh.data.sources.gaussian import Design, draw_figure
from mfh.experiments.gaussian.linear import fit, probability
from mfh.experiments.gaussian.runs import Point, Runs, interval, score
from mfh.results import GaussianRecord


def run_design(design: Design, seed: int) -> list[GaussianRecord]:
    """Train the models of one run: one student without KD for all points, a teacher and a student for each.

    Only the teacher's inputs differ between the points, so all points share one student without KD.
    """
    draw = draw_figure(design, seed=seed)
    teacher_start = draw.weights.linear(design.width)
    kd_start, no_kd_start = (draw.weights.linear(design.student_width) for _ in range(2))
    train, test = draw.train, draw.test
    student_train, student_test = (train.x2, train.label), (test.x2, test.label)
    no_kd = fit(*student_train, no_kd_start)
    records = []
    for columns in design.points:
        point = point_of(design, columns)
        x1, x1_test = draw.teacher_inputs(columns)
        teacher = fit(x1, train.label, teacher_start)
        kd = fit(*student_train, kd_start, teacher=probability(x1, teacher))
        records += [
            score("teacher", seed, point, teacher, (x1, train.label), (x1_test, test.label)),
            score("no_kd", seed, point, no_kd, student_train, student_test),
            score("kd", seed, point, kd, student_train, student_test),
        ]
    return records


def point_of(design: Design, columns: tuple[int, int]) -> Point:
    """Return the point at which the teacher has this range of decisive features."""
    noise = design.student_width - design.seen
    return Point(design.shares(columns)[2], None, design.num_train, noise)


def sweep_rows(design: Design, runs: Runs) -> list[dict[str, Any]]:
    """Return one row for each point of a design; accuracies in percent, gains in points."""
    rows = []
    for columns in design.points:
        point = point_of(design, columns)
        delta = runs.delta(point, "kd", "no_kd")
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


def gains(runs: Runs) -> list[dict[str, Any]]:
    """Return the gain of KD, KD minus no KD, at every point with its interval."""
    return [runs.difference(point, "kd", "no_kd") for point in runs.points()]


def slope(runs: Runs, values: Callable[[Point], np.ndarray]) -> dict[str, Any]:
    """Fit a least-squares slope over gamma in every run; return the mean slope and its interval.

    Args:
        runs: all runs.
        values: from a point to one value per run.
    """
    gamma = np.array([point.gamma for point in runs.points()])
    centred = gamma - gamma.mean()
    return interval(centred @ np.stack([values(point) for point in runs.points()]) / (centred @ centred))


def gain_slope(runs: Runs) -> dict[str, Any]:
    """Return how the gain of KD changes per unit of gamma, as `slope` does."""
    return slope(runs, lambda point: runs.delta(point, "kd", "no_kd"))


def where_decided(lines: Sequence[Mapping[str, Any]], axis: Callable[[Mapping[str, Any]], str]) -> str:
    """Return a sentence that lists the points at which KD helps or hurts, by intervals without 0.

    Args:
        lines: of `gains`.
        axis: names the point of a line.
    """
    helps = [axis(line) for line in lines if line["low"] is not None and line["low"] > 0]
    hurts = [axis(line) for line in lines if line["high"] is not None and line["high"] < 0]
    return (
        f"KD helps at {', '.join(helps) or 'no point'} and hurts at {', '.join(hurts) or 'no point'}, judged "
        f"by 95% intervals over {lines[0]['n']} runs, one point at a time."
    )
