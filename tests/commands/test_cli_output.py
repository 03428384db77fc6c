"""What commands write where: stdout, stderr, full disks, closed outputs, too little memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mfh.cli import main

QUICK = "--teacher a --student b --seeds 1 --epochs 1 --ratio 0.5 --random-draws 1 --hidden 4 --quiet"
FULL = Path("/dev/full")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng, label = np.random.default_rng(0), np.arange(60) % 3
    np.savez(tmp_path / "d.npz", a=rng.normal(size=(60, 4)), b=rng.normal(size=(60, 4)), label=label)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mfh(*words: str, before: str = "", redirect: str = "") -> subprocess.CompletedProcess[str]:
    """Run `mfh` in a shell."""
    line = f'{before}exec "$0" -m mfh "$@" {redirect}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *words], capture_output=True, text=True, check=False
    )


def test_quiet_commands_name_what_they_wrote(folder: Path, capsys: Any) -> None:
    assert main(["study", "--data", "d.npz", *QUICK.split(), "--out", "o"]) == 0
    assert "o/report.html\n" in capsys.readouterr().out
    assert main(["report", "o", "--quiet"]) == 0
    assert capsys.readouterr().out == "o/report.html\n"
    assert main(["report", "o", "--out", "c.html", "--quiet"]) == 0
    assert capsys.readouterr().out == "c.html\n"
    assert main(["export", "--out", "o", "--to", "e", "--quiet"]) == 0
    assert capsys.readouterr().out == "e/export.json\ne/README.md\n"
    assert main(["report", "o"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "The report: o/report.html\n")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("words", ["study --print-config", "study --help", "layers --data d.npz --quiet"])
def test_a_full_disk_below_stdout_is_one_line(words: str, folder: Path) -> None:
    done = mfh(*words.split(), redirect="> /dev/full")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "mfh: Standard output cannot be written: No space left on device. Files that the command has written "
        "are complete."
    ]


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_a_full_disk_below_stderr_changes_no_result(folder: Path) -> None:
    assert mfh("layers", "--data", "d.npz", redirect="2> /dev/full").returncode == 0
    assert mfh("layers", "--data", "no.npz", redirect="2> /dev/full").returncode == 2


def test_closed_outputs_and_ended_readers_are_no_errors(folder: Path) -> None:
    done = mfh("layers", "--data", "d.npz", "--quiet", redirect=">&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert mfh("layers", "--data", "d.npz", redirect="2>&-").returncode == 0
    assert mfh("study", "--print-config", redirect="| true").stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="`ulimit -v` limits memory on Linux alone")
def test_too_little_memory_is_one_line(folder: Path) -> None:
    done = mfh("layers", "--data", "d.npz", before="ulimit -v 1000000; ")
    assert done.returncode == 2
    assert done.stderr.startswith("mfh: The memory is used up (")
    assert len(done.stderr.splitlines()) == 1


def test_memory_that_ends_in_a_run_is_one_line(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("mfh.study", fails, raising=False)
    assert main(["study", "--data", "d.npz", *QUICK.split(), "--out", "o"]) == 2
    assert "The memory is used up ([enforce fail" in capsys.readouterr().err
