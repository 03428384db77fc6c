"""From records to tables: draws averaged, ratios chosen by validation."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mfh.arms import Arm
from mfh.comparing.keys import Key, chosen_key, source_arm
from mfh.results import Choice, Record


@dataclass(frozen=True, eq=False)
class Outcome:
    """One arm at one ratio in one seed.

    Attributes:
        test: the metric on the test split; the mean over draws.
        validation: the same on the validation split.
        values: one value for each test sample, whose mean is `test`; the mean over draws; (sample,). None for
            a metric without such values.
    """

    test: float
    validation: float
    values: np.ndarray | None


Outcomes = Mapping[Key, Mapping[int, Outcome]]


@dataclass(frozen=True, eq=False)
class Table:
    """The students of one loss, those without a teacher included.

    Attributes:
        outcomes: arm and ratio -> seed -> outcome; chosen ratios have keys such as `general (chosen)`.
        chosen: the ratio that validation chose, by arm and seed.
    """

    outcomes: Outcomes
    chosen: tuple[Choice, ...] = ()


def tabulate(
    records: Sequence[Record],
    values: Sequence[np.ndarray | None],
    *,
    arms: Sequence[Arm],
    source: str,
    higher_is_better: bool = True,
    loss: str | None = None,
) -> Table:
    """Average the draws within each seed, and add the arms at the ratios that validation chooses.

    In each seed an arm with ratios takes the one with the best validation metric, the smallest of equals;
    ratio 0 is the source teacher with nothing removed. A softened arm takes the ratio of the arm whose
    entropy it has. A student that diverged has no record, so it cannot be chosen; where no student is left,
    the seed is left out. So is a seed in which the test metric is undefined.

    Args:
        records: the students of one loss and those without a teacher.
        values: for each record one value for each test sample, whose mean is the metric; or None.
        arms: the arms of the study.
        source: the teacher whose channels are removed.
        higher_is_better: whether larger values of the metric are better.
        loss: the loss, which the choices name.
    """
    drawn: dict[tuple[Key, int], list[tuple[Record, np.ndarray | None]]] = defaultdict(list)
    for record, found in zip(records, values, strict=True):
        drawn[(record.arm, record.ratio), record.seed].append((record, found))
    outcomes: dict[Key, dict[int, Outcome]] = defaultdict(dict)
    for (key, seed), rows in drawn.items():
        outcomes[key][seed] = Outcome(
            float(np.mean([record.test for record, _ in rows])),
            float(np.mean([record.validation for record, _ in rows])),
            _mean([found for _, found in rows]),
        )
    plain = source_arm(arms, source)
    choices: list[Choice] = []
    for seed in sorted({record.seed for record in records}):
        ratios: dict[str, float] = {}
        for arm in sorted((arm for arm in arms if arm.has_chosen), key=lambda arm: arm.like is not None):
            if arm.like is None:
                ratio = choose_ratio(outcomes, arm, plain, seed, higher_is_better=higher_is_better)
            else:
                ratio = ratios.get(arm.like) if arm.teacher_name(source) == source else None
            if ratio is None:
                continue
            ratios[arm.name] = ratio
            key = (plain.name, None) if plain and ratio == 0 else (arm.name, ratio)
            if arm.like is not None and not any(name == arm.name for name, _ in outcomes):
                continue
            if seed in outcomes.get(key, {}):
                outcomes[chosen_key(arm)][seed] = outcomes[key][seed]
                choices.append(Choice(arm.name, seed, ratio, loss))
    defined = {
        key: {seed: outcome for seed, outcome in rows.items() if np.isfinite(outcome.test)}
        for key, rows in outcomes.items()
    }
    return Table({key: rows for key, rows in defined.items() if rows}, tuple(choices))


def _mean(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the mean over draws; None if a draw has no values."""
    known = [found for found in values if found is not None]
    return np.mean(known, axis=0) if len(known) == len(values) else None


def choose_ratio(
    outcomes: Outcomes, arm: Arm, plain: Arm | None, seed: int, *, higher_is_better: bool = True
) -> float | None:
    """Return the ratio with the best validation metric in a seed, the smallest of equals.

    `plain` is the arm of the source teacher with nothing removed, which stands for ratio 0. None where no
    student is left to choose.
    """
    sign = 1 if higher_is_better else -1
    candidates = {
        ratio or 0.0: sign * rows[seed].validation
        for (name, ratio), rows in outcomes.items()
        if seed in rows
        and (
            (plain is not None and (name, ratio) == (plain.name, None))
            or (name == arm.name and ratio is not None)
        )
    }
    return min(candidates, key=lambda ratio: (-candidates[ratio], ratio), default=None)


def comparable(outcomes: Outcomes, a: Key, b: Key) -> bool:
    """Return whether there is a seed in which both arms have a student."""
    return a in outcomes and b in outcomes and not outcomes[a].keys().isdisjoint(outcomes[b])


def tabulate_losses(
    records: Sequence[Record],
    values: Sequence[np.ndarray | None],
    losses: Sequence[str],
    *,
    arms: Sequence[Arm],
    source: str,
    higher_is_better: bool = True,
) -> dict[str, Table]:
    """Return one table for each loss (see `tabulate`); arms without a teacher are the same in all of them."""
    tables: dict[str, Table] = {}
    for loss in losses:
        rows = [i for i, record in enumerate(records) if record.loss in (None, loss)]
        tables[loss] = tabulate(
            [records[i] for i in rows],
            [values[i] for i in rows],
            arms=arms,
            source=source,
            higher_is_better=higher_is_better,
            loss=loss,
        )
    return tables
