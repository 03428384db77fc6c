"""The seeds of a study on disk: the same command continues where it was interrupted."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mfh._checks import InputError, require
from mfh._study.outcome import SeedResult, Student
from mfh._system.files import (
    bytes_writer,
    checksum,
    identity_mark,
    json_writer,
    npz_bytes,
    plain,
    read_json,
    require_files,
    writable_folder,
    write_json,
    write_together,
)
from mfh._system.progress import FILE
from mfh.data.splits import Split
from mfh.models.weights import sealed_weights
from mfh.results import Choice, FailedStudent, Record, TeacherRecord, fit_name, fit_words, read_arrays

logger = logging.getLogger(__name__)


class Store:
    """The folder of one run: `run.json` identifies the run, `state/` has one pair of files per seed.

    While a seed is unfinished, the folder `state/seed-0000/` keeps its parts; see `mfh._study.parts`. In a
    partial study several commands add students to a seed, so its parts are kept when the seed is saved.

    Args:
        folder: the folder.
        identity: what must be equal for two runs to share results, as plain values.
        partial: whether the study is a partial one.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, partial: bool = False) -> None:
        self.folder = folder
        self.identity = identity
        self.partial = partial
        self.mark = identity_mark(identity)
        self.claimed = False  # by an earlier call, or not at all

    @classmethod
    def open(cls, folder: Path | str, identity: Mapping[str, Any], *, partial: bool = False) -> "Store":
        """Open the folder of a run, or start one.

        Raises:
            InputError: it cannot be written, or holds a run with another identity; the differing fields are
                named.
        """
        folder = writable_folder(folder)
        mark = folder / "run.json"
        mine = plain(identity)
        if mark.exists():
            try:
                theirs = read_json(mark)
            except InputError as error:
                raise InputError(f"{error} Remove the folder or name another.") from error
            fields = sorted(
                name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)
            )
            changes = "; ".join(
                f"`{f}` was {_short(theirs.get(f))}, is {_short(mine.get(f))}" for f in fields[:4]
            )
            require(
                not fields,
                f"`out` {folder} holds another run's results: {changes}. Name another folder or remove it.",
            )
        else:
            require(
                not (folder / "results.json").exists(),
                f"`out` {folder} holds another run's results. Name another folder, or remove this one.",
            )
        return cls(folder, mine, partial=partial)

    def discard(self) -> None:
        """Remove what a run that was refused has written: nothing is left if it has computed nothing."""
        work = [self.folder / "state", self.folder / "labels"]
        if self.claimed and not any(path.is_file() for folder in work for path in folder.rglob("*")):
            for folder in work:
                shutil.rmtree(folder, ignore_errors=True)
            (self.folder / "run.json").unlink(missing_ok=True)
        if not (self.folder / "run.json").exists():
            (self.folder / FILE).unlink(missing_ok=True)

    def end(self) -> None:
        """Remove the file that says that the run is under way."""
        (self.folder / FILE).unlink(missing_ok=True)

    def claim(self) -> None:
        """Record in the folder which run it belongs to."""
        if not (self.folder / "run.json").exists():
            write_json(self.folder / "run.json", self.identity, sealed=True)
            self.claimed = True

    def base(self, seed: int) -> Path:
        """Return the path of a seed's files, without suffix; a folder of this name keeps unfinished work."""
        return self.folder / "state" / fit_name(seed)

    def save(self, result: SeedResult) -> None:
        """Write a seed. Its json is written last and has the checksums of the other files."""
        self.claim()
        base, name = self.base(result.seed), fit_name(result.seed)
        contents = {
            checkpoint(result.seed, network): sealed_weights(
                {key: value.contiguous().clone() for key, value in weights.items()},
                run=self.mark,
                network=network,
            )
            for network, weights in result.weights.items()
        }
        arrays = {f"channels/{name}": values for name, values in result.channels.items()}
        values = {} if result.values is None else {"values": result.values}
        rows = {f"split/{name}": getattr(result.split, name) for name in ("train", "validation", "test")}
        if result.split.labelled is not None:
            rows["split/labelled"] = result.split.labelled
        curves = {f"curves/{name}": values for name, values in result.curves.items()}
        unseen = {f"out_of_fold/{name}": values for name, values in result.out_of_fold.items()}
        contents[f"state/{name}.npz"] = npz_bytes(
            {"outputs": result.outputs, **values, **arrays, **curves, **rows, **unseen}
        )
        summary = json_writer(
            {
                "run": self.mark,
                "files": {file: checksum(content) for file, content in contents.items()},
                "seed": result.seed,
                "records": [asdict(record) for record in result.records],
                "failed": [asdict(student) for student in result.failed],
                "teachers": [asdict(teacher) for teacher in result.teachers],
                "overlap": [[split, ratio, share] for (split, ratio), share in result.overlap.items()],
                "timings": result.timings,
                "chosen": [asdict(choice) for choice in result.chosen],
                "layer": result.layer,
                "redrawn": result.split.redrawn,
                "place": [result.repeat, result.fold],
                "settings": [student.settings for student in result.students],
                **({"search": result.search} if result.search else {}),
            },
            sealed=True,
        )
        written = {self.folder / file: bytes_writer(content) for file, content in contents.items()}
        write_together(written | {base.with_suffix(".json"): summary})
        self._drop_parts(base)

    def _drop_parts(self, base: Path) -> None:
        """Remove the unfinished work of a seed that is finished."""
        if not self.partial:
            shutil.rmtree(base, ignore_errors=True)

    def load(self, seed: int) -> SeedResult | None:
        """Read a finished seed; None if it is absent or damaged, which is logged: the seed is run again."""
        base = self.base(seed)
        path = base.with_suffix(".json")
        try:
            values = read_json(path)
            if (values.get("run"), values.get("seed")) != (self.mark, seed):
                raise InputError(f"`{path}` is of another run or another seed.")
            require_files(self.folder, values["files"], path)
            arrays = read_arrays(base.with_suffix(".npz"))
            self._drop_parts(base)  # they are left over if the process was killed
            rows = _below("split/", arrays)
            records, count = values["records"], len(values["records"])
            settings = values.get("settings") or [{}] * count
            parts = (arrays["outputs"], arrays.get("values", [None] * count), settings)
            return SeedResult(
                seed=values["seed"],
                split=Split(**rows, redrawn=values["redrawn"]),
                students=tuple(
                    Student(Record(**row), *part) for row, *part in zip(records, *parts, strict=True)
                ),
                teachers=tuple(TeacherRecord(**row) for row in values["teachers"]),
                channels=_below("channels/", arrays),
                overlap={(split, ratio): share for split, ratio, share in values["overlap"]},
                timings=values["timings"],
                weights={},
                chosen=tuple(Choice(**row) for row in values["chosen"]),
                layer=values["layer"],
                curves=_below("curves/", arrays),
                failed=tuple(FailedStudent(**row) for row in values.get("failed", ())),
                repeat=values["place"][0],
                fold=values["place"][1],
                out_of_fold=_below("out_of_fold/", arrays),
                search=values.get("search", {}),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s is run again. %s", fit_words(seed).capitalize(), error)
            return None


def checkpoint(seed: int, network: str) -> str:
    """Return the path of a network's weights inside the folder of a run."""
    return f"checkpoints/{fit_name(seed)}/{network}.safetensors"


def written_weights(folder: Path, seed: int) -> dict[str, str]:
    """Return the checkpoints of a finished seed and their checksums; empty if none were recorded.

    Raises:
        InputError: the file that records them is absent or damaged.
    """
    path = folder / "state" / f"{fit_name(seed)}.json"
    try:
        files = read_json(path, sealed=False).get("files", {})
    except FileNotFoundError:
        raise InputError(f"`{path}` is missing.") from None
    return {name: value for name, value in files.items() if name.startswith("checkpoints/")}


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with a prefix, without the prefix."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
