"""The examples run, and show what they say."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mfh.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: object):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](*arguments)


def test_features() -> None:
    reached = run("features")
    assert set(reached) == {"no-kd", "whole", "focused"}
    assert min(reached.values()) > 50


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
    assert (tmp_path / "out" / "exported" / "student" / "program.pt2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_models", "own_dataset", "tokens"])
def test_studies(name: str, tmp_path: Path) -> None:
    result = run(name, *([str(tmp_path)] if name != "tokens" else []))
    assert {"no-kd", "joint", "general", "important"} <= {row.arm for row in result.summary}
    assert result.verdict is not None


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_results(tmp_path: Path) -> None:
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
