import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from mfh._report import html, report
from mfh._report.tables import MAX_ROWS
from mfh.results import (
    Comparison,
    GaussianResult,
    Record,
    StudyResult,
    Summary,
    TeacherRecord,
    Verdict,
    load_results,
)

VOID = {"meta", "link", "br", "hr", "img", "input"}
FETCHING = {"src", "srcset", "data", "poster", "action", "formaction", "background", "xlink:href"}


class Page(HTMLParser):
    """Checks that tags nest, and remembers elements and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def check(text: str) -> Page:
    """Check what is true of every page."""
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            value = value or ""
            if name == "href" and tag != "a":
                assert value.startswith(("#", "data:"))
            if name in FETCHING:
                assert value.startswith("data:image/svg+xml;base64,"), f"{tag} loads {value[:80]}"
            for target in re.findall(r"url\(([^)]*)\)", value):
                assert target.startswith("#")
            if name == "aria-labelledby" or (name == "href" and value.startswith("#")):
                assert value.lstrip("#") in ids
    styles = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in styles
    assert "@import" not in styles
    assert "{{" not in text
    assert len(page.named("h1")) == 1
    return page


@pytest.fixture(scope="module")
def study_page(make_study):
    result = make_study()
    return result, html(result)


def test_a_study_makes_a_well_formed_page_that_loads_nothing(study_page):
    page = check(study_page[1])
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in pairwise(levels))
    figures = [attributes for attributes in page.named("div") if attributes.get("role") == "img"]
    assert len(figures) == len(page.named("svg")) == 7
    assert all(len(attributes["aria-label"]) > 40 for attributes in figures)
    assert len(page.named("caption")) == len(page.named("table")) == 12
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.named("th"))
    assert all(a.get("tabindex") == "0" for a in page.named("div") if a.get("class") == "scroll")
    policy = next(a for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_numbers_of_the_study_are_on_the_page(study_page):
    result, text = study_page[0], Page(study_page[1]).text
    for row in result.comparisons:
        assert f"{abs(row.difference):.2f}" in text
    for row in result.summary:
        assert f"{row.mean:.2f} {row.low:.2f} to {row.high:.2f}".replace(" ", "") in text.replace(" ", "")
    assert "mfh study --data 'my data.npz' --teacher pix" in text
    assert "train 1,200, validation 400, test 400; 2 repeats of 5 folds" in text
    assert "The Modality Focusing Hypothesis" in text
    assert result.verdict.sentence.replace("`", "") in text.replace(" .", ".")


def test_only_questions_answered_with_yes_have_stars(study_page):
    text = study_page[1]
    rows = re.findall(
        r"<tr><th[^>]*>[^<]*\N{MINUS SIGN}[^<]*(?:<small>declared, question (\d)</small>)?</th>(.*?)</tr>",
        text,
    )
    starred = {question for question, cells in rows if re.search(r"\d\*<", cells)}
    assert [question for question, _ in rows][:6] == ["1", "2", "3", "4", "4", "4"]
    assert not any(question for question, _ in rows[6:])
    assert starred == {"1", "2"}


HOSTILE = (
    "<script>alert(1)</script> & \"x\" 'y' </svg> $a_b^{ ]]> \x07\ud800 \N{GREEK SMALL LETTER ALPHA}\u4e2d"
)


def test_markup_in_labels_shows_as_text(make_study):
    result = make_study(seeds=2, teacher=HOSTILE, student="b" * 300, classes=[HOSTILE, "<b>bold</b>"])
    rename = {"no-kd": "<i>arm</i>", "general": HOSTILE}
    result = replace(
        result,
        verdict=Verdict("help", None, HOSTILE, (f"`{HOSTILE}`",)),
        summary=[replace(row, arm=rename.get(row.arm, row.arm), metric="<u>") for row in result.summary],
        records=[replace(row, arm=rename.get(row.arm, row.arm), metric="<u>") for row in result.records],
        comparisons=[replace(row, b=rename.get(row.b, row.b)) for row in result.comparisons],
        teachers=[replace(row, teacher=HOSTILE) for row in result.teachers],
        config={**result.config, HOSTILE: HOSTILE},
        environment={"command": ["mfh", HOSTILE], "packages": {HOSTILE: HOSTILE}},
        timings={HOSTILE: 1.0},
        saliency={**result.saliency, "layer": HOSTILE},
    )
    text = html(result)
    page = check(text)
    assert text.encode("utf-8")
    assert [a.get("id") for a in page.named("script")] == ["data-students", "data-channels", None]
    assert not {"b", "i", "u"} & {tag for tag, a in page.elements if not a} - {"b", "i"}
    assert "<i>arm</i>" not in text
    assert "<b>bold</b>" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "$a_b^{" in page.text
    assert "\x07" not in text


def test_thousands_of_students_classes_and_channels_stay_small(make_study):
    result = make_study(seeds=40, channels=3000, classes=[f"class {i}" for i in range(1000)])
    assert len(result.records) > 1000
    text = html(result)
    page = check(text)
    assert len(text.encode()) < 2_000_000
    assert "There are 3,000 channels: a bar is the mean of 12 neighbours" in page.text
    assert "the first 20 fits; thick: the median of all 40" in page.text
    assert "and 988 more" in page.text


def test_long_tables_are_cut_and_say_so():
    rows = [
        Comparison("a", f"b{i}", None, 2, 1.0, 0.0, 2.0, None, None, None, None, False) for i in range(1200)
    ]
    page = check(html(StudyResult(comparisons=rows)))
    assert f"{1200 - MAX_ROWS} more rows are in results.json." in page.text


def test_one_seed_has_no_intervals(make_study):
    page = check(html(replace(make_study(seeds=1), channels={})))
    assert "Undecided. These runs do not show" in page.text
    assert "One fit only" in page.text
    assert "95% interval" not in page.text


def test_groups_add_their_interval(make_study):
    rows = [replace(row, low_boot=0.11, high_boot=1.77) for row in make_study(seeds=3).comparisons]
    page = check(html(StudyResult(comparisons=rows)))
    assert "groups resampled" in page.text
    assert "+0.11 to +1.77" in page.text


PARTS = (
    "records",
    "summary",
    "comparisons",
    "teachers",
    "saliency",
    "verdict",
    "data",
    "channels",
    "timings",
)


@pytest.mark.parametrize("part", PARTS)
def test_any_part_alone_makes_a_page(make_study, part):
    check(html(StudyResult(**{part: getattr(make_study(seeds=3), part)})))


@pytest.mark.parametrize(
    "missing",
    [
        {"summary": (), "timings": {"students": 0.0}},
        {"comparisons": (), "config": {}, "environment": {}},
        {
            "records": (),
            "saliency": {
                "overlap": [{"split": "train"}],
                "negative": [{}],
                "rank_correlation": [{"mean": None}],
            },
            "channels": {"increase_train": np.full((3, 5), np.nan)},
        },
    ],
    ids=["summary", "comparisons", "records"],
)
def test_missing_parts_are_left_out(make_study, missing):
    check(html(replace(make_study(seeds=3), **missing)))


def test_an_empty_study_has_a_page():
    assert "No verdict." in check(html(StudyResult())).text


def test_values_that_are_not_numbers_become_dashes():
    nan = float("nan")
    arms = ("no-kd", "joint", "general (chosen)")
    page = html(
        StudyResult(
            records=[Record(arm, None, 0, "accuracy", nan, nan, nan, 1, 0.1) for arm in arms],
            summary=[Summary(arm, None, "accuracy", 2, nan, nan, nan, nan) for arm in arms],
            comparisons=[Comparison("general", "no-kd", 0.5, 2, nan, nan, nan, nan, nan, nan)],
            teachers=[TeacherRecord("regular", 0, "accuracy", nan, nan, nan, nan, nan)],
            verdict=Verdict("help", None, "It helps."),
        )
    )
    assert "nan" not in check(page).text


def test_gaussian_page_shows_notes_rows_and_pictures(gaussian, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "gain_by_gamma.svg").write_text("<svg><script>alert(1)</script></svg>")
    path = report(gaussian, tmp_path)
    page = check(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "report.html"
    assert "from \N{MINUS SIGN}0.7 to +2.5 points" in page.text
    assert "0.430" in page.text
    assert [a["alt"] for a in page.named("img")] == [
        "gain by gamma: drawn from the numbers in the table below"
    ]
    assert len(page.named("script")) == 1


def test_gaussian_rows_of_mixed_kinds():
    rows = [
        {"gamma": 0.33, "mode": "gt", "recovery": None, "runs": 10},
        {"gamma": 0.5, "mode": "alg1", "recovery": 0.98, "extra": [1, 2]},
    ]
    result = GaussianResult(
        figure="table2", rows=rows, differences=[{"a": "x", "mode": None, "b": "y", "difference": -1.5}]
    )
    text = check(html(result)).text
    assert "0.330 gt" in text
    assert "0.980" in text
    assert "1, 2" in text
    assert "\N{MINUS SIGN}1.50" in text
    assert "mode b" not in text  # a column without values is left out


def test_a_saved_study_gives_the_same_bytes(make_study, tmp_path):
    make_study(seeds=3).save(tmp_path)
    path = report(load_results(tmp_path), tmp_path)
    assert path.read_text(encoding="utf-8") == html(make_study(seeds=3))


def test_report_writes_where_it_is_told(tmp_path):
    assert report(StudyResult(), tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert report(StudyResult(), tmp_path / "run") == tmp_path / "run" / "report.html"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["page.html", "report.html"]


def test_a_report_needs_neither_torch_nor_pandas_nor_pyplot():
    program = (
        "import sys; from mfh._report import html; from mfh.results import Comparison, StudyResult; "
        "row = Comparison('general', 'no-kd', 0.5, 9, 1.2, 0.4, 2.0, None, None, 0.01, None, False); "
        "html(StudyResult(comparisons=[row])); "
        "sys.exit(','.join({'torch', 'pandas', 'matplotlib.pyplot'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
