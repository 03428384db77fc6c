"""Commands that read a csv file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mfh import load_results
from mfh.cli import main

COUNT = 60
COLUMNS = [
    "--modality",
    "lab=crp,sex",
    "--modality",
    "vitals=vital_*",
    "--label",
    "ill",
    "--group",
    "patient",
]
QUICK = [
    "--repeats",
    "1",
    "--folds",
    "2",
    "--epochs",
    "1",
    "--ratio",
    "0.5",
    "--random-draws",
    "1",
    "--hidden",
    "4",
]
PAIR = ["--teacher", "lab", "--student", "vitals"]


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "crp": rng.normal(size=COUNT).round(2),
            "sex": np.where(np.arange(COUNT) % 3, "f", "m"),
            "vital_pulse": 70 + np.arange(COUNT) % 7,
            "vital_temp": rng.normal(37, 1, COUNT).round(1),
            "ill": np.where(np.arange(COUNT) % 2, "yes", "no"),
            "patient": [f"p{i // 2}" for i in range(COUNT)],
        }
    )
    path = tmp_path / "patients.csv"
    table.to_csv(path, index=False)
    return path


def fails(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_study_of_a_csv(patients: Path, tmp_path: Path) -> None:
    table = pd.read_csv(patients)
    table.loc[3:9, "crp"] = None
    table.to_csv(patients, index=False)
    out = tmp_path / "out"
    words = [
        "study",
        "--data",
        str(patients),
        *COLUMNS,
        *PAIR,
        *QUICK,
        "--impute",
        "median",
        "--out",
        str(out),
        "--quiet",
    ]
    assert main(words) == 0
    result = load_results(out)
    assert result.data["classes"] == ["no", "yes"]
    assert result.config["networks"]["teacher"]["columns"] == ["crp", "sex=f", "sex=m", "crp missing"]
    assert result.config["sources"]["modality"] == ["lab=crp,sex", "vitals=vital_*"]


def test_columns_in_a_config(patients: Path, tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(
        f'data: {patients}\nmodality: ["lab=crp,sex", "vitals=vital_*"]\nlabel: ill\ngroup: patient\n'
        f"teacher: lab\nstudent: vitals\nout: {tmp_path / 'out'}\n"
    )
    assert main(["layers", "--config", str(config)]) == 0


def test_what_is_refused_in_one_line(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ("study", "--out", tmp_path / "out", *PAIR, "--data")
    assert "`--modality lab=crp,wbc`" in fails(capsys, *study, patients, "--label", "ill")
    assert "did you mean `ill`" in fails(capsys, *study, patients, *COLUMNS, "--label", "il")
    assert "must be a name and columns" in fails(
        capsys, *study, patients, "--modality", "lab", "--label", "ill"
    )
    assert "must not contain the label" in fails(
        capsys, *study, patients, "--modality", "a=*", "b=crp", "--label", "ill"
    )
    assert "`impute` must be one of" in fails(capsys, *study, patients, *COLUMNS, "--impute", "mean")
    assert "give `delimiter` ';'" in fails(
        capsys, *study, _written(tmp_path / "x.csv", "a;b;c\n1;2;3\n"), *COLUMNS
    )
    assert "`ignore_index` and `modalities` are for arrays" in fails(
        capsys, *study, patients, *COLUMNS, "--modalities", "lab"
    )
    np.savez(tmp_path / "x.npz", a=np.eye(4), b=np.eye(4), label=[0, 1, 0, 1])
    assert "`modality` must be left out" in fails(capsys, *study, tmp_path / "x.npz", "--modality", "a=b")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_inspection_of_a_table(patients: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(patients)
    table.loc[:9, "crp"] = None
    table["seen"] = "2024-01-31"
    table["ward"] = 3
    table.to_csv(patients, index=False)
    assert main(["data", "inspect", str(patients), "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "60 rows" in shown
    for row in (
        "crp          number         10",
        "sex          category        0          2  m",
        "seen         dates",
    ):
        assert row in shown
    assert "--modality NAME=COLUMN,COLUMN" in shown

    words = [*COLUMNS[:4], "--modality", "place=ward", *COLUMNS[4:]]
    assert main(["data", "inspect", str(patients), *words, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "PairedDataset of 60 samples",
        "  modalities: lab 4, vitals 2, place 1",
        "  single-label, 2 classes: no (30), yes (30)",
        "  groups: 30, of 2 samples",
        "- missing values in `lab`: crp (10). A study needs `--impute median`.",
        "- constant values in `place`: 1 of 1 are the same for all samples.",
        "",
        f"`mfh study --data {patients}` would do this:",
        "- it needs --teacher and --student, two of lab, vitals, place;",
        "- the metric is accuracy;",
        "- 10 fits, by 2 repeats of 5 folds, with the samples of a group together;",
        "- the first fit trains on 36 samples, chooses by 12 and tests on 12.",
    ]


def test_inspection_of_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    a[7], b[7] = a[3], b[3]
    label = np.where(np.arange(40) % 10, "no", "yes")
    np.savez(tmp_path / "x.npz", a=a, b=b, label=label, id=[f"s{i}" for i in range(40)])
    assert main(["data", "inspect", str(tmp_path / "x.npz"), "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "duplicates: 1 samples equal an earlier one in every modality, such as `s3`, `s7`." in shown
    assert "the class no has 90.0% of the labels" in shown
    label[5:] = ""
    label[:5] = ["yes", "no", "yes", "no", "no"]
    np.savez(tmp_path / "y.npz", a=a, b=b, label=label)
    assert main(["data", "inspect", str(tmp_path / "y.npz"), "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "40 samples, 5 labelled and 35 unlabelled" in shown
    assert "4 of them with a label, and tests on 1: labels are missing" in shown
    assert main(["data", "inspect", str(tmp_path / "no.npz")]) == 2
