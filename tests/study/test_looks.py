"""Which looks at a study were planned, and what a look that was added later may claim."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import make_paired

import mfh
from mfh import InputError, StudyConfig, StudyResult
from mfh._report import html
from mfh._study.looks import FILE, LookPlan, keep_plan
from mfh.sequential import bounds, planned_fractions

QUICK = StudyConfig(
    teacher="audio", student="image", epochs=1, ratio=(0.5,), random_draws=1, hidden=(4,), folds=2,
    arms=("no-kd", "joint", "general"), margin=1e-9,
)  # fmt: skip
UNTIL = replace(QUICK, until="decided")
PLANNED = {"first": 2, "last": 3}


def run(folder: Path, **options: object) -> StudyResult:
    return mfh.study(make_paired(60), config=replace(QUICK, **options), out=folder)  # type: ignore[arg-type]


def recorded(folder: Path) -> dict[str, int]:
    return {name: json.loads((folder / FILE).read_text())[name] for name in ("first", "last")}


def open_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no interval exclude 0, so that a study goes on to its limit."""
    monkeypatch.setattr("mfh.comparing.decision._verdict", lambda gain, metric: ("abstain", False))


def test_looks_after_the_planned_end_are_exploratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_looks(monkeypatch)
    planned = run(tmp_path, until="decided", max_repeats=3)
    assert recorded(tmp_path) == PLANNED
    assert [(look.repeats, look.exploratory) for look in planned.looks] == [(2, False), (3, False)]
    assert "exploratory" not in planned.verdict.sentence
    longer = run(tmp_path, until="decided", max_repeats=5)
    assert recorded(tmp_path) == PLANNED
    assert longer.looks[:2] == planned.looks  # not those of five planned repeats
    assert [look.bound for look in longer.looks[:2]] == pytest.approx(
        bounds(planned_fractions(3, 3, first=2))
    )
    assert [(look.repeats, look.exploratory) for look in longer.looks[2:]] == [(4, True), (5, True)]
    assert longer.looks[-1].level == planned.looks[-1].level
    assert longer.looks[-1].words.endswith("open (exploratory).")
    assert longer.verdict.sentence.endswith(
        "This verdict is exploratory: looks at the data were planned after 2 to 3 repeats, and the one after "
        "5 was added later. Repeat the study with other data to confirm it."
    )
    assert all(row.shown is None for row in longer.comparisons)
    kept = mfh.load_results(tmp_path)
    assert isinstance(kept, StudyResult)
    assert kept.looks == longer.looks
    assert kept.data["planned_repeats"] == 3
    page = html(kept)
    assert "The plan ended with 3 repeats." in page
    assert "This verdict is exploratory" in page


def test_a_lower_limit_keeps_the_bounds_of_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_looks(monkeypatch)
    run(tmp_path, until="decided", max_repeats=4)
    shorter = run(tmp_path, until="decided", max_repeats=3)
    assert [look.exploratory for look in shorter.looks] == [False, False]
    assert shorter.looks[-1].bound == pytest.approx(bounds(planned_fractions(3, 4, first=2))[-1])


def test_repeats_added_to_a_fixed_study_are_exploratory(tmp_path: Path) -> None:
    once = run(tmp_path)
    assert not once.looks
    assert "exploratory" not in once.verdict.sentence
    assert run(tmp_path).verdict == once.verdict
    more = run(tmp_path, repeats=3)
    assert [(look.repeats, look.exploratory, look.level) for look in more.looks] == [(3, True, 0.95)]
    assert "planned after 2 repeats only, and the one after 3 was added later" in more.verdict.sentence
    again = run(tmp_path)
    assert (again.verdict, again.looks) == (once.verdict, once.looks)


def test_a_fixed_study_spends_the_whole_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_looks(monkeypatch)
    run(tmp_path)
    on = run(tmp_path, until="decided", max_repeats=3)
    assert [(look.repeats, look.exploratory) for look in on.looks] == [(2, False), (3, True)]
    assert on.looks[0].level == 0.95


def test_a_study_goes_back_to_no_earlier_look_than_the_first_planned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_looks(monkeypatch)
    run(tmp_path, repeats=3)
    on = run(tmp_path, until="decided", max_repeats=4)
    assert [look.repeats for look in on.looks] == [3, 4]
    fewer = run(tmp_path, repeats=2)
    assert "planned after 3 repeats only, and the one after 2 was added later" in fewer.verdict.sentence


def test_a_study_that_was_stopped_before_its_first_look_may_change_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_looks(monkeypatch)
    with monkeypatch.context() as stopped:
        stopped.setattr("mfh._study.experiment.keep_plan", lambda *_, **__: (_ for _ in ()).throw(OSError()))
        with pytest.raises(OSError):
            run(tmp_path)
    assert not run(tmp_path, repeats=3).looks


def test_a_result_without_an_interval_is_no_look(tmp_path: Path) -> None:
    one = run(tmp_path, resampling="splits", seeds=1, folds=5)
    assert one.comparisons[0].low is None
    assert not (tmp_path / FILE).exists()
    more = run(tmp_path, resampling="splits", seeds=3, folds=5)
    assert "exploratory" not in more.verdict.sentence
    assert recorded(tmp_path) == {"first": 3, "last": 3}
    assert "after 3 fits only" in run(tmp_path, resampling="splits", seeds=4, folds=5).verdict.sentence


def test_a_plan_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    keep_plan(LookPlan(2, 3), tmp_path)
    assert keep_plan(LookPlan(2, 9), tmp_path) == LookPlan(2, 3)
    assert keep_plan(LookPlan(2, 9), None) == LookPlan(2, 9)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(InputError, match=r"looks\.json` must record which looks at the study were planned"):
        keep_plan(LookPlan(2, 3), tmp_path)


def test_levels_of_a_plan() -> None:
    assert LookPlan(2, 2).level(2) == 0.95
    plan = LookPlan(2, 20)
    levels = np.array([plan.level(repeats) for repeats in (2, 10, 20)])
    assert (levels > 0.97).all()
    assert plan.level(30) == plan.level(20)
    assert "after 5 fits only" in LookPlan(5, 5).why_exploratory(6, "fits")
