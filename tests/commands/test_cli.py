"""The command line: help, one real run, and every kind of bad input on one line with status 2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mfh.cli import COMMANDS, main


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    label = np.arange(120) % 2
    path = tmp_path / "data.npz"
    shared = label[:, None] + rng.normal(size=(120, 3))
    np.savez(
        path,
        lidar=np.hstack([shared, rng.normal(size=(120, 2))]),
        camera=shared,
        label=label,
        driver=np.arange(120) // 2 % 6,
        broken=np.where(np.arange(360).reshape(120, 3) == 100, np.nan, 0.0),
        words=np.full((120, 2), "x"),
    )
    return path


QUICK = [
    "--resampling",
    "splits",
    "--seeds",
    "2",
    "--epochs",
    "2",
    "--ratio",
    "0.25",
    "0.5",
    "--hidden",
    "8",
    "--random-draws",
    "1",
]
PAIR = ["--teacher", "lidar", "--student", "camera"]


def test_study_writes_everything(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = [
        "study",
        "--data",
        str(npz),
        *PAIR,
        "--group",
        "driver",
        *QUICK,
        "--out",
        str(out),
        "--quiet",
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "general (chosen)" in printed
    assert printed.splitlines()[-1].split(":")[0] in ("help", "hurt", "no-effect", "abstain")
    results = json.loads((out / "results.json").read_text())
    assert results["kind"] == "study"
    assert results["data"]["file"] == str(npz)
    assert results["config"]["ratio"] == [0.25, 0.5]
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert (out / "saliency.npz").exists()
    assert list((out / "figures").glob("*.pdf"))
    assert not list(out.rglob("*.partial"))
    assert main([*arguments]) == 0


def test_a_config_file_says_the_same(npz: Path, tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(
        f"data: {npz}\nteacher: lidar\nstudent: camera\nresampling: splits\nseeds: 2\nepochs: 2\n"
        "ratio: [0.25, 0.5]\nhidden: [8]\nrandom_draws: 1\n"
    )
    assert main(["study", "--config", str(config), "--out", str(tmp_path / "a"), "--quiet"]) == 0
    assert main(["study", "--data", str(npz), *PAIR, *QUICK, "--out", str(tmp_path / "b"), "--quiet"]) == 0
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ab")
    assert [r["test"] for r in one["records"]] == [r["test"] for r in two["records"]]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["--data", "absent.npz"], "`absent.npz` does not exist"),
        (["--teacher", "radar"], "holds no modality `radar`. It holds `lidar` float64[120, 5]"),
        (["--group", "actor"], "holds no group `actor`"),
        (["--label", "emotion"], "holds no label `emotion`"),
        (["--teacher", "broken"], "Modality `broken` must be finite. Got nan at sample 33, value 1"),
        (["--teacher", "words"], "Modality `words` must hold numbers. Got text"),
        (["--ratio", "1.0"], "`ratio` must lie in [0, 1). Got 1.0"),
        (["--ratio", "half"], "half"),
        (["--seeds", "0"], "`seeds` must be 1 or more. Got 0"),
        (["--seed", "-1"], "`seed` must be 0 or more"),
        (["--student", "lidar"], "`student` must differ from `teacher`"),
        (["--layer", "conv9"], "conv9"),
        (["--device", "cuda:7"], "`device` 'cuda:7' cannot be used here"),
        (["--no-such-flag", "1"], "no-such-flag"),
        (["--config", "absent.yaml"], "absent.yaml"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    npz: Path, tmp_path: Path, changes: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["study", "--data", str(npz), *PAIR, *QUICK, "--out", str(out), "--quiet", *changes]) == 2
    error = capsys.readouterr().err.strip()
    assert text in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_unwritable_and_foreign_folders(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["study", "--data", str(npz), *PAIR, *QUICK, "--quiet", "--out"]
    assert main([*arguments, str(npz)]) == 2
    assert "is a file" in capsys.readouterr().err
    assert main([*arguments, "/proc/mfh"]) == 2
    assert "/proc/mfh" in capsys.readouterr().err
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "results.json").write_text("{}")
    assert main([*arguments, str(foreign)]) == 2
    assert "another run's results" in capsys.readouterr().err
    assert (foreign / "results.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "`mfh` needs COMMAND, one of study, fit, diagnose, "),
        ("report", "`mfh report` needs DIR (folders that runs wrote with --out). See `mfh report --help`."),
        ("study", "`mfh study` needs --data FILE and --out DIR. See `mfh study --help`."),
        ("gaussian", "`mfh gaussian` needs FIGURE (one of fig2, "),
        ("saliency --head w.npy", "needs --features FILE, --student-logits FILE and --out FILE."),
        ("ravdess", "`mfh ravdess` needs STEP, one of download, "),
        (
            "ravdess train",
            "`mfh ravdess train` needs --data DIR and --out DIR. See `mfh rav",
        ),
        ("study --data a --out b --epochs few", "`--epochs` must be a whole number. Got few instead."),
        ("study --data a --out b --ratio .5 half", "`--ratio` must be a number. Got half instead."),
        (
            "study --data a --out b --score best",
            "`--score` must be one of auto, increase, followed. Got best",
        ),
    ],
)
def test_arguments_are_named_as_they_are_typed(
    typed: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("command", [None, *(command.name for command in COMMANDS)])
def test_every_help_has_an_example(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([*([command] if command else []), "--help"])
    assert done.value.code == 0
    assert "example" in capsys.readouterr().out


def test_help_and_the_package_do_without_torch() -> None:
    code = (
        "import sys\nfrom mfh.cli import main\n"
        "try: main(['study', '--help'])\nexcept SystemExit: pass\n"
        "slow = {'torch', 'numpy', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("mfh ")
