"""From records to summary, comparisons and verdict: the statistics of a study."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mfh.results import Comparison, Record, Summary, Verdict
from mfh.stats import group_bootstrap, holm, t_interval
from mfh.tasks import TASKS, Task

CHOSEN = " (chosen)"
PRIMARY = ("regular", "joint", "important" + CHOSEN)
NO_EFFECT = 1.0
NOT_SOFTER = {
    True: "There is no `softened` arm: this loss compares features, which softening leaves as they are, so "
    "it would be `joint` again.",
    False: "There is no `softened` arm: these outputs are numbers, not probabilities that could be softer.",
}
"""Why that control of focusing is absent, by whether the task's outputs can be softened."""
LOST = "No `softened` student was left to compare with: they diverged."
Key = tuple[str, float | None]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One arm at one ratio in one seed.

    Attributes:
        test, validation: accuracies in percent; several draws are averaged.
        correct: share of right answers to each test sample, in [0, 1] (draws averaged), shape (sample,).
    """

    test: float
    validation: float
    correct: np.ndarray


Table = Mapping[Key, Mapping[int, Outcome]]


def focusing_controls(source: str) -> tuple[str, ...]:
    """The arms that `general` must beat before focusing itself may be credited.

    `source` is the teacher whose channels are removed, `joint` or `regular`: with nothing removed, a control.
    """
    return source, "important" + CHOSEN, "softened" + CHOSEN, "mismatched"


def tabulate(
    records: Sequence[Record], correct: Sequence[np.ndarray], *, source: str = "joint"
) -> dict[Key, dict[int, Outcome]]:
    """Average draws within a seed, and add the arms whose ratio validation chooses.

    `general (chosen)` is `general` at the ratio with the best validation accuracy of that seed (the smallest
    of equals; 0, which is the `source` teacher with nothing removed, among them), `important (chosen)`
    likewise by its own validation accuracy, and `softened (chosen)`, the source teacher softened, stands at
    the ratio chosen for `general`, whose entropy it has. A student that diverged has no record: it cannot be
    chosen, and where nothing can, the seed is left out.
    """
    drawn: dict[tuple[Key, int], list[tuple[Record, np.ndarray]]] = defaultdict(list)
    for record, right in zip(records, correct, strict=True):
        drawn[(record.arm, record.ratio), record.seed].append((record, right))
    table: dict[Key, dict[int, Outcome]] = defaultdict(dict)
    for (key, seed), rows in drawn.items():
        table[key][seed] = Outcome(
            float(np.mean([record.test for record, _ in rows])),
            float(np.mean([record.validation for record, _ in rows])),
            np.mean([right for _, right in rows], axis=0),
        )
    for seed in table["no-kd", None]:
        for arm in ("general", "important"):
            ratio = chosen_ratio(table, arm, seed, source=source)
            if ratio is None:
                continue
            at = (source, None) if ratio == 0 else (arm, ratio)
            table[arm + CHOSEN, None][seed] = table[at][seed]
            softened = "softened" if source == "joint" else "softened-regular"
            at = (source, None) if ratio == 0 else (softened, ratio)
            if arm == "general" and any(name == softened for name, _ in table) and seed in table[at]:
                table["softened" + CHOSEN, None][seed] = table[at][seed]
    return {key: outcomes for key, outcomes in table.items() if outcomes}


def chosen_ratio(table: Table, arm: str, seed: int, *, source: str = "joint") -> float | None:
    """The ratio with the best validation accuracy in a seed, the smallest of equals; 0 is the source.

    None where no student is left to choose.
    """
    candidates = {
        ratio or 0.0: rows[seed].validation
        for (name, ratio), rows in table.items()
        if seed in rows and ((name, ratio) == (source, None) or (name == arm and ratio is not None))
    }
    return min(candidates, key=lambda ratio: (-candidates[ratio], ratio), default=None)


def summarize_arms(table: Table, metric: str, test_over_train: float) -> tuple[Summary, ...]:
    """Mean, standard deviation over seeds and interval of every arm's test metric."""
    rows = []
    for (arm, ratio), outcomes in table.items():
        values = np.array([outcome.test for outcome in outcomes.values()])
        interval = t_interval(values, test_over_train=test_over_train)
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append(Summary(arm, ratio, metric, len(values), interval.mean, sd, interval.low, interval.high))
    return tuple(rows)


