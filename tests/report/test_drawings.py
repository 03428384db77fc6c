"""Figures as files and as elements of a page: each is drawn once for each size."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import matplotlib
import matplotlib.image
import pytest

from mfh._checks import InputError
from mfh._report import html, pages, save_figures, style, svg, write_report
from mfh._report.drawings import Drawings
from mfh._report.pages import PAGES, summarize
from mfh.commands._options import finish

PICTURES = PAGES["study"].pictures
EVERY = [picture.name for picture in PICTURES]
NAMES = [name for name in EVERY if name not in ("label-curve", "weights")]
"""The figures of a study with all labels."""


def inline(name, summary):
    content = Drawings(PICTURES, summary).content(name, "svg", **{"svg.fonttype": "none"})
    return "" if content is None else svg.embed(content.decode(), prefix=name)


@pytest.fixture
def counts(monkeypatch):
    """How often each figure was drawn, and how many summaries were made."""
    found = Counter()

    def counted(picture):
        def draw(summary):
            found[picture.name] += 1
            return picture.draw(summary)

        return replace(picture, draw=draw)

    page = PAGES["study"]
    sections = [
        replace(section, pictures=tuple(counted(picture) for picture in section.pictures)) for section in page
    ]
    monkeypatch.setitem(PAGES, "study", replace(page, head=sections[0], sections=tuple(sections[1:])))
    original = pages.summarize

    def summarize_once(result):
        found["summary"] += 1
        return original(result)

    monkeypatch.setattr(pages, "summarize", summarize_once)
    return found


def test_a_command_makes_one_summary_and_draws_each_figure_once(make_study, diagnosis, tmp_path, counts):
    finish(make_study(seeds=2, diagnosis=diagnosis), tmp_path)
    assert counts == dict.fromkeys([*EVERY, "summary"], 1)
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in NAMES for kind in ("svg", "pdf", "png")}


def test_each_figure_is_drawn_once_for_each_width(make_study, tmp_path, counts):
    result = make_study(seeds=2)
    result = type(result)(comparisons=result.comparisons)
    paths = write_report(result, tmp_path, figures=tmp_path / "f", tables=tmp_path / "t", widths=[3.25, 6.75])
    assert counts["differences"] == 3  # the page and two widths
    assert counts["summary"] == 1
    names = [path.name for path in paths]
    assert names[0] == "report.html"
    assert {"differences-3.25in.pdf", "differences-6.75in.svg", "comparisons.tex"} <= set(names)


def test_what_is_written_together_is_what_is_written_alone(make_study, tmp_path):
    result = make_study(seeds=2)
    write_report(result, tmp_path / "together", figures=tmp_path / "together")
    save_figures(result, tmp_path / "alone")
    assert (tmp_path / "together" / "report.html").read_text() == html(result)
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (tmp_path / "together" / path.name).read_bytes(), path.name


def test_nothing_is_drawn_from_nothing(make_study):
    empty = summarize(type(make_study())())
    assert all(inline(name, empty) == "" for name in EVERY)


def test_elements_for_the_page_share_no_ids_styles_or_fixed_colours(summary):
    seen = set()
    for name in NAMES:
        text = inline(name, summary)
        root = ElementTree.fromstring(text)
        ids = {element.get("id") for element in root.iter() if element.get("id")}
        assert not ids & seen
        seen |= ids
        references = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
        assert references == ids
        assert not re.search(r"#[0-9a-f]{6}\b", text), "a colour that a dark page cannot change"
        assert not re.search(r"<style|<metadata|font-family|<!--|xlink", text)
        assert root.get("viewBox")
        assert root.get("width") is None


def test_text_of_labels_is_left_as_it_is(make_study):
    label = f"{style.INK} font-family: x; 1.23456 $y$"
    result = make_study(seeds=2)
    named = replace(result.comparisons[0], b=label)
    text = inline("differences", summarize(type(result)(comparisons=[named])))
    assert f"{label[:19]}\N{HORIZONTAL ELLIPSIS}" in ElementTree.fromstring(text).itertext()


def test_every_figure_is_written_with_its_fonts(make_study, diagnosis, tmp_path):
    result = make_study(seeds=3, diagnosis=diagnosis)
    paths = save_figures(result, tmp_path, formats=["pdf"])
    assert [path.name for path in paths] == [f"{name}.pdf" for name in NAMES]
    for path in paths:
        content = path.read_bytes()
        assert b"/FontFile2" in content
        assert b"/Type3" not in content


def test_every_format_is_the_same_each_time_and_has_no_date(make_study, tmp_path):
    result = make_study(seeds=3)
    result = type(result)(comparisons=result.comparisons)
    first, second = (save_figures(result, tmp_path / name) for name in "ab")
    drawing, document, pixels = contents = [path.read_bytes() for path in first]
    assert contents == [path.read_bytes() for path in second]
    assert [path.name for path in first] == ["differences.svg", "differences.pdf", "differences.png"]
    assert b"<text" not in drawing
    assert b"dc:date" not in drawing
    assert b"CreationDate" not in document
    assert pixels.startswith(b"\x89PNG")


def test_making_a_pdf_logs_nothing(make_study, tmp_path, caplog):
    caplog.set_level("INFO")
    save_figures(type(make_study())(comparisons=make_study().comparisons), tmp_path, formats=["pdf"])
    assert caplog.records == []


def test_formats_are_checked_before_anything_is_written(make_study, gaussian, tmp_path):
    study, message = make_study(seeds=2), r"`formats` must be among `svg`, `pdf`, `png`. Got `gif` instead"
    with pytest.raises(InputError, match=message):
        save_figures(study, tmp_path, formats=["gif"])
    with pytest.raises(InputError, match=message):
        write_report(study, tmp_path, figures=tmp_path, formats=["gif"])
    assert save_figures(gaussian, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_callers_settings_neither_matter_nor_change(summary):
    before = inline("arms", summary)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        settings = dict(matplotlib.rcParams)
        assert inline("arms", summary) == before
        assert dict(matplotlib.rcParams) == settings


def test_figures_for_a_paper_have_its_widths(make_study, tmp_path):
    result = make_study(seeds=3)
    save_figures(result, tmp_path, formats=["svg", "png"], widths=[3.25, 6.75])
    for width in (3.25, 6.75):
        drawing = (tmp_path / f"arms-{width}in.svg").read_text()
        assert f'width="{72 * width:g}pt"' in drawing
        size = matplotlib.image.imread(tmp_path / f"ratio-{width}in.png").shape
        assert size[1] == pytest.approx(300 * width, abs=1)
    with pytest.raises(InputError, match=r"`widths` must lie in \[2, 12\] inches. Got `30` instead"):
        save_figures(result, tmp_path, widths=[30])


@pytest.mark.parametrize("width", [3.25, 4.8, 6.75])
def test_nothing_leaves_the_canvas(summary, width):
    settings = style.paper(width) if width != 4.8 else {}
    for picture in (picture for picture in PICTURES if picture.name in NAMES):
        with style.style(**settings):
            figure = picture.draw(summary)
            figure.set_dpi(300)
            figure.draw_without_rendering()
            box = figure.get_tightbbox()
        assert -0.01 <= box.x0 < box.x1 <= width + 0.01
        assert -0.01 <= box.y0 < box.y1 <= figure.get_figheight() + 0.01
