"""One self-contained page, and publication figures, for every run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfh._checks import require
from mfh._system.files import write_text
from mfh.results import RunResult, StudyResult

if TYPE_CHECKING:
    import numpy as np

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
    path = _page(path, "report.html")
    return write_text(path, html(result, figures=path.parent / "figures"))


def html(result: RunResult, *, figures: Path | str | None = None) -> str:
    """The page of `report` as text.

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
    from mfh._report.render import render
    from mfh._report.summarize import summarize

    summary = summarize(result)
    pictures: list[Path] = []
    if figures is not None and summary["kind"] == "gaussian":
        # a link could bring any file of this machine into a page that is passed on
        pictures = sorted(path for path in Path(figures).glob("*.svg") if not path.is_symlink())
    return render(summary, pictures)


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
        result: of a study; what it does not hold is not drawn. A Gaussian run draws its own figures, so
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
        >>> row = Comparison("general", "no-kd", 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01, None, False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_figures(StudyResult(comparisons=[row]), folder, formats=["svg"], widths=[3.25])
        ...     [path.name for path in paths]
        ['differences-3.25in.svg']
    """
    from mfh._report import svg
    from mfh._report.summarize import summarize

    if not isinstance(result, StudyResult):
        return []
    return svg.save(summarize(result), folder, formats, widths)


def save_tables(result: RunResult, folder: Path | str) -> list[Path]:
    """Write a run's tables as LaTeX (`arms.tex`) and Markdown, and its results in full as CSV.

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
    from mfh._report import export, render
    from mfh._report.summarize import summarize

    made = render.build_tables(summarize(result))
    return export.save_tables(result, list(made.values()), Path(folder))


def compare(
    runs: Mapping[str, StudyResult], path: Path | str, left_out: Mapping[str, str] | None = None
) -> Path:
    """Write one page about several studies: their gains, what differs in them, results joined by seed.

    Args:
        runs: name -> study; one or more.
        path: the file (`.html`), or a folder, which gets `comparison.html`.
        left_out: name -> why it could not be compared, to be told on the page.

    Raises:
        InputError: there is no study to compare, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from mfh.results import StudyResult
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(compare({"a": StudyResult(), "b": StudyResult()}, folder).name)
        comparison.html
    """
    from mfh._report.comparison import summarize_comparison
    from mfh._report.render import render

    require(len(runs) > 0, "`runs` must hold a study or more. Got none.")
    return write_text(_page(path, "comparison.html"), render(summarize_comparison(runs, left_out)))


def report_unfinished(folder: Path | str, path: Path | str | None = None) -> tuple[Path, list[str]]:
    """Write the page of a study that has not ended; also returns what it says, as sentences.

    Args:
        folder: of the run.
        path: the file; by default `report.html` in the folder, which the report replaces when the run ends.

    Raises:
        InputError: nothing was begun there, its files are damaged, or the page cannot be written.
    """
    from mfh._report.render import render
    from mfh._report.unfinished import summarize_unfinished

    summary = summarize_unfinished(folder)
    page = write_text(_page(path or folder, "report.html"), render(summary))
    return page, [summary["headline"], *summary["sentences"]]


def _page(path: Path | str, name: str) -> Path:
    """The file to write: `path` itself, or `name` in it where it is a folder."""
    path = Path(path)
    return path if path.suffix.lower() in (".html", ".htm") else path / name


def figure_arrays(result: RunResult) -> "dict[str, np.ndarray]":
    """The figures of a study as pictures for a tracker: name -> uint8 of shape (height, width, 3).

    Example:
        >>> from mfh.results import Comparison, StudyResult
        >>> row = Comparison("general", "no-kd", 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01, None, False)
        >>> picture = figure_arrays(StudyResult(comparisons=[row]))["differences"]
        >>> picture.shape[2], picture.dtype.name
        (3, 'uint8')
    """
    from io import BytesIO

    from matplotlib.image import imread

    from mfh._report import figures, svg
    from mfh._report.summarize import summarize

    if not isinstance(result, StudyResult):
        return {}
    summary, pictures = summarize(result), {}
    for name in figures.FIGURES:
        if drawn := svg.draw(name, summary, ("png",), dpi=150):
            values = imread(BytesIO(drawn["png"]), format="png")[:, :, :3]
            pictures[name] = (255 * values).round().astype("uint8")
    return pictures