def compare(
    table: Table,
    groups: Mapping[int, np.ndarray] | None,
    test_over_train: float,
    *,
    num_resamples: int = 2000,
) -> tuple[Comparison, ...]:
    """Paired differences: the primary ones first, corrected by Holm, then the exploratory ones.

    Args:
        table: see `tabulate`.
        groups: per seed, the group of each test sample; None without groups.
        test_over_train: see `mfh.stats.t_interval`.
        num_resamples: bootstrap resamples.
    """
    general: Key = ("general" + CHOSEN, None)
    primary = [
        compare_arms(table, general, (arm, None), groups, test_over_train, True, num_resamples)
        for arm in PRIMARY
        if comparable(table, general, (arm, None))
    ]
    corrected = holm([comparison.p for comparison in primary])
    rows = [replace(comparison, p_holm=p) for comparison, p in zip(primary, corrected, strict=True)]
    for a, b in exploratory(table):
        rows.append(compare_arms(table, a, b, groups, test_over_train, False, num_resamples))
    return tuple(rows)


def exploratory(table: Table) -> Iterable[tuple[Key, Key]]:
    """The comparisons that were not declared before: every other arm that bears on the question."""
    return ((a, b) for a, b in _exploratory(table) if comparable(table, a, b))


def comparable(table: Table, a: Key, b: Key) -> bool:
    """Whether there is a seed in which both arms have a student."""
    return a in table and b in table and not table[a].keys().isdisjoint(table[b])


def _exploratory(table: Table) -> Iterable[tuple[Key, Key]]:
    general: Key = ("general" + CHOSEN, None)
    others = ("no-kd", "no-kd-smoothed", "softened" + CHOSEN, "mismatched", "unimodal")
    yield from ((general, (arm, None)) for arm in others)
    for arm in ("regular", "joint", "mismatched", "unimodal", "no-kd-smoothed"):
        yield (arm, None), ("no-kd", None)
    yield ("joint", None), ("mismatched", None)
    for ratio in sorted({r for _, r in table if r is not None}):
        for arm in ("important", "random", "specific", "softened", "softened-regular"):
            yield ("general", ratio), (arm, ratio)
        for arm in ("joint", "regular", "no-kd"):
            yield ("general", ratio), (arm, None)


def compare_arms(
    table: Table,
    a: Key,
    b: Key,
    groups: Mapping[int, np.ndarray] | None,
    test_over_train: float,
    primary: bool,
    num_resamples: int,
) -> Comparison:
    """One paired difference on the test split, in points, over the seeds in which both have a student."""
    seeds = sorted(table[a].keys() & table[b].keys())
    differences = np.array([table[a][seed].test - table[b][seed].test for seed in seeds])
    interval = t_interval(differences, test_over_train=test_over_train)
    low_boot = high_boot = None
    if groups is not None:
        low_boot, high_boot = group_bootstrap(
            [100.0 * (table[a][seed].correct - table[b][seed].correct) for seed in seeds],
            [groups[seed] for seed in seeds],
            generator=np.random.default_rng(0),
            num_resamples=num_resamples,
        )
    ratio = a[1] if a[1] is not None else b[1]
    return Comparison(
        a[0], b[0], ratio, len(seeds), interval.mean, interval.low, interval.high,
        low_boot, high_boot, interval.p, None, primary,
    )  # fmt: skip


