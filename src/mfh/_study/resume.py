"""Finished seeds of a study on disk, so that the same command goes on where it stopped."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save as safetensors_bytes

from mfh._checks import InputError, require
from mfh._files import plain, writable_folder, write_atomic, write_json, write_npz
from mfh._progress import FILE
from mfh._study.outcome import SeedResult
from mfh.data.splits import Split
from mfh.results import FailedStudent, Record, TeacherRecord, read_arrays


class Store:
    """The folder of one run: `run.json` says whose it is, `state/` holds one pair of files per seed.

    While a seed is unfinished, `state/seed-0000/` holds its parts; see `mfh._study.parts`.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, made: bool) -> None:
        self.folder = folder
        self.identity = identity
        self._made = made

    @classmethod
    def open(cls, folder: Path | str, identity: Mapping[str, Any]) -> "Store":
        """Open the folder of a run, or start one.

        Raises:
            InputError: it cannot be written, or holds a run with another identity; the differing fields are
                named.
        """
        made = not Path(folder).exists()
        folder = writable_folder(folder)
        mark = folder / "run.json"
        mine = plain(identity)
        if mark.exists():
            try:
                theirs = json.loads(mark.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(
                    f"`{mark}` is damaged: {error}. Remove the folder or name another."
                ) from error
            fields = sorted(
                name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)
            )
            told = "; ".join(
                f"`{f}` was {_short(theirs.get(f))}, is {_short(mine.get(f))}" for f in fields[:4]
            )
            require(
                not fields,
                f"`out` {folder} holds another run's results: {told}. Name another folder or remove it.",
            )
        else:
            require(
                not (folder / "results.json").exists(),
                f"`out` {folder} holds another run's results. Name another folder, or remove this one.",
            )
        return cls(folder, mine, made=made)

    def discard(self) -> None:
        """Remove what a run without a finished seed has written, and the folder if this run made it."""
        if not (self.folder / "run.json").exists():
            (self.folder / FILE).unlink(missing_ok=True)
        if self._made and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def end(self) -> None:
        """Say no more that the run is under way: its results are written."""
        (self.folder / FILE).unlink(missing_ok=True)

    def claim(self) -> None:
        """Write into the folder whose it is, unless it says so already."""
        if not (self.folder / "run.json").exists():
            write_json(self.folder / "run.json", self.identity)

    def base(self, seed: int) -> Path:
        """Of a seed's files, without their suffix; the folder of this name holds what is unfinished."""
        return self.folder / "state" / f"seed-{seed:04d}"

    def save(self, result: SeedResult) -> None:
        """Write a finished seed; its json comes last and marks it as complete."""
        self.claim()
        base = self.base(result.seed)
        for name, weights in result.weights.items():
            path = self.folder / "checkpoints" / f"seed-{result.seed:04d}" / f"{name}.safetensors"
            blob = safetensors_bytes({key: value.contiguous().clone() for key, value in weights.items()})
            write_atomic(path, lambda file, blob=blob: file.write(blob))  # type: ignore[misc]
        arrays = {f"channels/{name}": values for name, values in result.channels.items()}
        rows = {f"split/{name}": getattr(result.split, name) for name in ("train", "validation", "test")}
        curves = {f"curves/{name}": values for name, values in result.curves.items()}
        write_npz(base.with_suffix(".npz"), {"correct": result.correct, **arrays, **curves, **rows})
        write_json(
            base.with_suffix(".json"),
            {
                "seed": result.seed,
                "records": [asdict(record) for record in result.records],
                "failed": [asdict(student) for student in result.failed],
                "teachers": [asdict(teacher) for teacher in result.teachers],
                "overlap": [[split, ratio, share] for (split, ratio), share in result.overlap.items()],
                "timings": result.timings,
                "smoothing": result.smoothing,
                "layer": result.layer,
                "redrawn": result.split.redrawn,
            },
        )
        shutil.rmtree(base, ignore_errors=True)

    def load(self, seed: int) -> SeedResult | None:
        """Read a finished seed; None where it is absent or damaged and must be run again."""
        base = self.base(seed)
        try:
            values = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
            arrays = read_arrays(base.with_suffix(".npz"))
            rows = {name: arrays[f"split/{name}"] for name in ("train", "validation", "test")}
            return SeedResult(
                seed=values["seed"],
                split=Split(**rows, redrawn=values["redrawn"]),
                records=tuple(Record(**row) for row in values["records"]),
                teachers=tuple(TeacherRecord(**row) for row in values["teachers"]),
                correct=np.asarray(arrays["correct"]),
                channels=_below("channels/", arrays),
                overlap={(split, ratio): share for split, ratio, share in values["overlap"]},
                timings=values["timings"],
                weights={},
                smoothing=values["smoothing"],
                layer=values["layer"],
                curves=_below("curves/", arrays),
                failed=tuple(FailedStudent(**row) for row in values.get("failed", ())),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
