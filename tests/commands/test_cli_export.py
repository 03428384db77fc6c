"""`mfh export` and `mfh predict`: from a study by flags to predictions of new samples."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import make_paired

from mfh._export import load_export, write
from mfh.cli import main

QUICK = [
    "--teacher", "audio", "--student", "image", "--repeats", "1", "--folds", "2", "--epochs", "3",
    "--ratio", "0.5", "--hidden", "8", "--random-draws", "1", "--arms", "no-kd", "joint", "general",
    "--device", "cpu", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a study of them, made in that folder by relative paths."""
    folder = tmp_path_factory.mktemp("work")
    data = make_paired()
    np.savez(folder / "data.npz", **data.modalities, label=data.label, id=[f"s{i}" for i in range(len(data))])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["study", "--data", "data.npz", *QUICK, "--out", "out"]) == 0
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in another folder, and leave out ONNX, which takes a second a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def test_a_run_is_exported_and_predicts_from_any_folder(folder: Path) -> None:
    assert main(["export", str(folder / "out"), "--to", "to", "--arm", "no-kd", "--quiet"]) == 0
    with np.load(folder / "data.npz") as data:
        values, ids = data["image"], data["id"]
    np.savez("new.npz", image=values[:7], id=ids[:7])
    np.savetxt(
        "new.csv", values[:7], delimiter=",", header=",".join(f"image_{i}" for i in range(7)), comments=""
    )
    assert main(["predict", "to", "--data", "new.npz", "--out", "a.csv", "--quiet"]) == 0
    assert main(["predict", "to", "--data", "new.csv", "--out", "b.csv", "--quiet"]) == 0
    a, b = rows("a.csv"), rows("b.csv")
    assert [row.pop("id") for row in a] == list(ids[:7])
    assert [row.pop("id") for row in b] == [str(i) for i in range(7)]
    assert a == b
    for row in a:
        p = {name: float(row[f"p({name})"]) for name in ("0", "1", "2")}
        assert row["prediction"] == max(p, key=lambda name: p[name])
        assert sum(p.values()) == pytest.approx(1, abs=1e-4)


def test_a_student_is_trained_again_on_all_samples_by_the_recorded_path(folder: Path) -> None:
    for to, flags in (("plain", []), ("refit", ["--refit"])):
        assert main(["export", str(folder / "out"), "--to", to, "--arm", "general", *flags, "--quiet"]) == 0
    plain, refit = load_export("plain"), load_export("refit")
    assert "refit" not in plain.info
    assert refit.info["refit"]["samples"] == 240
    mean = refit.student.network.standardize.mean  # type: ignore[union-attr]
    with np.load(folder / "data.npz") as data:
        np.testing.assert_allclose(mean[0], data["image"].mean(axis=0), atol=1e-5)
    assert "Trained on all 240 samples" in Path("refit/README.md").read_text()


NETS = """
from torch import nn

def small(width=4):
    return nn.Sequential(nn.Linear(7, width), nn.ReLU(), nn.Linear(width, 3))
"""


def test_a_network_of_a_module_of_the_runs_folder_is_found_from_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = Path.cwd()
    (folder / "nets_of_a_run.py").write_text(NETS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    own = [*QUICK, "--student-network", "nets_of_a_run.small"]
    assert main(["study", "--data", "data.npz", *own, "--out", "own"]) == 0
    monkeypatch.chdir(elsewhere)

    def export(*flags: str) -> int:
        """Export as a new process does, which knows neither the folder nor the module."""
        sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
        sys.modules.pop("nets_of_a_run", None)
        return main(["export", str(folder / "own"), "--to", "to", "--arm", "no-kd", "--quiet", *flags])

    capsys.readouterr()
    assert export("--no-imports") == 2
    assert "`nets_of_a_run.small` is refused" in capsys.readouterr().err
    assert "nets_of_a_run" not in sys.modules
    assert str(folder) not in sys.path
    for flags in ((), ("--refit",)):
        assert export(*flags) == 0
        assert sys.path[-1] == str(folder), "installed modules come first"
    (folder / "nets_of_a_run.py").unlink()
    assert export() == 2
    assert "There is no module `nets_of_a_run`" in capsys.readouterr().err


def test_the_teacher_is_written_too_if_it_is_asked_for(folder: Path) -> None:
    command = [
        "export",
        "--out",
        str(folder / "out"),
        "--to",
        "to",
        "--with-teacher",
        "--arm",
        "general",
        "--export-ratio",
        "0.5",
    ]
    assert main([*command, "--quiet"]) == 0
    assert len(json.loads(Path("to/teacher/focus.json").read_text())["removed"]) == 4
    assert load_export("to").teacher is not None


@pytest.mark.parametrize(
    ("command", "text"),
    [(["export", "--to", "to"], "Name the folder of the run"),
     (["export", "OUT", "--to", "to", "--arm", "nearly"], "Got 'nearly'"),
     (["export", "OUT", "--to", "to", "--refit", "some"], "`refit` must be given alone or as --refit all"),
     (["export", "nowhere", "--to", "to"], "has no results.json"),
     (["predict", "nowhere", "--data", "x.npz", "--out", "y.csv"], "`nowhere/export.json` does not exist")],
)  # fmt: skip
def test_mistakes_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], text: str
) -> None:
    assert main([str(folder / "out") if word == "OUT" else word for word in command]) == 2
    error = capsys.readouterr().err.strip()
    assert text in error
    assert "\n" not in error


