"""Several runs on one page, and the command that makes it."""

from dataclasses import fields, replace

import numpy as np
import pytest

from mfh import InputError
from mfh._report import compare
from mfh._report.pages import summarize_comparison
from mfh._report.render import render
from mfh._report.sections.comparison import drawn_runs, names_of
from mfh.cli import main
from mfh.results import FitResult, MetricInfo, StudyResult, Verdict


@pytest.fixture
def runs(make_study):
    a = make_study(seeds=4)
    other = make_study(seeds=4, teacher="fou", verdict=Verdict("hurt", False, "It hurts."))
    repeated = replace(a, config={**a.config, "seeds": 6, "jobs": 2})
    return {"first": a, "other": other, "again": repeated}


def test_runs_of_one_design_are_side_by_side_and_differences_are_named(runs):
    summary = summarize_comparison(runs)
    assert [(run["name"], run["group"]) for run in summary["runs"]] == [
        ("first", "A"), ("again", "A"), ("other", "B"),
    ]  # fmt: skip
    assert summary["differing"] == ["teacher", "jobs"]
    assert [run["fields"]["teacher"] for run in summary["runs"]] == ["pix", "pix", "fou"]
    assert summary["headline"].startswith("Of 3 teachers, 2 help and 1 does harm.")


def test_results_are_joined_by_arm_ratio_and_seed(runs):
    first = runs["first"]
    shifted = [replace(row, test=row.test + 1.5) for row in first.records if row.seed != 3]
    summary = summarize_comparison({"first": first, "shifted": replace(first, records=shifted)})
    rows = {(row["arm"], row["ratio"]): row for row in summary["against_first"]}
    assert rows["no-kd", None]["n"] == 3
    assert rows["general", 0.5]["difference"] == pytest.approx(1.5)
    joined = summary["joined"]
    columns = {column["label"]: column for column in joined["columns"]}
    place = next(
        i
        for i in range(joined["count"])
        if columns["Arm"]["names"][columns["Arm"]["values"][i]] == "general"
        and (columns["Ratio"]["values"][i], columns["Fit"]["values"][i]) == (0.5, 2)
    )
    wanted = next(r.test for r in first.records if (r.arm, r.ratio, r.seed) == ("general", 0.5, 2))
    assert columns["first"]["values"][place] == pytest.approx(wanted, abs=1e-3)
    assert columns["shifted"]["values"][place] == pytest.approx(wanted + 1.5, abs=1e-3)
    assert columns["shifted"]["values"].count(None) > 0  # seed 3 is absent there


def test_runs_that_share_splits_are_compared_with_the_correction_for_them(make_study):
    first = make_study(seeds=4)
    rng = np.random.default_rng(0)
    noisy = replace(first, records=[replace(r, test=r.test + rng.normal()) for r in first.records])
    widths = []
    for redrawn in (True, False):
        other = replace(noisy, data={**noisy.data, "redrawn": redrawn})
        rows = summarize_comparison({"first": first, "other": other})["against_first"]
        row = next(row for row in rows if row["arm"] == "no-kd")
        widths.append(row["high"] - row["low"])
    assert widths[0] / widths[1] == pytest.approx(((1 / 4 + 400 / 1200) / (1 / 4)) ** 0.5)


def test_runs_of_another_metric_are_not_subtracted(make_study):
    study = make_study(seeds=3)
    loss = MetricInfo("log-loss", unit="", higher_is_better=False, margin=0.01)
    other = replace(
        study,
        metrics=[loss],
        records=[replace(r, metric="log-loss") for r in study.records],
        summary=[replace(s, metric="log-loss") for s in study.summary],
    )
    summary = summarize_comparison({"a": study, "b": other})
    assert summary["against_first"] == []
    assert [row["name"] for row in drawn_runs(summary)] == ["a"]
    assert "Only runs whose metric is accuracy are drawn." in render(summary)


def test_names_tell_folders_apart():
    assert names_of(["a/run", "b/run", "run"]) == ["a/run", "b/run", "run"]
    assert names_of(["x"]) == ["x"]


def test_fifty_runs_stay_one_page(make_study):
    study = make_study(seeds=3, ratios=(0.5,))
    runs = {f"run-{i:02d}": replace(study, config={**study.config, "lr": i / 100}) for i in range(50)}
    summary = summarize_comparison(runs)
    page = render(summary)
    assert summary["num_groups"] == 50
    assert summary["runs"][-1]["group"] == "AX"
    assert len(page.encode()) < 1_500_000
    assert page.count('<th scope="row">run-49') >= 2


def test_a_comparison_needs_a_study(tmp_path):
    with pytest.raises(InputError, match="`runs` must contain at least one study"):
        compare({}, tmp_path)
    assert compare({"only": StudyResult()}, tmp_path / "x.html").name == "x.html"


class TestCommand:
    @pytest.fixture
    def folder(self, runs, gaussian, tmp_path):
        for name, run in runs.items():
            run.save(tmp_path / name)
        gaussian.save(tmp_path / "gaussian")
        (tmp_path / "begun").mkdir()
        (tmp_path / "begun" / "run.json").write_text("{}")
        return tmp_path

    def test_a_folder_of_runs_is_compared(self, folder, capsys):
        assert main(["report", str(folder)]) == 0
        page = (folder / "comparison.html").read_text()
        assert "3 studies side by side" in page
        assert "It has not ended." in page
        assert "It is a gaussian run: studies, searches and diagnoses are compared." in page
        assert "begun is left out" in capsys.readouterr().err

    def test_kinds_are_named(self, folder, runs, capsys):
        first = runs["first"]
        values = {spec.name: getattr(first, spec.name) for spec in fields(first) if spec.init}
        FitResult(**values).save(folder / "fit")
        assert main(["report", str(folder / "first"), str(folder / "other"), str(folder / "fit")]) == 0
        assert "The comparison of 2 studies and 1 search: " in capsys.readouterr().err
        assert "2 studies and 1 search side by side" in (folder / "comparison.html").read_text()

    def test_named_folders_are_compared_where_they_meet(self, folder):
        assert main(["report", str(folder / "first"), str(folder / "other")]) == 0
        assert "2 studies side by side" in (folder / "comparison.html").read_text()
        assert (
            main(["report", str(folder / "first"), str(folder / "again"), "--out", str(folder / "c.html")])
            == 0
        )
        assert (folder / "c.html").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["gaussian", "nowhere"], "None of the 2 folders has the results of a study or a search."),
            (["first", "other", "--tables", "t"], "are made for one run at a time"),
            (["nowhere"], "does not exist. Name the folder"),
            (["begun", "--figures", "f"], "has not ended. Leave them out."),
        ],
    )
    def test_what_cannot_be_done_is_one_line(self, folder, capsys, arguments, message, monkeypatch):
        monkeypatch.chdir(folder)
        assert main(["report", "--quiet", *arguments]) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in last
        assert not {"t", "f"} & {path.name for path in folder.iterdir()}
