"""The page of a run that has not ended, made from what a real run has left."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from samples import make_clear_and_noisy, make_paired

import mfh
from mfh import FitConfig, InputError, StudyConfig
from mfh._report.pages import summarize_unfinished
from mfh._report.sections.unfinished import is_unfinished
from mfh._study import experiment
from mfh._system.progress import load_progress
from mfh.cli import main

QUICK = StudyConfig(
    resampling="splits",
    teacher="audio",
    student="image",
    seeds=3,
    epochs=2,
    ratio=(0.5,),
    random_draws=1,
    hidden=(8, 8),
)


@contextmanager
def stopped_at_its_second_fit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop a run while its second fit is being saved."""
    original = experiment.Store.save

    def save_one(self: Any, result: Any) -> None:
        if result.seed == 1:
            raise KeyboardInterrupt
        original(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(experiment.Store, "save", save_one)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """The folder of a study that was stopped while its second seed was being saved."""
    with stopped_at_its_second_fit(monkeypatch):
        mfh.study(make_paired(), config=QUICK, out=tmp_path)
    return tmp_path


def test_what_is_finished_and_what_is_missing(interrupted):
    assert is_unfinished(interrupted)
    summary = summarize_unfinished(interrupted)
    assert summary["headline"] == "1 of 3 fits finished."
    assert "It was stopped. Repeat the command to resume." in summary["sentences"]
    assert "Missing: fits 1 and 2." in summary["sentences"]
    assert [fit["state"] for fit in summary["fits"]] == ["finished", "begun", "waiting"]
    first = json.loads((interrupted / "state" / "seed-0000.json").read_text())["records"]
    shown = {row["arm"]: row["mean"] for row in summary["arms"]}
    assert shown["no-kd"] == next(row["test"] for row in first if row["arm"] == "no-kd")
    json.dumps(summary, allow_nan=False)


def test_the_command_tells_and_writes_the_page(interrupted, capsys):
    assert main(["report", str(interrupted), "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("1 of 3 fits finished.\n")
    page = (interrupted / "report.html").read_text()
    assert "A study that has not ended" in page
    assert "no evidence yet" in page
    mfh.study(make_paired(), config=QUICK, out=interrupted)
    assert not is_unfinished(interrupted)
    assert main(["report", str(interrupted), "--quiet"]) == 0
    assert "Does a teacher that sees audio" in (interrupted / "report.html").read_text()


@pytest.mark.parametrize(("age", "sentence"), [(3, "Last news 3"), (3600, "it is probably not running")])
def test_a_run_without_news_for_long_is_probably_dead(interrupted, age, sentence):
    found = load_progress(interrupted)
    moment = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    replace(found, stopped=False, updated=moment).save(interrupted)
    assert any(sentence in text for text in summarize_unfinished(interrupted)["sentences"])


def test_parts_of_a_seed_are_counted(interrupted):
    for name in ("pair", "regular"):
        (interrupted / "state" / "seed-0002" / name).mkdir(parents=True)
    summary = summarize_unfinished(interrupted)
    assert "Fit 2 was begun: 2 parts of it (networks, rankings) are on disk." in summary["sentences"]
    assert [fit["state"] for fit in summary["fits"]] == ["finished", "begun", "begun"]


def test_a_run_that_was_killed_before_it_wrote_a_word(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"epochs": 7}))
    summary = summarize_unfinished(tmp_path)
    assert summary["headline"] == "0 fits finished; the number of planned fits is not known."
    assert summary["config"] == {"epochs": 7}


def test_an_unfinished_search_names_the_search_on_all_samples(tmp_path, monkeypatch):
    config = FitConfig(teacher="a", student="b", folds=2, budget=8, steps=2, ratio=(0.5,), hidden=(4,))
    with stopped_at_its_second_fit(monkeypatch):
        mfh.fit(make_clear_and_noisy(60), config=config, out=tmp_path)
    found = load_progress(tmp_path)
    assert found.kind == "fit"
    summary = summarize_unfinished(tmp_path)
    assert summary["title"].startswith("A search that has not ended")
    assert summary["headline"] == "1 of 3 fits finished."
    assert "Missing: fit 1, and the search on all samples." in summary["sentences"]
    assert [fit["number"] for fit in summary["fits"]] == [0, 1, "all samples"]
    last = tmp_path / "state" / "all-samples"
    last.mkdir()
    assert any(text.startswith("The search on all samples was begun") for text in sentences_of(tmp_path))
    last.rmdir()
    (tmp_path / "state" / "seed-0000.json").rename(last.with_suffix(".json"))
    summary = summarize_unfinished(tmp_path)
    assert "Missing: fits 0 and 1." in summary["sentences"]
    assert summary["arms"] == []  # its students are tested on nothing


def sentences_of(folder):
    return summarize_unfinished(folder)["sentences"]


def test_folders_without_a_run_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        summarize_unfinished(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "seed-0000.json").write_text("{")
    with pytest.raises(InputError, match=r"seed-0000\.json` is damaged"):
        summarize_unfinished(tmp_path)
