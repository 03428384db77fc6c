"""The tables of the page of results: made from studies, put between their marks, and nothing else changed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import studies
from benchmarks._few_tables import FEW_TABLES
from benchmarks._fit_tables import FIT_TABLES, drivers
from benchmarks._study_tables import TABLES, difference, mean
from samples import make_paired

import mfh
from mfh import FitConfig, StudyConfig

CONFIG = StudyConfig(
    teacher="audio", student="image", folds=2, epochs=2, ratio=(0.5,), random_draws=1, hidden=(8,),
    smoothing=(0.1,),
)  # fmt: skip
PAGE = """# Results

<!-- table: by-arm one -->
old
<!-- end of the table -->

Text with a | pipe.

<!-- table: arms absent -->

| kept |

<!-- end of the table -->
"""


@pytest.fixture(scope="module")
def study() -> Any:
    result = mfh.study(make_paired(80), config=CONFIG)
    return json.loads(json.dumps(result.to_dict()))


def test_a_table_shows_the_numbers_of_its_study(study: Any) -> None:
    columns, (row,) = TABLES["by-arm"]([study])
    shown = dict(zip(columns, row, strict=True))
    means = {entry["arm"]: entry["mean"] for entry in study["summary"] if entry["metric"] == "accuracy"}
    assert shown["teacher → student"] == "audio → image"
    assert shown["`no-kd`"] == f"{means['no-kd']:.1f}"
    assert shown["`general`"] == f"{means['general (chosen)']:.1f}"
    assert mean(study, "general", 0.75) == ""
    gain = next(row for row in study["comparisons"] if row["question"] == 1)
    text = difference(study, "general (chosen)", "no-kd").replace("\N{MINUS SIGN}", "-")
    found = [float(part.strip("()")) for part in text.split() if part != "to"]
    assert found == pytest.approx([gain["difference"], gain["low"], gain["high"]], abs=0.006)


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"avmnist", "followed", "losses"}))
def test_every_table_of_one_study_can_be_made(study: Any, name: str) -> None:
    columns, rows = TABLES[name]([study])
    assert rows
    assert {len(row) for row in rows} == {len(columns)}


def test_a_table_of_losses(tmp_path: Path) -> None:
    found = mfh.study(make_paired(80), config=replace(CONFIG, repeats=1, losses=("kl", "dkd"))).to_dict()
    columns, rows = TABLES["losses"]([found])
    assert [row[0] for row in rows] == ["`kl`", "`dkd`"]
    assert rows[0][-1] == ""
    assert "(" in rows[1][-1]
    assert {len(row) for row in rows} == {len(columns)}


def test_followed_is_beside_the_increase(study: Any) -> None:
    _, rows = TABLES["followed"]([study, study])
    assert rows[0][2] == rows[0][3]


def test_only_tables_of_studies_that_are_there_change(study: Any) -> None:
    made, absent = studies.fill(PAGE, {"one": study})
    assert absent == ["absent"]
    assert "old" not in made
    assert "| audio → image |" in made
    assert made.endswith(PAGE[PAGE.index("Text with") :])
    assert studies.fill(made, {"one": study})[0] == made


def test_verdicts_are_counted(study: Any) -> None:
    listed = [studies.Listed("first", "hurt", "one", "one"), studies.Listed("second", "abstain")]
    _, (first, second, total) = studies.verdicts({"one": study}, listed)
    word = study["verdict"]["verdict"]
    assert first[:4] == ["first", "`hurt`", f"`{word}`", "4"]
    assert second[2] == "not run"
    assert total[1] == "0 `help`, 1 `hurt`, 0 `no-effect`, 1 `abstain`"
    assert f"1 `{word}`" in total[2]


def test_the_page_is_checked_and_written(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "results.json").write_text(json.dumps(study))
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(
        "sys.argv", ["studies", "--runs", str(tmp_path / "runs"), "--page", str(page), "--check"]
    )
    assert studies.main() == 1
    assert page.read_text(encoding="utf-8") == PAGE
    monkeypatch.setattr("sys.argv", ["studies", "--runs", str(tmp_path / "runs"), "--page", str(page)])
    assert studies.main() == 0
    monkeypatch.setattr(
        "sys.argv", ["studies", "--runs", str(tmp_path / "runs"), "--page", str(page), "--check"]
    )
    assert studies.main() == 0


@pytest.fixture(scope="module")
def curve() -> Any:
    config = replace(
        CONFIG,
        labelled=("0.3", "0.6"),
        steps=10,
        arms=("no-kd", "self", "stack", "mismatched", "joint", "general"),
    )
    return json.loads(json.dumps(mfh.study(make_paired(80), config=config).to_dict()))


@pytest.mark.parametrize("name", sorted(FEW_TABLES.keys() - {"few-first"}))
def test_every_table_of_few_labels_can_be_made(curve: Any, name: str) -> None:
    columns, rows = FEW_TABLES[name]([curve, curve])
    assert len(rows) == {"few-means": 2, "few-probabilities": 6}.get(name, 4)
    assert {len(row) for row in rows} == {len(columns)}


def test_gains_of_few_labels_are_recorded_for_other_pages(curve: Any) -> None:
    kept = studies.few_records({"one": curve})["one"]
    assert list(kept) == ["30", "60"]
    gain = next(row for row in curve["comparisons"] if row["question"] == 1)
    assert kept["30"]["difference"] == gain["difference"]


def test_the_page_names_known_tables_and_listed_studies() -> None:
    listed = {run for study in studies.STUDIES for run in (study.run, study.until)}
    text = studies.PAGE.read_text(encoding="utf-8")
    blocks = list(studies.BLOCK.finditer(text))
    assert len(blocks) == text.count("<!-- table:") > 10
    for block in blocks:
        assert block["name"] in {*TABLES, *FEW_TABLES, *FIT_TABLES, "verdicts"}
        runs = {run for run in block["runs"].split() if not run.startswith(("few-", "fit-"))}
        assert runs <= listed | {"mfcc-au-followed", "au-mfcc-followed"}


def test_tables_of_searches() -> None:
    config = FitConfig(
        teacher="audio", student="image", folds=3, budget=8, steps=10, hidden=(6,), ratio=(0.5,)
    )
    search = json.loads(json.dumps(mfh.fit(make_paired(80), config=config).to_dict()))
    for name in ("fits", "shipped"):
        columns, rows = FIT_TABLES[name]([search, search])
        assert [len(row) for row in rows] == [len(columns)] * 2
    assert studies.few_records({"one": search})["one"]["search"]["labels"] == round(
        search["labels"]["labelled"]
    )


def test_the_drivers_of_a_search_are_compared_with_halving() -> None:
    columns, rows = drivers()
    assert [len(row) for row in rows] == [len(columns)] * len(rows)


@pytest.mark.parametrize("name", ["drivers", "few-first", "fixed"])
def test_tables_of_recorded_figures_are_on_the_page(name: str) -> None:
    page = studies.PAGE.read_text(encoding="utf-8")
    columns, rows = (studies.FEW_TABLES | studies.FIT_TABLES)[name]([])
    assert studies.table(columns, rows) in page.partition(f"<!-- table: {name} -->")[2]
