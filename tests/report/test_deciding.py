"""What would decide a study: components of variance, repeats and samples that are needed, looks."""

from dataclasses import replace

import pytest

from mfh._report import html
from mfh._report.pages import PAGES, summarize
from mfh._report.sections.comparisons import build_questions
from mfh._report.sections.deciding import SECTION
from mfh.results import Look, StudyResult


def changed(result, b, **changes):
    rows = [replace(c, **changes) if c.b == b and c.ratio is None else c for c in result.comparisons]
    return replace(result, comparisons=rows)


def open_gain(result, **changes):
    return changed(result, "no-kd", low=-1.4, high=1.8, shown=False, **changes)


def tables(result):
    return PAGES["study"].build_tables(summarize(result))["deciding"]


def test_every_declared_comparison_has_its_components(make_study):
    found = tables(make_study())["components"]
    assert [row[0]["text"] for row in found["rows"]] == [
        "no-kd", "self", "mismatched", "joint", "important", "softened",
    ]  # fmt: skip
    assert [row[0]["note"] for row in found["rows"]][:4] == [f"question {i}" for i in (1, 2, 3, 4)]
    assert [cell["text"] for cell in found["rows"][0]][1:7] == ["8.50", "14.20", "0.60", "0.44", "62%", "38%"]


@pytest.mark.parametrize(
    ("repeats", "samples", "cells", "sentence"),
    [
        (7, 4321, ["7", "4,300"], "About 7 repeats in all will probably decide"),
        (123, 4321, ["120", "4,300"], "About 120 repeats"),
        (None, 43_210, ["no number", "43,000"], "a new study of about 43,000 samples probably will."),
        (None, None, ["no number", "\N{EN DASH}"], "More repeats may not decide"),
    ],
)
def test_what_is_needed_is_in_the_table_and_in_a_sentence(make_study, repeats, samples, cells, sentence):
    result = open_gain(make_study(), repeats_needed=repeats, samples_needed=samples)
    assert [cell["text"] for cell in tables(result)["components"]["rows"][0]][-2:] == cells
    words = SECTION.intro(summarize(result))
    assert "more repeats would remove 62%" in words
    assert sentence in words


def test_a_decided_question_needs_nothing(make_study):
    for low, high in ((0.3, 2.0), (-2.0, -0.3), (-0.4, 0.6)):
        result = changed(make_study(), "no-kd", low=low, high=high)
        assert [cell["text"] for cell in tables(result)["components"]["rows"][0]][-2] == "decided"
        assert "Whether the teacher helps is decided." in SECTION.intro(summarize(result))


def test_going_on_because_it_was_open_is_exploratory_unless_it_was_planned(make_study):
    result = open_gain(make_study())
    assert "exploratory" in SECTION.intro(summarize(result))
    planned = replace(result, config={**result.config, "until": "decided"})
    assert "exploratory" not in SECTION.intro(summarize(planned))


def test_one_repeat_claims_nothing_about_more(make_study):
    result = make_study(seeds=5)
    rows = [replace(c, components={**c.components, "repeats": 1}) for c in result.comparisons]
    result = open_gain(replace(result, comparisons=rows), repeats_needed=None)
    labels = [column["label"] for column in tables(result)["components"]["columns"]]
    assert labels == ["general minus", "SD of trainings", "SE", "Repeats needed", "Samples needed"]
    assert "With one repeat the noise of training cannot be told" in SECTION.intro(summarize(result))


def test_groups_are_named(make_study):
    result = make_study()
    found = tables(replace(result, data={**result.data, "num_groups": 12}))["components"]
    assert {"SD of groups", "More groups"} <= {column["label"] for column in found["columns"]}


def test_looks_are_listed_with_what_they_do_to_the_error(make_study):
    looks = [
        Look(1, 0.4, 2.4, 0.984, float("nan"), None, None, "abstain"),
        Look(2, 0.5, 2.31, 0.979, 0.8, 0.1, 1.5, "help"),
    ]
    result = replace(make_study(), looks=looks)
    rows = [[cell["text"] for cell in row] for row in tables(result)["looks-taken"]["rows"]]
    assert rows[1] == ["2", "+0.80", "+0.10 to +1.50", "97.9%", "2.31", "help"]
    assert rows[0][1:3] == ["\N{EN DASH}", "\N{EN DASH}"]
    assert rows[0][-1] == "open"
    page = html(result)
    assert "this keeps the error over all planned looks at 5%" in page
    assert "97.9% interval" in page
    assert "95% interval" not in page.partition('id="saliency"')[0]


def test_looks_that_were_not_planned_are_marked(make_study):
    looks = [
        Look(2, 1.0, 1.96, 0.95, 0.8, -0.1, 1.7, "abstain"),
        Look(3, 1.0, 1.96, 0.95, 0.8, 0.1, 1.5, "help", exploratory=True),
    ]
    study = make_study()
    result = replace(
        study,
        looks=looks,
        data={**study.data, "planned_repeats": 2},
        comparisons=[replace(row, shown=None) for row in study.comparisons],
    )
    rows = tables(result)["looks-taken"]["rows"]
    assert [row[-1]["note"] for row in rows] == ["", "exploratory"]
    page = html(result)
    assert "The plan ended with 2 repeats." in page
    assert "this keeps the error over all planned looks at 5%" in page
    assert "a declared question before this one" not in page
    asked = build_questions(summarize(result))
    assert {row[-1]["text"] for row in asked["rows"]} == {"exploratory"}
    alone = html(replace(result, looks=looks[1:]))
    assert "The plan ended with 2 repeats." in alone
    assert "The study added repeats until" not in alone


def test_without_components_and_looks_there_is_no_such_section(make_study):
    result = make_study()
    plain = replace(result, comparisons=[replace(c, components=None) for c in result.comparisons])
    for page in (html(plain), html(StudyResult())):
        assert 'id="deciding"' not in page
