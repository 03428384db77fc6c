"""What every run leaves behind: its tables, its text for a terminal, its file."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mfh._checks import InputError, listing, shown, typed
from mfh._rows import Comparison, Record, Summary
from mfh._system.files import bytes_writer, checksum, json_writer, run_mark, write_together

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
MOST_ROWS = 12
"""Rows of a table that the text of a result shows."""
R = TypeVar("R", bound="RunResult")


@dataclass(frozen=True, repr=False)
class RunResult:
    """What every run leaves behind.

    Attributes:
        config: the resolved configuration.
        environment: versions, machine, and the command that reproduces the run.
        timings: seconds by stage.
        records: one entry per trained student.
        summary: test metric per arm and ratio, over fits.
        comparisons: paired differences.
        kept: the folder of the run, or what `export` needs of a run in memory; not a part of `results.json`.
    """

    kind: ClassVar[str] = "run"

    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    records: Sequence[Record] = ()
    summary: Sequence[Summary] = ()
    comparisons: Sequence[Comparison] = ()
    kept: Any = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values, in the layout of `results.json`."""
        values = asdict(replace(self, kept=None))
        del values["kept"]
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind} | values

    @classmethod
    def from_dict(cls: type[R], values: Mapping[str, Any]) -> R:
        """The inverse of `to_dict`."""
        known = {f.name for f in fields(cls)} - {"kept"}
        given = {key: value for key, value in values.items() if key in known}
        for name in ("config", "environment", "timings", "saliency", "data", "labels", "diagnosis", "search"):
            if not isinstance(given.get(name, {}), Mapping):
                raise TypeError(f"`{name}` holds no fields")
        for name, kind in cls._tables().items():
            make = dict if kind is dict else partial(typed, kind)
            given[name] = tuple(make(row) for row in given.get(name, ()))
        return cls(**given)

    @classmethod
    def _tables(cls) -> dict[str, type]:
        return {"records": Record, "summary": Summary, "comparisons": Comparison}

    def frame(self, table: str = "records") -> "pd.DataFrame":
        """One of the tables (`records`, `summary`, `comparisons`, ...) as a pandas data frame.

        The columns `loss` and `loss_b` are left out where no row has one.

        Raises:
            InputError: there is no such table.
        """
        import pandas as pd  # slow to import, and only needed here

        if table not in self._tables():
            raise InputError(f"`table` must be one of {listing(self._tables())}. Got {table!r} instead.")
        rows = [row if isinstance(row, dict) else asdict(row) for row in getattr(self, table)]
        frame = pd.DataFrame(rows)
        unused = [name for name in ("loss", "loss_b") if name in frame and frame[name].isna().all()]
        return frame.drop(columns=unused)

    def __repr__(self) -> str:
        """What was run, the verdict, and the first rows of the main table: never more than a screen."""
        verdict = getattr(self, "verdict", None)
        words = shown(f"{verdict.verdict}: {verdict.sentence}") if verdict else ""
        name, frame = self._main_table()
        lines = [shown(self._title()), *wrap(words, 88, max_lines=6)]
        if len(frame):
            lines += frame.head(MOST_ROWS).round(2).to_string(index=False, na_rep="-").splitlines()
            lines += [f"{len(frame)} rows: .frame({name!r})"] if len(frame) > MOST_ROWS else []
        return "\n".join(line if len(line) <= 100 else line[:97] + "..." for line in lines)

    def _title(self) -> str:
        fits = len({record.seed for record in self.records})
        sides = [self.config.get(side) for side in ("teacher", "student")]
        seen = f" of {' -> '.join(map(str, sides))}" if all(sides) else ""
        count = len(self.records)
        students = f"{count} student{'s' * (count != 1)} in {fits} fit{'s' * (fits != 1)}"
        return f"{type(self).__name__}{seen}: {students}"

    def _main_table(self) -> "tuple[str, pd.DataFrame]":
        """Return the name of the table that matters most, and its columns that fit on a screen."""
        table = "summary" if self.summary else "records"
        frame = self.frame(table)
        if self.summary:
            frame = frame[frame.metric == self.summary[0].metric]
        named = ("arm", "loss", "ratio", "seed", "metric", "n", "test", "mean", "low", "high")
        frame = frame[[name for name in named if name in frame]]
        return table, frame.astype({"ratio": float}) if "ratio" in frame else frame

    def _repr_html_(self) -> str:
        """The verdict, where there is one, and the summary or the records, for notebooks."""
        verdict = getattr(self, "verdict", None)
        words = f"<p><b>{verdict.verdict}</b>: {escape(verdict.sentence)}</p>" if verdict else ""
        rows = self.frame("summary" if self.summary else "records")
        return f"<div>{words}{rows.round(2).to_html(index=False, na_rep='', border=0)}</div>"

    def save(self, folder: Path | str) -> Path:
        """Write `results.json` and the files beside it into `folder`, atomically; returns its path.

        It holds a checksum of itself and of the files beside it, and the mark of the run of the folder.
        """
        path, beside = Path(folder) / "results.json", self._beside()
        told: dict[str, Any] = {"files": {name: checksum(content) for name, content in beside.items()}}
        told |= {"run": mark} if (mark := run_mark(folder)) else {}
        written = {path.with_name(name): bytes_writer(content) for name, content in beside.items()}
        write_together(written | {path: json_writer(self.to_dict() | told, sealed=True)})
        return path

    def export(
        self,
        folder: Path | str,
        *,
        arm: str | None = None,
        seed: int | None = None,
        loss: str | None = None,
        calibrate: str | None = None,
        refit: bool | str | None = None,
        data: Any = None,
        **more: Any,
    ) -> Path:
        """Write one of the students into a folder, ready for use without the run and without mfh.

        The folder gets weights (safetensors), a program of `torch.export`, ONNX if the extra `onnx` is
        installed, a script that predicts, and a model card. Standardisation and transforms of the data are
        inside the network. Program and ONNX are checked against the network on real samples.

        Args:
            folder: the folder for the files.
            arm: whose student. By default `general` if the study shows that it helps, `no-kd` if it shows
                that it does not, and the one with the better validation metric where that is open.
            seed: number of the fit; by default the one whose student has the best validation metric.
            loss: the distillation loss; by default the declared one.
            calibrate: `temperature` divides the scores by the temperature that minimises the log-loss on
                validation samples; `none` does not. By default as the study did. With few labels the study
                itself must have been run with `calibrate="temperature"`.
            refit: whether to train this student once more, on all samples, with a fixed number of steps; by
                default not, but for a search, which has done so. Labels that the run hid stay hidden unless
                it is `all-labels`.
            data: the `PairedDataset` of the run, for `refit`; not needed in the process of `mfh.study`.
            more: see `mfh._export.run.export_run`.

        Returns:
            Path of `export.json`; `mfh.load_export(folder)` reads the folder.

        Raises:
            InputError: the run has no student to use elsewhere (a diagnosis, a Gaussian experiment); or there
                is no such student, it was not kept, or it cannot be exported.
        """
        export = importlib.import_module("mfh._export")  # which imports this module
        path: Path = export.export_run(
            self, folder, arm=arm, seed=seed, loss=loss, calibrate=calibrate, refit=refit, data=data, **more
        )
        return path

    def _beside(self) -> dict[str, bytes]:
        """Files beside `results.json`: name -> content."""
        return {}
