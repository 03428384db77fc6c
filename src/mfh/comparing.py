"""From the records of students to a summary, comparisons and a decision. Free of torch.

Records become one `Table` for each distillation loss; tables become comparisons; comparisons become a
`Decision`. The sentences of the verdict are made elsewhere.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mfh.arms import BASELINE, CHOSEN, HEADLINE, TEACHERS, Arm
from mfh.results import Choice, Comparison, MetricInfo, Record, Summary
from mfh.stats import group_bootstrap, holm, t_interval

NUM_RESAMPLES = 2000
LARGEST_CLASS = 0.8
"""Share of the samples from which on a class hides differences of accuracy."""
Key = tuple[str, float | None]
"""An arm's name and its ratio."""
Groups = Mapping[int, np.ndarray] | None
"""For each seed the group of each test sample; None without groups."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One arm at one ratio in one seed.

    Attributes:
        test: the metric on the test split; the mean over draws.
        validation: the same on the validation split.
        correct: share of right answers to each test sample, in [0, 1]; the mean over draws; (sample,).
    """

    test: float
    validation: float
    correct: np.ndarray


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
    correct: Sequence[np.ndarray],
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
        correct: for each record, whether each test sample was right, in [0, 1]; (sample,).
        arms: the arms of the study.
        source: the teacher whose channels are removed.
        higher_is_better: whether larger values of the metric are better.
        loss: the loss, which the choices name.
    """
    drawn: dict[tuple[Key, int], list[tuple[Record, np.ndarray]]] = defaultdict(list)
    for record, right in zip(records, correct, strict=True):
        drawn[(record.arm, record.ratio), record.seed].append((record, right))
    outcomes: dict[Key, dict[int, Outcome]] = defaultdict(dict)
    for (key, seed), rows in drawn.items():
        outcomes[key][seed] = Outcome(
            float(np.mean([record.test for record, _ in rows])),
            float(np.mean([record.validation for record, _ in rows])),
            np.mean([right for _, right in rows], axis=0),
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


def chosen_key(arm: Arm) -> Key:
    """Return the key of an arm at the ratio that validation chose."""
    return arm.name + CHOSEN, None


def source_arm(arms: Sequence[Arm], source: str) -> Arm | None:
    """Return the arm that learns from the source teacher with nothing removed; None where there is none."""
    return next((arm for arm in arms if arm.is_plain and arm.teacher_name(source) == source), None)


def focusing_controls(arms: Sequence[Arm], source: str) -> tuple[Key, ...]:
    """Return the arms that `general` must beat before focusing itself is credited.

    They are the source teacher with nothing removed and every control. A softened control counts where it
    learns from the source teacher.
    """
    plain = source_arm(arms, source)
    controls = [
        arm for arm in arms if arm.control and (arm.like is None or arm.teacher_name(source) == source)
    ]
    keys = [(arm.name, None) if not arm.takes_ratio else chosen_key(arm) for arm in controls]
    return (*([(plain.name, None)] if plain else []), *keys)


def sees_teacher_side(arm: Arm, source: str) -> bool:
    """Return whether an arm has a teacher of a study, and that teacher sees the modality that students lack.

    A recipe may have teachers of its own, which are not in `TEACHERS`.
    """
    name = arm.teacher_name(source)
    return name in TEACHERS and TEACHERS[name].side == "teacher"


def headline_key(arms: Sequence[Arm], source: str) -> Key | None:
    """Return the arm that the verdict is about: `general (chosen)`, else the source teacher's; or None."""
    general = next((arm for arm in arms if arm.name == HEADLINE), None)
    if general is not None:
        return chosen_key(general)
    plain = source_arm(arms, source)
    return None if plain is None else (plain.name, None)


def summarize(table: Table, metric: str, test_over_train: float) -> tuple[Summary, ...]:
    """Return mean, standard deviation over seeds and interval of every arm's test metric."""
    rows = []
    for (arm, ratio), outcomes in table.outcomes.items():
        values = np.array([outcome.test for outcome in outcomes.values()])
        interval = t_interval(values, test_over_train=test_over_train)
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append(Summary(arm, ratio, metric, len(values), interval.mean, sd, interval.low, interval.high))
    return tuple(rows)


