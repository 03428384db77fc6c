"""Whole commands on a disk that is full, and on one that can only be read: one line, and nothing is lost."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
SETTINGS = ["--teacher", "a", "--student", "b", "--epochs", "3", "--device", "cpu", "--quiet"]
STUDY = ["study", *SETTINGS, "--resampling", "splits", "--seeds", "2", "--ratio", "0.5"]


def mounted(*words: str) -> None:
    """Run mount or umount."""
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A disk of 64 KiB of its own, and a function that mounts it anew with other options."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place, lambda options: mounted("mount", "-o", f"remount,{options}", str(place))
    finally:
        mounted("umount", str(place))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, features, and a finished study."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    label = np.arange(300) % 3
    views = {
        name: np.eye(3)[label] @ rng.normal(size=(3, n)) + rng.normal(size=(300, n))
        for name, n in (("a", 12), ("b", 8))
    }
    np.savez(folder / "data.npz", label=label, **views)
    np.save(folder / "h.npy", rng.normal(size=(300, 40_000)).astype(np.float32))
    np.save(folder / "s.npy", rng.normal(size=(300, 3)).astype(np.float32))
    head = {"weight": rng.normal(size=(3, 40_000)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    np.savez(folder / "head.npz", **head)
    told = mfh(*STUDY, "--data", folder / "data.npz", "--out", folder / "study")
    assert told.returncode == 0, told.stderr
    return folder


def mfh(*words: object) -> Any:
    """Run a command."""
    settings = os.environ | {"MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "mfh", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=settings, check=False)


def the_error(told: Any) -> str:
    """What a command says last: one line of its own, after notes on what went well."""
    *notes, last = told.stderr.splitlines()
    assert last.startswith("mfh: ")
    assert not any(line.startswith(("mfh: ", "Traceback")) for line in notes)
    return last


def arguments(name: str, made: Path, disk: Path) -> list[object]:
    """A command that writes to the disk."""
    data = ["--data", made / "data.npz"]
    return {
        "study": [*STUDY, *data, "--out", disk / "run"],
        "diagnose": ["diagnose", *SETTINGS, *data, "--out", disk / "run"],
        "report": ["report", made / "study", "--out", disk / "page.html"],
        "figures": ["report", made / "study", "--figures", disk / "figures"],
        "saliency": [
            "saliency", "--features", made / "h.npy", "--student-logits", made / "s.npy",
            "--head", made / "head.npz", "--out", disk / "saliency.npz", "--quiet",
        ],
        "export": [
            "export", *data, "--out", made / "study", "--to", disk / "export",
        ],
    }[name]  # fmt: skip


COMMANDS = ("study", "diagnose", "report", "figures", "saliency", "export")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_costs_nothing_that_was_done(
    name: str, made: Path, disk: tuple[Path, Callable[[str], None]]
) -> None:
    place, again = disk
    command = arguments(name, made, place)
    failed = mfh(*command)
    assert failed.returncode == 2
    assert "No space left on device" in the_error(failed)
    whole = {path for path in place.rglob("*.npz") if np.load(path).files is not None}
    assert len(whole) == len(list(place.rglob("*.npz"))), "what has its name is whole"
    again("size=100M")
    told = mfh(*command)
    assert told.returncode == 0, told.stderr
    if name == "study":
        mine, other = (
            json.loads((folder / "results.json").read_text()) for folder in (place / "run", made / "study")
        )
        assert mine["summary"] == other["summary"]
        assert mine["comparisons"] == other["comparisons"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_can_only_be_read_is_named(
    name: str, made: Path, disk: tuple[Path, Callable[[str], None]]
) -> None:
    place, again = disk
    again("ro")
    failed = mfh(*arguments(name, made, place))
    assert failed.returncode == 2
    assert "Read-only file system" in the_error(failed)
    assert str(place) in the_error(failed)
