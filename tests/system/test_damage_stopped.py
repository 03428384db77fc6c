"""Folders of commands that were stopped, prepared videos, caches and single files are damaged likewise."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import make_videos
from damage import CONFIG, Words, check, check_stopped, commands, damaged, paired, stopped_after
from interrupts import CASES as INTERRUPTED
from torch import nn

import mfh
from mfh import DistillConfig, InputError
from mfh._saliency import SaliencyAccumulator, SaliencyResult
from mfh._study import networks
from mfh._study.resume import Store
from mfh.cli import main
from mfh.data.sources.vggsound.prepare import prepare
from mfh.data.sources.vggsound.reader import load
from mfh.models.weights import load_state
from mfh.training.fitting import Fitting

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*have a negative increase")]


def test_a_study_that_was_stopped(tmp_path: Path) -> None:
    def run(number: int, folder: Path) -> None:
        mfh.study(paired(number), config=CONFIG, out=folder)

    assert check_stopped(tmp_path, run, Store, "save", 1) >= 20


def test_a_study_of_large_networks_that_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "SMALL_INPUT", 2)  # so that these count as large
    config = replace(CONFIG, seeds=1, engine="loop")

    def run(number: int, folder: Path) -> None:
        mfh.study(paired(number), config=config, out=folder)

    assert check_stopped(tmp_path, run, Fitting, "_save_when_due", 30) >= 20


def videos(folder: Path, labels: int) -> tuple[Path, Callable[[Path, str], Words]]:
    """Six clips, and the command that prepares them in folders or `tars`."""
    csv = make_videos(folder, [f"class {i % labels}" for i in range(6)])

    def words(out: Path, form: str) -> Words:
        shards = ["--shards", "0.05"] if form == "tars" else []
        places = ["--csv", str(csv), "--clips", str(folder / "clips"), "--out", str(out), "--quiet"]
        return ["vggsound", "prepare", *places, "--frames", "4", "--size", "16", "--jobs", "0", *shards]

    return csv, words


@pytest.mark.parametrize("form", ["folders", "tars"])
def test_prepared_videos(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in (0, 1):
        _, words = videos(tmp_path / f"inputs-{number}", 2 + number)
        commands(capsys, lambda folder, words=words: words(folder, form))(tmp_path / str(number))
    _, words = videos(tmp_path / "again", 2)

    def again(folder: Path) -> None:
        commands(capsys, lambda place: words(place, form))(folder)

    def read(folder: Path) -> Any:
        caplog.clear()
        data = load(folder, cache=False)
        values = data.read(["audio", "video"], slice(None)).values()
        if caplog.records:  # a damaged clip of many is blank, which is told
            raise InputError(caplog.text)
        return data.id.tolist(), data.label.tolist(), [value.numpy().tobytes() for value in values]

    assert check(tmp_path / "0", tmp_path / "1", tmp_path, read=read, again=again) > 15


def test_the_cache_of_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1):
        _, words = videos(tmp_path / f"inputs-{number}", 2 + number)
        commands(capsys, lambda folder, words=words: words(folder, "folders"))(tmp_path / str(number))
        load(tmp_path / str(number), cache=tmp_path / f"cache-{number}")

    def again(folder: Path) -> None:
        data = load(tmp_path / "0", cache=folder)
        found.append(
            [value.numpy().tobytes() for value in data.read(["audio", "video"], slice(None)).values()]
        )

    found: list[Any] = []
    again(tmp_path / "cache-0")
    for number in (0, 1):  # of another data set under the same names, as a copied folder has them
        for path in (tmp_path / "cache-0").iterdir():
            kind = path.name.split("-")[0]
            other = next((tmp_path / "cache-1").glob(f"{kind}-*{path.suffix}"))
            (tmp_path / f"other-{number}").mkdir(exist_ok=True)
            shutil.copyfile(other, tmp_path / f"other-{number}" / path.name)
    count = 0
    for what, copy in damaged(tmp_path / "cache-0", tmp_path / "other-0", tmp_path):
        again(copy)
        assert found[-1] == found[0], what
        count += 1
    assert count >= 10


def test_steps_on_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = make_videos(tmp_path / "inputs", [f"class {i % 2}" for i in range(16)])
    prepare(
        csv, tmp_path / "inputs" / "clips", tmp_path / "data", frames=6, size=(16, 20), jobs=0, progress=False
    )
    small = ["--width", "2", "--epochs", "1", "--batch-size", "5", "--frames", "6", "--device", "cpu"]

    def steps(*more: str) -> list[Callable[[Path], Words]]:
        def words(folder: Path, step: Words) -> Words:
            places = ["--data", str(tmp_path / "data"), "--out", str(folder), "--quiet"]
            return ["vggsound", *step, *places, *small, *more]

        several = (
            ["pretrain", "--modality", "audio"], ["pretrain", "--modality", "video"], ["saliency"],
            ["distill", "--mode", "general", "--ratio", "0.5"],
        )  # fmt: skip
        return [partial(words, step=step) for step in several]

    again = commands(capsys, *steps("--seed", "0"))
    again(tmp_path / "0")
    commands(capsys, *steps("--seed", "5"))(tmp_path / "1")
    assert check(tmp_path / "0", tmp_path / "1", tmp_path, again=again) > 25


@pytest.mark.parametrize("name", ["ravdess train", "vggsound pretrain"])
def test_a_training_that_was_stopped(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, inputs = INTERRUPTED[name], tmp_path / "inputs"
    inputs.mkdir()
    case.inputs(inputs)

    def words(folder: Path, *more: str) -> Words:
        return [*case.commands(inputs, folder)[0], *more]

    for number in (0, 1):
        with pytest.MonkeyPatch.context() as patch:
            stopped_after(patch, Fitting, "_save_when_due", 4)
            assert main(words(tmp_path / str(number), "--seed", str(number))) == 130
    again = commands(capsys, lambda folder: words(folder, "--seed", "0"))
    again(tmp_path / "whole")
    capsys.readouterr()
    assert check(tmp_path / "0", tmp_path / "1", tmp_path, again=again, whole=tmp_path / "whole") >= 4


def test_saliency_in_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for number in (0, 1):
        rows = rng.normal(size=(200_000, 6)).astype(np.float32)
        np.save(tmp_path / f"h-{number}.npy", rows)
        np.save(tmp_path / f"s-{number}.npy", rows[:, :3] + 1)
    np.savez(tmp_path / "head.npz", weight=rng.normal(size=(3, 6)).astype(np.float32), bias=np.zeros(3))

    def words(folder: Path, number: int) -> Words:
        files = [str(tmp_path / f"{name}-{number}.npy") for name in "hs"]
        head = ["--head", str(tmp_path / "head.npz"), "--out", str(folder / "out.npz"), "--quiet"]
        return ["saliency", "--features", files[0], "--student-logits", files[1], *head]

    for number in (0, 1):
        with pytest.MonkeyPatch.context() as patch:
            stopped_after(patch, SaliencyAccumulator, "merge", 2)
            assert main(words(tmp_path / str(number), number)) == 130
        commands(capsys, partial(words, number=number))(tmp_path / f"whole-{number}")
    again = commands(capsys, partial(words, number=0))
    assert check(tmp_path / "0", tmp_path / "1", tmp_path, again=again, whole=tmp_path / "whole-0") == 3
    read = lambda folder: SaliencyResult.load(folder / "out.npz").values.tobytes()  # noqa: E731
    refused = 0
    for what, copy in damaged(tmp_path / "whole-0", tmp_path / "whole-1", tmp_path):
        if "exchanged" in what:
            continue  # a file of its own, which nothing beside it tells from another
        try:
            assert read(copy) == read(tmp_path / "whole-0"), what
        except InputError as error:
            assert "out.npz" in str(error)  # noqa: PT017
            refused += 1
    assert refused >= 1


def test_the_best_weights(tmp_path: Path) -> None:
    def distill(number: int, folder: Path) -> None:
        torch.manual_seed(number)
        config = DistillConfig(epochs=2, device="cpu")
        mfh.distill(
            nn.Linear(6, 2), lambda: nn.Linear(3, 2), paired(number), config, out=folder,
            teacher_modality="lidar", student_modality="camera",
        )  # fmt: skip

    for number in (0, 1):
        distill(number, tmp_path / str(number))
    best = next((tmp_path / "0").rglob("best.safetensors"))
    wanted = torch.nn.Linear(3, 2)
    load_state(wanted, best, "the best weights")
    for what, copy in damaged(tmp_path / "0", tmp_path / "1", tmp_path):
        if not what.startswith(str(best.relative_to(tmp_path / "0"))):
            continue
        path = copy / best.relative_to(tmp_path / "0")
        if "exchanged" not in what:
            with pytest.raises(InputError, match=r"best\.safetensors"):
                load_state(nn.Linear(3, 2), path, "the best weights")
        distill(0, copy)
        found = nn.Linear(3, 2)
        load_state(found, path, "the best weights")
        assert torch.equal(found.weight, wanted.weight), what
