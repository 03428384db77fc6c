"""The simulation behind docs/intervals.md: resumption, the page and its record, a quick version of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import coverage
from benchmarks._coverage_markdown import markdown
from benchmarks._coverage_noise import noise_study
from benchmarks._coverage_numbers import binomial, bounds_of_looks, covered, pooled, summarize
from benchmarks._coverage_populations import POPULATIONS, Population, latent
from benchmarks._coverage_study import simulate

BY_NAME = {population.name: population for population in POPULATIONS}
SMALL = BY_NAME["8 groups of 25"]


def rows_of(population: Population, count: int) -> list[dict]:
    return list(simulate(population, range(count), planned=False))


def test_the_page_shows_the_record() -> None:
    record = json.loads(coverage.RESULTS.read_text(encoding="utf-8"))
    assert f"{coverage.MARKS[0]}\n\n{markdown(record)}\n{coverage.MARKS[1]}" in coverage.PAGE.read_text(
        encoding="utf-8"
    )


def test_the_record_has_every_setting_of_both_halves() -> None:
    record = json.loads(coverage.RESULTS.read_text(encoding="utf-8"))
    expected = [(p.name, name, p.half) for p in POPULATIONS for name in p.treatments]
    assert [(e["setting"], e["pair"], e["half"]) for e in record["settings"]] == expected
    assert record["noise"]["of"] >= 1000


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    at_once, in_parts = tmp_path / "at-once", tmp_path / "in-parts"
    for folder in (at_once, in_parts):
        folder.mkdir()
    coverage.run_some(at_once, [SMALL], 3, noise=4)
    coverage.run_some(in_parts, [SMALL], 1, noise=2)
    path = coverage.file_of(in_parts, SMALL.name)
    path.write_text(path.read_text() + '{"population": "8 gro')  # a line that was cut off
    coverage.run_some(in_parts, [SMALL], 3, noise=4)
    for name in (path.name, "noise.jsonl"):
        assert coverage.read(in_parts / name) == coverage.read(at_once / name)


def test_no_time_leaves_what_there_is(tmp_path: Path) -> None:
    coverage.run_some(tmp_path, [SMALL], 3, noise=0, minutes=0)
    assert coverage.read(coverage.file_of(tmp_path, SMALL.name)) == []


def test_the_command_prints_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path), "--settings", SMALL.name, "--data-sets", "2", "--noise", "3"]
    assert coverage.main(arguments) == 0
    table = capsys.readouterr().out
    assert f"| {SMALL.name} | other seed | settle |" in table
    assert coverage.main([*arguments, "--table"]) == 0
    assert capsys.readouterr().out == table


def test_an_unknown_setting_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        coverage.main(["--out", str(tmp_path), "--settings", "nonsense"])
    assert "nonsense" in capsys.readouterr().err


def test_both_halves_have_networks_groups_and_other_metrics() -> None:
    for half in ("settle", "confirm"):
        mine = [population for population in POPULATIONS if population.half == half]
        assert {population.learner for population in mine} == {"ridge", "network"}
        assert {population.metric for population in mine} == {"accuracy", "AUROC", "R2"}
        assert any("groups" in population.name for population in mine)


def test_clopper_and_pearson() -> None:
    assert binomial(0, 10) == pytest.approx((0.0, 30.85), abs=0.01)
    assert binomial(95, 100) == pytest.approx((88.72, 98.36), abs=0.01)
    assert binomial(0, 0) is None


def test_samples_of_a_group_stay_together() -> None:
    drawn = latent(np.random.default_rng(0), 100, group_size=25)
    assert drawn.group is not None
    assert np.bincount(drawn.group).tolist() == [25] * 4


def test_looks_are_stricter_than_one_interval() -> None:
    row = {"first": 2, "error": [1.0, 0.9, 0.8, None], "degrees": [30.0, 30.0, 30.0, None]}
    decides, plain = bounds_of_looks(row)
    assert (decides[:3] > plain[:3]).all()
    assert np.isinf([decides[3], plain[3]]).all()


def test_small_studies_of_noise_seldom_decide() -> None:
    found = [noise_study(number) for number in range(80)]
    assert sum(row["verdict"] in ("help", "hurt") for row in found) <= 6
    assert {row["kind"] for row in found} == {"balanced", "95:5", "groups", "95:5 in groups"}
    assert {row["fits"] for row in found} == {2, 3, 4, 5, 6, 8, 9, 10}


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    """A quick version of the simulation: the closed-form learners, and one of the networks."""
    names = ["8 groups of 25", "100 groups of 5", "AUROC, n = 200", "R2, n = 150", "R2, n = 500",
             "Gaussian, n = 100, share 0.5"]  # fmt: skip
    chosen = [BY_NAME[name] for name in names]
    record = summarize(chosen, {population.name: rows_of(population, 60) for population in chosen}, [])
    settings = record["settings"]
    for entry in settings:
        assert covered(entry, "10") > 85, entry["setting"]
        assert entry["10"]["relative"] < 0.75, entry["setting"]
    assert np.mean([covered(entry, "10") for entry in settings]) > 94
    false = pooled([entry["10"]["false"] for entry in settings])
    assert false["count"] < 0.05 * false["of"]
    assert np.mean([entry["50"]["width"] / entry["10"]["plain_width"] for entry in settings]) < 0.45


@pytest.mark.slow
def test_studies_until_decided_and_planned_sizes() -> None:
    population = BY_NAME["true gains, n = 300"]
    rows = list(simulate(population, range(25)))
    record = summarize([population], {population.name: rows}, [])
    looks = {entry["pair"]: entry for entry in record["looks"]}
    assert looks["other seed"]["false"]["count"] <= 4
    assert looks["gain of 3"]["decided"]["count"] >= 18
    shown = pooled([entry["shown"] for entry in record["plans"]])
    assert 0.6 < shown["count"] / shown["of"] < 0.97