def compare(
    table: Table, arms: Sequence[Arm], source: str, groups: Groups, test_over_train: float
) -> tuple[Comparison, ...]:
    """Return the paired differences: the declared ones first, corrected by Holm, then the exploratory ones.

    Args:
        table: see `tabulate`.
        arms: the arms of the study.
        source: the teacher whose channels are removed.
        groups: for each seed the group of each test sample; None without groups.
        test_over_train: see `mfh.stats.t_interval`.
    """
    ratios = sorted({ratio for _, ratio in table.outcomes if ratio is not None})
    pairs = [pair for pair in _pairs(arms, source, ratios) if comparable(table.outcomes, *pair[:2])]
    compared = [
        compare_arms(table.outcomes, a, b, groups, test_over_train, declared=declared)
        for a, b, declared in pairs
    ]
    first = [row for row in compared if row.primary]
    corrected = holm([row.p for row in first])
    return (
        *(replace(row, p_holm=p) for row, p in zip(first, corrected, strict=True)),
        *(row for row in compared if not row.primary),
    )


def comparable(outcomes: Outcomes, a: Key, b: Key) -> bool:
    """Return whether there is a seed in which both arms have a student."""
    return a in outcomes and b in outcomes and not outcomes[a].keys().isdisjoint(outcomes[b])


def _pairs(arms: Sequence[Arm], source: str, ratios: Sequence[float]) -> Iterator[tuple[Key, Key, bool]]:
    """Yield what is compared with what, and whether that was declared before the data were seen."""
    seen: set[tuple[Key, Key]] = set()
    for a, b, declared in _all_pairs(arms, source, ratios):
        if a != b and (a, b) not in seen:
            seen.add((a, b))
            yield a, b, declared


def _all_pairs(arms: Sequence[Arm], source: str, ratios: Sequence[float]) -> Iterator[tuple[Key, Key, bool]]:
    head, base = headline_key(arms, source), (BASELINE, None)
    alone = [arm for arm in arms if not arm.takes_ratio]
    if head is not None:
        for arm in arms:
            if arm.has_chosen or not arm.takes_ratio:
                yield head, chosen_key(arm) if arm.has_chosen else (arm.name, None), arm.declared
    for arm in alone:
        yield (arm.name, None), base, False
    for arm in alone:  # outputs that were changed against the same teacher's as they are
        plain = next((p for p in alone if p.is_plain and p.teacher == arm.teacher), None)
        if plain is not None and arm.teacher is not None and not arm.is_plain:
            yield (plain.name, None), (arm.name, None), False
    yield from _own_pairs(arms, source, ratios)
    general = next((arm for arm in arms if arm.name == HEADLINE), None)
    for ratio in ratios if general is not None else ():
        for arm in arms:
            if arm.takes_ratio:
                yield (HEADLINE, ratio), (arm.name, ratio), False
        for arm in alone:
            if arm.name == BASELINE or (arm.is_plain and sees_teacher_side(arm, source)):
                yield (HEADLINE, ratio), (arm.name, None), False


def _own_pairs(arms: Sequence[Arm], source: str, ratios: Sequence[float]) -> Iterator[tuple[Key, Key, bool]]:
    """Yield the comparisons of the user's own rankings with no teacher, the source teacher and importance."""
    plain = source_arm(arms, source)
    by_importance = next((arm for arm in arms if arm.ranking == "importance"), None)
    for arm in arms:
        if not arm.is_own:
            continue
        keys: list[tuple[Key, float | None]] = [((arm.name, ratio), ratio) for ratio in ratios]
        for mine, ratio in [(chosen_key(arm), None), *keys] if arm.has_chosen else keys:
            yield mine, (BASELINE, None), False
            if plain is not None:
                yield mine, (plain.name, None), False
            if by_importance is not None:
                theirs = chosen_key(by_importance) if ratio is None else (by_importance.name, ratio)
                yield mine, theirs, False


