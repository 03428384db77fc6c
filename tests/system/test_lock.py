"""One writer at a time in a folder."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mfh import InputError
from mfh._system.files import write_text
from mfh._system.lock import LOCK, Holder, held, holds

HOLD = """
import sys, time
from mfh._system.lock import held
with held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_the_folder_and_takes_over_when_that_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    process = holder(out)
    since = json.loads((out / LOCK).read_text())["since"]
    told = rf"`out` .*out is being written by process {process.pid} on {socket.gethostname()}, since "
    told += re.escape(since)
    with pytest.raises(InputError, match=told), held(out):
        pass
    (out / ".results.json.abc.partial").write_text("half of it")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with held(out):
        assert json.loads((out / LOCK).read_text())["pid"] == os.getpid()
        write_text(out / "results.json", "whole")
    assert f"was left by process {process.pid}" in caplog.text
    assert "taken over" in caplog.text
    assert [path.name for path in out.iterdir()] == ["results.json"]


def test_a_process_of_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    me = Holder.me()
    other = replace(me, started="another start of the machine")
    assert other.gone
    assert not me.gone
    (tmp_path / LOCK).write_text(json.dumps(asdict(other)))
    with held(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_machine_stays_until_it_is_removed(tmp_path: Path) -> None:
    there = replace(Holder.me(), host="elsewhere", pid=1)
    (tmp_path / LOCK).write_text(json.dumps(asdict(there)))
    with (
        pytest.raises(InputError, match=r"process 1 on elsewhere.*if it has ended, remove `.*\.lock`"),
        held(tmp_path),
    ):
        pass
    (tmp_path / LOCK).write_text("{")
    with pytest.raises(InputError, match=r"\.lock` is damaged"), held(tmp_path):
        pass
    (tmp_path / LOCK).unlink()
    with held(tmp_path):
        pass


def test_a_thread_may_ask_again_and_another_may_not(tmp_path: Path) -> None:
    refused: list[InputError] = []

    def second() -> None:
        try:
            with held(tmp_path / "out"):
                pass
        except InputError as error:
            refused.append(error)

    with held(tmp_path / "out"), held(tmp_path / "out"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert (tmp_path / "out" / LOCK).exists()
    assert "is being written by another thread" in str(refused[0])
    assert not (tmp_path / "out").exists(), "it was made for this, and is empty"


def test_a_file_is_held_beside_others(tmp_path: Path) -> None:
    with held(tmp_path, file="a.npz"), held(tmp_path, file="b.npz"):
        names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".a.npz.lock", ".b.npz.lock"]


def test_a_folder_that_is_removed_is_not_written_any_more(tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = r"`out` .*out was removed or replaced while the command wrote into it\. Repeat the command"
    with held(out):
        (out / LOCK).unlink()
        out.rmdir()
        with pytest.raises(InputError, match=told):
            write_text(out / "a.txt", "a")
        out.mkdir()
        with pytest.raises(InputError, match=told):
            write_text(out / "deep" / "a.txt", "a")
    assert not out.exists()


def test_a_function_holds_the_folder_it_is_given(tmp_path: Path) -> None:
    @holds("to")
    def look(to: Path | None = None) -> bool:
        return to is not None and (to / LOCK).exists()

    assert look(tmp_path)
    assert not look()
    process = holder(tmp_path)
    with pytest.raises(InputError, match=r"`to` .* is being written by process"):
        look(to=tmp_path)
    process.kill()
    process.communicate()


def test_of_two_that_find_a_stale_lock_one_takes_it(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps(asdict(replace(Holder.me(), started="before"))))
    script = (
        "import sys\nfrom mfh._system.lock import held\nsys.stdin.readline()\n"
        "with held(sys.argv[1]): sys.stdin.readline()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    several = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for process in several:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    alive = list(several)
    while len(alive) > 1:
        time.sleep(0.05)
        alive = [process for process in alive if process.poll() is None]
    process = alive[0]
    process.communicate("\n")
    assert process.returncode == 0
    errors = [other.communicate()[1] for other in several if other is not process]
    assert sum(f"is being written by process {process.pid}" in error for error in errors) == 3
