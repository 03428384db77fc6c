"""The figures of a page: each is drawn once for each size, and written in any format from that drawing."""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from matplotlib.figure import Figure

from mfh._checks import InputError, listing
from mfh._report import style
from mfh._report.section import Picture, Summary
from mfh._system.files import write_atomic
from mfh._system.signals import raise_if_stopped

FORMATS = ("svg", "pdf", "png")
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""No dates and no versions, so that the same numbers give the same bytes."""


class Drawings:
    """The figures of one summary.

    Args:
        pictures: all that can be drawn from the summary.
        summary: what is drawn.
    """

    def __init__(self, pictures: Sequence[Picture], summary: Summary) -> None:
        self.pictures = {picture.name: picture for picture in pictures}
        self.summary = summary
        self._drawn: dict[tuple[str, float | int | None], Figure | None] = {}

    def content(
        self,
        name: str,
        file_format: str,
        *,
        width: float | int | None = None,
        dpi: int = 300,
        **settings: Any,
    ) -> bytes | None:
        """Return a figure as the content of a file; None where there is nothing to draw.

        Args:
            name: of the picture.
            file_format: svg, pdf or png.
            width: in inches, for a paper; by default the size of the page.
            dpi: dots an inch of a png.
            **settings: rcParams that matter when the file is written, not when the figure is drawn.
        """
        paper = {} if width is None else style.paper(width)
        with style.style(**paper, **settings), _quiet():
            if (name, width) not in self._drawn:
                self._drawn[name, width] = self._draw(name)
            figure = self._drawn[name, width]
            if figure is None:
                return None
            buffer = io.BytesIO()
            face = "white" if file_format == "png" else "none"
            metadata = METADATA[file_format]
            figure.savefig(buffer, format=file_format, dpi=dpi, facecolor=face, metadata=metadata)
            return buffer.getvalue()

    def _draw(self, name: str) -> Figure | None:
        raise_if_stopped()
        figure = self.pictures[name].draw(self.summary)
        if figure is not None:
            figure.set_dpi(300)  # at few dots, hinting would make text narrower than it is in the files
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, not again for each format
        return figure

    def save(
        self, folder: Path | str, formats: Sequence[str] = FORMATS, widths: Sequence[float | int] = ()
    ) -> list[Path]:
        """Write every figure into a folder, and return the paths.

        Args:
            folder: is made if it is absent.
            formats: any of svg, pdf, png.
            widths: in inches, for a paper; each gives files of its own, with smaller text. By default the
                size of the page.

        Raises:
            InputError: an unknown format, a width outside [2, 12] inches, or the folder cannot be written.
        """
        check_files(formats, widths)
        paths = []
        for name in self.pictures:
            for width in widths or (None,):
                ending = "" if width is None else f"-{width:g}in"
                for file_format in formats:
                    content = self.content(name, file_format, width=width)
                    if content is not None:
                        path = Path(folder) / f"{name}{ending}.{file_format}"
                        paths.append(write_atomic(path, partial(_write, content)))
        return paths


def check_files(formats: Sequence[str], widths: Sequence[float | int]) -> None:
    """Check the formats and widths of files.

    Raises:
        InputError: an unknown format, or a width outside [2, 12] inches.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"`formats` must be among {listing(FORMATS)}. Got {listing(unknown)} instead.")
    wrong = [width for width in widths if not 2 <= width <= 12]
    if wrong:
        raise InputError(f"`widths` must lie in [2, 12] inches. Got {listing(wrong)} instead.")


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of characters that a font lacks, and the log of the fonts that go into a PDF."""
    logger = logging.getLogger("fontTools")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        logger.setLevel(level)