def compare_arms(
    outcomes: Outcomes,
    a: Key,
    b: Key,
    groups: Groups,
    test_over_train: float,
    *,
    declared: bool = False,
    num_resamples: int = NUM_RESAMPLES,
) -> Comparison:
    """Return one paired difference on the test split, in points, over the seeds where both have a student."""
    seeds = sorted(outcomes[a].keys() & outcomes[b].keys())
    values = np.array([[outcomes[key][seed].test for seed in seeds] for key in (a, b)])
    interval = t_interval(
        values[0] - values[1], test_over_train=test_over_train, size=float(np.abs(values).max())
    )
    low_boot = high_boot = None
    if groups is not None:
        low_boot, high_boot = group_bootstrap(
            [100.0 * (outcomes[a][seed].correct - outcomes[b][seed].correct) for seed in seeds],
            [groups[seed] for seed in seeds],
            generator=np.random.default_rng(0),
            num_resamples=num_resamples,
        )
    ratio = a[1] if a[1] is not None else b[1]
    return Comparison(
        a[0], b[0], ratio, len(seeds), interval.mean, interval.low, interval.high,
        low_boot, high_boot, interval.p, None, declared,
    )  # fmt: skip


def tabulate_losses(
    records: Sequence[Record],
    correct: Sequence[np.ndarray],
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
            [correct[i] for i in rows],
            arms=arms,
            source=source,
            higher_is_better=higher_is_better,
            loss=loss,
        )
    return tables


def summarize_losses(
    tables: Mapping[str, Table], arms: Sequence[Arm], metric: str, test_over_train: float
) -> tuple[Summary, ...]:
    """Return `summarize` of every loss, with arms without a teacher once."""
    if len(tables) == 1:
        return summarize(next(iter(tables.values())), metric, test_over_train)
    untaught = {arm.name for arm in arms if arm.teacher is None}
    rows: list[Summary] = []
    for number, (loss, table) in enumerate(tables.items()):
        for row in summarize(table, metric, test_over_train):
            if row.arm not in untaught:
                rows.append(replace(row, loss=loss))
            elif number == 0:
                rows.append(row)
    return tuple(rows)


def summarize_further(
    records: Sequence[Record],
    correct: Sequence[np.ndarray],
    losses: Sequence[str],
    *,
    arms: Sequence[Arm],
    source: str,
    metrics: Iterable[str],
    test_over_train: float,
    higher_is_better: bool = True,
) -> tuple[Summary, ...]:
    """Return the arms by the metrics that choose nothing, at the ratios that the first metric chose."""
    rows: list[Summary] = []
    for metric in metrics:
        others = [replace(record, test=record.also.get(metric, float("nan"))) for record in records]
        tables = tabulate_losses(
            others, correct, losses, arms=arms, source=source, higher_is_better=higher_is_better
        )
        rows += summarize_losses(tables, arms, metric, test_over_train)
    return tuple(rows)


def compare_losses(
    tables: Mapping[str, Table], arms: Sequence[Arm], source: str, groups: Groups, test_over_train: float
) -> tuple[Comparison, ...]:
    """Return the comparisons under the first loss, the declared one; then, exploratory, those of the others.

    Under a further loss every comparison of arms is repeated. Between losses, the same arm is compared under
    each further loss and under the first.
    """
    first, *others = tables
    declared = compare(tables[first], arms, source, groups, test_over_train)
    if not others:
        return declared
    rows = [replace(row, loss=first) for row in declared]
    untaught = {arm.name for arm in arms if arm.teacher is None}
    others = [loss for loss in others if any(arm not in untaught for arm, _ in tables[loss].outcomes)]
    for loss in others:
        repeated = compare(tables[loss], arms, source, groups, test_over_train)
        rows += [replace(row, loss=loss, primary=False, p_holm=None) for row in repeated]
    for loss in others:
        for arm, _ in _compared_across(arms, source):
            keys: tuple[Key, Key] = ((arm, None), (f"{arm} under {first}", None))
            mine, theirs = (tables[name].outcomes.get((arm, None), {}) for name in (loss, first))
            both = {keys[0]: mine, keys[1]: theirs}
            if comparable(both, *keys):
                row = compare_arms(both, *keys, groups, test_over_train)
                rows.append(replace(row, b=arm, loss=loss, loss_b=first))
    return tuple(rows)


def _compared_across(arms: Sequence[Arm], source: str) -> list[Key]:
    """Return the arms whose students are compared between losses: teachers of the other modality."""
    keys: list[Key] = [
        (arm.name, None) for arm in arms if not arm.takes_ratio and sees_teacher_side(arm, source)
    ]
    head = headline_key(arms, source)
    return keys + ([head] if head is not None and head not in keys else [])


