"""Statistics of a study on tables made by hand."""

import numpy as np
import pytest

from mfh._study.verdict import Table, chosen_ratio, compare, judge, summarize_arms, tabulate
from mfh.results import Record

RATIOS = (0.25, 0.5)
PLAIN = ("no-kd", "no-kd-smoothed", "regular", "joint", "mismatched", "unimodal")
WITH_RATIO = ("general", "specific", "important", "softened", "softened-regular")


def table(gain: float = 0.0, noise: float = 0.3, seeds: int = 10, **shift: float) -> Table:
    """All arms at 80% but `general`, which gains; other arms by keyword."""
    rng = np.random.default_rng(0)
    records, correct = [], []
    for seed in range(seeds):
        for arm in (*PLAIN, *WITH_RATIO, "random"):
            for ratio in (None,) if arm in PLAIN else RATIOS:
                for draw in range(2) if arm == "random" else (None,):
                    test = 80 + shift.get(arm.replace("-", "_"), 0.0) + gain * (arm == "general")
                    test += noise * rng.normal()
                    best = 90.0 + (ratio == 0.5)
                    records.append(Record(arm, ratio, seed, "accuracy", 99.0, best, test, 1, 0.1, draw))
                    correct.append(np.ones(10) * (test > 80))
    return tabulate(records, correct)


@pytest.mark.parametrize(
    ("gain", "noise", "verdict"),
    [(3.0, 0.3, "help"), (-3.0, 0.3, "hurt"), (0.0, 0.1, "no-effect"), (0.0, 5.0, "abstain")],
)
def test_the_four_verdicts(gain: float, noise: float, verdict: str) -> None:
    judged = judge(compare(table(gain, noise), None, 1 / 3, num_resamples=50))
    assert judged.verdict == verdict
    assert judged.focusing is (gain > 0)


@pytest.mark.parametrize("arm", ["joint", "important", "softened", "mismatched"])
def test_focusing_must_beat_every_control(arm: str) -> None:
    judged = judge(compare(table(3.0, 0.3, **{arm: 3.0}), None, 1 / 3, num_resamples=50))
    assert judged.verdict == "help"
    assert judged.focusing is False
    assert f"it does not beat `{arm}`" in judged.sentence


def test_softened_students_that_all_diverged_are_a_control_that_is_missing() -> None:
    left = {key: rows for key, rows in table(3.0).items() if not key[0].startswith("softened")}
    comparisons = compare(left, None, 1 / 3, num_resamples=50)
    never = judge(comparisons)
    assert never.focusing is True
    assert "would be `joint` again" in never.reasons[-1]
    lost = judge(comparisons, diverged={"softened", "random"})
    assert lost.focusing is False
    assert "it does not beat `softened`" in lost.sentence
    assert lost.reasons[-1] == "No `softened` student was left to compare with: they diverged."
    assert judge(compare(table(3.0), None, 1 / 3, num_resamples=50), diverged={"softened"}).focusing is True


def test_one_seed_abstains() -> None:
    judged = judge(compare(table(3.0, seeds=1), None, 0.0))
    assert (judged.verdict, judged.focusing) == ("abstain", None)
    assert "more seeds" in judged.sentence


def test_seeds_that_agree_by_chance_abstain() -> None:
    comparisons = compare(table(-3.0, noise=0.0, seeds=2), None, 1 / 3, num_resamples=50)
    judged = judge(comparisons)
    assert (judged.verdict, judged.focusing) == ("abstain", False)
    assert "same -3.00 points" in judged.sentence
    assert judge(compare(table(3.0, noise=0.0, seeds=2), None, 1 / 3, num_resamples=50)).focusing is False


def test_draws_count_once() -> None:
    rows = {(row.arm, row.ratio): row for row in summarize_arms(table(), "accuracy", 0.0)}
    assert rows["random", 0.5].n == 10
    assert rows["general (chosen)", None].n == 10


def test_validation_chooses_the_ratio_and_zero_is_allowed() -> None:
    made = table()
    assert chosen_ratio(made, "general", 0) == 0.5
    records = [
        Record("joint", None, 0, "accuracy", 99.0, 91.0, 50.0, 1, 0.1),
        Record("no-kd", None, 0, "accuracy", 99.0, 10.0, 10.0, 1, 0.1),
        *(
            Record(arm, r, 0, "accuracy", 99.0, 91.0, 60.0, 1, 0.1)
            for arm in ("general", "important")
            for r in RATIOS
        ),
    ]
    tied = tabulate(records, [np.zeros(3)] * len(records))
    assert chosen_ratio(tied, "general", 0) == 0.0
    assert tied["general (chosen)", None][0].test == 50.0


def test_the_correction_widens_intervals() -> None:
    made = table(1.0)
    plain, corrected = compare(made, None, 0.0)[0], compare(made, None, 1 / 3)[0]
    assert plain.low is not None
    assert corrected.low is not None
    assert corrected.low < plain.low
    assert corrected.difference == plain.difference
