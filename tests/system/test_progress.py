"""Progress: bars on terminals alone, plain lines in files and pipes."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mfh
from mfh._system import progress
from mfh._system.progress import Bar, counted, is_shown

SOURCES = Path(mfh.__file__).parent


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_a_file_gets_one_plain_line_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("students", 600, unit="epochs", done=100) as bar:
        for _ in range(30):  # five minutes
            clock.now += 10
            bar.advance(10)
        bar.advance(200)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "students: 160 of 600 epochs (26%), 07:20 left"
    assert len(lines) == 6
    assert lines[-1] == "students: 600 of 600 epochs (100%)"


def test_short_work_and_hidden_work_write_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted(range(3), "clips", 3, unit="clips", show=True)) == [0, 1, 2]
    with Bar("students", 2, unit="epochs", show=False) as bar:
        clock.now += 1000
        bar.advance()
    assert capsys.readouterr().err == ""


def test_a_line_shows_the_note_and_does_without_a_total(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Bar("training", None, unit="samples")
    clock.now += 61
    bar.advance(5, note="loss 0.25", name="archive")
    bar.close()
    bar.close()
    assert capsys.readouterr().err == "archive: 5 samples, loss 0.25\n" * 2


def test_only_one_module_draws_bars() -> None:
    imports = re.compile(r"^\s*(from|import) tqdm", re.M)
    users = [path.name for path in SOURCES.rglob("*.py") if imports.search(path.read_text())]
    assert users == ["progress.py"]


def study(folder: Path) -> list[str]:
    rng, label = np.random.default_rng(0), np.arange(60) % 3
    np.savez(folder / "d.npz", a=rng.normal(size=(60, 4)), b=rng.normal(size=(60, 4)), label=label)
    words = (
        "study --data d.npz --teacher a --student b --seeds 1 --epochs 1 --ratio 0.5 --random-draws 1 --out o"
    )
    return [sys.executable, "-m", "mfh", *words.split()]


def test_a_log_file_holds_lines_and_names_the_report(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run(
            study(tmp_path), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=log, check=False
        )
    text = (tmp_path / "log").read_bytes()
    assert done.returncode == 0, text
    assert not re.search(rb"[\r\x1b]", text)
    assert re.search(rb"students and 3 teachers x 5 fits, about .+ \(measured on one of each\)\n", text)
    assert "\u2588" not in text.decode()
    assert text.count(b"`seeds` 1 becomes 5, for 1 x 5 folds") == 1
    assert b"report.html" in text


@pytest.mark.parametrize(("terminal", "drawn"), [("xterm", True), ("dumb", False)])
def test_terminals_get_bars_unless_they_are_dumb(terminal: str, drawn: bool) -> None:
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    code = (
        "from mfh._system.progress import Bar\nwith Bar('students', 2, unit='epochs') as bar: bar.advance(2)"
    )
    environment = os.environ | {"TERM": terminal}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, env=environment, check=True)
    os.write(theirs, b"end")
    text = os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)
    assert (b"\r" in text and b"2/2 epochs" in text) if drawn else text == b"end"


@pytest.mark.parametrize(("widgets", "drawn"), [(True, True), (False, False)])
def test_notebooks_show_progress_and_bars_if_they_have_widgets(
    widgets: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        pass

    Stream.__module__ = "ipykernel.iostream"
    monkeypatch.setattr(sys, "stderr", Stream())
    monkeypatch.setattr(progress, "find_spec", lambda _name: "found" if widgets else None)
    assert is_shown("auto")
    assert progress.draws_bars() is drawn


def test_progress_is_shown_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_shown(True)
    assert not is_shown(False)
    assert not is_shown("auto")  # stderr is captured
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_shown("auto")
    progress.write_line("to nobody")
