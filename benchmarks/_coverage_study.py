"""One simulated study of `benchmarks/coverage.py`: from a data set to a line of numbers."""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from benchmarks._coverage_learners import CONFIG, DataSet, Outputs, fit_all, paired
from benchmarks._coverage_numbers import FOLDS, Row, components_of
from benchmarks._coverage_populations import BASE, FRESH, Population, Treatment
from mfh._checks import InputError
from mfh._study.design import Design
from mfh.crossed import CrossedInterval, FitValues, crossed_interval, samples_to_decide
from mfh.influence import sample_values
from mfh.metrics import Metric, find_metric
from mfh.stats import Interval, t_interval

LOOKED_AT = (1, 2, 10, 20)
"""Repeats after which the interval is kept."""
MOST_PLANNED = 20_000
"""Samples above which a planned study is not made."""


def simulate(population: Population, numbers: Sequence[int], *, planned: bool = True) -> Iterator[Row]:
    """Yield one row of results for each data set.

    Args:
        population: where the samples come from.
        numbers: of the data sets; each fixes all random numbers of its data set.
        planned: whether the studies that a first one plans are made too.
    """
    sets = [draw(population, number, population.size) for number in numbers]
    for data, outputs in zip(sets, fit_all(population, sets), strict=True):
        row: Row = {"population": population.name, "number": data.number, "pairs": {}}
        for name, treatment in population.treatments.items():
            row["pairs"][name] = compare(population, data, outputs, treatment)
            if planned and treatment.effect:
                row["pairs"][name]["planned"] = plan(population, data.number, row["pairs"][name], treatment)
        yield row


def draw(population: Population, number: int, size: int, *, repeats: int | None = None) -> DataSet:
    """Draw a data set and its splits; once more where a class is too rare to be split."""
    for attempt in range(100):
        rng = np.random.default_rng([zlib.crc32(population.name.encode()), number, size, attempt])
        drawn = population.draw(rng, size + population.unlabelled + FRESH)
        rows = np.split(np.arange(len(drawn)), [size, size + population.unlabelled])
        samples, fresh = drawn.take(rows[0]), drawn.take(rows[2])
        data = paired(samples, population.task)
        folds = FOLDS if data.group is None else min(FOLDS, len(data.group_names))
        count = population.num_repeats(number) if repeats is None else repeats
        design = Design("kfold", folds, count, number * 1000)
        try:
            splits = [design.draw(data, CONFIG, seed) for seed in design.seeds]
        except InputError:
            continue
        unlabelled = drawn.take(rows[1]) if population.unlabelled else None
        return DataSet(number, samples, unlabelled, fresh, data, splits)
    raise AssertionError(f"no data set of {population.name} has every class in every split")


def compare(
    population: Population, data: DataSet, outputs: Sequence[Outputs | None], treatment: Treatment
) -> Row:
    """Return estimate, interval and components of a treated student minus the one that has labels alone."""
    metric = find_metric(population.metric, population.task)
    fits, size = differences(population, data, outputs, treatment)
    row: Row = {"fresh": fresh_gain(population, data, outputs, treatment), "repeats": {}}
    ratio = float(np.mean([len(split.test) / len(split.train) for split in data.splits]))
    folds, most = _folds(data), len(data.splits) // _folds(data)
    found = {}
    for repeats in range(1, most + 1):
        some = [fit for fit in fits if fit.repeat < repeats]
        if repeats in LOOKED_AT or most == LOOKED_AT[-1]:
            found[repeats] = _interval(some, folds, ratio, size)
        if repeats in LOOKED_AT:
            row["repeats"][str(repeats)] = _described(found[repeats], some, ratio, size)
    if most == LOOKED_AT[-1]:
        row["looks"] = _looks(found, metric.margin)
    return row


def differences(
    population: Population, data: DataSet, outputs: Sequence[Outputs | None], treatment: Treatment
) -> tuple[list[FitValues], float]:
    """Return the differences by test sample of each fit, and the size of the metrics behind them."""
    metric, label = find_metric(population.metric, population.task), _label(population, data.samples.label)
    unit = np.arange(len(data.samples)) if data.samples.group is None else data.samples.group
    fits, size = [], 0.0
    for number, found in enumerate(outputs):
        if found is not None:
            test = data.splits[number].test
            treated, base = (_values(metric, found[which][0], label[test]) for which in (treatment, BASE))
            size = max(size, abs(float(treated.mean())), abs(float(base.mean())))
            fits.append(FitValues(*divmod(number, _folds(data)), unit[test], treated - base))
    return fits, size


