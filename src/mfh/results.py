"""Frozen results of every kind of run, to JSON and back. Free of torch, so that reports are quick.

`OUT/results.json` is the one file that everything else (report, figures, comparisons) is made from. Arrays
too large for JSON stand beside it in `saliency.npz`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from mfh._checks import InputError, listing, typed
from mfh._rows import ALL_SAMPLES as ALL_SAMPLES
from mfh._rows import NO_VERDICT as NO_VERDICT
from mfh._rows import Choice as Choice
from mfh._rows import Comparison as Comparison
from mfh._rows import FailedSeed as FailedSeed
from mfh._rows import FailedStudent as FailedStudent
from mfh._rows import Look as Look
from mfh._rows import MetricInfo as MetricInfo
from mfh._rows import Record as Record
from mfh._rows import Summary as Summary
from mfh._rows import TeacherRecord as TeacherRecord
from mfh._rows import Verdict as Verdict
from mfh._rows import fit_name as fit_name
from mfh._rows import fit_words as fit_words
from mfh._run_result import SCHEMA_VERSION as SCHEMA_VERSION
from mfh._run_result import RunResult as RunResult
from mfh._system.environment import environment as environment
from mfh._system.files import npz_bytes
from mfh._system.files import read_arrays as read_arrays
from mfh._system.files import read_results as read_results
from mfh._version import __version__
from mfh.arms import ARMS, Arm, ShownArm

if TYPE_CHECKING:
    import pandas as pd

ARRAYS = {"channels": "saliency.npz", "curves": "curves.npz", "predictions": "predictions.npz"}
"""Fields of a study that have files of their own beside `results.json`."""
S = TypeVar("S", bound="StudyResult")


@dataclass(frozen=True, repr=False)
class StudyResult(RunResult):
    """The whole experiment: arms, controls, statistics, verdict.

    Attributes:
        teachers: one entry per teacher and seed.
        saliency: `overlap` of the kept channels of `general` and `important` by split and ratio, share of
            `negative` increases, rank correlation between seeds (`rank_correlation`).
        verdict: what the study concludes; see `Verdict`.
        arms: the arms of the study, in the order in which they are shown.
        metrics: its metrics; the first one chose epochs and ratios and carries the verdict.
        chosen: what validation chose in each seed: ratios by arm and loss, and the label smoothing.
        looks: the looks of a study that went on until it was decided.
        labels: where labels are missing: mean numbers of `labelled` and `unlabelled` pairs of a fit, and of
            labels that `oracle` learns from; whether the study hid labels (`hidden`); how many samples have
            one (`known`); how networks were trained in place of the options (`training`); and, with several
            numbers of labels, `curve` and `equivalents`.
        data: sizes, classes, groups, modalities and how many samples lack them, file and fingerprint.
        channels: per-channel arrays of every seed, the content of `saliency.npz`: `increase_train` and
            `importance_train`, each (seed, channel), and the like for validation.
        curves: training loss and validation metric by epoch, the content of `curves.npz`: `regular_loss` and
            the like for every teacher, each (seed, epoch), `students_loss` and `students_validation`, each
            (record, epoch) in the order of `records`; NaN after an early stop.
        predictions: test outputs by sample, the content of `predictions.npz`: `id`, `label` and, if there are
            groups, `group` of all samples; for each fit `rows/SEED`, the places of its test samples among
            them, and `outputs/SEED`, (student, test sample, output), in the order of the records of that fit;
            where labels are missing `labelled/SEED`, the places of the samples whose labels the fit saw, and
            with `calibrate` `out_of_fold/SEED`, (student, sample, output): outputs of students like each that
            did not see these samples, whose places are `out_of_fold_rows/SEED`, before any division.
        sample_values: arm -> rows of the tested samples, and the mean over fits of the metric's value for
            each; not written to disk.
        diagnosis: what was said before any student was trained, in the layout of `diagnosis` in
            `results.json`; empty where nothing was.
        failed: one entry per student that diverged, in a study of several losses; they are left out of all
            else.
        failed_seeds: seeds that failed once or more, in the call that wrote this.

    Example:
        >>> row = Summary("joint", None, "accuracy", 2, 70.0, 1.0, 61.0, 79.0)
        >>> StudyResult(summary=(row,)).frame("summary").arm[0]
        'joint'
    """

    kind: ClassVar[str] = "study"

    teachers: Sequence[TeacherRecord] = ()
    saliency: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict = NO_VERDICT
    arms: Sequence[Arm] = tuple(ARMS.values())
    metrics: Sequence[MetricInfo] = (MetricInfo("accuracy"),)
    chosen: Sequence[Choice] = ()
    looks: Sequence[Look] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    channels: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    curves: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    sample_values: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, compare=False)
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    failed: Sequence[FailedStudent] = ()
    failed_seeds: Sequence[FailedSeed] = ()

    def with_sources(self: S, sources: Mapping[str, Any]) -> S:
        """Return the result with the sources of its data and networks, for `mfh export` and the report.

        Args:
            sources: `data` (a file, or what made it), `label`, `group` and others, as plain values.
        """
        data = sources.get("data")
        file = data.get("class_path") if isinstance(data, Mapping) else data
        columns = {"file": str(file), "label": sources.get("label"), "group": sources.get("group")}
        return replace(self, data={**self.data, **columns}, config={**self.config, "sources": dict(sources)})

    @property
    def missing(self) -> tuple[int, ...]:
        """Seeds that are not in the results, since they failed."""
        return tuple(failure.seed for failure in self.failed_seeds if failure.missing)

    @classmethod
    def _tables(cls) -> dict[str, type]:
        return super()._tables() | {
            "teachers": TeacherRecord,
            "metrics": MetricInfo,
            "chosen": Choice,
            "looks": Look,
            "failed": FailedStudent,
            "failed_seeds": FailedSeed,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, but those in `ARRAYS`, which have files of their own."""
        arms = {"arms": [arm.to_dict() for arm in self.arms]}
        left_out = {*ARRAYS, "sample_values"}
        return {n: value for n, value in (super().to_dict() | arms).items() if n not in left_out}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StudyResult":
        """The inverse of `to_dict`."""
        given = dict(values)
        verdict = given.get("verdict") or asdict(NO_VERDICT)
        if not isinstance(verdict, Mapping):
            raise TypeError("`verdict` must be a mapping")
        given["verdict"] = typed(Verdict, {**verdict, "reasons": tuple(verdict.get("reasons", ()))})
        if "arms" in given:
            given["arms"] = tuple(ShownArm.from_dict(arm) for arm in given["arms"])
        return super().from_dict(given)

    def _beside(self) -> dict[str, bytes]:
        return {file: npz_bytes(arrays) for name, file in ARRAYS.items() if (arrays := getattr(self, name))}


