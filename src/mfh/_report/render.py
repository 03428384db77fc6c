"""Step two of a report: a summary becomes one page that loads nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mfh._report import (
    captions,
    comparison_tables,
    losses,
    run_tables,
    svg,
    tables,
    unfinished_tables,
    wording,
)
from mfh._report.checks import CHECKS

CONTENTS = {
    "study": (
        ("checks", "Before you rely on it"), ("controls", "What the comparisons rule out"),
        ("students", "All students"), ("comparisons", "All comparisons"), ("losses", "Distillation losses"),
        ("saliency", "Saliency"),
        ("teachers", "Teachers"), ("curves", "Training"), ("diagnosis", "What the modalities share"),
        ("data", "Data"), ("run", "How it was run"), ("cite", "How to cite"),
    ),
    "diagnosis": (
        ("why", "Why"), ("companions", "Beside gamma"), ("pilot", "The pilot"), ("data", "Data"),
        ("run", "How it was run"), ("cite", "How to cite"),
    ),
}  # fmt: skip
RUN = (run_tables.config, run_tables.environment, run_tables.timings)
STUDY = (
    tables.arms, tables.comparisons, losses.losses, losses.loss_differences, losses.failed,
    tables.overlap, tables.stability, tables.teachers, run_tables.data,
    run_tables.companions, run_tables.pilot, *RUN,
)  # fmt: skip
TABLES = {
    "study": STUDY,
    "diagnosis": STUDY,
    "gaussian": (run_tables.gaussian_rows, run_tables.gaussian_differences, *RUN),
    "comparison": (
        comparison_tables.runs, comparison_tables.arms, comparison_tables.against_first,
        comparison_tables.left_out,
    ),
    "unfinished": (unfinished_tables.stages, unfinished_tables.arms, *RUN),
}  # fmt: skip


def build_tables(summary: Mapping[str, Any]) -> dict[str, tables.Table]:
    """Name -> table, of those that this kind of summary has rows for."""
    return {made["name"]: made for build in TABLES[summary["kind"]] if (made := build(summary))}


def render(summary: Mapping[str, Any], pictures: Sequence[Path] = ()) -> str:
    """The page of a summary.

    Args:
        summary: what `summarize` returns.
        pictures: SVG files to show besides, each under its name.
    """
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
    built, figures = build_tables(summary), _figures(summary)
    page = environment.get_template("page.html.jinja").render(
        s=summary,
        tables=built,
        figures=figures,
        docs=_documentation(),
        every_check=CHECKS,
        contents=_contents(summary, {*built, *figures}),
        pictures=[{"name": path.stem.replace("_", " "), "uri": svg.as_image(path)} for path in pictures],
        style=Markup(source.joinpath("style.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        script=Markup(source.joinpath("script.js").read_text(encoding="utf-8")),  # noqa: S704
    )
    # Control characters and lone surrogates in a label would make the file invalid.
    page = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", page)
    return page.encode("utf-8", "replace").decode("utf-8")


def _code(text: object) -> Markup:
    """Escape a sentence and set what stands between backticks as code, and minus signs elsewhere."""
    parts = re.split(r"`([^`\n]+)`", str(escape(text)))
    parts[::2] = [re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", part) for part in parts[::2]]
    parts[1::2] = [f"<code{' class=flag' if _is_flag(part) else ''}>{part}</code>" for part in parts[1::2]]
    return Markup("".join(parts))  # noqa: S704


def _is_flag(code: str) -> bool:
    """Whether it is short and would break after its hyphens."""
    return code.startswith("--") and len(code) <= 32


def _json(value: object) -> Markup:
    """JSON for a script element, which only `<` could end."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))  # noqa: S704


def _documentation() -> str:
    """Where the documentation is published, from the package's metadata; empty where that names no place."""
    try:
        urls = metadata.metadata("mfh").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return ""
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    return named.get("Documentation", "").rstrip("/")


def _contents(summary: Mapping[str, Any], parts: set[str]) -> list[dict[str, str]]:
    """The headings that this page has."""
    headings = CONTENTS.get(summary["kind"], ())
    there = {
        "controls": bool(summary.get("differences")),
        "students": "arms" in parts,
        "pilot": "arms" in parts,
        "comparisons": "comparisons" in parts,
        "losses": "losses" in parts,
        "saliency": bool(parts & {"saliency", "overlap", "stability"}),
        "teachers": "teachers" in parts,
        "curves": bool(parts & {"curves", "teacher-curves"}),
        "diagnosis": bool(summary.get("diagnosis")),
        "companions": "companions" in parts,
        "data": "data" in parts,
    }
    return [{"id": name, "label": label} for name, label in headings if there.get(name, True)]


def _figures(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> drawing, caption and the same in words for those who cannot see it."""
    found = {}
    for name in svg.figures.BY_KIND.get(summary["kind"], {}):
        if drawn := svg.inline(name, summary):
            found[name] = {
                "svg": Markup(drawn),  # noqa: S704  (serialised XML, its text escaped)
                "caption": captions.CAPTIONS[name](summary),
                "alt": captions.ALTERNATIVES[name](summary),
            }
    return found