@dataclass(frozen=True)
class Decision:
    """What the comparisons show.

    Attributes:
        verdict: `help`, `hurt`, `no-effect` or `abstain`.
        focusing: whether `general` beats all its controls; None where that cannot be said.
        gain: the headline arm minus `no-kd`; None where either has no student.
        versus: the headline arm against the others, by the other's name.
        asked: the controls of focusing that this study has.
        beaten: those of them that `general` beats.
        absent: those of them that have no comparison, and why: `diverged` or `not-softer`.
        left_out: controls of focusing that the study was asked to leave out.
        without_spread: whether all seeds differ by the same amount, which leaves their spread unknown.
        one_class: whether one class has so many samples that accuracy cannot show a difference.
    """

    verdict: Literal["help", "hurt", "no-effect", "abstain"]
    focusing: bool | None = None
    gain: Comparison | None = None
    versus: Mapping[str, Comparison] | None = None
    asked: tuple[str, ...] = ()
    beaten: tuple[str, ...] = ()
    absent: Mapping[str, Literal["diverged", "not-softer"]] | None = None
    left_out: tuple[str, ...] = ()
    without_spread: bool = False
    one_class: bool = False


def decide(
    comparisons: Sequence[Comparison],
    *,
    arms: Sequence[Arm],
    source: str,
    metric: MetricInfo,
    loss: str | None = None,
    diverged: Collection[str] = (),
    known: Sequence[Arm] = (),
    largest_class: float = 0.0,
) -> Decision:
    """Decide on distillation by the interval of the headline arm minus `no-kd`, on focusing by its controls.

    Args:
        comparisons: of `compare_losses`.
        arms: the arms of the study.
        source: the teacher whose channels are removed.
        metric: what the points are of, which way is better, and how small a difference is none.
        loss: the declared loss, where there are several.
        diverged: arms of which a student by that loss diverged.
        known: the arms that a study has by default, to find the controls that were left out.
        largest_class: share of the test samples that the largest class has, in [0, 1].
    """
    head = headline_key(arms, source)
    if head is None:
        return Decision("abstain")
    first = comparisons[0].loss if comparisons and loss is None else loss
    versus = {c.b: c for c in comparisons if c.a == head[0] and c.ratio is None and c.loss == first}
    gain = versus.get(BASELINE)
    if gain is None or gain.low is None or gain.high is None:
        return Decision("abstain", gain=gain, versus=versus)
    verdict, without_spread = _verdict(gain, metric)
    one_class = verdict == "no-effect" and metric.name == "accuracy" and largest_class > LARGEST_CLASS
    verdict = "abstain" if one_class else verdict
    if not head[0].startswith(HEADLINE):
        return Decision(verdict, None, gain, versus, without_spread=without_spread, one_class=one_class)
    asked = tuple(name for name, _ in focusing_controls(arms, source))
    softened = {chosen_key(arm)[0]: arm.name for arm in arms if arm.like is not None}
    absent: dict[str, Literal["diverged", "not-softer"]] = {
        name: "not-softer" if name in softened and softened[name] not in diverged else "diverged"
        for name in asked
        if name not in versus
    }
    present = [name for name in asked if name in versus]
    beaten = tuple(name for name in present if is_beaten(versus[name], metric))
    left_out = tuple(name for name, _ in focusing_controls(known, source) if name not in asked)
    lost = [name for name, why in absent.items() if why == "diverged"]
    focusing = None if left_out else len(beaten) == len(present) and not lost
    return Decision(
        verdict, focusing, gain, versus, asked, beaten, absent, left_out, without_spread, one_class
    )


def _verdict(
    gain: Comparison, metric: MetricInfo
) -> tuple[Literal["help", "hurt", "no-effect", "abstain"], bool]:
    """Return the verdict on a gain with an interval, and whether it has no spread."""
    assert gain.low is not None and gain.high is not None  # noqa: S101, PT018
    low, high = (gain.low, gain.high) if metric.higher_is_better else (-gain.high, -gain.low)
    if gain.p is None:
        return "abstain", True
    if low > 0:
        return "help", False
    if high < 0:
        return "hurt", False
    inside = low >= -metric.margin and high <= metric.margin
    return ("no-effect" if inside else "abstain"), False


def is_beaten(comparison: Comparison, metric: MetricInfo) -> bool:
    """Return whether the first arm is better: its interval has a width and excludes 0."""
    low, high = comparison.low, comparison.high
    if low is None or high is None or low == high:
        return False
    return low > 0 if metric.higher_is_better else high < 0