@dataclass(frozen=True, repr=False)
class FitResult(StudyResult):
    """A search for the best student: the study of its procedures, what was tried, and what is shipped.

    The arms are `no-kd` and `searched`, the recipes that a search without and one with teachers took in each
    fit, and `stack`, a fixed recipe.

    Attributes:
        search: `trials` (every recipe of every fit, with `first`, its metric on the first fold, and
            `validation`, the mean over `folds`), `winners` by fit with the difference to the anchor and its
            standard error, `worth` of each choice, `by_part` (by class and by group), `threshold`, `final`
            (the search on all samples) and `shipped`, the arm whose student to ship.

    Example:
        >>> FitResult(search={"winners": [{"fit": 0, "recipe": "stack"}]}).frame("winners").recipe[0]
        'stack'
    """

    kind: ClassVar[str] = "fit"

    search: Mapping[str, Any] = field(default_factory=dict)

    def frame(self, table: str = "records") -> "pd.DataFrame":
        """Return a table: see `RunResult.frame`; also `trials`, `winners` and `worth`."""
        import pandas as pd

        mine = ("trials", "winners", "worth")
        if table not in (*mine, *self._tables()):
            raise InputError(
                f"`table` must be one of {listing((*self._tables(), *mine))}. Got {table!r} instead."
            )
        if table not in mine:
            return super().frame(table)
        return pd.DataFrame([dict(row) for row in self.search.get(table, ())])


