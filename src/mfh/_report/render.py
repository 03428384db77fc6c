"""Step two of a report: a summary becomes one page that loads nothing."""

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mfh._report import captions, losses, svg, tables, wording

TABLES = {
    "study": (
        tables.arms, tables.comparisons, losses.losses, losses.loss_differences, tables.overlap,
        tables.stability, tables.teachers, tables.data, tables.config, tables.environment, tables.timings,
    ),
    "gaussian": (
        tables.gaussian_rows, tables.gaussian_differences, tables.config, tables.environment, tables.timings,
    ),
}  # fmt: skip
TABLES["diagnosis"] = TABLES["study"]


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
    environment.filters |= {"signed": wording.signed, "interval": wording.interval, "code": _code}
    built = {made["name"]: made for build in TABLES[summary["kind"]] if (made := build(summary))}
    figures = _figures(summary) if summary["kind"] != "gaussian" else {}
    page = environment.get_template("page.html.jinja").render(
        s=summary,
        tables=built,
        figures=figures,
        contents=_contents(summary, {*built, *figures}),
        pictures=[{"name": path.stem.replace("_", " "), "uri": svg.as_image(path)} for path in pictures],
        style=Markup(source.joinpath("style.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        script=Markup(source.joinpath("script.js").read_text(encoding="utf-8")),  # noqa: S704
    )
    # Control characters and lone surrogates in a label would make the file invalid.
    page = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", page)
    return page.encode("utf-8", "replace").decode("utf-8")


def _code(text: object) -> Markup:
    """Escape a sentence and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _contents(summary: Mapping[str, Any], parts: set[str]) -> list[dict[str, str]]:
    """The headings that this page has."""
    headings = (
        ("cautions", "Before you rely on it", bool(summary.get("cautions") or summary.get("warnings"))),
        ("controls", "What the comparisons rule out", bool(summary.get("differences"))),
        ("students", "All students", "arms" in parts),
        ("comparisons", "All comparisons", "comparisons" in parts),
        ("losses", "Distillation losses", "losses" in parts),
        ("saliency", "Saliency", bool(parts & {"saliency", "overlap", "stability"})),
        ("teachers", "Teachers", "teachers" in parts),
        ("data", "Data", "data" in parts),
        ("run", "How it was run", True),
        ("cite", "How to cite", True),
    )
    return [{"id": name, "label": label} for name, label, there in headings if there]


def _figures(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> drawing, caption and the same in words for those who cannot see it."""
    found = {}
    for name in svg.figures.FIGURES:
        if drawn := svg.inline(name, summary):
            found[name] = {
                "svg": Markup(drawn),  # noqa: S704  (serialised XML, its text escaped)
                "caption": captions.CAPTIONS[name](summary),
                "alt": captions.ALTERNATIVES[name](summary),
            }
    return found
