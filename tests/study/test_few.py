"""Few labels, many pairs: labels drawn, teachers stacked, students taught; hidden labels stay hidden."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import make_clear_and_noisy as make_data

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study.design import Design
from mfh._study.few.curve import Point, label_equivalent
from mfh._study.few.fit import units_per_fit
from mfh._study.few.labels import describe_shortage, draw_labelled
from mfh._study.few.stack import combine, fit_weights, with_labels
from mfh._study.networks import Networks
from mfh._study.seed import run_seed
from mfh._system.paths import label_folder
from mfh.arms import FEW_LABELS
from mfh.config import LabelCount
from mfh.data.splits import Split
from mfh.results import StudyResult, load_results

QUICK = StudyConfig(
    teacher="a",
    student="b",
    labelled=("0.2",),
    repeats=1,
    folds=3,
    steps=30,
    ratio=(0.25, 0.5),
    random_draws=2,
    hidden=(12, 8),
)


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return mfh.study(make_data(), config=QUICK)


def test_every_arm_is_trained_on_the_labels_and_pairs_of_the_design(result: StudyResult) -> None:
    frame = result.frame()
    assert set(frame.arm) == set(FEW_LABELS)
    assert frame[["train", "validation", "test"]].stack().between(0, 100).all()
    assert result.labels["labelled"] == pytest.approx(24)
    assert result.labels["unlabelled"] == pytest.approx(96)
    assert result.labels["hidden"]
    for fit in range(3):
        labelled, tested = result.predictions[f"labelled/{fit}"], result.predictions[f"rows/{fit}"]
        assert len(labelled) == 24
        assert not set(labelled.tolist()) & set(tested.tolist())


def test_declared_questions_come_first_and_in_order(result: StudyResult) -> None:
    asked = [(row.a, row.b, row.question) for row in result.comparisons if row.question is not None]
    assert asked == [
        ("stack", "no-kd", 1),
        ("stack", "self", 2),
        ("stack", "mismatched", 3),
        ("general (chosen)", "joint", 4),
        ("general (chosen)", "important (chosen)", 4),
        ("general (chosen)", "softened (chosen)", 4),
    ]


def test_weights_and_tuning_of_each_fit_are_kept(result: StudyResult) -> None:
    weights = [choice.weights for choice in result.chosen if choice.weights]
    assert len(weights) == 3
    assert all(len(found) == 6 and all(0 <= w <= 3 for w in found.values()) for found in weights)
    tuned = [choice for choice in result.chosen if choice.weight_decay is not None]
    assert [choice.arm for choice in tuned] == ["no-kd"] * 3


def of_task(task: str, *, weighted: bool) -> PairedDataset:
    """Return the samples of `make_clear_and_noisy` for a task, perhaps with weights."""
    data = make_data(groups=9)
    one_of = torch.eye(3)[data.label]
    label = {"single-label": data.label, "multi-label": one_of, "regression": one_of[:, :1] + 0.1}[task]
    weight = torch.linspace(0.5, 2, len(data), dtype=torch.float64) if weighted else None
    return PairedDataset.from_arrays(
        dict(data.modalities), label=label, group=data.group, task=task, weight=weight
    )


@pytest.mark.parametrize(
    ("task", "weighted"),
    [("single-label", False), ("single-label", True), ("multi-label", False), ("regression", False)],
)
def test_hidden_labels_are_seen_by_the_oracle_and_by_nothing_else(task: str, weighted: bool) -> None:
    data = of_task(task, weighted=weighted)
    config = replace(QUICK, random_draws=1, ratio=(0.5,), class_weight="balanced" if weighted else None)
    networks = Networks(data, config)
    split = Design.of(data, config).draw(data, config, 0)
    hidden = torch.from_numpy(np.setdiff1d(split.train, split.learnt))
    poisoned = data.label.clone()
    poisoned[hidden] = (poisoned[hidden] + 1) % 3 if task == "single-label" else 1 - poisoned[hidden]
    both = []
    for label in (data.label, poisoned):
        changed = Networks(replace(data, label=label), config)
        patched = pytest.MonkeyPatch()
        patched.setattr(Design, "draw", lambda *_: split)  # folds and labels are drawn before
        both.append(run_seed(changed, 0, lambda *_: None))
        patched.undo()
    clean, other = both
    assert networks.few_labels
    differs = set()
    for one, two in zip(clean.students, other.students, strict=True):
        same = replace(one.record, seconds=0.0) == replace(two.record, seconds=0.0)
        if not same or not np.array_equal(one.outputs, two.outputs):
            differs.add(one.record.arm)
    assert differs == {"oracle"}
    assert clean.teachers == other.teachers
    assert clean.chosen == other.chosen
    assert clean.overlap == other.overlap
    assert clean.channels.keys() == other.channels.keys()
    for name, values in clean.channels.items():
        np.testing.assert_array_equal(values, other.channels[name])
    for name, tensors in clean.weights.items():
        known = {key: value for key, value in tensors.items() if "oracle" not in key}
        assert all(torch.equal(value, other.weights[name][key]) for key, value in known.items())


def test_the_pool_has_no_pair_of_the_groups_of_the_test_samples() -> None:
    data = make_data(groups=9)
    for fit in range(3):
        split = Design.of(data, QUICK).draw(data, QUICK, fit)
        assert data.group is not None
        assert not set(data.group[split.train]) & set(data.group[split.test])
        assert set(split.learnt) <= set(split.train)


def test_labels_of_the_data_are_tested_and_unlabelled_pairs_join_every_pool() -> None:
    complete = make_data()
    unlabelled = np.arange(0, 180, 2)
    data = complete.without_labels(unlabelled)
    config = replace(QUICK, labelled=())
    design = Design.of(data, config)
    tested = np.concatenate([design.draw(data, config, fit).test for fit in range(3)])
    assert sorted(tested) == list(range(1, 180, 2))
    for fit in range(3):
        split = design.draw(data, config, fit)
        assert set(unlabelled) <= set(split.train)
        assert set(split.learnt) == set(range(1, 180, 2)) - set(split.test)
    found = mfh.study(data, config=replace(config, arms=("no-kd", "stack", "oracle")))
    assert {record.arm for record in found.records} == {"no-kd", "stack"}  # nothing is hidden from `no-kd`
    assert not found.labels["hidden"]
    assert found.labels["known"] == 90


@pytest.mark.parametrize(("count", "expected"), [("0.1", [6, 6, 6]), ("4/class", [4, 4, 4])])
def test_labels_are_drawn_by_class(count: str, expected: list[int]) -> None:
    data = make_data()
    rows = draw_labelled(data, np.arange(180), LabelCount.of(count), 0)
    assert np.bincount(data.label[rows]).tolist() == expected
    assert not np.array_equal(rows, draw_labelled(data, np.arange(180), LabelCount.of(count), 1))


def test_labels_are_spread_over_groups() -> None:
    data = make_data(groups=6)
    rows = draw_labelled(data, np.arange(180), LabelCount.of("0.2"), 0)
    assert data.group is not None
    assert np.bincount(data.group[rows]).tolist() == [6] * 6


@pytest.mark.parametrize("wrong", ["0", "1.5", "abc", "0/class", "-1", "0_1", "1:30", "0x1"])
def test_wrong_numbers_of_labels_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="labelled"):
        StudyConfig(labelled=(wrong,))


def test_more_labels_than_there_are_is_said(caplog: pytest.LogCaptureFixture) -> None:
    config = replace(QUICK, labelled=("500/class",), arms=("no-kd", "stack"))
    found = mfh.study(make_data(), config=config)
    (said,) = [note for note in found.verdict.reasons if "asks for 500/class labels" in note]
    assert "Every class has fewer outside the test fold, so a fit sees all that there are: " in said
    assert "asks for 500/class labels" in caplog.text
    counts = [int(number) for number in re.findall(r"\d+", said.rpartition(": ")[2])]
    assert sum(counts) / len(counts) * 3 == pytest.approx(found.labels["labelled"], abs=3)


def test_only_classes_with_too_few_labels_are_named() -> None:
    label = np.repeat([0, 1, 2], [60, 60, 9])
    data = PairedDataset.from_arrays(
        {"a": np.zeros((129, 2)), "b": np.zeros((129, 2))}, label=label, class_names=["x", "y", "z"]
    )
    split = Split(np.arange(129), np.arange(0), np.arange(0), labelled=np.arange(129))
    assert describe_shortage(data, LabelCount.of("60/class"), [split]) == (
        "`labelled` asks for 60/class labels. `z` of 3 classes have fewer outside the test fold, so a fit "
        "sees all that there are: 9."
    )
    assert describe_shortage(data, LabelCount.of("9/class"), [split]) == ""
    assert describe_shortage(data, LabelCount.of("0.5"), [split]) == ""


def test_a_label_a_class_is_enough() -> None:
    config = replace(QUICK, labelled=("1/class",), arms=("no-kd", "stack"))
    assert mfh.study(make_data(), config=config).labels["labelled"] == 3


def test_test_samples_without_labels_are_refused() -> None:
    split = np.where(np.arange(180) % 3 == 0, "test", "train")
    complete = make_data()
    data = PairedDataset.from_arrays(complete.modalities, label=complete.label, split=split)
    data = data.without_labels(np.flatnonzero(split == "test"))
    with pytest.raises(InputError, match="None of the test samples has a label"):
        mfh.study(data, config=replace(QUICK, labelled=(), arms=("no-kd", "stack"), retries=0))


def test_one_label_is_too_few() -> None:
    data = make_data().without_labels(np.arange(1, 180))
    with pytest.raises(InputError):
        mfh.study(data, config=replace(QUICK, labelled=()))


def test_a_stack_trusts_the_better_network_and_falls_back_to_the_student() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.integers(0, 4, 200))
    good = 3 * torch.eye(4)[truth] + torch.from_numpy(rng.normal(size=(200, 4)))
    noise = torch.from_numpy(3 * rng.normal(size=(200, 4)))
    own = torch.eye(4)[truth] + torch.from_numpy(rng.normal(size=(200, 4)))
    weights = fit_weights("single-label", {"good": good, "noise": noise, "own": own}, truth, "own")
    assert weights["good"] > 0.7
    assert weights["noise"] < 0.1
    few = fit_weights("single-label", {"noise": noise[:3], "own": own[:3]}, truth[:3], "own")
    assert few["own"] == pytest.approx(1, abs=0.3)


def test_weights_minimise_the_penalised_likelihood() -> None:
    rng = np.random.default_rng(1)
    truth = torch.from_numpy(rng.integers(0, 3, 60))
    outputs = {name: torch.from_numpy(rng.normal(size=(60, 3))) + torch.eye(3)[truth] for name in "xyz"}

    def loss(values: list[float]) -> float:
        mixed = sum(w * torch.log_softmax(outputs[n], 1) for w, n in zip(values, "xyz", strict=True))
        fit = torch.nn.functional.cross_entropy(mixed, truth, reduction="sum")  # type: ignore[arg-type]
        return float(fit) + 4 * (values[0] ** 2 + values[1] ** 2 + (values[2] - 1) ** 2)

    found = fit_weights("single-label", outputs, truth, "z")
    best = [found[name] for name in "xyz"]
    for place in range(3):
        for step in (-0.01, 0.01):
            moved = [w + step * (i == place) for i, w in enumerate(best)]
            assert loss(moved) >= loss(best) - 1e-6


@pytest.mark.parametrize("task", ["multi-label", "regression", "dense"])
def test_a_stack_of_other_tasks(task: str) -> None:
    rng = np.random.default_rng(2)
    if task == "regression":
        label = torch.from_numpy(rng.normal(size=(80, 2)))
        good = label + 0.1 * torch.from_numpy(rng.normal(size=(80, 2)))
        own = label + torch.from_numpy(rng.normal(size=(80, 2)))
    elif task == "multi-label":
        label = torch.from_numpy(rng.integers(0, 2, (80, 3))).double()
        good = 4 * (2 * label - 1)
        own = (2 * label - 1) + 2 * torch.from_numpy(rng.normal(size=(80, 3)))
    else:
        label = torch.from_numpy(rng.integers(0, 3, (80, 2, 2)))
        good = 3 * torch.nn.functional.one_hot(label).movedim(-1, 1).double()
        own = torch.from_numpy(rng.normal(size=(80, 3, 2, 2)))
    weights = fit_weights(task, {"good": good, "own": own}, label, "own")
    assert weights["good"] > weights["own"]
    mixed = combine(task, {"good": good, "own": own}, weights)
    assert mixed.shape == good.shape
    target = with_labels(task, mixed, label[:10], torch.arange(10))
    assert torch.isfinite(target).all()
    assert torch.equal(target[10:], mixed[10:])


def test_half_of_the_target_of_a_labelled_sample_is_its_label() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    target = with_labels("single-label", logits, torch.tensor([1]), torch.tensor([0]))
    torch.testing.assert_close(torch.softmax(target[0], 0), torch.tensor([0.25, 0.75]))
    assert torch.equal(target[1], logits[1])


def test_a_curve_says_how_many_labels_teachers_are_worth(tmp_path: Path) -> None:
    config = replace(QUICK, labelled=("0.2", "0.5"), label_curve=("1",), arms=("no-kd", "stack"))
    result = mfh.study(make_data(), config=config, out=tmp_path)
    assert [(point["count"], len(point["arms"])) for point in result.labels["curve"]] == [
        ("0.2", 2), ("0.5", 2), ("1", 1),
    ]  # fmt: skip
    assert set(result.labels["equivalents"]) == {"0.2", "0.5"}
    kept = load_results(tmp_path)
    assert isinstance(kept, StudyResult)
    assert kept.labels == result.labels
    alone = load_results(label_folder(tmp_path, "1"))
    assert {record.arm for record in alone.records} == {"no-kd"}
    again = mfh.study(make_data(), config=config, out=tmp_path)
    assert again.labels == result.labels


def test_label_equivalents_are_read_off_the_curve_without_teachers() -> None:
    rng = np.random.default_rng(0)
    units = rng.normal(size=400) * 5
    points = [
        Point(str(n), n, {"no-kd": units + value})
        for n, value in ((100.0, 60.0), (400.0, 70.0), (1600.0, 80.0))
    ]
    taught = Point("100", 100.0, {"no-kd": units + 60, "stack": units + 65})
    found = label_equivalent([taught, *points[1:]], taught)
    assert found["further"] == pytest.approx(100, abs=1)  # halfway in the logarithm: 200 labels
    assert found["low"] == pytest.approx(found["high"], abs=1)  # the same samples are in both
    best = Point("100", 100.0, {"no-kd": units + 60, "stack": units + 90})
    assert label_equivalent([best, *points[1:]], best)["further"] is None


def test_a_study_that_was_stopped_goes_on(tmp_path: Path) -> None:
    config = replace(QUICK, arms=("no-kd", "stack", "general", "joint"))
    whole = mfh.study(make_data(), config=config, out=tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    for file in (tmp_path / "part" / "state").glob("seed-0002*"):
        file.unlink()
    (tmp_path / "part" / "results.json").unlink()
    resumed = mfh.study(make_data(), config=config, out=tmp_path / "part")
    assert [replace(r, seconds=0.0) for r in resumed.records] == [
        replace(r, seconds=0.0) for r in whole.records
    ]
    assert resumed.comparisons == whole.comparisons


def test_progress_counts_all_networks_of_a_fit() -> None:
    networks = Networks(make_data(), QUICK)
    told = dict.fromkeys(units_per_fit(networks), 0)

    def count(stage: str, number: int) -> None:
        told[stage] += number

    run_seed(networks, 0, count)
    assert told == units_per_fit(networks)


@pytest.mark.parametrize("task", ["regression", "multi-label"])
def test_other_tasks_run_by_the_loop(task: str) -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(90, 4))
    label = (shared[:, :2] > 0).astype(int) if task == "multi-label" else shared[:, :1] + shared[:, 1:2]
    data = PairedDataset.from_arrays(
        {"a": shared, "b": shared + rng.normal(size=(90, 4))}, label=label, task=task
    )
    config = replace(QUICK, labelled=("0.4",), steps=15, arms=("no-kd", "self", "stack", "joint", "general"))
    result = mfh.study(data, config=config)
    assert {record.arm for record in result.records} == set(config.arms)
    assert result.verdict.sentence


def test_the_regular_teacher_can_be_focused_too() -> None:
    config = replace(QUICK, teacher_source="regular", arms=("no-kd", "regular", "general"))
    found = mfh.study(make_data(), config=config)
    assert {record.arm for record in found.records} == {"no-kd", "regular", "general"}


def test_a_metric_that_is_better_when_lower_has_label_equivalents() -> None:
    config = replace(QUICK, labelled=("0.2", "1"), metric="log-loss", arms=("no-kd", "stack"), steps=60)
    found = mfh.study(make_data(), config=config)
    means = {
        (point["count"], row["arm"]): row["mean"] for point in found.labels["curve"] for row in point["arms"]
    }
    assert means["0.2", "no-kd"] > means["1", "no-kd"]  # more labels, lower loss
    further = found.labels["equivalents"]["0.2"]["further"]
    better = means["0.2", "stack"] < means["0.2", "no-kd"]
    assert (further is None or further > 0) == better


def labelled_alone(rows: np.ndarray, *, group: np.ndarray | None = None) -> PairedDataset:
    """Return 60 samples of which some have a label; classes alternate."""
    label = np.full(60, -1)
    label[rows] = rows % 2
    rng = np.random.default_rng(0)
    views = {name: rng.normal(size=(60, 5)).astype(np.float32) for name in ("a", "b")}
    return PairedDataset.from_arrays(views, label=label, group=group)


@pytest.mark.parametrize(
    ("rows", "group", "text"),
    [
        (np.arange(5), None, r"`folds` must leave two labelled samples.*3 folds and 5 labelled.*--folds 2"),
        (np.arange(3), None, r"3 folds and 3 labelled samples: give more labels\.$"),
        (np.arange(10), np.repeat(np.arange(6), 10), r"`group` must have two groups or more with labels"),
        (np.arange(0, 60, 2), None, "two classes or more"),
    ],
)
def test_labels_that_cannot_be_divided_are_refused_before_training(
    rows: np.ndarray, group: np.ndarray | None, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "mfh"), pytest.raises(InputError, match=text):
        mfh.study(labelled_alone(rows, group=group), config=replace(QUICK, labelled=()))
    assert "given up" not in caplog.text


def test_one_class_in_each_training_part_is_refused_before_training() -> None:
    data = labelled_alone(np.arange(12), group=np.minimum(np.arange(60) % 2, 1))
    with pytest.raises(InputError, match="Each fit must see two labels or more, of two classes or more"):
        mfh.study(data, config=replace(QUICK, labelled=()))


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_a_share_of_many_small_strata_keeps_its_count(task: str) -> None:
    rng = np.random.default_rng(1)
    label = (
        rng.permutation(np.repeat(np.arange(100), 6))
        if task == "single-label"
        else rng.random((600, 9)) < 0.4
    )
    views = {name: np.zeros((600, 2), np.float32) for name in ("a", "b")}
    data = PairedDataset.from_arrays(views, label=label.astype(int), task=task)
    drawn = [
        [len(draw_labelled(data, np.arange(600), LabelCount.of(share), seed)) for seed in range(20)]
        for share in ("0.05", "0.1", "0.3")
    ]
    assert set(drawn[0]) == {30}
    assert set(drawn[1]) == {60}
    assert all(150 <= count <= 225 for count in drawn[2])
    often = np.zeros(600)
    for seed in range(300):
        often[draw_labelled(data, np.arange(600), LabelCount.of("0.05"), seed)] += 1
    assert abs(often.mean() - 15) < 1e-9
    assert often.max() < 45  # every sample is about as likely as the others


def test_arms_of_few_labels_need_few_labels() -> None:
    with pytest.raises(InputError, match="labelled"):
        mfh.study(make_data(), config=replace(QUICK, labelled=(), arms=("no-kd", "stack")))


def test_clip_0_is_no_limit_with_few_labels_too() -> None:
    def weights(clip: float | None) -> torch.Tensor:
        config = replace(QUICK, clip=clip, steps=3, arms=("no-kd",)).settled()
        kept = run_seed(Networks(make_data(), config), 0, lambda _stage, _count: None).weights["students"]
        return next(value for name, value in kept.items() if name.startswith("students/no-kd/"))

    assert torch.equal(weights(None), weights(5.0))
    assert torch.equal(weights(0.0), weights(1e9))
    assert not torch.equal(weights(0.0), weights(0.01))
