"""Every file that a run leaves is cut short, changed in one bit, and exchanged for that of another run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from damage import CONFIG, check, damaged, paired, told
from kills import CASES, content
from torch import nn

import mfh
from mfh import DistillConfig, InputError
from mfh._distill import DistillResult
from mfh._export import export_run, load_export
from mfh.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*have a negative increase")]


def test_a_study(tmp_path: Path) -> None:
    for number in (0, 1):
        mfh.study(paired(number), config=CONFIG, out=tmp_path / str(number))
    count = check(
        tmp_path / "0", tmp_path / "1", tmp_path,
        read=lambda folder: told(mfh.load_results(folder)),
        again=lambda folder: mfh.study(paired(0), config=CONFIG, out=folder),
    )  # fmt: skip
    assert count > 50


def test_an_export(tmp_path: Path) -> None:
    def export(number: int, to: Path) -> None:
        export_run(tmp_path / f"study-{number}", to, arm="general", with_teacher=True, data=paired(number))

    def read(folder: Path) -> Any:
        found = load_export(folder)
        assert found.teacher is not None
        states = [*found.teacher.state_dict().values(), *found.student.state_dict().values()]
        return found.info, [value.numpy().tobytes() for value in states]

    for number in (0, 1):
        mfh.study(paired(number), config=CONFIG, out=tmp_path / f"study-{number}")
        export(number, tmp_path / str(number))
    folder = tmp_path / "0"
    known, count = read(folder), 0
    for what, copy in damaged(folder, tmp_path / "1", tmp_path):
        try:
            assert read(copy) == known, what
        except InputError as error:
            assert Path(what.partition(" ")[0]).name in str(error), f"{what}: {error}"  # noqa: PT017
        count += 1
    assert count > 9


def test_a_distillation(tmp_path: Path) -> None:
    def distill(number: int, folder: Path) -> None:
        torch.manual_seed(number)
        teacher, config = nn.Linear(6, 2), DistillConfig(epochs=3, device="cpu")
        mfh.distill(
            teacher, lambda: nn.Linear(3, 2), paired(number), config, out=folder,
            teacher_modality="lidar", student_modality="camera",
        )  # fmt: skip

    for number in (0, 1):
        distill(number, tmp_path / str(number))
    count = check(
        tmp_path / "0", tmp_path / "1", tmp_path,
        read=lambda folder: told(DistillResult.load(folder, nn.Linear(3, 2))),
        again=lambda folder: distill(0, folder),
    )  # fmt: skip
    assert count > 12


def test_a_diagnosis(tmp_path: Path) -> None:
    config = mfh.DiagnoseConfig(
        seeds=1, folds=3, epochs=2, hidden=(6,), num_bootstrap=20, num_shuffles=3, teacher="lidar",
        student="camera", device="cpu",
    )  # fmt: skip
    for number in (0, 1):
        mfh.diagnose(paired(number), config=config, out=tmp_path / str(number))
    read = lambda folder: told(mfh.load_results(folder))  # noqa: E731
    known = read(tmp_path / "0")
    for what, copy in damaged(tmp_path / "0", tmp_path / "1", tmp_path):
        try:
            assert read(copy) == known, what
        except InputError as error:
            # results and arrays vouch for each other: which of them was exchanged, nobody can tell
            assert ".json" in str(error) or ".npz" in str(error)  # noqa: PT017


def test_steps_and_prepared_clips(tmp_path: Path) -> None:
    case, inputs = CASES["ravdess"], tmp_path / "inputs"
    inputs.mkdir()
    case.inputs(inputs)

    def run(folder: Path, *options: str) -> None:
        for words in case.commands(inputs, folder):
            status = main([*words, *(options if "train" in words else ())])
            if status:
                raise InputError(errors())

    texts: list[str] = []

    def errors() -> str:
        return " ".join(texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr.write", lambda text: texts.append(text) or len(text), raising=False)
        run(tmp_path / "0")
        run(tmp_path / "1", "--seed", "5")
        wanted, count = content(tmp_path / "0"), 0
        for what, copy in damaged(tmp_path / "0", tmp_path / "1", tmp_path):
            texts.clear()
            try:
                run(copy)
            except InputError:
                another = what == "run.json exchanged" and "holds another run's results" in errors()
                assert another or Path(what.partition(" ")[0]).name in errors(), what
            else:  # made again
                found = content(copy)
                differing = [n for n in wanted.keys() | found.keys() if wanted.get(n, 0) != found.get(n, 0)]
                assert differing == [], what
            count += 1
    assert count > 30
