"""One self-contained page, and publication figures, for every run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfh._files import write_text
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
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        path = path / "report.html"
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
        pictures = sorted(Path(figures).glob("*.svg"))
    return render(summary, pictures)


def save_figures(
    result: RunResult, folder: Path | str, *, formats: Sequence[str] = ("svg", "pdf", "png")
) -> list[Path]:
    """Write a study's figures for a paper or a talk: `differences`, `arms`, `ratio`, `saliency`, `overlap`.

    Text is kept as outlines in SVG and as embedded TrueType fonts in PDF; PNG has 300 dots an inch.

    Args:
        result: of a study; what it does not hold is not drawn. A Gaussian run draws its own figures, so
            there is nothing to write for one.
        folder: is made if it is absent.
        formats: any of svg, pdf, png.

    Returns:
        The files written.

    Raises:
        InputError: an unknown format, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from mfh.results import Comparison, StudyResult
        >>> row = Comparison("general", "no-kd", 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01, None, False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in save_figures(StudyResult(comparisons=[row]), folder, formats=["svg"])]
        ['differences.svg']
    """
    from mfh._report import svg
    from mfh._report.summarize import summarize

    if not isinstance(result, StudyResult):
        return []
    return svg.save(summarize(result), folder, formats)


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
