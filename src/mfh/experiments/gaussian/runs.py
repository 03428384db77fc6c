"""Common parts of all Gaussian experiments: runs in parallel threads, records by point, intervals, words."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mfh._system.progress import counted
from mfh.experiments.gaussian import linear
from mfh.results import GaussianRecord
from mfh.stats import t_interval

STEPS = 1000


class Point(NamedTuple):
    """One setting of an experiment; see `GaussianRecord` for the fields."""

    gamma: float
    mode: str | None = None
    num_train: int = 200
    noise: int = 40


def score(
    arm: str,
    seed: int,
    point: Point,
    weights: np.ndarray,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    recovery: float | None = None,
) -> GaussianRecord:
    """Return the record of one trained model.

    Args:
        arm: name of the model.
        seed: seed of the run.
        point: setting of the model.
        weights: of the model.
        train: inputs and labels of its training split.
        test: inputs and labels of the test split.
        recovery: share of the modality-general channels that its ranking finds.
    """
    return GaussianRecord(
        arm=arm,
        ratio=None,
        seed=seed,
        metric="accuracy",
        train=linear.accuracy(*train, weights),
        validation=None,
        test=linear.accuracy(*test, weights),
        best_epoch=STEPS,
        seconds=0.0,
        recovery=recovery,
        **point._asdict(),
    )


def map_seeds(
    run_seed: Callable[[int], list[GaussianRecord]],
    seeds: Sequence[int],
    *,
    threads: int | None,
    progress: bool,
    label: str,
) -> list[GaussianRecord]:
    """Train the runs of all seeds in parallel threads; return their records in the order of the seeds.

    The progress bar appears after two seconds. The time of a run is shared equally by its records.
    """

    def timed(seed: int) -> list[GaussianRecord]:
        start = time.perf_counter()
        records = run_seed(seed)
        share = (time.perf_counter() - start) / len(records)
        return [replace(record, seconds=share) for record in records]

    with ThreadPoolExecutor(threads or _num_processors()) as pool:
        jobs = pool.map(timed, seeds)
        try:
            ended = counted(jobs, label, len(seeds), unit="runs", show=progress, delay=2.0)
            return list(chain.from_iterable(ended))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _num_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runs:
    """All records, sorted by point and arm; each arm is an array over seeds.

    Args:
        records: records of all seeds. The order of the seeds must be the same at every point.
    """

    def __init__(self, records: Iterable[GaussianRecord]) -> None:
        self._test: dict[tuple[Point, str], list[float]] = defaultdict(list)
        self._train: dict[tuple[Point, str], list[float]] = defaultdict(list)
        self._recovery: dict[tuple[Point, str], list[float]] = defaultdict(list)
        for record in records:
            point = Point(record.gamma, record.mode, record.num_train, record.noise)
            self._test[point, record.arm].append(record.test)
            self._train[point, record.arm].append(record.train)
            if record.recovery is not None:
                self._recovery[point, record.arm].append(record.recovery)

    def points(self) -> list[Point]:
        """Return all points in the order of the records."""
        return list(dict.fromkeys(point for point, _ in self._test))

    def test(self, point: Point, arm: str) -> Float[np.ndarray, " seed"]:
        """Return the test accuracies in percent."""
        return np.array(self._test[point, arm])

    def mean(self, point: Point, arm: str) -> float:
        """Return the mean test accuracy in percent."""
        return _tidy(self.test(point, arm).mean())

    def mean_train(self, point: Point, arm: str) -> float:
        """Return the mean training accuracy in percent."""
        return _tidy(np.mean(self._train[point, arm]))

    def recovery(self, point: Point, arm: str) -> float | None:
        """Return the mean share of modality-general channels that the ranking finds; None without ranking."""
        values = self._recovery[point, arm]
        return _tidy(np.mean(values)) if values else None

    def delta(self, point: Point, a: str, b: str) -> Float[np.ndarray, " seed"]:
        """Return test accuracy of `a` minus `b` in points, rounded to two decimals as released."""
        return np.round(self.test(point, a) - self.test(point, b), 2)

    def difference(self, point: Point, a: str, b: str) -> dict[str, Any]:
        """Return one line of `GaussianResult.differences`."""
        delta = self.delta(point, a, b)
        return {**point._asdict(), "a": a, "b": b, "n": delta.size, **interval(delta)}


def _tidy(value: float | np.floating) -> float:
    """Round off the last digits, which are rounding errors of binary fractions."""
    return round(float(value), 10)


def interval(values: Float[np.ndarray, " seed"]) -> dict[str, float | None]:
    """Return the mean `difference` over seeds and its 95% interval `low` to `high`, None for one seed."""
    found = t_interval(values)
    ends = {"low": found.low, "high": found.high}
    return {"difference": _tidy(found.mean)} | {
        name: None if end is None else _tidy(end) for name, end in ends.items()
    }


def find(differences: Iterable[Mapping[str, Any]], **wanted: object) -> list[Mapping[str, Any]]:
    """Return the lines whose fields have these values."""
    return [line for line in differences if all(line[key] == value for key, value in wanted.items())]


def phrase(line: Mapping[str, Any]) -> str:
    """Return a difference in words.

    Example:
        >>> phrase({"difference": 1.5, "low": -0.25, "high": 3.25})
        '+1.50 points (95% interval −0.25 to +3.25)'
    """
    text = f"{signed(line['difference'])} points"
    if line["low"] is None:
        return f"{text} (one run, so no interval)"
    return f"{text} (95% interval {signed(line['low'])} to {signed(line['high'])})"


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, written with a typographic minus; zero has no sign."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
