import math
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import matplotlib.image
import pytest

from mfh._checks import InputError
from mfh._report import figures, save_figures, style, svg, venn
from mfh._report.diagnosis import summarize_diagnosis
from mfh._report.summarize import summarize


@pytest.fixture(scope="module")
def summary(make_study, diagnosis):
    return summarize(make_study(diagnosis=diagnosis))


@pytest.fixture(scope="module")
def drawn(summary):
    with style.style():
        return {name: draw(summary) for name, draw in figures.FIGURES.items()}


def lines(ax, marker=None):
    return [line for line in ax.lines if marker is None or line.get_marker() == marker]


def test_differences_draw_every_comparison_at_its_value(summary, drawn):
    points = lines(drawn["differences"].axes[0], "D")
    assert [point.get_xdata()[0] for point in points] == [row["difference"] for row in summary["differences"]]
    filled = [point.get_markerfacecolor() == style.BLUE for point in points]
    assert filled == [row["primary"] for row in summary["differences"]]
    assert sum(filled) == 3


def test_arms_draw_one_dot_a_seed(summary, drawn):
    rows = [row for row in summary["arms"] if row["main"]]
    dots = [line for line in drawn["arms"].axes[0].lines if line.get_alpha() == 0.45]
    assert [list(line.get_xdata()) for line in dots] == [row["dots"] for row in rows]
    labels = [text.get_text() for text in drawn["arms"].axes[0].get_yticklabels()]
    assert "general (chosen)" in labels
    assert f"random at {summary['shown_ratio']:g}" in labels


def test_lines_of_the_sweep_differ_in_more_than_colour(summary, drawn):
    ax = drawn["ratio"].axes[0]
    labelled = [line for line in ax.lines if not line.get_label().startswith("_")]
    looks = [(line.get_marker(), str(line._dash_pattern)) for line in labelled]
    assert {line.get_label() for line in labelled} == {*summary["sweep"]["lines"], "no-kd", "regular"}
    assert len(set(looks)) == len(looks)


def test_saliency_draws_removed_channels_hollow(summary, drawn):
    bars = drawn["saliency"].axes[0].patches
    assert len(bars) == 64
    hollow = sum(matplotlib.colors.same_color(bar.get_facecolor(), style.SURFACE) for bar in bars)
    assert hollow == summary["channels"]["num_removed"]


def test_overlap_has_a_line_a_split_and_one_for_chance(drawn):
    labels = [line.get_label() for line in drawn["overlap"].axes[0].lines]
    assert [label for label in labels if not label.startswith("_")] == [
        "train split",
        "validation split",
        "by chance",
    ]


def test_nothing_is_drawn_from_nothing(make_study):
    empty = summarize(type(make_study())())
    assert all(svg.inline(name, empty) == "" for name in figures.FIGURES)


def test_elements_for_the_page_share_no_ids_styles_or_fixed_colours(summary):
    seen = set()
    for name in figures.FIGURES:
        text = svg.inline(name, summary)
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
    first = result.comparisons[0]
    named = type(first)(**{**vars(first), "b": label})
    text = svg.inline("differences", summarize(type(result)(comparisons=[named])))
    assert f"{label[:19]}\N{HORIZONTAL ELLIPSIS}" in ElementTree.fromstring(text).itertext()


def test_every_figure_is_written_with_its_fonts(make_study, diagnosis, tmp_path):
    result = make_study(seeds=3, diagnosis=diagnosis)
    paths = save_figures(result, tmp_path, formats=["pdf"])
    assert [path.name for path in paths] == [f"{name}.pdf" for name in figures.FIGURES]
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


def test_making_a_pdf_says_nothing(make_study, tmp_path, caplog):
    caplog.set_level("INFO")
    save_figures(type(make_study())(comparisons=make_study().comparisons), tmp_path, formats=["pdf"])
    assert caplog.records == []


def test_formats_are_checked(make_study, gaussian, tmp_path):
    with pytest.raises(InputError, match=r"`formats` must be among `svg`, `pdf`, `png`. Got `gif` instead"):
        save_figures(make_study(seeds=2), tmp_path, formats=["gif"])
    assert save_figures(gaussian, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_callers_settings_neither_matter_nor_change(summary):
    before = svg.inline("arms", summary)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        settings = dict(matplotlib.rcParams)
        assert svg.inline("arms", summary) == before
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
    for draw in figures.FIGURES.values():
        with style.style(**settings):
            figure = draw(summary)
            figure.set_dpi(300)
            figure.draw_without_rendering()
            box = figure.get_tightbbox()
        assert -0.01 <= box.x0 < box.x1 <= width + 0.01
        assert -0.01 <= box.y0 < box.y1 <= figure.get_figheight() + 0.01


def test_differences_draw_a_dot_a_seed(summary, drawn):
    dots = [line for line in drawn["differences"].axes[0].lines if line.get_alpha() == 0.45]
    rows = [row for row in summary["differences"] if row["dots"]]
    assert len(dots) == len(rows) == len(summary["differences"])
    for line, row in zip(dots, rows, strict=True):
        assert len(line.get_xdata()) == summary["num_seeds"]
        assert sum(line.get_xdata()) / len(line.get_xdata()) == pytest.approx(row["difference"])


def test_curves_are_means_over_seeds(make_study, summary, drawn):
    result = make_study()
    rows = [i for i, record in enumerate(result.records) if record.arm == "no-kd"]
    lines = {line.get_label(): line for line in drawn["curves"].axes[0].lines}
    assert list(lines) == ["no-kd", "regular", "joint", "general", "important", "softened"]
    expected = result.curves["students_validation"][rows].mean(axis=0)
    assert lines["no-kd"].get_ydata() == pytest.approx(expected, rel=1e-4)
    assert [line.get_label() for line in drawn["teacher-curves"].axes[0].lines] == [
        "regular",
        "joint",
        "unimodal",
    ]


class TestVenn:
    def shapes(self, diagnosis):
        with style.style():
            figure = venn.draw_venn(
                {"diagnosis": summarize_diagnosis(diagnosis), "modalities": {"teacher": "a", "student": "b"}}
            )
        circles = [patch for patch in figure.axes[0].patches if not patch.get_fill()]
        return circles, [text.get_text() for text in figure.axes[0].texts]

    def test_areas_are_to_scale(self):
        told = {"gamma": {"estimate": 0.375, "venn": {"alpha": 0.5, "beta": 0.2, "gamma": 0.3}}}
        (a, b), texts = self.shapes(told)
        assert (b.radius / a.radius) ** 2 == pytest.approx(0.5 / 0.8)
        overlap = venn.lens(b.center[0] - a.center[0], a.radius, b.radius)
        assert overlap / (math.pi * a.radius**2) == pytest.approx(0.375, abs=1e-6)
        assert texts == ["a", "b", "38%", "62%", "25%"]

    def test_a_student_of_unknown_size_is_dashed(self):
        (_, b), texts = self.shapes({"gamma": {"estimate": 0.4}})
        assert b.get_linestyle() != "solid"
        assert texts[2:] == ["40%", "60%"]

    @pytest.mark.parametrize("estimate", [-0.1, 0.0, 1.0, 1.2])
    def test_estimates_at_and_beyond_the_ends(self, estimate):
        (a, b), _ = self.shapes({"gamma": {"estimate": estimate}})
        distance = b.center[0] - a.center[0]
        shared = min(max(estimate, 0.0), 1.0)
        assert venn.lens(distance, a.radius, b.radius) / math.pi == pytest.approx(shared, abs=1e-6)
