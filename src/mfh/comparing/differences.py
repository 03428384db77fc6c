"""Summaries and paired differences of a whole study, under one loss or several."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mfh.arms import QUESTIONS, Arm
from mfh.comparing.intervals import Resampling, compare_arms, is_better, mean_interval
from mfh.comparing.keys import Key, headline_key, pairs, sees_teacher_side
from mfh.comparing.tables import Table, comparable, tabulate_losses
from mfh.results import Comparison, MetricInfo, Record, Summary


def summarize(table: Table, metric: str, resampling: Resampling) -> tuple[Summary, ...]:
    """Return mean, standard deviation over fits and interval of every arm's test metric."""
    rows = []
    for (arm, ratio), outcomes in table.outcomes.items():
        tests = np.array([outcome.test for outcome in outcomes.values()])
        interval = mean_interval({seed: (o.test, o.values) for seed, o in outcomes.items()}, resampling)[
            0
        ].interval
        sd = float(tests.std(ddof=1)) if len(tests) > 1 else None
        rows.append(Summary(arm, ratio, metric, len(tests), interval.mean, sd, interval.low, interval.high))
    return tuple(rows)


def compare(
    table: Table, arms: Sequence[Arm], source: str, resampling: Resampling, metric: MetricInfo
) -> tuple[Comparison, ...]:
    """Return the paired differences: those of the declared questions first, in their order.

    Args:
        table: see `tabulate`.
        arms: the arms of the study.
        source: the teacher whose channels are removed.
        resampling: how the fits were drawn.
        metric: what the differences are of.
    """
    ratios = sorted({ratio for _, ratio in table.outcomes if ratio is not None})
    compared = [pair for pair in pairs(arms, source, ratios) if comparable(table.outcomes, *pair[:2])]
    rows = [
        compare_arms(table.outcomes, a, b, resampling, metric, question=question)
        for a, b, question in compared
    ]
    declared = sorted((row for row in rows if row.question is not None), key=lambda row: row.question or 0)
    return (*_ask_in_order(declared, metric), *(row for row in rows if row.question is None))


def _ask_in_order(declared: Sequence[Comparison], metric: MetricInfo) -> list[Comparison]:
    """Answer the declared questions, each at the full level, until one is not answered with yes."""
    answered: list[Comparison] = []
    going = True
    for question in QUESTIONS:
        rows = [row for row in declared if row.question == question]
        shown = [is_better(row, metric) for row in rows]
        answered += [replace(row, shown=yes if going else None) for row, yes in zip(rows, shown, strict=True)]
        going = going and all(shown)
    return answered


def summarize_losses(
    tables: Mapping[str, Table], arms: Sequence[Arm], metric: str, resampling: Resampling
) -> tuple[Summary, ...]:
    """Return `summarize` of every loss, with arms without a teacher once."""
    if len(tables) == 1:
        return summarize(next(iter(tables.values())), metric, resampling)
    untaught = {arm.name for arm in arms if arm.teacher is None}
    rows: list[Summary] = []
    for number, (loss, table) in enumerate(tables.items()):
        for row in summarize(table, metric, resampling):
            if row.arm not in untaught:
                rows.append(replace(row, loss=loss))
            elif number == 0:
                rows.append(row)
    return tuple(rows)


def summarize_further(
    records: Sequence[Record],
    losses: Sequence[str],
    *,
    arms: Sequence[Arm],
    source: str,
    metrics: Iterable[str],
    resampling: Resampling,
    higher_is_better: bool = True,
) -> tuple[Summary, ...]:
    """Return the arms by the metrics that choose nothing, at the ratios that the first metric chose."""
    rows: list[Summary] = []
    for metric in metrics:
        others = [replace(record, test=record.also.get(metric, float("nan"))) for record in records]
        tables = tabulate_losses(
            others, [None] * len(others), losses, arms=arms, source=source, higher_is_better=higher_is_better
        )
        rows += summarize_losses(tables, arms, metric, resampling)
    return tuple(rows)


def compare_losses(
    tables: Mapping[str, Table],
    arms: Sequence[Arm],
    source: str,
    resampling: Resampling,
    metric: MetricInfo,
) -> tuple[Comparison, ...]:
    """Return the comparisons under the first loss, the declared one; then, exploratory, those of the others.

    Under a further loss every comparison of arms is repeated. Between losses, the same arm is compared under
    each further loss and under the first.
    """
    first, *others = tables
    declared = compare(tables[first], arms, source, resampling, metric)
    if not others:
        return declared
    rows = [replace(row, loss=first) for row in declared]
    untaught = {arm.name for arm in arms if arm.teacher is None}
    others = [loss for loss in others if any(arm not in untaught for arm, _ in tables[loss].outcomes)]
    for loss in others:
        repeated = compare(tables[loss], arms, source, resampling, metric)
        rows += [replace(row, loss=loss, question=None, shown=None) for row in repeated]
    for loss in others:
        for arm, _ in _compared_across(arms, source):
            keys: tuple[Key, Key] = ((arm, None), (f"{arm} under {first}", None))
            mine, theirs = (tables[name].outcomes.get((arm, None), {}) for name in (loss, first))
            both = {keys[0]: mine, keys[1]: theirs}
            if comparable(both, *keys):
                row = compare_arms(both, *keys, resampling, metric)
                rows.append(replace(row, b=arm, loss=loss, loss_b=first))
    return tuple(rows)


def _compared_across(arms: Sequence[Arm], source: str) -> list[Key]:
    """Return the arms whose students are compared between losses: teachers of the other modality."""
    keys: list[Key] = [
        (arm.name, None) for arm in arms if not arm.takes_ratio and sees_teacher_side(arm, source)
    ]
    head = headline_key(arms, source)
    return keys + ([head] if head is not None and head not in keys else [])
