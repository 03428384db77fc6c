"""`mfh fit`: from a table to predictions with a threshold, and what it says of wrong options."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mfh
from mfh._export import write
from mfh.cli import main

SMALL = [
    "--folds", "3", "--budget", "20", "--steps", "20", "--hidden", "6", "--ratio", "0.5", "--device", "cpu",
    "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of two classes and a search by it."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    label = rng.random(150) < 0.3
    signal = label[:, None] + rng.normal(size=(150, 3))
    table = pd.DataFrame(
        np.hstack([signal, 0.5 * signal]), columns=[f"{m}_{i}" for m in ("lab", "vital") for i in range(3)]
    )
    table["ill"] = np.where(label, "yes", "no")
    table["patient"] = [f"p{k % 30}" for k in range(150)]
    table.to_csv(folder / "patients.csv", index=False)
    words = [
        "fit", "--data", str(folder / "patients.csv"), "--modality", "lab=lab_*", "vital=vital_*",
        "--label", "ill", "--group", "patient", "--teacher", "lab", "--student", "vital",
        "--metric", "auroc", "--threshold", "recall:0.9", *SMALL, "--out", str(folder / "out"),
    ]  # fmt: skip
    assert main(words) == 0
    return folder


def test_a_search_writes_results_report_and_students(folder: Path) -> None:
    result = mfh.load_results(folder / "out")
    assert isinstance(result, mfh.FitResult)
    page = (folder / "out" / "report.html").read_text()
    for heading in (
        "What the searches took",
        "What each choice is worth",
        "By class and by group",
        "The threshold",
    ):
        assert heading in page
    assert "recall:0.9" in page
    assert {row["name"] for row in result.search["by_part"]["by_class"]["no-kd"]} == {"no", "yes"}


def test_the_export_decides_by_the_threshold(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    assert (
        main(["export", str(folder / "out"), "--arm", "searched", "--to", str(tmp_path / "to"), "--quiet"])
        == 0
    )
    info = json.loads((tmp_path / "to" / "export.json").read_text())
    threshold = info["threshold"]["probability"]
    found = mfh.load_results(folder / "out").search["threshold"]["searched"]["threshold"]
    assert threshold == pytest.approx(found)
    assert info["refit"]["samples"] == 150
    out = tmp_path / "out.csv"
    words = [
        "predict",
        str(tmp_path / "to"),
        "--data",
        str(folder / "patients.csv"),
        "--out",
        str(out),
        "--quiet",
    ]
    assert main(words) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert all((row["prediction"] == "yes") == (float(row["p(yes)"]) >= threshold - 1e-6) for row in rows)
    values = pd.read_csv(folder / "patients.csv")[[f"vital_{i}" for i in range(3)]].to_numpy()
    np.save(tmp_path / "new.npy", values)
    script = [sys.executable, str(tmp_path / "to" / "predict.py"), str(tmp_path / "new.npy")]
    told = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()[1:]
    assert told == [row["prediction"] for row in rows]


def test_card_and_report_show_what_students_do_at_their_thresholds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Precision, recall and cost are computed once more here, from the stored outputs."""
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    words = [
        "export",
        str(folder / "out"),
        "--arm",
        "searched",
        "--export-seed",
        "1",
        "--to",
        str(tmp_path / "to"),
    ]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/mfh", *words])
    assert main([*words, "--quiet"]) == 0
    text = (tmp_path / "to" / "README.md").read_text()
    result = mfh.load_results(folder / "out")
    assert isinstance(result, mfh.FitResult)
    found = result.search["threshold"]["searched"]
    told, truth = {}, {}
    for fit in range(3):
        mine = [r for r in result.records if r.seed == fit]
        place = next(k for k, r in enumerate(mine) if r.arm == "searched")
        outputs = result.predictions[f"outputs/{fit}"][place].astype(float)
        probability = 1 / (1 + np.exp(outputs[:, 0] - outputs[:, 1]))
        told[fit] = probability >= found["by_fit"][str(fit)] * (1 - 1e-12)
        truth[fit] = result.predictions["label"][result.predictions[f"rows/{fit}"]] == 1
    recall = [(told[fit] & truth[fit]).sum() / truth[fit].sum() for fit in range(3)]
    precision = [(told[fit] & truth[fit]).sum() / told[fit].sum() for fit in range(3)]
    cost = [(told[fit] != truth[fit]).mean() for fit in range(3)]
    means = [np.mean(values) for values in (precision, recall, cost)]
    assert "have precision {:.3f}, recall {:.3f} and a cost of {:.3f} for each".format(*means) in text
    alone = [values[1] for values in (precision, recall, cost)]
    assert "threshold: precision {:.3f}, recall {:.3f} and a cost of {:.3f}".format(*alone) in text
    every, positive = np.concatenate(list(told.values())), np.concatenate(list(truth.values()))
    rows = {row["name"]: row["value"] for row in result.search["by_part"]["by_class"]["searched"]}
    assert rows["yes"] == pytest.approx(100 * every[positive].mean())
    assert rows["no"] == pytest.approx(100 * (~every[~positive]).mean())
    assert f"| yes | {positive.sum()} | {rows['yes']:.1f} |" in text
    assert "share that is right at the threshold" in text
    assert "| group | test samples | auroc | precision | recall | cost |" in text
    page = (folder / "out" / "report.html").read_text()
    assert "accuracy within each class, and the metric within each group, at the thresholds" in page
    assert "at the thresholds of " in page
    assert f"mfh {shlex.join(words)}" in text  # below the command of the run


