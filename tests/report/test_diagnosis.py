"""What was found before any student was trained: circles to scale, and the page of a diagnosis."""

import math
from dataclasses import fields

import pytest

from mfh._report import html, style, venn
from mfh._report.pages import summarize
from mfh._report.sections.diagnosis import describe, draw_venn
from mfh.results import Diagnosis


def shapes(diagnosis):
    with style.style():
        figure = draw_venn({"diagnosis": describe(diagnosis), "modalities": {"teacher": "a", "student": "b"}})
    circles = [patch for patch in figure.axes[0].patches if not patch.get_fill()]
    return circles, [text.get_text().strip() for text in figure.axes[0].texts]


def test_areas_are_to_scale():
    given = {"gamma": {"estimate": 0.375, "venn": {"alpha": 0.5, "beta": 0.2, "gamma": 0.3}}}
    (a, b), texts = shapes(given)
    assert (b.radius / a.radius) ** 2 == pytest.approx(0.5 / 0.8)
    overlap = venn.lens(b.center[0] - a.center[0], a.radius, b.radius)
    assert overlap / (math.pi * a.radius**2) == pytest.approx(0.375, abs=1e-6)
    assert texts == ["a", "b", "38%", "62%", "25%"]


def test_a_student_of_unknown_size_is_dashed():
    (_, b), texts = shapes({"gamma": {"estimate": 0.4}})
    assert b.get_linestyle() != "solid"
    assert texts[2:] == ["40%", "60%"]


@pytest.mark.parametrize("estimate", [-0.1, 0.0, 1.0, 1.2])
def test_estimates_at_and_beyond_the_ends(estimate):
    (a, b), _ = shapes({"gamma": {"estimate": estimate}})
    distance = b.center[0] - a.center[0]
    shared = min(max(estimate, 0.0), 1.0)
    assert venn.lens(distance, a.radius, b.radius) / math.pi == pytest.approx(shared, abs=1e-6)


def test_a_diagnosis_has_its_own_question_facts_and_checks(make_study, diagnosis):
    study = make_study(seeds=3, diagnosis=diagnosis)
    result = Diagnosis(**{field.name: getattr(study, field.name) for field in fields(study)})
    summary = summarize(result)
    assert summary["title"].startswith("Is a teacher that sees pix likely to make")
    assert summary["headline"] == "Probably yes."
    assert [fact["label"] for fact in summary["facts"]] == [
        "Shared (gamma)", "Probability of a gain", "Gain in the pilot",
    ]  # fmt: skip
    assert [check["code"] for check in summary["checks"]] == ["MFH104"]
    page = html(result)
    assert page.index('id="why"') < page.index('id="companions"') < page.index('id="pilot"')
    assert "Try ratio 0.5." in page
