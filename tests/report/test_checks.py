"""Every coded check, on and off."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mfh._report import html, render
from mfh._report.pages import summarize
from mfh._report.sections.checks import CHECKS, look
from mfh.results import MetricInfo, StudyResult

DOCUMENT = Path(__file__).parents[2] / "docs" / "checks.md"


@pytest.fixture
def summary(make_study):
    return summarize(make_study())


def checks(summary):
    return look(summary)["checks"]


def codes(summary):
    return {check["code"] for check in checks(summary)}


def test_number_of_fits(make_study):
    assert "MFH101" in codes(summarize(make_study(seeds=1)))
    assert {"MFH102"} <= codes(summarize(make_study(seeds=3))) - {"MFH101"}
    assert not {"MFH101", "MFH102"} & codes(summarize(make_study(seeds=5)))


def test_a_single_repeat_cannot_tell_noise_from_samples(make_study):
    result = make_study(seeds=5)
    assert "MFH102" not in codes(summarize(result))
    rows = [replace(c, components={**c.components, "repeats": 1}) for c in result.comparisons]
    found = checks(summarize(replace(result, comparisons=rows)))
    assert next(c["title"] for c in found if c["code"] == "MFH102") == "Only one repeat"


def predicting(result, labels, outputs):
    """The study with one fit of these labels, and these outputs of each arm, (arm, sample, class)."""
    arms = [record.arm for record in result.records if record.seed == 0]
    stacked = np.stack([outputs.get(arm, outputs["all"]) for arm in arms])
    arrays = {"label": labels, "rows/0": np.arange(len(labels)), "outputs/0": stacked}
    data = {**result.data, "task": "single-label", "classes": ["rare", "common"]}
    return replace(result, predictions=arrays, data=data)


def test_a_class_that_hides_differences_of_accuracy(make_study):
    result, half = make_study(seeds=1), np.eye(2)[np.arange(400) % 2]
    always = np.tile([0.0, 1.0], (400, 1))
    text = {}
    for name, labels, outputs in (
        ("balanced", np.arange(400) % 2, {"all": half}),
        ("labels", np.r_[np.ones(324, int), np.zeros(76, int)], {"all": half}),
        ("outputs", np.arange(400) % 2, {"all": half, "general": always, "self": always}),
    ):
        study = predicting(result, labels, outputs)
        text[name] = {c["code"]: c["text"] for c in checks(summarize(study))}.get("MFH116", "")
    assert text["balanced"] == ""
    assert "The class `common` has 81% of the test samples" in text["labels"]
    assert "give a single class" not in text["labels"]
    assert text["outputs"].startswith(
        "The students of `general` and `self` give a single class to over 99.5%"
    )
    assert "`--metric balanced-accuracy`, `auroc` or `average-precision`" in text["outputs"]
    other = [MetricInfo("balanced-accuracy")]
    rows = [replace(record, metric="balanced-accuracy") for record in result.records]
    study = predicting(replace(result, metrics=other, records=rows, summary=()), labels, outputs)
    assert "MFH116" not in codes(summarize(study))


def test_saturated_teacher(summary):
    assert "MFH104" in codes(summary)
    text = next(c["text"] for c in checks(summary) if c["code"] == "MFH104")
    assert "97%" in text
    assert "0.012 nats" in text
    regular = summary["teachers"][0]
    regular |= {"saturated": 0.5, "entropy": 0.3}
    assert "MFH104" not in codes(summary)
    regular["entropy"] = 0.01
    assert "MFH104" in codes(summary)


def test_student_as_good_as_the_teacher(summary):
    assert "MFH105" not in codes(summary)
    summary["teachers"][0]["test"] = 75.0
    assert "MFH105" not in codes(summary)  # the joint teacher is still better
    summary["teachers"][1]["test"] = 75.0
    assert "MFH105" in codes(summary)
    summary["higher_is_better"] = False
    assert "MFH105" not in codes(summary)


def test_saliency_on_the_training_split(summary):
    text = next(c["text"] for c in checks(summary) if c["code"] == "MFH110")
    assert "94% of the same channels; on validation data it would be 52%" in text
    summary["saliency"]["split"] = "validation"
    assert "MFH110" not in codes(summary)


def test_negative_increases(summary):
    assert "MFH111" not in codes(summary)
    summary["saliency"]["split"] = "validation"
    assert "MFH111" in codes(summary)
    summary["saliency"]["score"] = "followed"
    assert "MFH111" not in codes(summary)


@pytest.mark.parametrize(
    ("chosen", "code"),
    [
        ([0.75, 0.75, 0.25], "MFH108"),
        ([0.0, 0.0, 0.25], "MFH109"),
        ([0.5, 0.5, 0.75], None),
        ([0.0, 0.75], None),
    ],
)
def test_edge_of_the_sweep(summary, chosen, code):
    summary["chosen"] = dict(enumerate(chosen))
    assert codes(summary) & {"MFH108", "MFH109"} == ({code} if code else set())


def test_students_that_were_still_improving(make_study, summary):
    assert "MFH113" not in codes(summary)
    result = make_study()
    late = [replace(record, best_epoch=60) for record in result.records]
    assert "MFH113" in codes(summarize(replace(result, records=late)))


def test_focusing_that_is_not_better_than_importance(summary):
    row = next(row for row in summary["differences"] if row["name"] == "important")
    row |= {"low": 0.2, "high": 1.0, "reading": "better"}
    assert "MFH103" not in codes(summary)
    row |= {"difference": 0.3, "low": -0.2, "high": 0.8, "reading": "same"}
    assert "MFH103" in codes(summary)
    text = next(c["text"] for c in checks(summary) if c["code"] == "MFH103")
    assert "+0.30 points (\N{MINUS SIGN}0.20 to +0.80)" in text
    row |= {"low": None, "high": None}  # one seed shows nothing
    assert "MFH103" not in codes(summary)


def test_groups_in_several_splits(summary):
    assert "MFH106" not in codes(summary)
    summary["data"]["leaks"]["groups"] = 0
    assert "MFH106" not in codes(summary)
    summary["data"]["leaks"]["groups"] = 3
    assert "MFH106" in codes(summary)
    del summary["data"]["leaks"]  # an older run
    assert not {"MFH106", "MFH107"} & codes(summary)


def test_duplicates_across_splits(summary):
    assert "MFH107" not in codes(summary)
    summary["data"]["leaks"]["duplicates"] = 1
    text = next(c["text"] for c in checks(summary) if c["code"] == "MFH107")
    assert text.startswith("1 validation or test sample of the first fit is equal")


def test_unequal_epochs(make_study):
    result = make_study()
    assert "MFH112" not in codes(summarize(result))
    curves = {name: values.copy() for name, values in result.curves.items()}
    rows = [i for i, record in enumerate(result.records) if record.arm == "general"]
    for name in ("students_validation", "students_loss"):
        curves[name][rows, 40:] = np.nan
    summary = summarize(replace(result, curves=curves))
    text = next(c["text"] for c in checks(summary) if c["code"] == "MFH112")
    assert "`general` for 40 epochs on average" in text
    assert "for 60" in text
    assert "MFH112" not in codes(summarize(replace(result, curves={})))


def test_every_check_is_explained_in_the_page_and_linked(make_study, monkeypatch):
    page = html(make_study())
    anchors = re.findall(r'id="about-(MFH\d+)"', page)
    assert anchors == [check.code for check in CHECKS]
    found = codes(summarize(make_study()))
    assert found
    assert set(re.findall(r'href="#about-(MFH\d+)"', page)) == found
    assert "in the documentation" not in page  # the metadata names no place
    monkeypatch.setattr(render, "_documentation", lambda: "https://example.org/mfh")
    links = re.findall(r'href="https://example.org/mfh/checks.html#(mfh\d+)"', html(make_study()))
    assert links == [code.lower() for code in anchors]
    assert f"None of the {len(CHECKS)} checks found anything" in html(StudyResult())


def test_codes_differ_and_the_documentation_explains_each():
    listed = [check.code for check in CHECKS]
    assert listed == sorted(set(listed))
    text = DOCUMENT.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (MFH\d+)\n\n(.*?)(?=\n## |\Z)", text, re.M | re.S))
    assert list(sections) == listed
    for check in CHECKS:
        text = " ".join(sections[check.code].split())
        assert check.name in text
        assert check.why in text
