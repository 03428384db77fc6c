"""A whole diagnosis: what it writes, what it may not see, and what it says to bad data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import make_paired

from mfh import DiagnoseConfig, InputError, PairedDataset, diagnose, load_results
from mfh._diagnose.verdict import Transfer, believe, chance_bound, name_verdict
from mfh.cli import main
from mfh.results import Diagnosis

QUICK: dict[str, Any] = {"folds": 3, "epochs": 3, "hidden": (8,), "num_bootstrap": 20, "num_shuffles": 3}


def run(data: PairedDataset, **settings: Any) -> Diagnosis:
    return diagnose(
        data, config=DiagnoseConfig(**{"teacher": "audio", "student": "image"} | QUICK | settings)
    )


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    return run(make_paired())


def test_it_holds_everything_and_comes_back_from_disk(found: Diagnosis, tmp_path: Path) -> None:
    gamma = found.diagnosis["gamma"]
    assert gamma["low"] < gamma["estimate"] < gamma["high"]
    assert {"between", "within", "null", "venn"} <= set(gamma)
    assert found.diagnosis["verdict"] in ("help", "no-effect", "hurt", "abstain")
    assert 0 <= found.diagnosis["probability"] <= 1
    assert {row.arm for row in found.records} >= {"no-kd", "regular", "joint", "general", "important"}
    assert found.frame("companions").name.is_unique
    assert found.channels["contribution"].shape == (3, 8)
    assert "<table" in found._repr_html_()
    found.save(tmp_path)
    again = load_results(tmp_path)
    assert isinstance(again, Diagnosis)
    assert again.diagnosis["gamma"]["estimate"] == gamma["estimate"]
    np.testing.assert_array_equal(again.channels["contribution"], found.channels["contribution"])


def test_contributions_of_the_folds_average_to_gamma(found: Diagnosis) -> None:
    total = found.channels["contribution"].sum(axis=1).mean()
    assert total == pytest.approx(found.diagnosis["gamma"]["estimate"], abs=0.1)


def test_same_seed_same_diagnosis_and_test_data_choose_nothing(found: Diagnosis) -> None:
    data = make_paired()
    from mfh.data.splits import draw_split

    spoiled = {name: values.clone() for name, values in data.modalities.items()}  # type: ignore[union-attr]
    for values in spoiled.values():
        values[draw_split(data, 0).test] = 1e3
    assert run(replace(data, modalities=spoiled)).diagnosis == found.diagnosis


def test_groups_stay_together_and_several_seeds_repeat_the_pilot() -> None:
    data = replace(make_paired(), group=np.arange(240) // 20)
    result = run(data, seeds=2, epochs=2)
    assert len({record.seed for record in result.records}) == 6
    assert result.comparisons[0].n == 6
    assert result.comparisons[0].low_boot is not None


def test_shuffled_pairs_are_found_out() -> None:
    rng = np.random.default_rng(0)
    data = make_paired(300)
    image = data.modalities["image"][rng.permutation(300)]
    result = run(replace(data, modalities={**data.modalities, "image": image}))
    gamma = result.diagnosis["gamma"]
    assert abs(gamma["estimate"]) < 0.12
    assert gamma["venn"]["gamma"] is None
    assert "not above that of shuffled pairs" in gamma["venn"]["note"]


def test_a_teacher_at_chance_is_named() -> None:
    data = make_paired(240)
    noise = np.random.default_rng(0).normal(size=(240, 4))
    data = PairedDataset.from_arrays({"audio": noise, "image": data.modalities["image"]}, label=data.label)
    text = " ".join(run(data).diagnosis["reasons"])
    assert "The teacher is no better than guessing" in text
    assert "it has nothing to teach" in text.lower()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (make_paired(24), "`folds` 3 needs 30 samples or more outside the test split. There are 18"),
        (make_paired(100, num_classes=15), "needs 6 samples or more of every class.*fewer of `10 \\(5\\)`"),
        (make_paired(num_groups=1), "`group` must hold 3 groups or more"),
        (replace(make_paired(), group=np.arange(240) // 60), "`folds` 4 needs at least 4 groups"),
    ],
    ids=["samples", "classes", "one group", "groups"],
)
def test_too_little_data(data: PairedDataset, text: str) -> None:
    with pytest.raises(InputError, match=text):
        run(data, folds=4 if "`folds` 4" in text else 3)


def test_two_folds_are_too_few() -> None:
    with pytest.raises(InputError, match="`folds` must be 3 or more"):
        DiagnoseConfig(folds=2)


def test_verdicts_follow_the_belief() -> None:
    assert name_verdict(believe(8.0, 1.0))[0] == "help"
    assert name_verdict(believe(-8.0, 1.0))[0] == "hurt"
    word, probability = name_verdict(believe(0.5, 3.0))
    assert word == "abstain"
    assert 0.5 < probability < 0.8
    assert believe(-8.0, 1.0).mean > believe(-8.0, 1.0, Transfer(spread=4.0, offset=0.0, sd=2.0)).mean
    sds = [believe(3.0, error).sd for error in (0.5, 1.0, 2.0)]
    assert sds == sorted(sds)


def test_chance_is_the_largest_class() -> None:
    label = np.arange(400) % 2
    assert 50 < chance_bound(label) < 56
    assert chance_bound(np.minimum(np.arange(400) % 10, 1)) > 90


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_paired()
    arrays = {name: np.asarray(values) for name, values in data.modalities.items()}
    np.savez(tmp_path / "data.npz", **arrays, label=data.label.numpy())
    arguments = ["diagnose", "--data", str(tmp_path / "data.npz"), "--teacher", "audio", "--student", "image"]
    arguments += ["--folds", "3", "--epochs", "2", "--hidden", "8", "--num-bootstrap", "20", "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "probability" in printed
    assert "wrong-class rank correlation" in printed
    assert load_results(tmp_path / "out").kind == "diagnosis"
    assert (tmp_path / "out" / "report.html").exists()
    assert main([*arguments, "--folds", "30", "--out", str(tmp_path / "other")]) == 2
    error = capsys.readouterr().err
    assert "`folds` 30 needs 300 samples or more" in error
    assert len(error.strip().splitlines()) == 1