def test_all_labels_search_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    words = ["export", str(folder / "out"), "--refit", "all-labels", "--to", str(tmp_path / "to"), "--quiet"]
    assert main(words) == 0
    assert json.loads((tmp_path / "to" / "export.json").read_text())["refit"]["labelled"] == 150


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--threshold", "recall:0.9", "--positive", "maybe"], "`positive` must be one of the classes"),
        (["--threshold", "high"], "`threshold` must be `cost:A:B`"),
        (["--budget", "0"], "`budget` must be a whole number of 2 or more"),
        (["--labelled", "0.1", "0.2"], "`labelled` must be one number of labels"),
        (["--arms", "joint"], "--arms"),
    ],
)
def test_wrong_options_end_in_one_line(
    folder: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [
        "--data",
        str(folder / "patients.csv"),
        "--modality",
        "lab=lab_*",
        "vital=vital_*",
        "--label",
        "ill",
    ]
    assert main(["fit", *data, *words, "--out", str(folder / "other"), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1
    assert not (folder / "other").exists()


def test_the_threshold_fits_the_scores_as_they_are_exported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that are divided by a temperature need another threshold for the same decisions."""
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    told = []
    for name in ("none", "temperature"):
        to = tmp_path / name
        words = [
            "export",
            str(folder / "out"),
            "--arm",
            "no-kd",
            "--calibrate",
            name,
            "--to",
            str(to),
            "--quiet",
        ]
        assert main(words) == 0
        out = tmp_path / f"{name}.csv"
        data = str(folder / "patients.csv")
        assert main(["predict", str(to), "--data", data, "--out", str(out), "--quiet"]) == 0
        with out.open() as file:
            told.append([row["prediction"] for row in csv.DictReader(file)])
    assert told[0] == told[1]
    assert set(told[0]) == {"no", "yes"}


def test_the_script_finds_the_columns_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    assert main(["export", str(folder / "out"), "--to", str(tmp_path / "to"), "--quiet"]) == 0
    table = pd.read_csv(folder / "patients.csv")
    table[table.columns[::-1]].to_csv(tmp_path / "turned.csv", index=False)
    told = []
    for file in (folder / "patients.csv", tmp_path / "turned.csv"):
        script = [sys.executable, str(tmp_path / "to" / "predict.py"), str(file)]
        told.append(subprocess.run(script, capture_output=True, text=True, check=True).stdout)
    assert told[0] == told[1]
    assert len(told[0].split()) == 151
