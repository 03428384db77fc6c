"""Tables for papers."""

import csv
import re
from dataclasses import replace

import pytest

from mfh._report import save_tables
from mfh._report.export import latex


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
