"""Which runs have students to export, and what to do about the others."""

from pathlib import Path

from mfh._checks import InputError, require
from mfh._distill import DistillResult
from mfh.results import RunResult, StudyResult, load_results, read_results

STUDY = "Run `mfh study` (or `mfh.study`) on your data, and export what it gives"
NO_STUDENT = {
    "diagnosis": "a diagnosis, whose students are small ones of a pilot, to judge by and not to ship",
    "gaussian": "a Gaussian experiment, whose networks see generated numbers",
}
"""Kinds of runs without a student to use elsewhere, and why."""


def load_run(run: Path | str) -> RunResult:
    """Read the folder of a run.

    Raises:
        InputError: it is no folder of a finished run, or a ranking of channels.
    """
    path = Path(run)
    require(
        path.suffix != ".npz",
        f"`{path}` must be the folder of a finished run. It is a file of `mfh saliency`, which ranks "
        f"channels and trains no student. {STUDY}.",
    )
    file = path / "results.json"
    require(file.exists(), f"`{path}` must be the folder of a finished run. It has no results.json. {STUDY}.")
    return DistillResult.load(path) if read_results(file).get("kind") == "distill" else load_results(path)


def as_study(run: RunResult) -> StudyResult:
    """Return a run as a study, whose students are exported.

    Raises:
        InputError: it has no students to use elsewhere.
    """
    if isinstance(run, DistillResult):
        return run.as_study()
    if not isinstance(run, StudyResult) or run.kind in NO_STUDENT:
        what = NO_STUDENT.get(run.kind, f"a run of kind `{run.kind}`")
        raise InputError(f"`run` must have a student to use elsewhere. Got {what}. {STUDY}.")
    return run


def require_no_protocol(*, refit: bool | str | None, with_teacher: bool) -> None:
    """Refuse what needs the protocol of a study, which a single distilled student has not.

    Raises:
        InputError: it is asked for.
    """
    require(
        not refit,
        "`refit` needs a study or a search, which chose a recipe. `mfh.distill` trained one student: call it "
        "again with more samples in the split `train`, and export that student.",
    )
    require(
        not with_teacher,
        "`with_teacher` needs a study, which has a focused teacher. `mfh.distill` was given one: save it by "
        "`FocusedTeacher.save`.",
    )
