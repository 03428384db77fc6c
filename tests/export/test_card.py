"""Model cards and reports of searches: what they say follows the recipe, the threshold and the labels."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import make_clear_and_noisy

import mfh
from mfh import FitConfig, FitResult
from mfh._export import card, write
from mfh._report import html
from mfh._report.pages import summarize
from mfh._report.sections import search as section
from mfh._study.search import fit as search_fit
from mfh.recipe import Recipe

CONFIG = FitConfig(
    teacher="a", student="b", labelled=("0.3",), folds=2, budget=16, steps=5, ratio=(0.5,), hidden=(6,),
    label_folds=3, device="cpu",
)  # fmt: skip
TAUGHT_BY_ITSELF = Recipe(teacher="self", label_weight=0.0, hard=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])


@pytest.fixture(scope="module")
def result() -> FitResult:
    """A search among few recipes whose anchor is a student that networks of its own modality teach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_fit, "FIXED", TAUGHT_BY_ITSELF)
        patch.setattr(search_fit, "ERRORS", 1e9)
        return mfh.fit(make_clear_and_noisy(150, groups=25), config=CONFIG)


def exported(result: FitResult, to: Path, **options: object) -> str:
    result.export(to, **options)  # type: ignore[arg-type]
    return (to / "README.md").read_text()


@pytest.mark.parametrize(
    ("recipe", "says", "never"),
    [
        (Recipe(teacher="stack", label_weight=0.75), "the weight 0.75 and the teacher's output 0.25", "half"),
        (Recipe(teacher="joint", label_weight=0.0), "from the teacher's output alone", "weight"),
        (Recipe(teacher="fused", hard=True), "the weight 0.5 and the teacher's class 0.5", "output"),
        (TAUGHT_BY_ITSELF, "networks of the student's own modality", "weight"),
        (Recipe(smoothing=0.1), "to train the student. It had no teacher.", "teachers"),
    ],
)  # fmt: skip
def test_the_use_of_labels_follows_the_recipe(recipe: Recipe, says: str, never: str) -> None:
    words = card._label_use_of(recipe, "single-label")
    assert says in words
    assert never not in words


def test_a_student_taught_by_its_own_modality_needs_no_other(result: FitResult, tmp_path: Path) -> None:
    text = exported(result, tmp_path, arm="searched")
    assert "the networks of the student's own modality, which teach it" in text
    assert "The student learned from the teacher's class alone." in text
    assert "Needed in training" not in text
    assert "crossmodal" not in text
    assert "of training is not available" not in text
    assert "knowledge-distillation" in text


def test_a_student_without_a_teacher_was_not_distilled(result: FitResult, tmp_path: Path) -> None:
    text = exported(result, tmp_path, arm="no-kd")
    assert "to train the student. It had no teacher." in text
    assert "knowledge-distillation" not in text
    assert "Needed in training" not in text
    # the stack of all teachers does need the other modality
    assert "Needed in training alone: the modality `a`" in exported(result, tmp_path / "stack", arm="stack")


def test_a_card_says_of_how_many_groups_the_worst_are_shown(result: FitResult, tmp_path: Path) -> None:
    text = exported(result, tmp_path, arm="searched", seed=0)
    part = text[text.index("### By group") :]
    assert "The 20 worst of 25 groups:" in part
    shown = [float(value) for value in re.findall(r"\| \d+ \| ([\d.]+) \|", part)]
    assert len(shown) == 20
    assert shown == sorted(shown)
    parts = result.search["by_part"]["by_group"]
    assert [r["name"] for r in parts["no-kd"]] == [r["name"] for r in parts["searched"]]
    assert result.search["num_parts"]["by_group"] == 25
    assert f"the 20 of 25 groups in which {result.search['shipped']} is worst" in html(result)


def test_other_metrics_are_those_of_the_scores_that_are_exported(result: FitResult, tmp_path: Path) -> None:
    record = next(r for r in result.records if (r.arm, r.seed) == ("no-kd", 1))
    mine = [r for r in result.records if r.seed == 1]
    outputs = torch.from_numpy(result.predictions["outputs/1"][mine.index(record)])
    label = torch.from_numpy(result.predictions["label"][result.predictions["rows/1"]])
    for how, scale in (("none", 1.0), ("temperature", record.temperature)):
        loss = torch.nn.functional.cross_entropy(outputs / scale, label)
        text = exported(result, tmp_path / how, arm="no-kd", seed=1, calibrate=how)
        assert f"log-loss {loss:.3g}" in text
        assert ("calibrated by its own temperature" in text) == (how == "temperature")


def test_a_card_says_whose_labels_its_figures_rest_on(result: FitResult, tmp_path: Path) -> None:
    labels = round(result.labels["labelled"])
    text = exported(result, tmp_path, arm="no-kd", refit="all-labels")
    assert f"of students with {labels} labels (mean of fits); this network had 150." in text
    assert "These figures are of" not in exported(result, tmp_path / "fold", arm="no-kd", seed=0)


def test_the_report_lists_what_was_tried(result: FitResult, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, final = summarize(result), result.search["final"]
    table = section.build_tried(summary)
    assert table is not None
    assert len(table["rows"]) == len(final["trials"])
    order = [(row[2]["value"], row[3]["value"]) for row in table["rows"]]
    assert order == sorted(order, reverse=True)
    notes = {row[0]["text"]: row[0]["note"] for row in table["rows"] if row[0]["note"]}
    assert notes[str(TAUGHT_BY_ITSELF)] == "the anchor, taken as searched"
    for row in final["trials"]:
        known = row["folds"] == 3 and row["recipe"] != final["anchor"]
        assert (row["difference"] is not None) == known
    monkeypatch.setattr(section, "MOST_TRIED", 2)
    shorter = section.build_tried(summary)
    assert shorter is not None
    assert (len(shorter["rows"]), shorter["left_out"]) == (2, len(final["trials"]) - 2)
    page = html(result)
    assert f"The anchor is: {TAUGHT_BY_ITSELF}." in page
    assert "oracle" not in page
    assert "Only the test metric sees them." in page


def test_training_is_a_part_of_the_time(result: FitResult) -> None:
    assert 0 < result.search["training"] < 1
    assert np.isfinite(result.search["training"])
    assert "of the time of the fits was spent inside trainings" in html(result)
