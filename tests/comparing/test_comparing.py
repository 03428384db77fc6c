"""From records to a decision, on tables made by hand."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from mfh._study.sentences import write_verdict
from mfh.arms import ARMS, Arm, find_arms
from mfh.comparing import (
    Decision,
    Fit,
    Resampling,
    Table,
    compare,
    decide,
    focusing_controls,
    summarize,
    tabulate,
)
from mfh.results import Choice, Comparison, MetricInfo, Record, Verdict

RATIOS = (0.25, 0.5)
ALL = tuple(ARMS.values())
ACCURACY = MetricInfo("accuracy")
OWN = Arm(name="own", teacher="source", ranking=lambda *_, saliency: saliency.values, words="mine")


def table(
    gain: float = 0.0,
    noise: float = 0.3,
    seeds: int = 10,
    arms: tuple[Arm, ...] = ALL,
    higher: bool = True,
    **shift: float,
) -> Table:
    """All arms at 80% but `general`, which gains; other arms by keyword."""
    rng = np.random.default_rng(0)
    records, correct = [], []
    for seed in range(seeds):
        for arm in arms:
            for ratio in RATIOS if arm.takes_ratio else (None,):
                for draw in range(2) if arm.is_drawn else (None,):
                    test = 80 + shift.get(arm.name.replace("-", "_"), 0.0) + gain * (arm.name == "general")
                    test += noise * rng.normal()
                    best = 90.0 + (ratio == 0.5) * (1 if higher else -1)
                    records.append(Record(arm.name, ratio, seed, "accuracy", 99.0, best, test, 1, 0.1, draw))
                    correct.append(np.full(10, test))
    return tabulate(records, correct, arms=arms, source="joint", higher_is_better=higher)


def splits(widening: float = 1 / 3) -> Resampling:
    return Resampling({}, test_over_train=widening)


def compared(
    made: Table, arms: tuple[Arm, ...] = ALL, widening: float = 1 / 3, metric: MetricInfo = ACCURACY
) -> tuple[Comparison, ...]:
    return compare(made, arms, "joint", splits(widening), metric)


def judged(comparisons: tuple[Comparison, ...], **options: object) -> Decision:
    given = {"arms": ALL, "source": "joint", "metric": ACCURACY, **options}
    return decide(comparisons, **given)  # type: ignore[arg-type]


def words(decision: Decision) -> Verdict:
    return write_verdict(
        decision, arms=ALL, source="joint", metric=ACCURACY, modalities=("a", "b"),
        alike="of the same class", softens=True, largest_class="`sick`, 98%",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "noise", "verdict"),
    [(3.0, 0.3, "help"), (-3.0, 0.3, "hurt"), (0.0, 0.1, "no-effect"), (0.0, 5.0, "abstain")],
)
def test_the_four_verdicts(gain: float, noise: float, verdict: str) -> None:
    decision = judged(compared(table(gain, noise)))
    assert decision.verdict == verdict
    assert decision.focusing is (gain > 0)


@pytest.mark.parametrize("arm", ["joint", "important", "softened"])
def test_focusing_must_beat_every_control(arm: str) -> None:
    decision = judged(compared(table(3.0, 0.3, **{arm: 3.0})))
    assert decision.verdict == "help"
    assert decision.focusing is False
    assert f"it does not beat `{arm}`" in words(decision).sentence


def test_the_controls_follow_the_source() -> None:
    joint = [name for name, _ in focusing_controls(ALL, "joint")]
    assert joint == ["joint", "important (chosen)", "softened (chosen)"]
    regular = [name for name, _ in focusing_controls(ALL, "regular")]
    assert regular == ["regular", "important (chosen)", "softened-regular (chosen)"]


def test_softened_students_that_all_diverged_are_a_control_that_is_missing() -> None:
    made = table(3.0)
    left = {key: rows for key, rows in made.outcomes.items() if not key[0].startswith("softened")}
    comparisons = compared(replace(made, outcomes=left))
    never = judged(comparisons)
    assert never.focusing is True
    assert "would repeat `joint`" in words(never).reasons[-1]
    lost = judged(comparisons, diverged={"softened", "random"})
    assert lost.focusing is False
    assert "it does not beat `softened`" in words(lost).sentence
    assert words(lost).reasons[-1] == "No `softened` student was left to compare with: they diverged."
    assert judged(compared(made), diverged={"softened"}).focusing is True


def test_one_seed_abstains() -> None:
    decision = judged(compared(table(3.0, seeds=1), widening=0.0))
    assert (decision.verdict, decision.focusing) == ("abstain", None)
    assert "One fit cannot support a verdict" in words(decision).sentence


@pytest.mark.parametrize("gain", [-3.0, 0.0, 3.0])
def test_seeds_that_agree_by_chance_abstain(gain: float) -> None:
    decision = judged(compared(table(gain, noise=0.0, seeds=2)))
    assert (decision.verdict, decision.focusing) == ("abstain", False)
    assert f"same {gain:+.2f} points" in words(decision).sentence


def test_accuracy_shows_no_absence_of_an_effect_where_one_class_is_large() -> None:
    comparisons = compared(table(0.0, 0.1))
    decision = judged(comparisons, largest_class=0.98)
    assert decision.verdict == "abstain"
    assert "`sick`, 98%" in words(decision).sentence
    assert "--metric" in words(decision).sentence
    assert judged(comparisons, largest_class=0.98, metric=MetricInfo("auroc")).verdict == "no-effect"
    assert judged(compared(table(3.0)), largest_class=0.98).verdict == "help"


def test_where_lower_is_better_a_fall_helps() -> None:
    metric = MetricInfo("log-loss", unit="", higher_is_better=False, margin=0.5)
    made = table(-3.0, higher=False)
    assert {choice.ratio for choice in made.chosen if choice.arm == "general"} == {0.5}
    assert judged(compared(made, metric=metric), metric=metric).verdict == "help"
    assert judged(compared(made, metric=metric), metric=metric).focusing is True
    assert judged(compared(table(3.0, higher=False), metric=metric), metric=metric).verdict == "hurt"


def test_draws_count_once() -> None:
    rows = {(row.arm, row.ratio): row for row in summarize(table(), "accuracy", splits())}
    assert rows["random", 0.5].n == 10
    assert rows["general (chosen)", None].n == 10


def test_validation_chooses_the_ratio_and_zero_is_allowed() -> None:
    chosen = [choice for choice in table().chosen if (choice.arm, choice.seed) == ("general", 0)]
    assert chosen == [Choice("general", 0, 0.5)]
    records = [
        Record("joint", None, 0, "accuracy", 99.0, 91.0, 50.0, 1, 0.1),
        Record("no-kd", None, 0, "accuracy", 99.0, 10.0, 10.0, 1, 0.1),
        *(
            Record(arm, r, 0, "accuracy", 99.0, 91.0, 60.0, 1, 0.1)
            for arm in ("general", "important")
            for r in RATIOS
        ),
    ]
    tied = tabulate(records, [np.zeros(3)] * len(records), arms=ALL, source="joint")
    assert [c.ratio for c in tied.chosen if c.arm == "general"] == [0.0]
    assert tied.outcomes["general (chosen)", None][0].test == 50.0


def test_the_correction_widens_intervals() -> None:
    made = table(1.0)
    plain, corrected = compared(made, widening=0.0)[0], compared(made)[0]
    assert plain.low is not None
    assert corrected.low is not None
    assert corrected.low < plain.low
    assert corrected.difference == plain.difference


def test_declared_comparisons_come_first_and_no_comparison_comes_twice() -> None:
    rows = compared(table())
    controls = ["joint", "important (chosen)", "softened (chosen)"]
    assert [row.b for row in rows if row.question] == ["no-kd", "self", "mismatched", *controls]
    assert [row.question for row in rows if row.question] == [1, 2, 3, 4, 4, 4]
    assert all(a.question or not b.question for a, b in pairwise(rows))
    keys = [(row.a, row.b, row.ratio) for row in rows]
    assert len(keys) == len(set(keys))


def test_an_arm_of_the_users_is_compared_with_no_teacher_its_source_and_importance() -> None:
    arms = (*ALL, OWN)
    pairs = {(row.a, row.b, row.ratio) for row in compared(table(arms=arms), arms)}
    assert {("own", other, 0.5) for other in ("no-kd", "joint", "important")} <= pairs
    chosen = ("no-kd", "joint", "important (chosen)")
    assert {("own (chosen)", other, None) for other in chosen} <= pairs
    assert ("general", "own", 0.25) in pairs


def test_few_arms() -> None:
    arms = find_arms(["no-kd", "joint", "self"])
    made = compared(table(joint=3.0, arms=arms), arms)
    decision = judged(made, arms=arms, known=ALL)
    assert (decision.verdict, decision.focusing) == ("help", None)
    some = find_arms(["no-kd", "joint", "general"])
    open_ = judged(compared(table(3.0, arms=some), some), arms=some, known=ALL)
    assert open_.focusing is None
    assert open_.left_out == ("important (chosen)", "softened (chosen)")
    assert "is open: the controls `important`, `softened` were not trained" in words(open_).sentence
    without = find_arms(["joint", "general"])
    assert judged(compared(table(arms=without), without), arms=without).gain is None


def test_a_seed_whose_metric_is_undefined_is_left_out() -> None:
    records = [
        Record(arm, None, seed, "auroc", 1.0, 1.0, test, 1, 0.1)
        for arm, tests in (("no-kd", (50.0, float("nan"), 60.0)), ("joint", (55.0, 70.0, 61.0)))
        for seed, test in enumerate(tests)
    ]
    arms = find_arms(["no-kd", "joint"])
    made = tabulate(records, [np.zeros(3)] * 6, arms=arms, source="joint")
    assert [(row.arm, row.n) for row in summarize(made, "auroc", splits())] == [("no-kd", 2), ("joint", 3)]
    (row,) = compare(made, arms, "joint", splits(), MetricInfo("auroc"))
    assert (row.n, row.difference) == (2, 3.0)


def test_questions_are_asked_in_order_until_one_is_not_answered_with_yes() -> None:
    rows = {row.b: row for row in compared(table(3.0, self=3.0)) if row.question}
    assert rows["no-kd"].shown is True
    assert rows["self"].shown is False
    assert [rows[name].shown for name in ("mismatched", "joint", "important (chosen)")] == [None] * 3
    decision = judged(tuple(rows.values()))
    assert decision.focusing is False
    assert "this counts only if the declared questions before it" in words(decision).sentence


def kfold(gain: float, noise: float, samples: int = 200, repeats: int = 2) -> tuple[Table, Resampling]:
    """Two arms, tested by repeated 5-fold; sample differences of one kind, in percent."""
    rng, arms = np.random.default_rng(1), find_arms(["no-kd", "joint"])
    records, values, fits = [], [], {}
    each = gain + noise * rng.normal(size=samples)
    for seed in range(5 * repeats):
        rows = np.arange(seed % 5, samples, 5)
        fits[seed] = Fit(seed // 5, seed % 5, rows)
        for arm in arms:
            found = 50 + (each[rows] + noise * rng.normal(size=len(rows))) * (arm.name == "joint")
            values.append(found)
            records.append(Record(arm.name, None, seed, "accuracy", 90.0, 90.0, found.mean(), 1, 0.1))
    made = tabulate(records, values, arms=arms, source="joint")
    return made, Resampling(fits, folds=5, test_over_train=1 / 3, crossed=True, num_samples=samples)


def test_crossed_intervals_say_what_would_decide() -> None:
    made, plan = kfold(1.0, 12.0)
    arms = find_arms(["no-kd", "joint"])
    (row,) = compare(made, arms, "joint", plan, ACCURACY)
    assert row.components is not None
    assert row.low is not None
    assert row.low < 0 < row.high  # type: ignore[operator]
    assert row.components["samples"] == pytest.approx(12, rel=0.2)
    assert row.components["noise"] == pytest.approx(12, rel=0.2)
    assert row.samples_needed is not None
    assert row.samples_needed > 200
    clear, _ = kfold(20.0, 12.0)
    (decided,) = compare(clear, arms, "joint", plan, ACCURACY)
    assert judged((decided,), arms=arms).verdict == "help"
    assert (decided.repeats_needed, decided.samples_needed) == (None, None)
    wide = compare(made, arms, "joint", replace(plan, crossed=False), ACCURACY)[0]
    assert wide.components is None


def test_a_lost_fit_drops_its_repeat() -> None:
    made, plan = kfold(1.0, 12.0)
    lost = {key: {s: o for s, o in rows.items() if s != 7} for key, rows in made.outcomes.items()}
    (row,) = compare(Table(lost), find_arms(["no-kd", "joint"]), "joint", plan, ACCURACY)
    assert row.n == 5
    few = {key: {s: o for s, o in rows.items() if s not in (2, 7)} for key, rows in made.outcomes.items()}
    (none,) = compare(Table(few), find_arms(["no-kd", "joint"]), "joint", plan, ACCURACY)
    assert (none.low, none.reason) == (None, "no whole repeat")
    assert (
        "no repeat has all its folds" in words(judged((none,), arms=find_arms(["no-kd", "joint"]))).sentence
    )
