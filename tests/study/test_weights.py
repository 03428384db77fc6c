"""Studies with weights of samples and classes, with rare classes, and with absent ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from few_networks import FEW
from samples import make_paired

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study.design import Design
from mfh.cli import main
from mfh.data.splits import absent_classes
from mfh.results import load_results

QUICK = StudyConfig(
    teacher="audio", student="image", arms=("no-kd", "regular", "general"), repeats=1, folds=3, epochs=3,
    ratio=(0.5,), hidden=(8,), device="cpu",
)  # fmt: skip
FEW_LABELS = replace(
    FEW, teacher="audio", student="image", arms=("no-kd", "stack"), steps=15, label_folds=2,
    label_tuning="none", hidden=(8,),
)  # fmt: skip


def weighted(data: PairedDataset) -> PairedDataset:
    weight = np.random.default_rng(0).integers(0, 4, len(data))
    return replace(data, weight=torch.from_numpy(weight).double())


@pytest.mark.parametrize("config", [QUICK, FEW_LABELS])
def test_weights_reach_teachers_students_and_metrics(config: StudyConfig) -> None:
    data = make_paired()
    plain = mfh.study(data, config=config)
    alike = mfh.study(replace(data, weight=torch.full((len(data),), 2.0).double()), config=config)
    one = [replace(row, seconds=0.0) for row in plain.records]
    for row, other in zip(one, alike.records, strict=True):
        assert row.test == pytest.approx(other.test)
    for name, value in plain.predictions.items():
        assert (alike.predictions[name] == value).all(), "equal weights change no output"
    by_sample = mfh.study(weighted(data), config=config)
    skewed = mfh.study(data, config=replace(config, class_weight={data.class_names[0]: 9}))
    for changed in (by_sample, skewed):
        assert [row.test for row in changed.teachers] != [row.test for row in plain.teachers]
        assert any(
            not np.array_equal(changed.predictions[name], value)
            for name, value in plain.predictions.items()
            if name.startswith("outputs/")
        )
    assert by_sample.data["weights"] == "0 to 3"


@pytest.mark.slow
def test_both_engines_give_the_same_study_with_weights() -> None:
    data = weighted(make_paired())
    config = replace(QUICK, class_weight={"1": 3.0}, folds=2, epochs=2)
    many, loop = (mfh.study(data, config=replace(config, engine=engine)) for engine in ("many", "loop"))
    for one, other in zip(many.records, loop.records, strict=True):
        assert one.also["log-loss"] == pytest.approx(other.also["log-loss"], rel=1e-3)
    for name, value in many.predictions.items():
        if name.startswith("outputs/"):
            np.testing.assert_allclose(loop.predictions[name], value, rtol=0, atol=1e-3)


def test_the_test_metric_has_the_weights() -> None:
    data = weighted(make_paired())
    result = mfh.study(data, config=QUICK)
    arrays = result.predictions
    for row in result.records:
        rows = arrays[f"rows/{row.seed}"]
        place = [r for r in result.records if r.seed == row.seed].index(row)
        right = arrays[f"outputs/{row.seed}"][place].argmax(axis=1) == arrays["label"][rows]
        assert row.test == pytest.approx(100 * np.average(right, weights=arrays["weight"][rows]))
    gain = next(c for c in result.comparisons if (c.a, c.b) == ("regular", "no-kd"))
    mean = {arm: np.mean([r.test for r in result.records if r.arm == arm]) for arm in ("regular", "no-kd")}
    assert gain.difference == pytest.approx(mean["regular"] - mean["no-kd"], rel=0.02)


def rare(positives: int = 60, count: int = 3000) -> PairedDataset:
    """A rich modality, and a poorer one that is mostly noise; 2% positives."""
    rng = np.random.default_rng(0)
    label = np.zeros(count, int)
    label[rng.permutation(count)[:positives]] = 1
    rich = rng.normal(size=(count, 6)) + 1.4 * label[:, None]
    poor = np.c_[rich + rng.normal(size=(count, 6)), rng.normal(size=(count, 14))]
    return PairedDataset.from_arrays({"audio": rich, "image": poor}, label=np.array(["well", "ill"])[label])


def test_auroc_tells_arms_apart_where_accuracy_cannot() -> None:
    data = rare()
    config = replace(
        QUICK, arms=("no-kd", "regular", "mismatched"), teacher_source="regular", hidden=(16,), epochs=10,
        repeats=2, folds=3,
    )  # fmt: skip
    accuracy, auroc = (mfh.study(data, config=replace(config, metric=name)) for name in ("accuracy", "auroc"))
    by_accuracy, by_auroc = (
        next(c for c in result.comparisons if (c.a, c.b) == ("regular", "mismatched"))
        for result in (accuracy, auroc)
    )
    assert abs(by_accuracy.difference) < 0.1
    assert by_auroc.low is not None
    assert by_auroc.low > 10
    assert accuracy.verdict.verdict == "abstain"
    sentence = accuracy.verdict.sentence
    assert (
        "the students of `regular` and `no-kd` give one class to over 99.5% of the test samples" in sentence
    )
    assert "`--metric balanced-accuracy`" in sentence


def test_balanced_weights_find_the_rare_class() -> None:
    config = replace(QUICK, arms=("no-kd",), hidden=(16,), folds=2, epochs=6)
    recall = []
    for wanted in (None, "balanced"):
        result = mfh.study(rare(), config=replace(config, class_weight=wanted))
        recall.append(np.mean([row.also["balanced-accuracy"] for row in result.records]))
    assert recall[0] < 55
    assert recall[1] > 70


def test_classes_that_a_split_lacks_are_noted() -> None:
    data = make_paired()
    label = data.label.clone()
    label[:2] = 3
    data = replace(data, label=label, class_names=(*data.class_names, "rare"))
    result = mfh.study(data, config=QUICK)
    assert len(result.records) == 3 * 3
    assert all(np.isfinite(row.test) for row in result.records)
    notes = [text for text in result.verdict.reasons if "have no sample in" in text]
    assert any(
        "in the test split of 1 of 3 fits: `rare`; metrics by class leave them out" in n for n in notes
    )
    design = Design.of(data, QUICK)
    lacking = [absent_classes(data, design.draw(data, QUICK, seed)) for seed in design.seeds]
    assert sum("test" in found for found in lacking) == 1


def test_thousands_of_rare_classes_are_divided_evenly() -> None:
    label = np.repeat(np.arange(2000), 3)
    values = np.zeros((6000, 1))
    data = PairedDataset.from_arrays({"audio": values, "image": values}, label=label)
    config = replace(QUICK, folds=5)
    design = Design.of(data, config)
    for seed in design.seeds:
        split = design.draw(data, config, seed)
        assert len(split.test) == 1200
        assert 1000 < len(split.validation) < 2400


@pytest.mark.slow
def test_the_command_line_takes_class_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_paired()
    path = tmp_path / "data.npz"
    np.savez(path, audio=data.modalities["audio"], image=data.modalities["image"], label=data.label)
    common = ["study", "--data", str(path), "--teacher", "audio", "--student", "image", "--arms", "no-kd",
              "--repeats", "1", "--folds", "2", "--epochs", "1", "--hidden", "4", "--quiet"]  # fmt: skip
    assert main([*common, "--class-weight", "{0: 3, 2: 0.5}", "--out", str(tmp_path / "one")]) == 0
    assert load_results(tmp_path / "one").config["class_weight"] == {"0": 3, "2": 0.5}
    capsys.readouterr()
    assert main([*common, "--class-weight", "{9: 3}", "--out", str(tmp_path / "two")]) == 2
    assert "`class_weight` must name classes of the data" in capsys.readouterr().err


def test_class_weights_that_break_a_rule_are_refused() -> None:
    wrong: tuple[dict[str | int, float], ...] = ({"ill": -1.0}, {}, {"ill": float("nan")})
    for given in wrong:
        with pytest.raises(InputError, match="`class_weight` must be balanced, or numbers of 0 or more"):
            StudyConfig(class_weight=given)
