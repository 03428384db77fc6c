"""From a summary to a page: one HTML file that loads nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mfh._report import svg, wording
from mfh._report.drawings import Drawings
from mfh._report.pages import PAGES
from mfh._report.section import Section, Summary
from mfh._report.tables import Table


def render(
    summary: Summary,
    *,
    drawings: Drawings | None = None,
    tables: Mapping[str, Mapping[str, Table]] | None = None,
    drawn_before: Sequence[Path] = (),
) -> str:
    """Return the page of a summary.

    Args:
        summary: of any kind of page.
        drawings: its figures; by default they are drawn for this page alone.
        tables: its tables by section; by default they are built for this page alone.
        drawn_before: SVG files to show, each under its name.
    """
    page = PAGES[summary["kind"]]
    drawings = drawings or Drawings(page.pictures, summary)
    tables = page.build_tables(summary) if tables is None else tables
    figures = {picture.name: found for picture in page.pictures if (found := _figure(picture.name, drawings))}
    source = resources.files(__package__)
    environment = _environment()

    def prepare(section: Section) -> dict[str, Any]:
        return {
            "name": section.name,
            "heading": section.heading,
            "intro": section.intro(summary),
            "pictures": [picture.name for picture in section.pictures],
            "tables": list(tables[section.name]),
            "template": environment.from_string(section.template),
        }

    text = environment.get_template("page.html.jinja").render(
        s=summary,
        page=page,
        head=prepare(page.head),
        sections=[
            prepare(section) for section in page.sections if _is_shown(section, summary, figures, tables)
        ],
        tables={name: table for built in tables.values() for name, table in built.items()},
        figures=figures,
        docs=_documentation(),
        drawn_before=[
            {"name": path.stem.replace("_", " "), "uri": svg.as_image(path)} for path in drawn_before
        ],
        style=Markup(source.joinpath("style.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        script=Markup(source.joinpath("script.js").read_text(encoding="utf-8")),  # noqa: S704
    )
    # Control characters and lone surrogates in a label would make the file invalid.
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", text)
    return text.encode("utf-8", "replace").decode("utf-8")


def _environment() -> jinja2.Environment:
    source = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(lambda name: source.joinpath(name).read_text(encoding="utf-8")),
    )
    environment.filters |= {
        "signed": wording.signed, "interval": wording.interval, "code": _code, "json": _json
    }  # fmt: skip
    return environment


def _is_shown(
    section: Section,
    summary: Summary,
    figures: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Table]],
) -> bool:
    if section.is_shown is not None:
        return section.is_shown(summary)
    return bool(tables[section.name]) or any(picture.name in figures for picture in section.pictures)


def _figure(name: str, drawings: Drawings) -> dict[str, Any] | None:
    """Return a drawing, its caption, and the same in words; None where there is nothing to draw.

    Text stays text, ids are its own, and colours are those of the style sheet.
    """
    text_as_text: dict[str, Any] = {"svg.fonttype": "none"}
    drawn = drawings.content(name, "svg", **text_as_text)
    if drawn is None:
        return None
    picture = drawings.pictures[name]
    return {
        "svg": Markup(svg.embed(drawn.decode("utf-8"), prefix=name)),  # noqa: S704  (XML, its text escaped)
        "caption": picture.caption(drawings.summary),
        "alt": picture.describe(drawings.summary),
    }


def _code(text: object) -> Markup:
    """Escape a sentence; set the text between backticks as code, and true minus signs outside of it."""
    parts = re.split(r"`([^`\n]+)`", str(escape(text)))
    parts[::2] = [re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", part) for part in parts[::2]]
    parts[1::2] = [f"<code{' class=flag' if _is_flag(part) else ''}>{part}</code>" for part in parts[1::2]]
    return Markup("".join(parts))  # noqa: S704


def _is_flag(code: str) -> bool:
    """Return whether a piece of code is short and would break after its hyphens."""
    return code.startswith("--") and len(code) <= 32


def _json(value: object) -> Markup:
    """Return JSON for a script element, which only `<` could end."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))  # noqa: S704


def _documentation() -> str:
    """Return the address of the documentation, from the package's metadata; empty where it names none."""
    try:
        urls = metadata.metadata("mfh").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return ""
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    return named.get("Documentation", "").rstrip("/")