def fresh_gain(
    population: Population, data: DataSet, outputs: Sequence[Outputs | None], treatment: Treatment
) -> float | None:
    """Return the mean gain on the further samples of the population; None if no fit is left."""
    metric, label = find_metric(population.metric, population.task), _label(population, data.fresh.label)
    gains = []
    for found in outputs:
        if found is not None and found[BASE][1] is not None:
            treated, base = (metric(torch.from_numpy(found[which][1]), label) for which in (treatment, BASE))
            gains.append(treated - base)
    return float(np.mean(gains)) if gains else None


def _folds(data: DataSet) -> int:
    return FOLDS if data.paired.group is None else min(FOLDS, len(data.paired.group_names))


def _label(population: Population, label: np.ndarray) -> torch.Tensor:
    """Return labels as a metric takes them."""
    return torch.from_numpy(label[:, None] if population.task == "regression" else label)


def _values(metric: Metric, logits: np.ndarray, label: torch.Tensor) -> np.ndarray:
    values = sample_values(metric, torch.from_numpy(logits), label)
    assert values is not None, metric.name
    return values


def _interval(fits: Sequence[FitValues], folds: int, ratio: float, size: float) -> CrossedInterval:
    """Return the crossed interval; without ends where no repeat is whole."""
    try:
        return crossed_interval(fits, folds=folds, test_over_train=ratio, size=size)
    except InputError:
        return CrossedInterval(Interval(math.nan, None, None, None), None, "no whole repeat")


def _described(found: CrossedInterval, fits: Sequence[FitValues], ratio: float, size: float) -> Row:
    """Return an interval, its components, and Nadeau and Bengio's half-width from the same fits."""
    values = np.array([fit.values.mean() for fit in fits])
    plain = t_interval(values, test_over_train=ratio, size=size) if len(values) else None
    row: Row = {
        "mean": found.interval.mean,
        "half": half_width(found),
        "plain": None if plain is None or plain.p is None or plain.high is None else plain.high - plain.mean,
    }
    if found.components is not None:
        parts = found.components
        row |= {name: getattr(parts, name) for name in ("samples", "noise", "trainings", "size", "num_units")}
        row |= {"ratio": ratio, "within": _within(fits)}
    return row


def _within(fits: Sequence[FitValues]) -> float:
    """Return the variance of the means of the folds of a repeat, on average over repeats."""
    repeats = sorted({fit.repeat for fit in fits})
    means = [[fit.values.mean() for fit in fits if fit.repeat == repeat] for repeat in repeats]
    return float(np.mean([np.var(row, ddof=1) for row in means if len(row) > 1]))


def half_width(found: CrossedInterval) -> float | None:
    """Return half the width of an interval that may decide; None for one that may not."""
    interval = found.interval
    return None if interval.high is None or interval.p is None else interval.high - interval.mean


def _looks(found: Mapping[int, CrossedInterval], margin: float) -> Row:
    """Return what a study sees that looks after each repeat from the second on.

    Each look has the estimate, its standard error and degrees of freedom; `margin` is the zone of no effect.
    """
    later = [one for repeats, one in found.items() if repeats >= LOOKED_AT[1]]
    row: Row = {"first": LOOKED_AT[1], "margin": margin}
    row["mean"] = [one.interval.mean for one in later]
    known = [one.components if half_width(one) is not None else None for one in later]
    row["error"] = [None if parts is None else math.sqrt(parts.variance()) for parts in known]
    row["degrees"] = [None if parts is None else parts.degrees() for parts in known]
    return row


def plan(population: Population, number: int, row: Row, treatment: Treatment) -> Row | None:
    """Make the study whose size the first two repeats of a data set plan for the true gain.

    Returns:
        How many samples were planned, and unless they are too many, estimate and half-width of a study of
        that size and its gain on further samples; None if the pilot has no interval.
    """
    parts = components_of(row["repeats"][str(LOOKED_AT[1])])
    if parts is None:
        return None
    size = math.ceil(samples_to_decide(treatment.effect, parts) * population.size)
    if not FOLDS * 10 <= size <= MOST_PLANNED:
        return {"size": size}
    data = draw(population, number + 1_000_000, size, repeats=LOOKED_AT[1])
    outputs = next(fit_all(population, [data]))
    found = compare(population, data, outputs, treatment)
    done = found["repeats"][str(LOOKED_AT[1])]
    return {"size": size, "mean": done["mean"], "half": done["half"], "fresh": found["fresh"]}
