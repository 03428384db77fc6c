"""SVG as elements of a page, and SVG files as images."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from mfh._checks import InputError
from mfh._report import style
from mfh._system.files import opened_file

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
"""The variables of the style sheet for the colours of the figures."""


def embed(drawn: str, *, prefix: str) -> str:
    """Return what matplotlib wrote as an element that can share a page with others.

    Its style element would change all of the page, its ids would collide with those of the next figure, and
    its colours would stay those of a light page. Only attributes are rewritten, never the text of a label.

    Args:
        drawn: the SVG file as text.
        prefix: is put before every id.
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
    """Return a name without its namespace, which HTML does not need."""
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


def as_image(path: Path) -> str:
    """Return an SVG file as a data URI: an image that runs no script and loads nothing.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with opened_file(path) as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror or error}.") from error
    return "data:image/svg+xml;base64," + base64.b64encode(content).decode("ascii")
