"""The distillation losses that a study compares: made, checked before anything is trained, and tabulated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mfh._checks import listing, require
from mfh._study.verdict import CHOSEN, Key, Table, comparable, compare, compare_arms, summarize_arms, tabulate
from mfh.config import StudyConfig
from mfh.losses import DistillLoss, build_loss
from mfh.results import Comparison, FailedStudent, Record, Summary

ACROSS = ("regular", "joint", "mismatched", "general" + CHOSEN)
"""Arms whose students are compared between losses."""
FAILED = "each stands with its reason under `failed` in results.json"
OF_CLASSES = ("dkd", "dist", "crd", "ntdh", "c2kd")
"""Losses that are defined by the classes of samples, one each."""


def study_losses(config: StudyConfig, task: str = "single-label") -> dict[str, DistillLoss]:
    """The losses of a study by the names that its records bear, in the order of `config.losses`.

    `kl` stands for the task's own loss of soft labels: see `Task.soft_loss`.

    Raises:
        InputError: a loss does not exist, or asks for what the configuration does not give.
    """
    losses = {name: build_loss(name, config) for name in config.losses}
    classes = [name for name in losses if name in OF_CLASSES]
    require(
        task == "single-label" or not classes,
        f"`losses` must not hold {listing(classes)} for the task {task}: they are defined by one class a "
        "sample. Take kl (the task's own soft loss), hints or rkd.",
    )
    unlabelled = [name for name, loss in losses.items() if loss.needs_labels]
    require(
        not unlabelled or config.label_weight > 0,
        f"`label_weight` must be above 0 for {listing(unlabelled)}: what they compare does not say which "
        f"class a sample is of. Got {config.label_weight}: give, say, 1.",
    )
    whole = [name for name, loss in losses.items() if loss.batchwise]
    require(
        not whole or config.micro_batch is None or config.micro_batch >= config.batch_size,
        f"`micro_batch` must be left out for {listing(whole)}: they compare the samples of a batch with each "
        f"other, so a batch cannot be divided. Got {config.micro_batch} for batches of {config.batch_size}.",
    )
    alone = [name for name, loss in losses.items() if loss.features]
    require(
        not alone or config.engine != "many",
        f"`engine` must be `auto` or `loop` for {listing(alone)}: students that compare features "
        "are trained one by one. Got 'many'.",
    )
    return losses


def tables_by_loss(
    records: Sequence[Record], correct: Sequence[np.ndarray], losses: Sequence[str], *, source: str
) -> dict[str, Table]:
    """One table per loss (see `tabulate`); arms without a teacher are the same in all of them."""
    tables: dict[str, Table] = {}
    for loss in losses:
        rows = [i for i, record in enumerate(records) if record.loss in (None, loss)]
        tables[loss] = tabulate([records[i] for i in rows], [correct[i] for i in rows], source=source)
    return tables


def summarize_losses(tables: Mapping[str, Table], metric: str, test_over_train: float) -> tuple[Summary, ...]:
    """`summarize_arms` of every loss, with arms without a teacher once."""
    if len(tables) == 1:
        return summarize_arms(next(iter(tables.values())), metric, test_over_train)
    rows: list[Summary] = []
    for number, (loss, table) in enumerate(tables.items()):
        for row in summarize_arms(table, metric, test_over_train):
            if not row.arm.startswith("no-kd"):
                rows.append(replace(row, loss=loss))
            elif number == 0:
                rows.append(row)
    return tuple(rows)


def compare_losses(
    tables: Mapping[str, Table], groups: Mapping[int, np.ndarray] | None, test_over_train: float
) -> tuple[Comparison, ...]:
    """The comparisons under the first loss, the declared one; then, exploratory, the others' and the losses'.

    Under a further loss every comparison of arms is repeated. Between losses, the same arm is compared under
    each further loss and under the first.
    """
    first, *others = tables
    if not others:
        return compare(tables[first], groups, test_over_train)
    rows = [replace(row, loss=first) for row in compare(tables[first], groups, test_over_train)]
    others = [loss for loss in others if any(not arm.startswith("no-kd") for arm, _ in tables[loss])]
    for loss in others:
        repeated = compare(tables[loss], groups, test_over_train)
        rows += [replace(row, loss=loss, primary=False, p_holm=None) for row in repeated]
    for loss in others:
        for arm in ACROSS:
            keys: tuple[Key, Key] = ((arm, None), (f"{arm} under {first}", None))
            mine, theirs = (tables[name].get((arm, None), {}) for name in (loss, first))
            both = {keys[0]: mine, keys[1]: theirs}
            if not comparable(both, *keys):
                continue
            row = compare_arms(both, *keys, groups, test_over_train, False, 2000)
            rows.append(replace(row, b=arm, loss=loss, loss_b=first))
    return tuple(rows)


def tell_failed(failed: Sequence[FailedStudent], losses: Sequence[str]) -> tuple[str, ...]:
    """One sentence for each loss with students that diverged."""
    told = []
    for loss in losses:
        mine = [student for student in failed if student.loss == loss]
        seeds = sorted({student.seed for student in mine})
        if mine:
            arms = listing(dict.fromkeys(student.arm for student in mine))
            told.append(
                f"{len(mine)} students with the loss `{loss}` diverged and are left out of summary and "
                f"comparisons (arms {arms}; seeds {', '.join(map(str, seeds))}): {FAILED}."
            )
    return tuple(told)


def summarize_further(
    records: Sequence[Record], correct: Sequence[np.ndarray], config: StudyConfig, test_over_train: float
) -> tuple[Summary, ...]:
    """The arms by the metrics that choose nothing, at the ratios that the first metric chose."""
    rows: list[Summary] = []
    for metric in records[0].also:
        other = [replace(record, test=record.also[metric]) for record in records]
        tables = tables_by_loss(other, correct, config.losses, source=config.teacher_source)
        rows += summarize_losses(tables, metric, test_over_train)
    return tuple(rows)
