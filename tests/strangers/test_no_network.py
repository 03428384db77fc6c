"""Importing, a study and its report reach for no network."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

BLOCK = """
import pathlib, socket, sys

def refuse(*arguments, **_):
    pathlib.Path({trace!r}).write_text(repr(arguments))
    raise OSError("no network here")

connect = socket.socket.connect
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = lambda self, at: connect(self, at) if self.family == socket.AF_UNIX else refuse(at)
"""


def run(block: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(block), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=500
    )


def test_a_study_and_its_report_reach_for_no_network(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(trace=str(trace)))
    tried = run(tmp_path, "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9')")
    assert tried.returncode != 0
    assert trace.exists()  # the block works
    trace.unlink()
    rng, label = np.random.default_rng(0), np.arange(60) % 2
    np.savez(tmp_path / "d.npz", a=rng.normal(size=(60, 4)), b=rng.normal(size=(60, 3)), label=label)
    program = f"""
import mfh
from mfh.cli import main
words = "--teacher a --student b --seeds 1 --epochs 1 --hidden 4 --ratio 0.5 --random-draws 1 --quiet".split()
out = {str(tmp_path / "out")!r}
assert main(["study", "--data", {str(tmp_path / "d.npz")!r}, "--out", out, *words]) == 0
assert main(["report", out, "--figures", out + "/f", "--tables", out + "/t"]) == 0
for name in mfh.__all__:
    getattr(mfh, name)
"""
    done = run(tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert not trace.exists(), trace.read_text()
