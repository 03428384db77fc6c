"""Exporting a finished study: which arms can be exported, and which channels their teachers lose."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import make_paired

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._export import export_study
from mfh.arms import Arm
from mfh.cli import main
from mfh.results import StudyResult, load_results


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_paired()


@pytest.fixture(scope="module")
def finished(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two seeds; tests copy what they change."""
    folder = tmp_path_factory.mktemp("study") / "out"
    config = StudyConfig(
        teacher="audio", student="image", seeds=2, epochs=3, ratio=(0.25, 0.5), random_draws=1,
        smoothing=(0.1,), hidden=(8,), device="cpu", engine="loop",
    )  # fmt: skip
    mfh.study(data, config=config, out=folder)
    return folder


def removed(folder: Path) -> list[int]:
    return list(json.loads((folder / "teacher" / "focus.json").read_text())["removed"])


@pytest.mark.parametrize(
    ("arm", "array", "lost"),
    [("general", "increase", slice(0, 4)), ("specific", "increase", slice(4, 8)),
     ("important", "importance", slice(0, 4))],
)  # fmt: skip
def test_a_teacher_loses_the_channels_that_its_arm_removes(
    data: PairedDataset, finished: Path, tmp_path: Path, arm: str, array: str, lost: slice
) -> None:
    export_study(finished, data, tmp_path, arm=arm, ratio=0.5, seed=1)
    result = load_results(finished)
    assert isinstance(result, StudyResult)
    values = result.channels[f"{array}_train"][1]
    assert removed(tmp_path) == sorted(np.argsort(values)[lost].tolist())
    told = mfh.load_export(tmp_path).info
    assert (told["teacher"]["arm"], told["seed"]) == (arm, 1)


def test_an_arm_of_the_users_own_is_exported_by_its_stored_values(
    data: PairedDataset, finished: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "out")
    result = load_results(folder)
    assert isinstance(result, StudyResult)
    own = Arm(name="spread", teacher="source", ranking=lambda *_, **__: None)
    values = np.stack([np.arange(8.0), np.arange(8.0)[::-1]])
    channels = {**result.channels, "spread_train": values}
    replace(result, arms=(*result.arms, own), channels=channels).save(folder)
    for seed, expected in ((0, [0, 1]), (1, [6, 7])):
        export_study(folder, data, tmp_path / "to", arm="spread", ratio=0.25, seed=seed)
        assert removed(tmp_path / "to") == expected


@pytest.mark.parametrize("arm", ["regular", "random", "softened", "unknown"])
def test_other_arms_are_refused_with_a_list(
    data: PairedDataset, finished: Path, tmp_path: Path, arm: str
) -> None:
    text = f"ranking is stored, `general`, `important`, `specific`. Got '{arm}'."
    with pytest.raises(InputError, match=re.escape(text)):
        export_study(finished, data, tmp_path / "to", arm=arm)
    assert not list((tmp_path / "to").glob("*"))


def test_the_command_passes_any_name_on(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: PairedDataset
) -> None:
    np.savez(tmp_path / "data.npz", **data.modalities, label=data.label, id=data.id)
    command = ["export", "--out", str(finished), "--to", str(tmp_path / "to"), "--arm", "nearly",
               "--data", str(tmp_path / "data.npz")]  # fmt: skip
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "Got 'nearly'" in error
    assert "`general`, `important`, `specific`" in error
