"""Tables for papers, and the compact columns of the page's long tables."""

import base64
import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from mfh._report import explorer, save_tables
from mfh._report.explorer import explore_channels, explore_students
from mfh._report.export import latex
from mfh._report.render import build_tables
from mfh._report.summarize import summarize
from mfh.results import StudyResult


def test_tables_are_written_in_three_formats(make_study, tmp_path):
    result = make_study(seeds=3)
    names = {path.name for path in save_tables(result, tmp_path)}
    assert {"arms.tex", "arms.md", "comparisons.tex", "teachers.md", "records.csv", "summary.csv"} <= names
    with (tmp_path / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["test"]) for row in rows] == [record.test for record in result.records]
    assert rows[0]["ratio"] == ""
    text = (tmp_path / "comparisons.tex").read_text()
    assert text.count(r"\\") == 1 + len(result.comparisons)
    assert len({line.count("&") for line in text.splitlines() if line.endswith(r"\\")}) == 1
    lines = [line for line in (tmp_path / "arms.md").read_text().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(result.summary)


@pytest.mark.parametrize("name", ["[1ex] a", "* a"])
def test_no_name_becomes_an_option_of_a_line_break(name):
    table = {"name": "a", "caption": "x", "columns": [{"label": "Arm", "numeric": False}],
             "rows": [[{"text": name}]]}  # fmt: skip
    assert "\n{}" + name + r" \\" in latex(table)


def test_latex_and_markdown_survive_any_name(make_study, tmp_path):
    result = make_study(seeds=2)
    nasty = r"a_b & 50% \ {x} | <b> # $"
    rows = [replace(row, arm=nasty if row.arm == "no-kd" else row.arm) for row in result.summary]
    save_tables(replace(result, summary=rows), tmp_path)
    tex = (tmp_path / "arms.tex").read_text()
    line = next(line for line in tex.splitlines() if r"50\%" in line)
    assert not re.search(r"(?<!\\)[%#_](?!$)", line)
    markdown = next(line for line in (tmp_path / "arms.md").read_text().splitlines() if "50%" in line)
    assert len(re.findall(r"(?<!\\)\|", markdown)) == 7
    assert r"\<b>" in markdown


def test_losses_and_metrics_get_columns(make_study):
    result = make_study(seeds=2)
    summary = summarize(result)
    summary["loss_names"], summary["metrics"] = ["kl", "dkd"], ["accuracy", "mAP"]
    summary["other_arms"] = [
        {"arm": "general", "name": "general", "ratio": 0.5, "loss": "dkd", "metric": "mAP", "mean": 61.0,
         "low": None, "high": None, "sd": None, "n": 2},
    ]  # fmt: skip
    table = build_tables(summary)["arms"]
    assert [column["label"] for column in table["columns"]][:4] == ["Arm", "Loss", "Metric", "Ratio"]
    assert [cell["text"] for cell in table["rows"][-1]][:5] == ["general", "dkd", "mAP", "0.5", "61.00"]
    assert "Loss" in [column["label"] for column in build_tables(summary)["comparisons"]["columns"]]


def decode(text):
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def test_channels_are_packed_seed_by_seed(make_study):
    result = make_study(seeds=3)
    packed = explore_channels(result, ratios=[0.25, 0.5], ratio=0.5)
    assert [(s["seed"], s["split"]) for s in packed["sets"]][:3] == [
        (0, "train"), (0, "validation"), (1, "train"),
    ]  # fmt: skip
    third = packed["sets"][2]
    np.testing.assert_allclose(decode(third["saliency"]), result.channels["increase_train"][1], rtol=1e-6)
    np.testing.assert_allclose(decode(third["importance"]), result.channels["importance_train"][1], rtol=1e-6)
    assert packed["sets"][1]["error"] is None
    assert packed["left_out"] == 0


def test_what_does_not_fit_is_left_out_and_counted(make_study, monkeypatch):
    monkeypatch.setattr(explorer, "MAX_VALUES", 64 * 3 + 64 * 2 + 10)
    packed = explore_channels(make_study(seeds=3), ratios=[], ratio=None)
    assert len(packed["sets"]) == 2
    assert packed["left_out"] == 4
    monkeypatch.setattr(explorer, "MAX_VALUES", 100)
    assert explore_channels(make_study(seeds=3), ratios=[], ratio=None) is None
    assert explore_channels(StudyResult(), ratios=[], ratio=None) is None


def test_students_are_listed_with_the_columns_they_have(make_study):
    result = make_study(seeds=2)
    packed = explore_students(result)
    labels = [column["label"] for column in packed["columns"]]
    assert labels == ["Arm", "Ratio", "Seed", "Draw", "Train", "Validation", "Test", "Best epoch", "Seconds"]
    columns = dict(zip(labels, packed["columns"], strict=True))
    arms = [columns["Arm"]["names"][code] for code in columns["Arm"]["values"]]
    assert arms == [record.arm for record in result.records]
    assert columns["Test"]["values"] == pytest.approx([r.test for r in result.records], abs=1e-3)
    assert explore_students(StudyResult()) is None
