"""Copies of a folder with one file damaged, and whether a command notices."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kills import content

from mfh import InputError, PairedDataset, StudyConfig
from mfh.cli import main

CONFIG = StudyConfig(
    resampling="splits",
    seeds=2, epochs=3, ratio=(0.5,), random_draws=1, hidden=(6,), smoothing=(0.1,), device="cpu",
    teacher="lidar", student="camera",
)  # fmt: skip
SHOWN = (".html", ".svg", ".pdf", ".png")  # made from the rest, and read by nobody
Words = list[str]


def paired(seed: int) -> PairedDataset:
    rng = np.random.default_rng(seed)
    label = np.arange(90) % 2
    shared = label[:, None] + rng.normal(size=(90, 3))
    arrays = {"lidar": np.hstack([shared, rng.normal(size=(90, 3))]), "camera": shared}
    return PairedDataset.from_arrays(arrays, label=label)


def damaged(folder: Path, other: Path, into: Path) -> Iterator[tuple[str, Path]]:
    """Copies of a folder, each with one file damaged: which file and how, and the copy."""
    rng, files, copies = np.random.default_rng(0), set(), 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in SHOWN:
            continue
        name, bytes_ = path.relative_to(folder), path.read_bytes()
        flipped = bytearray(bytes_)
        flipped[int(rng.integers(len(bytes_)))] ^= 1 << int(rng.integers(8))
        changes = {"cut": bytes_[: len(bytes_) // 2], "flipped": bytes(flipped)}
        if (other / name).is_file():
            changes["exchanged"] = (other / name).read_bytes()
        for how, changed in changes.items():
            copy = into / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            (copy / name).write_bytes(changed)
            if changed != bytes_:
                yield f"{name} {how}", copy
                files.add(name)
                copies += 1
    sys.stdout.write(f"{len(files)} files, {copies} damages\n")


def check(
    folder: Path,
    other: Path,
    into: Path,
    *,
    again: Callable[[Path], Any],
    read: Callable[[Path], Any] | None = None,
    whole: Path | None = None,
) -> int:
    """Damage every file: a reader refuses it by name or reads the same; the command mends or refuses it.

    Args:
        folder: that is copied, with one file damaged in each copy.
        other: of another run, whose files are exchanged for those of `folder`.
        into: where copies are made.
        again: the command.
        read: a reader of the folder; raises InputError.
        whole: the folder as the command leaves it; by default `folder`.

    Returns:
        Number of damages.
    """
    wanted, count = content(whole or folder), 0
    known = read(folder) if read else None
    for what, copy in damaged(folder, other, into):
        file = what.partition(" ")[0]
        try:
            assert read is None or read(copy) == known, f"{what}: read as if nothing were wrong"
        except InputError as error:
            packed = file.endswith(".tar") and "is damaged" in str(error)  # a clip in it is named
            assert packed or Path(file).stem in str(error), f"{what}: {error}"  # noqa: PT017
        try:
            again(copy)
        except InputError as error:
            another = file == "run.json" and "holds another run's results" in str(error)
            # a list of checksums of another folder fits none of the files, which are named then
            listed = file == "checksums.csv" and "damaged or exchanged" in str(error)
            assert Path(file).name in str(error) or another or listed, f"{what}: {error}"  # noqa: PT017
        else:
            found = content(copy)
            differing = [n for n in wanted.keys() | found.keys() if wanted.get(n, 0) != found.get(n, 0)]
            assert differing == [], f"{what}: {differing}"
        count += 1
    return count


def told(result: Any) -> Any:
    """A result without times."""
    values = result.to_dict()
    values["records"] = [{**row, "seconds": 0.0} for row in values["records"]]
    arrays = {n: a.tobytes() for n, a in getattr(result, "channels", {}).items()}
    return {n: v for n, v in values.items() if n not in ("timings", "environment")}, arrays


def stopped_after(patch: pytest.MonkeyPatch, owner: Any, name: str, calls: int) -> None:
    """Make a method stop the command, as Ctrl-C does, at one of its calls."""
    method, count = getattr(owner, name), iter(range(calls))

    def call(*arguments: Any, **named: Any) -> Any:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return method(*arguments, **named)

    patch.setattr(owner, name, call)


def check_stopped(tmp_path: Path, run: Callable[[int, Path], Any], owner: Any, name: str, calls: int) -> int:
    """Damage what a command leaves that was stopped, and run it to its end."""
    for number in (0, 1):
        with pytest.MonkeyPatch.context() as patch:
            stopped_after(patch, owner, name, calls)
            with pytest.raises(KeyboardInterrupt):
                run(number, tmp_path / str(number))
    run(0, tmp_path / "whole")
    return check(
        tmp_path / "0", tmp_path / "1", tmp_path,
        again=lambda folder: run(0, folder), whole=tmp_path / "whole",
    )  # fmt: skip


def commands(capsys: pytest.CaptureFixture[str], *several: Callable[[Path], Words]) -> Callable[[Path], None]:
    """Commands that are given one after the other; an error of theirs becomes an InputError."""

    def run(folder: Path) -> None:
        for words in several:
            if main(words(folder)) != 0:
                raise InputError(capsys.readouterr().err)

    return run