def judge(
    comparisons: Sequence[Comparison],
    *,
    source: str = "joint",
    task: Task = TASKS["single-label"],
    loss: str | None = None,
    diverged: Collection[str] = (),
) -> Verdict:
    """The verdict on distillation from the interval of general - no-kd, and on focusing from its controls.

    Args:
        comparisons: of `compare`.
        source: the teacher whose channels are removed.
        task: of the labels.
        loss: the declared one, where there are several.
        diverged: arms of which a student by that loss diverged.
    """
    first = comparisons[0].loss if loss is None else loss
    mine = [c for c in comparisons if c.a == "general" + CHOSEN and c.loss == first]
    versus = {c.b: c for c in mine}
    if "no-kd" not in versus:
        sentence = f"No verdict: every student of `general` and `{source}` by the declared loss diverged."
        return Verdict("abstain", None, sentence)
    gain = versus["no-kd"]
    if gain.low is None or gain.high is None:
        sentence = (
            f"One seed cannot carry a verdict: the student distilled from the focused teacher was "
            f"{_points(gain.difference)} the student without distillation. Repeat with more seeds."
        )
        return Verdict("abstain", None, sentence)
    span = f"{gain.difference:+.2f} points, 95% interval {gain.low:+.2f} to {gain.high:+.2f}, {gain.n} seeds"
    verdict: Literal["help", "hurt", "no-effect", "abstain"]
    if gain.low == gain.high and gain.difference != 0:
        verdict, sentence = (
            "abstain",
            f"All {gain.n} seeds differ by the same {gain.difference:+.2f} points, which says nothing of the "
            "spread between seeds: repeat with more.",
        )
    elif gain.low > 0:
        verdict, sentence = "help", f"Crossmodal distillation helps this student ({span})."
    elif gain.high < 0:
        verdict, sentence = "hurt", f"Crossmodal distillation hurts this student ({span})."
    elif gain.low >= -NO_EFFECT and gain.high <= NO_EFFECT:
        verdict, sentence = (
            "no-effect",
            f"Crossmodal distillation makes no difference of a point here ({span}).",
        )
    else:
        verdict, sentence = (
            "abstain",
            f"These seeds cannot tell whether crossmodal distillation helps ({span}).",
        )
    asked = focusing_controls(source)
    controls = [arm for arm in asked if arm in versus]
    beaten = [arm for arm in controls if _beaten(versus[arm])]
    softened = "softened" if source == "joint" else "softened-regular"
    lost = "softened" + CHOSEN not in versus and softened in diverged
    absent = [arm for arm in asked if arm not in versus and (arm != "softened" + CHOSEN or lost)]
    focusing = len(beaten) == len(controls) and not absent
    told = [arm for arm in dict.fromkeys((*controls, "joint", "regular")) if arm in versus]
    left = [arm for arm in (*controls, *absent) if arm not in beaten]
    names = ", ".join(f"`{arm.removesuffix(CHOSEN)}`" for arm in left)
    sentence += (
        " Focusing on modality-general channels did it: it beats every control."
        if focusing
        else f" Focusing on modality-general channels is not shown to matter: it does not beat {names}."
    )
    return Verdict(
        verdict,
        focusing,
        sentence,
        tuple(_reason(versus[arm], task.alike) for arm in told)
        + (() if "softened" + CHOSEN in versus else (LOST if lost else NOT_SOFTER[task.softens],)),
    )


def _beaten(comparison: Comparison) -> bool:
    """Whether an interval lies above 0; one without width is of too few seeds to say."""
    low, high = comparison.low, comparison.high
    return low is not None and high is not None and 0 < low < high


def _reason(comparison: Comparison, alike: str) -> str:
    meaning = {
        "regular": "a teacher trained alone on labels",
        "joint": "the same teacher with nothing removed",
        "important": "channels kept by the teacher's own importance, which never looks at the student",
        "softened": "the same softness of the labels without removing channels",
        "mismatched": f"teacher outputs of other samples {alike}",
    }[comparison.b.removesuffix(CHOSEN)]
    return (
        f"Against `{comparison.b.removesuffix(CHOSEN)}` ({meaning}): {comparison.difference:+.2f} points "
        f"({comparison.low:+.2f} to {comparison.high:+.2f})."
    )


def _points(difference: float) -> str:
    return f"{abs(difference):.2f} points {'better than' if difference >= 0 else 'worse than'}"
