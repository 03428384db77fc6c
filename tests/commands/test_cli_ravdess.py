"""`mfh ravdess`: from encoded clips to a report, the authors' files, and bad input in one line."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mfh
from mfh._export.files import onnx_scores
from mfh.cli import main
from mfh.commands.ravdess import STEPS
from mfh.data.sources.ravdess.generated import generate_clips
from mfh.data.sources.ravdess.reader import load
from mfh.models.ravdess import RavdessNetwork
from mfh.results import load_results

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")
SMALL = ["--width", "2", "--epochs", "1", "--batch-size", "16", "--device", "cpu"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of three actors, encoded and prepared by the command."""
    folder = tmp_path_factory.mktemp("clips")
    generate_clips(
        folder / "raw", actors=3, statements=1, repetitions=1, seconds=0.5, generator=np.random.default_rng(0)
    )
    size = ["--height", "32", "--width", "64", "--audio-frames", "64", "--seconds", "0.5", "--jobs", "0"]
    step = ["ravdess", "prepare", "--raw", str(folder / "raw"), "--out", str(folder / "data"), *size]
    assert main([*step, "--quiet"]) == 0
    return folder / "data"


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    assert call("pretrain", prepared, out, *SMALL) == 0
    return out


def call(step: str, data: Path, out: Path, *more: str) -> int:
    return main(["ravdess", step, "--data", str(data), "--out", str(out), "--quiet", *more])


def test_every_step_from_clips_to_the_report(
    prepared: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(trained, tmp_path / "out")
    assert call("saliency", prepared, out) == 0
    assert "8 channels: " in capsys.readouterr().out
    assert main(["ravdess", "plot", "--out", str(out), "--quiet"]) == 0
    drawn = [Path(line).name for line in capsys.readouterr().out.split()]
    assert sorted(drawn) == ["saliency.pdf", "saliency.png", "saliency.svg"]
    for mode in ("-1", "general"):
        assert call("verify", prepared, out, "--mode", mode, "--seeds", "2") == 0
    printed = capsys.readouterr().out
    assert re.search(r"general +0.75 +2 ", printed)
    assert re.search(r"general +joint +0.75 +2 ", printed)
    result = load_results(out)
    assert {(r.arm, r.seed) for r in result.records} == {
        ("no-kd", 0), ("joint", 0), ("joint", 1), ("general", 0), ("general", 1)
    }  # fmt: skip
    assert result.config["epochs"] == 1  # as in `train`: later steps need not be told again
    assert "general" in (out / "report.html").read_text()
    assert not list(out.rglob("*.partial"))


def test_export_reads_the_folder_of_the_steps_and_that_of_a_study(
    prepared: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(trained, tmp_path / "out")
    assert call("saliency", prepared, out) == 0
    assert call("verify", prepared, out, "--mode", "general", "--ratio", "0.5", "--seeds", "2") == 0
    to = ["--to", str(tmp_path / "to"), "--quiet"]
    assert main(["export", str(out), "--arm", "general", "--with-teacher", *to]) == 0
    exported = mfh.load_export(tmp_path / "to")
    assert exported.teacher is not None
    kept = load_file(out / "checkpoints" / "seed-0000" / "distilled-general-0.5.safetensors")
    found = exported.student.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in kept.items())
    told = exported.info
    assert (told["student"]["arm"], told["student"]["ratio"], told["seed"]) == ("general", 0.5, 0)
    assert (told["teacher"]["arm"], told["teacher"]["num_removed"]) == ("general", 4)
    result = load_results(out)
    mine = [(r.arm, r.ratio) for r in result.records if r.seed == 0]
    recorded = result.predictions["outputs/0"][mine.index(("general", 0.5))]
    pictures = load(prepared).read(["image"], torch.from_numpy(result.predictions["rows/0"]))["image"]
    scores = onnx_scores(tmp_path / "to" / "model.onnx", pictures.numpy())
    np.testing.assert_allclose(scores, recorded, atol=1e-5)
    np.savez(tmp_path / "new.npz", image=pictures)
    predict = ["predict", str(tmp_path / "to"), "--data", str(tmp_path / "new.npz")]
    assert main([*predict, "--out", str(tmp_path / "new.csv"), "--quiet"]) == 0
    classes = np.genfromtxt(tmp_path / "new.csv", delimiter=",", dtype=str, skip_header=1, usecols=1)
    assert classes.tolist() == [result.data["classes"][k] for k in recorded.argmax(1)]
    capsys.readouterr()
    quick = ["--epochs", "1", "--seeds", "1", "--resampling", "splits", "--ratio", "0.5"]
    quick += ["--random-draws", "1", "--smoothing", "0.1", "--width", "2", "--device", "cpu"]
    assert call("study", prepared, tmp_path / "study", *quick) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"^no-kd +-? +1 ", printed, re.MULTILINE)) == 1  # its other metrics are not printed
    assert main(["export", str(tmp_path / "study"), "--with-teacher", *to]) == 0


