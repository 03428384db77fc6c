"""`mfh.fit`: the search, what its students learn from, what is taken, and that hidden labels stay hidden."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import make_clear_and_noisy as make_data
from torch import Tensor

import mfh
from mfh import FitConfig, FitResult, InputError, PairedDataset
from mfh._study import task as task_module
from mfh._study.design import Design
from mfh._study.few.fit import visible_data
from mfh._study.few.members import divide_labelled, train_members
from mfh._study.networks import Networks
from mfh._study.outcome import ALL_SAMPLES, SeedResult
from mfh._study.search.choose import choose, compare, standard_error
from mfh._study.search.fit import units_per_fit
from mfh._study.search.halving import Tried, round_cost, search
from mfh._study.search.lessons import Lesson, make_lessons
from mfh._study.search.space import Space
from mfh._study.search.summary import training_share, worth
from mfh._study.search.threshold import choose_threshold, judge_threshold
from mfh._study.seed import run_seed
from mfh._study.task import SeedTask
from mfh.arms import BASELINE, SEARCH_ARMS, SEARCHED
from mfh.config import ThresholdRule
from mfh.metrics import find_metric
from mfh.recipe import Recipe
from mfh.results import load_results

QUICK = FitConfig(
    teacher="a", student="b", labelled=("0.3",), folds=3, budget=16, steps=20, ratio=(0.5,), hidden=(12, 8)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit")
    mfh.fit(make_data(), config=QUICK, out=path)
    return path


@pytest.fixture(scope="module")
def result(folder: Path) -> FitResult:
    found = load_results(folder)
    assert isinstance(found, FitResult)
    return found


# successive halving


def judged(values: dict[str, Sequence[float]], calls: list[tuple[int, int]]):
    """Return a judge that knows the merit of each recipe on each fold, and counts."""

    def judge(recipes: Sequence[Recipe], fold: int) -> list[tuple[tuple[float, float], Tensor]]:
        calls.append((fold, len(recipes)))
        return [((values[str(recipe)][fold], 0.0), torch.zeros(1)) for recipe in recipes]

    return judge


def test_halving_lets_the_better_half_go_on() -> None:
    recipes = [Recipe(smoothing=k / 100) for k in range(8)]
    values = {str(recipe): [float(k)] * 3 for k, recipe in enumerate(recipes)}
    values[str(recipes[0])] = [0.0, 99.0, 99.0]  # unlucky on the first fold
    calls: list[tuple[int, int]] = []
    tried = search(lambda count: recipes[:count], judged(values, calls), fixed=[], folds=3, budget=14)
    assert calls == [(0, 8), (1, 4), (2, 2)]
    assert sum(count for _, count in calls) == round_cost(8, 3) == 14
    complete = [one.recipe for one in tried if len(one.merits) == 3]
    assert complete == [recipes[6], recipes[7]]


@pytest.mark.parametrize("budget", [1, 4, 9, 30, 47])
def test_the_budget_is_never_exceeded_by_drawn_recipes(budget: int) -> None:
    calls: list[tuple[int, int]] = []
    recipes = [Recipe(smoothing=k / 100) for k in range(99)]
    values = {str(recipe): [1.0] * 4 for recipe in [*recipes, Recipe(weight_decay=1.0)]}
    search(
        lambda count: recipes[:count],
        judged(values, calls),
        fixed=[Recipe(weight_decay=1.0)],
        folds=4,
        budget=budget,
    )
    spent = sum(count for _, count in calls)
    assert spent <= max(budget, 4)  # the fixed recipe is judged whatever the budget
    assert budget < 8 or spent > budget - 4


def test_no_round_begins_after_the_time_is_over() -> None:
    calls: list[tuple[int, int]] = []
    values = {str(Recipe()): [1.0] * 2}
    judge = judged(values, calls)
    search(lambda n: [Recipe()] * n, judge, fixed=[Recipe()], folds=2, budget=99, until=0.0)
    assert calls == [(0, 1), (1, 1)]


# the choice


def tried_with(right: Sequence[int], recipe: Recipe) -> Tried:
    """Return a recipe whose students are right on some of 40 samples in two folds."""
    outputs = torch.zeros(40, 2)
    outputs[torch.arange(40), torch.tensor([int(k in right) for k in range(40)])] = 1.0
    folds = outputs.split(20)
    merits = [(100 * float((fold.argmax(dim=1) == 1).float().mean()), 0.0) for fold in folds]
    return Tried(recipe, merits=merits, outputs=list(folds))


def test_a_recipe_must_be_better_than_the_anchor_by_standard_errors() -> None:
    label, metric = torch.ones(40, dtype=torch.long), find_metric("accuracy", "single-label")
    anchor = tried_with(range(20), Recipe())
    better = tried_with(range(24), Recipe(smoothing=0.1))
    values = np.repeat([1.0, 0.0], [4, 36])
    error = 100 * values.std(ddof=1) / np.sqrt(40)
    found = choose([anchor, better], anchor, label, None, metric, errors=0.99 * 10 / error)
    assert found.best is better
    assert found.difference == pytest.approx(10)
    assert found.error == pytest.approx(error)
    assert choose([anchor, better], anchor, label, None, metric, errors=1.01 * 10 / error).best is anchor
    assert choose([anchor, replace_merits(better)], anchor, label, None, metric).best is anchor


def test_every_recipe_on_all_folds_is_compared_with_the_anchor() -> None:
    label, metric = torch.ones(40, dtype=torch.long), find_metric("accuracy", "single-label")
    anchor, worse = tried_with(range(20), Recipe()), tried_with(range(16), Recipe(smoothing=0.1))
    short = replace_merits(tried_with(range(24), Recipe(smoothing=0.2)))
    found = compare([anchor, worse, short], anchor, label, None, metric)
    values = np.repeat([-100.0, 0.0], [4, 36])
    assert list(found) == [worse]
    assert found[worse] == pytest.approx((-10, values.std(ddof=1) / np.sqrt(40)))


def replace_merits(one: Tried) -> Tried:
    """Return the same as if it had been judged on one fold alone."""
    return Tried(one.recipe, merits=one.merits[:1], outputs=one.outputs[:1])


def test_samples_of_a_group_count_as_one_unit() -> None:
    values = np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    group = np.array([0, 0, 0, 1, 1, 1])
    assert standard_error(values, group) == pytest.approx(np.std([1.0, -1.0], ddof=1) / np.sqrt(2))
    assert standard_error(values, None) < standard_error(values, group)


# lessons


def make_task(data: PairedDataset, config: FitConfig = QUICK) -> SeedTask:
    networks = Networks(data, config.settled())
    split = Design.of(data, networks.config).draw(data, networks.config, 0)
    return SeedTask(networks=networks, seed=0, split=split, threads=1, arms=networks.arms)


def lessons_of(data: PairedDataset) -> tuple[SeedTask, list[Lesson]]:
    task = make_task(data)
    visible, _ = visible_data(task)
    lessons, _ = make_lessons(task, visible, divide_labelled(task, visible), Recipe(), focused=True)
    return task, lessons


def test_no_lesson_depends_on_the_labels_that_it_holds_out() -> None:
    data = make_data()
    task, lessons = lessons_of(data)
    label = data.label.clone()
    held = lessons[0].part.held_out
    label[held] = label[held].roll(1)  # within the fold, so that strata and folds stay
    assert not torch.equal(label, data.label)
    split = task.split
    other = replace(task, networks=Networks(replace(data, label=label), task.config))
    visible, _ = visible_data(other)
    parts = [replace(lesson.part, data=visible.without_labels(hidden(lesson))) for lesson in lessons]
    again, _ = make_lessons(replace(other, split=split), visible, parts, Recipe(), focused=True)
    for name, logits in lessons[0].logits.items():
        assert torch.equal(logits, again[0].logits[name]), name
    assert any(not torch.equal(logits, again[1].logits[name]) for name, logits in lessons[1].logits.items())


def hidden(lesson: Lesson) -> np.ndarray:
    return lesson.part.held_out.numpy() if lesson.part.name else np.zeros(0, dtype=int)


def test_students_of_a_fold_do_not_train_on_its_samples_and_groups() -> None:
    data = make_data(groups=30)
    task, lessons = lessons_of(data)
    assert data.group is not None
    for lesson in lessons[:-1]:
        held, train = lesson.part.held_out.numpy(), lesson.train.numpy()
        assert not np.isin(held, train).any()
        assert not np.isin(data.group[held], data.group[train]).any()
    assert torch.equal(lessons[-1].train, task.train)


def test_labelled_samples_have_the_outputs_of_teachers_that_did_not_see_them() -> None:
    """A teacher that learns labels by heart says nothing of a label that it did not see."""
    rng = np.random.default_rng(0)
    data = PairedDataset.from_arrays(
        {"a": rng.normal(size=(120, 40)), "b": rng.normal(size=(120, 40))}, label=np.arange(120) % 2
    )
    task = make_task(data, replace(QUICK, labelled=("0.5",), steps=150))
    visible, _ = visible_data(task)
    lessons, _ = make_lessons(task, visible, divide_labelled(task, visible), Recipe(), focused=False)
    for lesson in lessons:
        rows = lesson.part.labelled
        right = (lesson.logits["regular"][rows].argmax(dim=1) == visible.label[rows]).float().mean()
        assert right < 0.75  # in-sample it would be 1


# the whole search


def test_the_result_says_what_was_tried_and_what_won(result: FitResult) -> None:
    trials, winners = result.frame("trials"), result.frame("winners")
    assert set(result.frame().arm) == {arm.name for arm in SEARCH_ARMS}
    assert len(winners) == 2 * 3
    for fit in range(3):
        for name in (BASELINE, SEARCHED):
            mine = trials[(trials.fit == fit) & (trials.search == name)]
            assert mine.folds.sum() <= 8
            assert mine[mine.fixed].folds.eq(4).all()
    assert not trials[trials.search == BASELINE].teacher.ne("none").any()
    assert result.search["final"]["labelled"] == result.labels["labelled"]
    assert result.search["shipped"] in (BASELINE, SEARCHED)
    assert "Ship the student of this recipe" in result.verdict.sentence


def test_the_same_seed_gives_the_same_search(result: FitResult) -> None:
    again = mfh.fit(make_data(), config=QUICK)
    assert again.frame("trials").equals(result.frame("trials"))
    assert [record.test for record in again.records] == [record.test for record in result.records]


def test_a_finished_search_is_not_run_again(folder: Path, result: FitResult) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "state").iterdir()}
    again = mfh.fit(make_data(), config=QUICK, out=folder)
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "state").iterdir()} == before
    assert again.search["winners"] == result.search["winners"]


def test_hidden_and_test_labels_choose_nothing() -> None:
    data = make_data()
    task = make_task(data)
    first = run_seed(task.networks, 0, lambda _stage, _count: None)
    label = data.label.clone()
    unseen = np.setdiff1d(np.arange(len(data)), task.split.learnt)
    label[unseen] = (label[unseen] + 1) % 3
    poisoned = replace(task, networks=Networks(replace(data, label=label), task.config))
    from mfh._study.search.fit import run_search

    again = run_search(poisoned)
    assert again.search["winners"] == first.search["winners"]
    assert again.search["trials"] == first.search["trials"]
    assert np.array_equal(again.outputs, first.outputs)


def test_a_teacher_that_knows_nothing_is_not_taken() -> None:
    """With all labels the anchor is the student without a teacher, which noise cannot beat."""
    rng, known = np.random.default_rng(1), make_data(240)
    arrays = {"a": rng.normal(size=(240, 6)), "b": known.modalities["b"]}
    data = PairedDataset.from_arrays(arrays, label=known.label)
    found = mfh.fit(data, config=replace(QUICK, labelled=(), budget=32, steps=100))
    gain = next(row for row in found.comparisons if (row.a, row.b) == (SEARCHED, BASELINE))
    assert gain.low is not None
    assert gain.low <= 0
    taken = {row["teacher"] for row in found.search["winners"] if row["search"] == SEARCHED}
    assert "regular" not in taken


def test_a_clear_teacher_helps_where_labels_are_few() -> None:
    data = make_data(360, seed=3)
    found = mfh.fit(data, config=replace(QUICK, labelled=("0.05",), steps=150, budget=24, folds=5))
    gain = next(row for row in found.comparisons if (row.a, row.b) == (SEARCHED, BASELINE))
    assert gain.difference > 3


def test_the_fit_on_all_samples_hides_the_labels_that_were_hidden() -> None:
    data = make_data()
    design = Design.of(data, QUICK)
    split = design.draw(data, QUICK, ALL_SAMPLES)
    assert len(split.train) == len(data)
    assert np.array_equal(split.learnt, design.draw(data, QUICK, 0).learnt)
    every = design.draw(data, replace(QUICK, labelled=()), ALL_SAMPLES)
    assert np.array_equal(every.learnt, np.arange(len(data)))


def test_the_cost_that_is_announced_is_what_is_trained(result: FitResult) -> None:
    counts = {"teachers": 0, "students": 0, "saliency": 0}

    def count(stage: str, more: int) -> None:
        counts[stage] += more

    task = make_task(make_data())
    run_seed(task.networks, 0, count)
    units = units_per_fit(task.networks)
    assert counts["teachers"] == units["teachers"]
    assert counts["saliency"] == units["saliency"]
    assert counts["students"] <= units["students"]


def test_the_share_of_training_is_that_of_the_calls_that_train() -> None:
    task = make_task(make_data())
    split = task.split
    fits = [
        SeedResult(seed, split, timings={"teachers": 3.0, "students": 5.0}, search={"training": inside})
        for seed, inside in enumerate((2.0, 4.0))
    ]
    assert training_share(fits) == pytest.approx(6 / 16)
    assert training_share([*fits, replace(fits[0], search={})]) is None  # of an earlier version
    found = run_seed(task.networks, 0, lambda _stage, _count: None)
    assert 0 < found.search["training"] < sum(found.timings.values())


def test_both_ways_to_train_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    task, spent = make_task(make_data()), {"train_students": 0.0, "train_pair": 0.0}
    real = {name: getattr(task_module, name) for name in spent}
    for name in spent:

        def timed(*args: Any, _name: str = name, **options: Any) -> Any:
            start = time.perf_counter()
            done = real[_name](*args, **options)
            spent[_name] += time.perf_counter() - start
            return done

        monkeypatch.setattr(task_module, name, timed)
    visible, _ = visible_data(task)
    start = time.perf_counter()
    train_members(task, divide_labelled(task, visible)[-1:])
    assert all(spent.values())
    assert sum(spent.values()) <= task.training_time.seconds["training"] <= time.perf_counter() - start


# worth, threshold


def test_worth_compares_recipes_of_the_same_fit() -> None:
    rows = [
        {"fit": fit, "fixed": False, "first": 10.0 * fit + bonus, **Recipe(teacher=name).to_dict()}
        for fit in (0, 1, 2)
        for name, bonus in (("stack", 2.0 + fit / 10), ("fused", 0.0))
    ]
    found = {row["value"]: row for row in worth(rows)}
    assert set(found) == {"stack", "fused"}
    assert found["stack"]["difference"] == pytest.approx(1.05)
    assert found["stack"]["low"] > 0 > found["fused"]["high"]
    assert found["stack"]["tried"] == 3


def test_thresholds_against_a_search_of_all_values() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.2
    score = np.round(np.clip(0.3 * truth + rng.random(200) * 0.7, 0, 1), 2)
    for text in ("cost:1:10", "cost:3:1", "precision:0.6", "recall:0.9"):
        rule = ThresholdRule.of(text)
        mine = choose_threshold(score, truth, rule)
        tried = {float(t): judge_threshold(score, truth, float(t), rule) for t in np.unique(score)}
        if rule.kind == "cost":
            assert tried[mine]["cost"] == min(row["cost"] for row in tried.values())
        elif rule.kind == "recall":
            assert mine == max(t for t, row in tried.items() if row["recall"] >= 0.9)
        else:
            assert mine == min(t for t, row in tried.items() if row["precision"] >= 0.6)


def test_a_sample_of_weight_2_counts_twice_for_a_threshold() -> None:
    rng = np.random.default_rng(1)
    truth, score, weight = rng.random(60) < 0.3, np.round(rng.random(60), 2), 1.0 + rng.integers(0, 3, 60)
    twice = np.repeat(np.arange(60), weight.astype(int))
    for text in ("cost:1:5", "precision:0.4", "recall:0.8"):
        rule = ThresholdRule.of(text)
        mine = choose_threshold(score, truth, rule, weight)
        assert mine == choose_threshold(score[twice], truth[twice], rule)
        found = judge_threshold(score, truth, mine, rule, weight)
        assert found == pytest.approx(judge_threshold(score[twice], truth[twice], mine, rule))


def test_a_threshold_that_cannot_be_reached_is_the_nearest() -> None:
    score, truth = np.array([0.9, 0.8, 0.1]), np.array([False, True, False])
    assert choose_threshold(score, truth, ThresholdRule.of("precision:0.9")) == 0.8


# input


@pytest.mark.parametrize("text", ["0.5", "cost:1", "cost:0:0", "precision:1.5", "recall:0", "f1:0.9"])
def test_a_threshold_must_be_a_rule(text: str) -> None:
    with pytest.raises(InputError, match=r"`threshold` must be `cost:A:B`.*Got"):
        FitConfig(threshold=text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"budget": 1}, "`budget` must be a whole number of 2 or more"),
        ({"positive": "yes"}, "`positive` must be left out without `threshold`"),
        ({"minutes": 0.0}, "`minutes` must be above 0"),
        ({"label_folds": 2}, "`label_folds` must be 3 or more"),
        ({"labelled": ("0.1", "0.3")}, "`labelled` must be one number of labels"),
        ({"until": "decided"}, "`until` must be fixed"),
    ],
)
def test_options_that_a_search_cannot_have(options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        FitConfig(**options)  # type: ignore[arg-type]


def test_a_threshold_needs_two_classes() -> None:
    with pytest.raises(InputError, match=r"`threshold` needs two classes\. Got 3"):
        mfh.fit(make_data(), config=replace(QUICK, threshold="recall:0.9"))


def test_a_search_needs_three_groups_of_labels() -> None:
    with pytest.raises(InputError, match="three groups or more"):
        mfh.fit(make_data(groups=3), config=replace(QUICK, labelled=()))


def test_the_space_of_large_networks_is_smaller() -> None:
    data = make_data()
    small = Space.of(Networks(data, QUICK.settled()))
    large = Space.of(Networks(data, QUICK.settled(), student=lambda: torch.nn.Linear(6, 3)))
    assert large.options["width"] == (1.0,)
    assert len(small.options["width"]) == 3


def test_recipes_survive_their_description() -> None:
    rng = np.random.default_rng(0)
    space = Space.of(Networks(make_data(), QUICK.settled()))
    recipes = [*space.draw(50, rng, taught=True), *space.draw(20, rng, taught=False)]
    assert [Recipe.from_dict(recipe.to_dict()) for recipe in recipes] == recipes
    assert len({str(recipe) for recipe in recipes}) == len(set(recipes))
    assert any(recipe.focus for recipe in recipes)
    assert any(recipe.hard for recipe in recipes)


def test_samples_that_lack_a_modality_are_used_where_they_can_be() -> None:
    """Students learn from the labels of samples without a; without these samples, other students result."""
    data = make_data(180)
    lacking = np.arange(0, 180, 4)
    values = data.modalities["a"].numpy().copy()
    values[lacking] = np.nan
    gaps = PairedDataset.from_arrays({"a": values, "b": data.modalities["b"]}, label=data.label)
    found = mfh.fit(gaps, config=replace(QUICK, labelled=()))
    final = found.search["final"]
    assert final["samples"] == final["labelled"] == 180
    assert np.isfinite(found.frame()[["test", "validation"]].to_numpy(dtype=float)).all()


def test_a_teacher_of_both_is_searched_too() -> None:
    found = mfh.fit(make_data(), config=replace(QUICK, teacher="a+b"))
    assert set(found.frame("trials").teacher) <= {"none", "stack", "fused", "self"}
    assert found.search["final"] is not None


def test_weights_of_samples_count_in_the_search() -> None:
    data = make_data(120)
    plain = mfh.fit(data, config=replace(QUICK, labelled=()))
    equal = PairedDataset.from_arrays(data.modalities, label=data.label, weight=np.full(120, 2.0))
    assert mfh.fit(equal, config=replace(QUICK, labelled=())).frame("trials").equals(plain.frame("trials"))
    uneven = PairedDataset.from_arrays(data.modalities, label=data.label, weight=1.0 + np.arange(120) % 5)
    assert (
        not mfh.fit(uneven, config=replace(QUICK, labelled=())).frame("trials").equals(plain.frame("trials"))
    )
