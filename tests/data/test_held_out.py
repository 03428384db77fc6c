"""Folds and times that the data bring."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import make_paired

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study.design import Design
from mfh.cli import main
from mfh.data.held_out import split_by_time


def arrays(count: int = 60) -> dict:
    rng = np.random.default_rng(0)
    return {"a": rng.normal(size=(count, 3)), "b": rng.normal(size=(count, 2))}


def test_tests_are_on_later_samples_only() -> None:
    time = np.random.default_rng(1).permutation(60)
    data = PairedDataset.from_arrays(arrays(), label=np.arange(60) % 2, time=time)
    assert data.split is not None
    latest = {name: time[data.split == name] for name in ("train", "validation", "test")}
    assert latest["train"].max() < latest["validation"].min()
    assert latest["validation"].max() < latest["test"].min()
    assert [len(latest[name]) for name in latest] == [36, 12, 12]


def test_dates_and_ties_stay_in_order() -> None:
    days = np.array(["2024-01-03", "2024-01-01", "2024-01-01", "2024-01-02"], dtype="datetime64[D]")
    assert split_by_time(days).tolist() == ["test", "train", "train", "validation"]
    ties = split_by_time(np.repeat([1, 2, 3], [50, 1, 49]))
    assert {tuple(sorted(set(ties[np.repeat([1, 2, 3], [50, 1, 49]) == t]))) for t in (1, 2, 3)} == {
        ("train",), ("validation",), ("test",),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"`time` must hold three different times or more\. Got 2"):
        split_by_time(np.array([1, 2, 2]))


def test_folds_of_the_data_are_the_folds_of_each_repeat() -> None:
    fold = np.arange(60) // 20
    data = PairedDataset.from_arrays(arrays(), label=np.arange(60) % 2, fold=fold)
    config = StudyConfig(teacher="a", student="b")
    design = Design.of(data, config)
    assert (design.folds, len(design.seeds)) == (3, 6)
    for seed in design.seeds:
        test = design.draw(data, config, seed).test
        assert np.array_equal(test, np.flatnonzero(fold == seed % 3))
    first, second = (design.draw(data, config, seed).validation for seed in (0, 3))
    assert not np.array_equal(first, second)


def test_wrong_folds_are_refused() -> None:
    label = np.arange(60) % 2
    with pytest.raises(InputError, match="must not be given together"):
        PairedDataset.from_arrays(arrays(), label=label, fold=label, time=np.arange(60))
    with pytest.raises(InputError, match=r"`fold` must hold two folds or more\. Got 1"):
        PairedDataset.from_arrays(arrays(), label=label, fold=np.zeros(60, dtype=int))
    with pytest.raises(InputError, match=r"`fold` must keep each group in one fold\. 10 groups"):
        PairedDataset.from_arrays(arrays(), label=label, fold=label, group=np.arange(60) // 6)


def test_folds_change_the_fingerprint() -> None:
    plain = make_paired()
    assert replace(plain, fold=np.arange(len(plain)) % 4).fingerprint != plain.fingerprint


def test_the_command_line_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_paired()
    np.savez(
        tmp_path / "data.npz", audio=data.modalities["audio"], image=data.modalities["image"],
        label=data.label, day=np.arange(len(data)), part=np.arange(len(data)) // 80,
    )  # fmt: skip
    base = ["study", "--data", str(tmp_path / "data.npz"), "--teacher", "audio", "--student", "image"]
    base += ["--epochs", "1", "--hidden", "4", "--arms", "no-kd", "joint", "--repeats", "1", "--quiet"]
    assert main([*base, "--fold-column", "part", "--out", str(tmp_path / "folds")]) == 0
    folds = mfh.load_results(tmp_path / "folds")
    assert {(record.repeat, record.fold) for record in folds.records} == {(0, 0), (0, 1), (0, 2)}
    assert main([*base, "--split-by-time", "day", "--out", str(tmp_path / "time")]) == 0
    assert mfh.load_results(tmp_path / "time").data["splits"]["test"] == 48  # type: ignore[attr-defined]
    assert main([*base, "--fold-column", "absent", "--out", str(tmp_path / "no")]) == 2
    assert "holds no fold `absent`" in capsys.readouterr().err