def test_every_step_takes_the_metric_that_the_first_one_names(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call("train", prepared, out, "--metric", "log-loss", *SMALL) == 0
    assert call("verify", prepared, out, "--mode", "joint") == 0
    result = load_results(out)
    assert {r.metric for r in (*result.records, *result.teachers)} == {"log-loss"}
    assert call("verify", prepared, out, "--mode", "joint", "--metric", "auroc") == 2
    assert "`metric` was 'log-loss', is 'auroc'" in capsys.readouterr().err


def test_clips_without_a_label_teach_students(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = shutil.copytree(prepared, tmp_path / "data"), tmp_path / "out"
    path, sums = data / "data" / "data_file" / "spa_dl.csv", data / "checksums.csv"
    lines = path.read_text().splitlines()
    lines[1:4] = [f"{line.rpartition(',')[0]}," for line in lines[1:4]]
    path.write_text("".join(f"{line}\n" for line in lines))
    kept = [line for line in sums.read_text().splitlines() if "spa_dl.csv" not in line]
    sums.write_text("".join(f"{line}\n" for line in kept))
    places = ["--data", str(data), "--out", str(out)]
    assert main(["ravdess", "train", *places, *SMALL]) == 0
    told = capsys.readouterr().err
    assert "3 of 24 samples have no label." in told
    left = "learns from 5 labelled samples: 3 training samples without a label are left out"
    assert [f"{name} {left}" in told for name in ("teacher-regular", "no-kd")] == [True, True]
    assert main(["ravdess", "verify", *places, "--mode", "joint"]) == 0
    told = capsys.readouterr().err
    assert "Unlabelled samples: 3 train, 0 are left out" in told
    assert left not in told
    assert load_results(out).data["unlabelled_training_samples"] == 3


def test_sizes_are_those_asked_for(prepared: Path) -> None:
    noted = json.loads((prepared / "prepare.json").read_text())["settings"]
    assert noted == {"frames": 8, "height": 32, "width": 64, "audio_frames": 64, "seconds": 0.5}


def test_without_a_cache_nothing_is_written_beside_the_data(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    out = shutil.copytree(trained, tmp_path / "out")
    assert call("saliency", data, out, "--no-cache") == 0
    assert not list(data.rglob("cache"))
    assert call("saliency", data, out) == 0
    assert len(list((data / "data" / "cache").glob("*.npy"))) == 2


def test_released_checkpoints_and_saliency(prepared: Path, tmp_path: Path) -> None:
    weights, vector = (
        tmp_path / "teacher_mod_1_overlap.pkl",
        tmp_path / "overlap_tag_teacher_place5_repeat10.npy",
    )
    torch.save(RavdessNetwork("audio", width=2).state_dict(), weights)
    np.save(vector, np.linspace(0, 1, 8))
    files = ["--joint-teacher", str(weights), "--saliency", str(vector)]
    assert call("distill", prepared, tmp_path / "out", "--mode", "1", *files, *SMALL) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["released_audio_order"] is True
    assert call("distill", prepared, tmp_path / "out", "--mode", "2") == 0


@pytest.mark.parametrize(
    ("step", "more", "text"),
    [
        ("verify", ["--mode", "wrong"], "`mode` must be one of `general (1)`, `specific (2)`"),
        ("verify", ["--mode", "general"], "Run `mfh ravdess saliency --place 5`"),
        ("verify", ["--mode", "1", "--ratio", "1"], "`ratio` must lie in [0, 1)"),
        ("saliency", ["--place", "0"], "`place` must lie in 1 ... 6 for audio"),
        ("saliency", ["--place", "7"], "`place` must lie in 0 ... 6"),
        ("saliency", ["--num-permutations", "few"], "`num_permutations` must be `exact` or a whole number"),
        ("saliency", ["--place", "4", "--num-permutations", "exact"], "`num_permutations` must be a number"),
        ("train", ["--width", "3"], "`width` was 2, is 3"),
        ("train", ["--student", "smell"], "student"),
        ("train", ["--width", "0"], "`width` must be 1 or more"),
        ("study", ["--teacher-source", "none"], "teacher-source"),
    ],
)
def test_bad_input_is_one_line(
    prepared: Path, trained: Path, step: str, more: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained.rglob("*"))
    assert call(step, prepared, trained, *(["--width", "2"] if step == "study" else []), *more) == 2
    error = capsys.readouterr().err.strip()
    assert text in error.replace("_", "-" if text == "teacher-source" else "_")
    assert len(error.splitlines()) == 1
    assert sorted(trained.rglob("*")) == before


def test_a_folder_without_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", tmp_path, tmp_path / "out") == 2
    assert "does not" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_help_with_an_example(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["ravdess", step, "--help"])
    assert done.value.code == 0
    assert f"mfh ravdess {step} --" in capsys.readouterr().out
