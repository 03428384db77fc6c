"""The kinds of pages and their sections; a new section is a module and an entry here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mfh._checks import InputError, shown_values
from mfh._report.section import Page
from mfh._report.sections import (
    answer,
    arms,
    calibration,
    channel_explorer,
    checks,
    cite,
    comparison,
    comparison_arms,
    comparisons,
    curves,
    data,
    deciding,
    diagnosis,
    diagnosis_page,
    differences,
    gaussian,
    labels,
    learnt,
    losses,
    ratios,
    run,
    saliency,
    search,
    student_explorer,
    teachers,
    unfinished,
)
from mfh._report.view import StudyView
from mfh._system.files import plain
from mfh.results import GaussianResult, RunResult, StudyResult

STUDY = (
    checks.SECTION,
    search.WINNERS,
    differences.SECTION,
    labels.SECTION,
    search.TRIED,
    search.WORTH,
    search.PARTS,
    search.THRESHOLD,
    learnt.SECTION,
    deciding.SECTION,
    arms.SECTION,
    calibration.SECTION,
    ratios.SECTION,
    comparisons.SECTION,
    losses.SECTION,
    student_explorer.SECTION,
    saliency.SECTION,
    channel_explorer.SECTION,
    teachers.SECTION,
    curves.SECTION,
    diagnosis.SECTION,
    data.SECTION,
    run.SECTION,
    cite.SECTION,
)
"""Sections of a study and of a search; those without anything to show are left out."""

PAGES: dict[str, Page] = {
    "study": Page(kicker="Crossmodal distillation study", head=answer.SECTION, sections=STUDY),
    "fit": Page(kicker="Search for the best student", head=answer.SECTION, sections=STUDY),
    "diagnosis": Page(
        kicker="Diagnosis, before any student is trained in full",
        head=diagnosis_page.HEAD_SECTION,
        sections=(
            diagnosis_page.REASONS_SECTION,
            diagnosis_page.COMPANIONS,
            diagnosis_page.PILOT,
            data.SECTION,
            run.SECTION,
            cite.SECTION,
        ),
    ),
    "gaussian": Page(
        kicker="Gaussian experiment",
        head=gaussian.HEAD,
        sections=(gaussian.NOTES, gaussian.NUMBERS, run.SECTION, cite.SECTION),
    ),
    "comparison": Page(
        kicker="Comparison of runs",
        head=comparison.HEAD,
        sections=(comparison.GAINS, comparison_arms.ARMS, comparison_arms.STUDENTS, cite.SECTION),
    ),
    "unfinished": Page(
        kicker="Under way",
        head=unfinished.HEAD,
        sections=(unfinished.STAGES, unfinished.SO_FAR, run.SECTION, cite.SECTION),
    ),
}
"""Kind of a summary -> its page."""


def summarize(result: RunResult) -> dict[str, Any]:
    """Return all that the report of a result shows, as plain values.

    Raises:
        InputError: there is no report for this kind of result.
    """
    if isinstance(result, StudyResult):
        view = StudyView(result)
        values = PAGES[result.kind].summarize(view, view.facts())
    elif isinstance(result, GaussianResult):
        values = PAGES["gaussian"].summarize(result)
    else:
        raise InputError(
            f"`result` must be a StudyResult or a GaussianResult. Got {type(result).__name__} instead."
        )
    return _shown(values | run.circumstances(result))


def summarize_comparison(
    runs: Mapping[str, StudyResult], left_out: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return all that a page about several studies shows, as plain values.

    Args:
        runs: name -> study.
        left_out: name -> why it is not among them.
    """
    summaries = {name: summarize(result) for name, result in runs.items()}
    return _shown(PAGES["comparison"].summarize(comparison.Runs(runs, summaries, left_out or {})))


def summarize_unfinished(folder: Path | str) -> dict[str, Any]:
    """Return all that a page about a run that has not ended shows, as plain values.

    Raises:
        InputError: nothing was begun there, or its files are damaged.
    """
    return _shown(PAGES["unfinished"].summarize(unfinished.UnfinishedRun.read(folder)))


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them, with control characters in texts made visible."""
    return dict(shown_values(plain(values)))