def test_new_samples_that_do_not_fit_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder / "out"), "--to", "to", "--arm", "no-kd", "--quiet"]) == 0
    np.savez("wide.npz", image=np.zeros((3, 8)))
    np.savez("gap.npz", image=np.full((3, 7), np.nan))
    np.savez("other.npz", a=np.zeros((3, 2)))
    Path("few.csv").write_text("a,b\n1,2\n")
    Path("text.csv").write_text("a,b,c,d,e,f,g\n1,2,3,4,5,6,x\n")
    for file, text in (
        ("wide.npz", "must have samples of the shape (7,). Got (8,)"),
        ("gap.npz", "Sample `0` has a value that is missing"),
        ("other.npz", "must have an array `image`"),
        ("few.csv", "must have 7 columns for `image`"),
        ("text.csv", "must have numbers in the column `g`. It has text"),
    ):
        capsys.readouterr()
        assert main(["predict", "to", "--data", file, "--out", "p.csv"]) == 2
        assert text in capsys.readouterr().err
    assert not Path("p.csv").exists()


def test_a_table_with_categories_and_gaps_is_predicted_by_its_own_columns() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    age = np.where(
        np.arange(200) % 11 == 0, "", (40 + 10 * label + rng.normal(size=200)).round(2).astype(str)
    )
    lines = ["lab,age,sex,sick"]
    lines += [
        f"{k + rng.normal():.3f},{a},{'fm'[rng.integers(2)]},{k}" for k, a in zip(label, age, strict=True)
    ]
    Path("patients.csv").write_text("\n".join(lines) + "\n")
    words = "--modality lab=lab --modality vitals=age,sex --label sick --impute median"
    study = ["study", "--data", "patients.csv", *words.split(), "--teacher", "lab", "--student", "vitals"]
    assert main([*study, *QUICK[4:], "--out", "out"]) == 0
    assert main(["export", "out", "--to", "to", "--arm", "no-kd", "--quiet"]) == 0
    Path("new.csv").write_text("id,sex,age\na,f,52\nb,m,\nc,f,38\nd,other,38\n")
    assert main(["predict", "to", "--data", "new.csv", "--out", "p.csv", "--quiet"]) == 0
    assert [row["id"] for row in rows("p.csv")] == ["a", "b", "c", "d"]
    assert main(["predict", "to", "--data", "patients.csv", "--out", "all.csv", "--quiet"]) == 0
    right = [int(row["prediction"]) == k for row, k in zip(rows("all.csv"), label, strict=True)]
    assert np.mean(right) > 0.8


def test_the_target_of_a_table_is_called_as_its_column() -> None:
    rng = np.random.default_rng(0)
    size, place = rng.normal(size=(2, 80))
    table = np.stack([size, size + place, 3 * size + place], axis=1)
    np.savetxt("homes.csv", table, delimiter=",", header="size,place,price", comments="")
    words = "--data homes.csv --modality a=size --modality b=place --label price --teacher a --student b"
    assert main(["study", *words.split(), *QUICK[4:], "--out", "out"]) == 0
    assert main(["export", "out", "--to", "to", "--arm", "no-kd", "--quiet"]) == 0
    assert json.loads(Path("to/export.json").read_text())["class_names"] == ["price"]
    assert "Targets, in the order of the outputs: `price`." in Path("to/README.md").read_text()
    assert main(["predict", "to", "--data", "homes.csv", "--out", "p.csv", "--quiet"]) == 0
    assert list(rows("p.csv")[0]) == ["id", "price"]
