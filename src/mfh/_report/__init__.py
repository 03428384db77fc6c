"""One self-contained page, figures for publications, and tables, for every run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfh._checks import require
from mfh._system.files import write_text
from mfh.results import RunResult, StudyResult

if TYPE_CHECKING:
    import numpy as np

    from mfh._report.section import Summary

# matplotlib and jinja2 are imported inside: `import mfh` and `--help` do without them.


def report(result: RunResult, path: Path | str) -> Path:
    """Write the report of a run: one HTML file that loads nothing, to read, print and pass on.

    Args:
        result: a `StudyResult` or `GaussianResult`, as `load_results` returns it.
        path: the file (`.html`), or a folder, which gets `report.html`. SVG files in `figures` beside it
            are shown in the report of a Gaussian run.

    Returns:
        The file written. The same result gives the same bytes.

    Raises:
        InputError: there is no report for this kind of result, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from mfh.results import StudyResult
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(report(StudyResult(), folder).name)
        report.html
    """
    return write_report(result, path)[0]


def write_report(
    result: RunResult,
    path: Path | str,
    *,
    figures: Path | str | None = None,
    tables: Path | str | None = None,
    formats: Sequence[str] = ("svg", "pdf", "png"),
    widths: Sequence[float | int] = (),
) -> list[Path]:
    """Write the report of a run, and its figures and tables where folders for them are given.

    All come from one summary, and each figure is drawn once for each size.

    Args:
        result: a `StudyResult` or `GaussianResult`.
        path: the page; see `report`.
        figures: folder for the figures; see `save_figures`.
        tables: folder for the tables; see `save_tables`.
        formats: of the figures, any of svg, pdf, png.
        widths: of the figures in inches; by default the size of the page.

    Returns:
        The files written, the page first.

    Raises:
        InputError: there is no report for this kind of result, a format or a width is wrong, or a file
            cannot be written.

    Example:
        >>> import tempfile
        >>> from mfh.results import Comparison, StudyResult
        >>> row = Comparison("general", "no-kd", 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = write_report(StudyResult(comparisons=[row]), folder, figures=folder, formats=["pdf"])
        ...     [path.name for path in paths]
        ['report.html', 'differences.pdf']
    """
    from mfh._report import drawings, export
    from mfh._report.pages import PAGES, summarize
    from mfh._report.render import render

    drawings.check_files(formats, widths)
    path = _page(path, "report.html")
    summary = summarize(result)
    page = PAGES[summary["kind"]]
    drawn, built = drawings.Drawings(page.pictures, summary), page.build_tables(summary)
    before = _drawn_before(summary, path.parent / "figures")
    text = render(summary, drawings=drawn, tables=built, drawn_before=before)
    written = [write_text(path, text)]
    if figures is not None and isinstance(result, StudyResult):
        written += drawn.save(figures, formats, widths)
    if tables is not None:
        named = {name: table for section in built.values() for name, table in section.items()}
        written += export.save_tables(result, list(named.values()), Path(tables))
    return written


def html(result: RunResult, *, figures: Path | str | None = None) -> str:
    """Return the page of `report` as text.

    Args:
        result: of a study or a Gaussian run.
        figures: folder whose SVG files are shown in the report of a Gaussian run.

    Raises:
        InputError: there is no report for this kind of result.

    Example:
        >>> from mfh.results import GaussianResult
        >>> html(GaussianResult(figure="fig2")).splitlines()[0]
        '<!doctype html>'
    """
    from mfh._report.pages import summarize
    from mfh._report.render import render

    summary = summarize(result)
    return render(summary, drawn_before=_drawn_before(summary, figures))


def _drawn_before(summary: "Summary", figures: Path | str | None) -> list[Path]:
    """Return the SVG files of a folder that the report of a Gaussian run shows."""
    if figures is None or summary["kind"] != "gaussian":
        return []
    # a link could bring any file of this machine into a page that is passed on
    return sorted(path for path in Path(figures).glob("*.svg") if not path.is_symlink())


def save_figures(
    result: RunResult,
    folder: Path | str,
    *,
    formats: Sequence[str] = ("svg", "pdf", "png"),
    widths: Sequence[float | int] = (),
) -> list[Path]:
    """Write a study's figures for a paper or a talk: `differences`, `arms`, `ratio`, `saliency` and others.

    Text is kept as outlines in SVG and as embedded TrueType fonts in PDF; PNG has 300 dots an inch.

    Args:
        result: of a study; what it does not have is not drawn. A Gaussian run draws its own figures, so
            there is nothing to write for one.
        folder: is made if it is absent.
        formats: any of svg, pdf, png.
        widths: in inches; each gives files of its own, such as `arms-3.25in.pdf`. By default one size,
            `arms.pdf`, for a page.

    Returns:
        The files written.

    Raises:
        InputError: an unknown format, a width outside [2, 12] inches, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from mfh.results import Comparison, StudyResult
        >>> row = Comparison("general", "no-kd", 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_figures(StudyResult(comparisons=[row]), folder, formats=["svg"], widths=[3.25])
        ...     [path.name for path in paths]
        ['differences-3.25in.svg']
    """
    from mfh._report.drawings import Drawings
    from mfh._report.pages import PAGES, summarize

    if not isinstance(result, StudyResult):
        return []
    return Drawings(PAGES[result.kind].pictures, summarize(result)).save(folder, formats, widths)


def save_tables(result: RunResult, folder: Path | str) -> list[Path]:
    """Write a run's tables as LaTeX (`arms.tex`) and Markdown, and all its results as CSV.

    Args:
        result: of any kind that has a report.
        folder: is made if it is absent.

    Returns:
        The files written.

    Raises:
        InputError: there is no report for this kind of result, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from mfh.results import GaussianResult
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_tables(GaussianResult(figure="fig2", rows=[{"gamma": 0.5}]), folder)
        ...     [path.name for path in paths]
        ['rows.tex', 'rows.md', 'rows.csv']
    """
    from mfh._report import export
    from mfh._report.pages import PAGES, summarize

    summary = summarize(result)
    built = PAGES[summary["kind"]].build_tables(summary)
    named = {name: table for section in built.values() for name, table in section.items()}
    return export.save_tables(result, list(named.values()), Path(folder))


def compare(
    runs: Mapping[str, StudyResult], path: Path | str, left_out: Mapping[str, str] | None = None
) -> Path:
    """Write one page about several studies: their gains, what differs in them, results joined by fit.

    Args:
        runs: name -> study; one or more.
        path: the file (`.html`), or a folder, which gets `comparison.html`.
        left_out: name -> why it cannot be compared, for the page.

    Raises:
        InputError: there is no study to compare, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from mfh.results import StudyResult
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(compare({"a": StudyResult(), "b": StudyResult()}, folder).name)
        comparison.html
    """
    from mfh._report.pages import summarize_comparison
    from mfh._report.render import render

    require(len(runs) > 0, "`runs` must contain at least one study. Got none.")
    return write_text(_page(path, "comparison.html"), render(summarize_comparison(runs, left_out)))


def report_unfinished(folder: Path | str, path: Path | str | None = None) -> tuple[Path, list[str]]:
    """Write the page of a study that has not ended; also return its first sentences.

    Args:
        folder: of the run.
        path: the file; by default `report.html` in the folder, which the report replaces when the run ends.

    Raises:
        InputError: nothing was begun there, its files are damaged, or the page cannot be written.
    """
    from mfh._report.pages import summarize_unfinished
    from mfh._report.render import render

    summary = summarize_unfinished(folder)
    page = write_text(_page(path or folder, "report.html"), render(summary))
    return page, [summary["headline"], *summary["sentences"]]


def _page(path: Path | str, name: str) -> Path:
    """Return the file to write: `path` itself, or `name` in it where it is a folder."""
    path = Path(path)
    return path if path.suffix.lower() in (".html", ".htm") else path / name


def figure_arrays(result: RunResult) -> "dict[str, np.ndarray]":
    """Return the figures of a study as pictures for a tracker: name -> uint8, (height, width, 3).

    Example:
        >>> from mfh.results import Comparison, StudyResult
        >>> row = Comparison("general", "no-kd", 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01)
        >>> picture = figure_arrays(StudyResult(comparisons=[row]))["differences"]
        >>> picture.shape[2], picture.dtype.name
        (3, 'uint8')
    """
    from io import BytesIO

    from matplotlib.image import imread

    from mfh._report.drawings import Drawings
    from mfh._report.pages import PAGES, summarize

    if not isinstance(result, StudyResult):
        return {}
    drawings, pictures = Drawings(PAGES[result.kind].pictures, summarize(result)), {}
    for name in drawings.pictures:
        content = drawings.content(name, "png", dpi=150)
        if content is not None:
            values = imread(BytesIO(content), format="png")[:, :, :3]
            pictures[name] = (255 * values).round().astype("uint8")
    return pictures