@dataclass(frozen=True, repr=False)
class Diagnosis(StudyResult):
    """The evidence before a study. `records`, `summary` and `comparisons` are those of its pilot.

    Attributes:
        diagnosis: `gamma` (`estimate`, `low`, `high`, `between`, `within`, nulls, `venn`), `verdict`,
            `probability`, `belief`, `reasons`, `advice`, `companions`, `teacher`, `pilot`.
        channels: `contribution` of each channel to gamma_hat, (fold, channel), where the head is linear.
    """

    kind: ClassVar[str] = "diagnosis"

    def frame(self, table: str = "companions") -> "pd.DataFrame":
        """Return a table of the pilot (see `RunResult.frame`), `companions`, or with few labels `trust`."""
        import pandas as pd

        if table not in ("companions", "trust"):
            return super().frame(table)
        return pd.DataFrame([dict(row) for row in self.diagnosis.get(table, ())])

    def _main_table(self) -> "tuple[str, pd.DataFrame]":
        frame = self.frame()
        return "companions", frame[[name for name in ("name", "value", "null", "unit") if name in frame]]

    def _repr_html_(self) -> str:
        words = escape(self.verdict.sentence) if self.verdict else "no verdict"
        gamma = self.diagnosis.get("gamma", {})
        return f"<p>{words}</p>" + self.frame().round(3).to_html(index=False) if gamma else words


@dataclass(frozen=True)
class GaussianRecord(Record):
    """One trained model, teachers too, of a Gaussian experiment.

    `arm` is the stem of a column of `rows`, `ratio` is None, `best_epoch` the number of steps.

    Attributes:
        gamma: share of the decisive features that both modalities hold, in [0, 1].
        mode: how Table 2 chose the teacher's channels (`random`, `gt`, `alg1`); None in the figures.
        num_train: samples of its training split.
        noise: channels of modality b, the student's, that hold no decisive feature.
        recovery: share of the modality-general channels of its input that Algorithm 1 ranks highest; None for
            models that it does not rank.
    """

    gamma: float = 0.0
    mode: str | None = None
    num_train: int = 0
    noise: int = 0
    recovery: float | None = None


@dataclass(frozen=True, repr=False)
class GaussianResult(RunResult):
    """A Gaussian experiment: `rows` as printed in the paper's figure or table, `notes` beside them.

    Attributes:
        figure: `fig2`, `fig3`, `table2` or `regime`.
        rows: one mapping per point of the figure or line of the table.
        differences: what the claims rest on, paired by run: `gamma`, `mode`, arms `a` and `b`, `n` runs, mean
            `difference` a - b in points of test accuracy, 95% interval `low` to `high` (None for one run).
        notes: sentences: what the numbers allow one to say.
    """

    kind: ClassVar[str] = "gaussian"

    records: Sequence[GaussianRecord] = ()
    figure: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    differences: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()

    def _title(self) -> str:
        return f"{type(self).__name__} {self.figure}: {len(self.records)} models"

    def _main_table(self) -> "tuple[str, pd.DataFrame]":
        return "rows", self.frame("rows")

    @classmethod
    def _tables(cls) -> dict[str, type]:
        return super()._tables() | {"records": GaussianRecord, "rows": dict, "differences": dict}


KINDS: dict[str, type[RunResult]] = {
    cls.kind: cls for cls in (StudyResult, FitResult, Diagnosis, GaussianResult)
}


def load_results(folder: Path | str) -> RunResult:
    """Read `results.json` of a run, and the arrays beside it.

    Raises:
        InputError: there is none, it is damaged, or a newer version of mfh wrote it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = GaussianResult(figure="fig2").save(folder)
        ...     load_results(folder).figure
        'fig2'
    """
    path = Path(folder)
    path = path / "results.json" if path.suffix != ".json" else path
    values = read_results(path)
    if not isinstance(values.get("kind"), str) or values["kind"] not in KINDS:
        raise InputError(f"`{path}` is not a result of mfh: its `kind` must be one of {listing(KINDS)}.")
    if values.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"`{path}` has schema version {values.get('schema_version')}; this is mfh {__version__}, "
            f"which reads version {SCHEMA_VERSION}. Install the version that wrote it, or repeat the run."
        )
    for name, file in ARRAYS.items() if issubclass(KINDS[values["kind"]], StudyResult) else ():
        if path.with_name(file).exists():
            values[name] = read_arrays(path.with_name(file))
    try:
        return replace(KINDS[values["kind"]].from_dict(values), kept=path.parent)
    except TypeError as error:
        raise InputError(f"`{path}` is damaged: {error}. Repeat the command that wrote it.") from error
