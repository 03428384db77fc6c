"""Figures as SVG that lies inside a page, and as files."""

import base64
import io
import logging
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from matplotlib.figure import Figure

from mfh._checks import InputError, listing
from mfh._report import figures, style
from mfh._system.files import opened_file, write_atomic
from mfh._system.signals import raise_if_stopped

FORMATS = ("svg", "pdf", "png")

# What the style sheet calls the colours of the figures.
VARIABLES = {
    style.INK: "currentColor",
    style.MUTED: "var(--muted)",
    style.FAINT: "var(--faint)",
    style.SURFACE: "var(--surface)",
    style.BLUE: "var(--blue)",
    style.ORANGE: "var(--orange)",
    style.GREEN: "var(--green)",
    style.PURPLE: "var(--purple)",
}


METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def draw(
    name: str,
    summary: Mapping[str, Any],
    formats: Sequence[str] = ("svg",),
    *,
    dpi: int = 300,
    **settings: Any,
) -> dict[str, bytes]:
    """One figure as the contents of a file of each format; empty where there is nothing to draw.

    Args:
        name: one of `figures.FIGURES`.
        summary: of a study.
        formats: any of svg, pdf, png.
        dpi: dots an inch of a png.
        **settings: rcParams.
    """
    contents = {}
    with style.style(**settings), _quiet():
        figure: Figure | None = figures.BY_KIND[summary["kind"]][name](summary)
        if figure is None:
            return {}
        figure.set_dpi(300)  # at few dots, hinting would make text narrower than it is in the files
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for each format
        for file_format in formats:
            buffer = io.BytesIO()
            face = "white" if file_format == "png" else "none"
            metadata = METADATA[file_format]
            figure.savefig(buffer, format=file_format, dpi=dpi, facecolor=face, metadata=metadata)
            contents[file_format] = buffer.getvalue()
    return contents


@contextmanager
def _quiet() -> Iterator[None]:
    """No word about characters that a font lacks, nor about every table of the fonts that go into a PDF."""
    logger = logging.getLogger("fontTools")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        logger.setLevel(level)


def inline(name: str, summary: Mapping[str, Any]) -> str:
    """One figure as an `<svg>` element for the page: colours of the style sheet, ids of its own."""
    settings: dict[str, Any] = {"svg.fonttype": "none"}
    drawn = draw(name, summary, **settings)
    return embed(drawn["svg"].decode("utf-8"), prefix=name) if drawn else ""


def embed(drawn: str, *, prefix: str) -> str:
    """Turn what matplotlib wrote into an element that can share a page with others.

    Its style element would apply to the whole page, its ids would collide with those of the next figure, and
    its colours would stay those of a light page. Only attributes are rewritten, never the text of a label.
    """
    root = ElementTree.fromstring(drawn)  # noqa: S314  (matplotlib's own output, not a file of someone else's)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style") or (_local(child.tag) == "defs" and not len(child)):
                parent.remove(child)
    values = " ".join(value for element in root.iter() for value in element.attrib.values())
    referenced = set(re.findall(r"#([\w.-]+)", values))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.text, element.tail = (
            None if not (t or "").strip() else t for t in (element.text, element.tail)
        )
        rewritten = {
            _local(key): _attribute(_local(key), value, prefix)
            for key, value in element.attrib.items()
            if _local(key) != "id" or value in referenced
        }
        element.attrib.clear()
        element.attrib.update(rewritten)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "aria-hidden": "true", "focusable": "false"})
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """A name without its namespace; HTML knows those of SVG by themselves."""
    return name.rpartition("}")[2]


def _attribute(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key == "href" or "url(#" in value:
        return value.replace("#", f"#{prefix}-")
    if key == "style":
        value = re.sub(r"\s*font-family:[^;]*;?", "", value)
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, variable)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", value).replace("\n", " ").strip()


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def as_image(path: Path) -> str:
    """An SVG file as a data URI, which runs no script, loads nothing and keeps its styles to itself.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with opened_file(path) as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}.") from error
    return "data:image/svg+xml;base64," + base64.b64encode(content).decode("ascii")


def save(
    summary: Mapping[str, Any],
    folder: Path | str,
    formats: Sequence[str] = FORMATS,
    widths: Sequence[float | int] = (),
) -> list[Path]:
    """Write every figure of a summary into `folder` in each format; returns the paths.

    Args:
        summary: see `draw`.
        folder: is made if it is absent.
        formats: any of svg, pdf, png.
        widths: in inches, for a paper; each gives files of its own, with smaller text. By default one of the
            page's size.

    Raises:
        InputError: an unknown format, a width outside [2, 12] inches, or the folder cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"`formats` must be among {listing(FORMATS)}. Got {listing(unknown)} instead.")
    wrong = [width for width in widths if not 2 <= width <= 12]
    if wrong:
        raise InputError(f"`widths` must lie in [2, 12] inches. Got {listing(wrong)} instead.")
    looks = [(f"-{width:g}in", style.paper(width)) for width in widths] or [("", {})]
    paths = []
    for name in figures.BY_KIND.get(summary["kind"], {}):
        for ending, settings in looks:
            raise_if_stopped()
            for file_format, content in draw(name, summary, formats, **settings).items():
                path = Path(folder) / f"{name}{ending}.{file_format}"
                paths.append(write_atomic(path, partial(_write, content)))
    return paths
