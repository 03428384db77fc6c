"""Exporting a focused teacher: which arms can be, and which channels their teachers lose."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import make_paired

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._export import export_run, write
from mfh.arms import Arm
from mfh.results import StudyResult, load_results


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out ONNX, which takes a second a file."""
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_paired()


@pytest.fixture(scope="module")
def finished(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two seeds; tests copy what they change."""
    folder = tmp_path_factory.mktemp("study") / "out"
    config = StudyConfig(
        teacher="audio", student="image", seeds=2, epochs=3, ratio=(0.25, 0.5), random_draws=1, folds=2,
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
    export_run(finished, tmp_path, arm=arm, ratio=0.5, seed=1, with_teacher=True, data=data)
    result = load_results(finished)
    assert isinstance(result, StudyResult)
    values = result.channels[f"{array}_train"][1]
    assert removed(tmp_path) == sorted(np.argsort(values)[lost].tolist())
    exported = mfh.load_export(tmp_path)
    assert (exported.info["teacher"]["arm"], exported.info["seed"]) == (arm, 1)
    assert exported.teacher is not None
    with torch.no_grad():
        assert exported.teacher(torch.zeros(2, 10)).shape == (2, 3)


def test_an_arm_of_the_users_own_is_exported_by_its_stored_values(
    data: PairedDataset, finished: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "out")
    result = load_results(folder)
    assert isinstance(result, StudyResult)
    own = Arm(name="spread", teacher="source", ranking=lambda *_, **__: None)
    values = np.stack([np.arange(8.0), np.arange(8.0)[::-1]])
    channels = {**result.channels, "spread_train": values}
    arms = tuple(own if arm.name == "important" else arm for arm in result.arms)
    records = tuple(replace(r, arm="spread") if r.arm == "important" else r for r in result.records)
    replace(result, arms=arms, channels=channels, records=records).save(folder)
    with pytest.raises(InputError, match="weights of the arm `spread` were not kept"):
        export_run(folder, tmp_path / "to", arm="spread", with_teacher=True, data=data)


@pytest.mark.parametrize("arm", ["random", "regular"])
def test_other_arms_are_refused_with_a_list(
    data: PairedDataset, finished: Path, tmp_path: Path, arm: str
) -> None:
    text = f"ranking is stored, `general`, `important`, `specific`. Got '{arm}'."
    with pytest.raises(InputError, match=re.escape(text)):
        export_run(finished, tmp_path / "to", arm=arm, with_teacher=True, data=data, ratio=0.5)
    assert not list((tmp_path / "to").glob("*"))


def test_a_teacher_needs_the_data_of_the_study(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`with_teacher` needs the folder and the data"):
        export_run(finished, tmp_path / "to", with_teacher=True)
    with pytest.raises(InputError, match="`data` must be those of the study"):
        export_run(finished, tmp_path / "to", with_teacher=True, data=make_paired(seed=3))
