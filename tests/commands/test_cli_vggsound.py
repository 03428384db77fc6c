"""`mfh vggsound`: from encoded clips to students and a report, and bad input in one line."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import make_videos

import mfh
from mfh._export.files import onnx_scores
from mfh.cli import main
from mfh.commands.vggsound import STEPS
from mfh.data.sources.vggsound.reader import load
from mfh.models.vggsound import AudioNetwork
from mfh.results import load_results

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")
SMALL = ["--width", "2", "--epochs", "1", "--batch-size", "9", "--device", "cpu", "--frames", "4",
         "--time-shift", "1", "--pixel-shift", "1", "--workers", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 clips of three classes, encoded and prepared by the command."""
    folder = tmp_path_factory.mktemp("clips")
    labels = [f"class {i % 3}" for i in range(45)]
    csv = make_videos(folder, labels, split=lambda i: "test" if i // 3 % 3 == 2 else "train")
    step = ["vggsound", "prepare", "--csv", str(csv), "--clips", str(folder / "clips"), "--out"]
    assert (
        main([*step, str(folder / "data"), "--frames", "6", "--size", "16", "20", "--jobs", "0", "--quiet"])
        == 0
    )
    return folder / "data"


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    for modality in ("audio", "video"):
        assert call("pretrain", prepared, out, "--modality", modality, *SMALL) == 0
    return out


def call(step: str, data: Path, out: Path, *more: str) -> int:
    return main(["vggsound", step, "--data", str(data), "--out", str(out), "--quiet", *more])


def test_every_step_from_clips_to_the_report(
    prepared: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(trained, tmp_path / "out")
    assert call("saliency", prepared, out) == 0  # settings are those of `pretrain`
    assert "16 channels: " in capsys.readouterr().out
    assert call("saliency", prepared, out, "--joint") == 0
    for mode in ("general", "regular", "joint"):
        assert call("distill", prepared, out, "--mode", mode, "--ratio", "0.25") == 0
    assert "general" in capsys.readouterr().out
    result = load_results(out)
    assert {(r.arm, r.ratio) for r in result.records} == {
        ("no-kd", None), ("regular", None), ("joint", None), ("general", 0.25)
    }  # fmt: skip
    assert result.config["width"] == 2
    assert result.config["pixel_shift"] == 1
    assert {path.stem for path in out.glob("saliency-*.npz")} == {"saliency-regular", "saliency-joint"}
    assert "general" in (out / "report.html").read_text()
    assert not list(out.rglob("*.partial"))
    assert not list((out / "state").glob("*/"))
    to = ["--to", str(tmp_path / "to"), "--quiet"]
    assert main(["export", str(out), "--arm", "general", "--with-teacher", *to]) == 0
    info = mfh.load_export(tmp_path / "to").info
    assert info["student"]["network"]["class_path"] == "mfh.models.vggsound.video_network"
    assert (info["teacher"]["modality"], info["teacher"]["layer"]) == ("audio", "flatten")
    mine = [(r.arm, r.ratio) for r in result.records]
    recorded = result.predictions["outputs/0"][mine.index((info["student"]["arm"], info["student"]["ratio"]))]
    clips = load(str(prepared), frames=4, workers=1).read(
        ["video"], torch.from_numpy(result.predictions["rows/0"])
    )
    scores = onnx_scores(tmp_path / "to" / "model.onnx", clips["video"].numpy())
    np.testing.assert_allclose(scores, recorded, atol=1e-5)


@pytest.mark.parametrize(
    ("step", "more", "text"),
    [
        ("pretrain", ["--modality", "smell"], "`modality` must be one of `audio`, `video`"),
        ("pretrain", ["--modality", "audio", "--width", "3"], "`width` was 2, is 3"),
        ("pretrain", ["--modality", "audio", "--log"], "`log` was False, is True"),
        ("pretrain", ["--modality", "audio", "--frames", "7"], "`frames` must lie in 1 ... 6"),
        ("pretrain", ["--modality", "audio", "--span", "0.5"], "`span` must be two shares"),
        ("saliency", ["--distance", "cosine"], "`distance` must be one of `mse`, `l1`"),
        ("saliency", ["--num-permutations", "many"], "`num_permutations` must be `exact` or a whole number"),
        ("saliency", ["--joint", "--audio-checkpoint", "a.pth"], "`joint` ranks a pair"),
        (
            "saliency",
            ["--audio-checkpoint", "none.pth"],
            "`none.pth` must be a checkpoint. There is no such file",
        ),
        ("distill", ["--mode", "wrong"], "`mode` must be one of `general (1)`"),
        ("distill", ["--mode", "general"], "Run `mfh vggsound saliency` with the same --data and --out"),
        ("distill", ["--mode", "joint"], "Run `mfh vggsound saliency --joint`"),
        ("distill", ["--mode", "general", "--ratio", "1"], "`ratio` must lie in [0, 1)"),
        ("study", ["--width", "2", "--ratio", "1.5"], "`ratio` must lie in [0, 1)"),
        ("study", ["--width", "2", "--layer", "conv9", "--epochs", "1"], "conv9"),
    ],
)
def test_bad_input_is_one_line(
    prepared: Path, trained: Path, step: str, more: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained.rglob("*"))
    out = trained if step != "study" else trained.parent / "study"
    assert call(step, prepared, out, *more) == 2
    error = capsys.readouterr().err.strip()
    assert text in error
    assert len(error.splitlines()) == 1
    assert sorted(trained.rglob("*")) == before
    assert step != "study" or not out.exists()


def test_an_unknown_network_is_answered_with_those_there_are(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--modality", "video", "--student-network", "r9d", *SMALL]
    assert call("pretrain", prepared, tmp_path / "out", *more) == 2
    assert "`student_network` must be one of `resnet3d`, `mc3_18`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_classes_is_named(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(AudioNetwork(309, width=2).state_dict(), tmp_path / "released.pth")
    more = ["--audio-checkpoint", str(tmp_path / "released.pth"), *SMALL]
    assert call("saliency", prepared, tmp_path / "out", *more) == 2
    assert "must have 3 classes, as the data have. It has 309" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_clips_without_labels_is_a_study_of_few_labels(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = shutil.copytree(prepared, tmp_path / "data"), tmp_path / "out"
    known = load(data)
    gone = known.id[known.split == "train"][::2]
    lines = (data / "clips.csv").read_text().splitlines()
    for name in gone:
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{name},"))
        lines[place] = re.sub("class [0-2]", "", lines[place])
    (data / "clips.csv").write_text("".join(f"{line}\n" for line in lines))
    sums = (data / "checksums.csv").read_text().splitlines()
    kept = [line for line in sums if not line.startswith("clips.csv,")]
    (data / "checksums.csv").write_text("".join(f"{line}\n" for line in kept))
    quick = ["--seeds", "1", "--resampling", "splits", "--arms", "no-kd", "stack", "--label-tuning", "none"]
    assert main(["vggsound", "study", "--data", str(data), "--out", str(out), *quick, *SMALL]) == 0
    assert f"{len(gone)} of 45 samples have no label." in capsys.readouterr().err
    result = load_results(out)
    tested = int((known.split == "test").sum())
    assert result.labels["unlabelled"] == len(gone)
    assert result.labels["labelled"] == 45 - tested - len(gone)
    assert result.data["splits"]["test"] == tested
    assert {record.arm for record in result.records} == {"no-kd", "stack"}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_help_with_an_example(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["vggsound", step, "--help"])
    assert done.value.code == 0
    assert f"mfh vggsound {step} --" in capsys.readouterr().out
