"""Few labels with networks of the user's: budget, the loop, resume within a fit, two processes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from few_networks import FEW, ONE_FIT, make_signals, student, teacher
from samples import make_paired

import mfh
import mfh.training.students
from mfh._study.few.budget import Budget
from mfh._study.networks import Networks, with_modalities
from mfh.results import StudyResult

ARMS = ("no-kd", "self", "fused", "stack")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every network count as large."""
    monkeypatch.setattr("mfh._study.networks.SMALL_NETWORK", 0)


def budget(config: mfh.StudyConfig = FEW, **networks: Any) -> Budget:
    data = make_signals() if networks else make_paired()
    names = {} if networks else {"teacher": "audio", "student": "image"}
    return Budget.of(Networks(data, with_modalities(data, replace(config, **names)), **networks))


# --- how much is trained


def test_small_networks_get_four_folds_and_seven_trials() -> None:
    found = budget(teacher=teacher, student=student)
    assert (found.folds, len(found.trials), found.large) == (4, 7, False)


@pytest.mark.usefixtures("large")
def test_large_networks_get_two_folds_and_try_smoothing_alone() -> None:
    found = budget(replace(FEW, weight_decay=0.02), teacher=teacher, student=student)
    assert (found.folds, found.large) == (2, True)
    assert found.trials == ((0.0, 0.02), (0.1, 0.02), (0.3, 0.02)), "the weight decay that was asked for"


@pytest.mark.usefixtures("large")
def test_large_networks_get_three_folds_to_be_calibrated() -> None:
    assert budget(replace(FEW, calibrate="temperature"), teacher=teacher, student=student).folds == 3


@pytest.mark.usefixtures("large")
def test_default_perceptrons_are_never_large() -> None:
    assert not budget().large


@pytest.mark.usefixtures("large")
def test_options_come_before_the_size_of_the_networks() -> None:
    config = replace(FEW, label_folds=3, label_tuning="none", weight_decay=0.01)
    assert budget(config, teacher=teacher, student=student).trials == ((0.0, 0.01),)
    assert budget(config, teacher=teacher, student=student).folds == 3


@pytest.mark.usefixtures("large")
def test_a_large_network_is_trained_for_epochs_over_all_pairs() -> None:
    data = make_signals()
    networks = Networks(data, with_modalities(data, FEW), teacher, student)
    found = Budget.of(networks)
    assert found.steps(networks, 45) == 6  # 4 epochs of 45 pairs, 32 a step
    assert found.batch_size(networks) == 32
    small = Budget(4, ((0.0, 0.0),), large=False)
    assert (small.steps(networks, 45), small.batch_size(networks)) == (300, 48)


def test_a_study_says_how_much_it_trains(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="mfh")
    config = replace(FEW, teacher="audio", student="image", steps=2, arms=("no-kd", "self"))
    mfh.study(make_paired(60), config=config)
    assert "4 folds of the labelled samples, and 7 trials" in caplog.text


# --- the loop


@pytest.mark.usefixtures("large")
def test_convolutional_networks_are_stacked_and_taught() -> None:
    config = replace(ONE_FIT, engine="auto", epochs=10, lr=0.05)
    result = mfh.study(make_signals(), teacher, student, config=config)
    means = {row.arm: row.mean for row in result.summary if row.metric == "accuracy" and row.ratio is None}
    assert {"no-kd", "self", "regular", "fused", "joint", "stack", "hard", "broken", "oracle"} <= set(means)
    assert {row.arm for row in result.summary if row.ratio == 0.5} >= {"general", "important", "random"}
    assert means["stack"] > 60
    weights = [choice.weights for choice in result.chosen if choice.arm == "stack"]
    assert all(
        set(found) == {"regular", "unimodal", "fused", "joint", "joint-student", "no-kd"} for found in weights
    )
    assert result.labels["labelled"] == 30


def test_the_loop_and_compiled_code_agree_on_few_labels() -> None:
    config = replace(FEW, teacher="audio", student="image", steps=20, arms=ARMS, label_tuning="none")
    loop, many = (
        mfh.study(make_paired(90), config=replace(config, engine=name)) for name in ("loop", "many")
    )
    assert (loop.frame().test - many.frame().test).abs().max() <= 100 / 45 + 1e-9  # one sample of a fold
    one, other = ([choice.weights for choice in r.chosen if choice.arm == "stack"] for r in (loop, many))
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)


# --- resume


def without_seconds(result: StudyResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result.frame().to_dict("records")]


@pytest.mark.usefixtures("large")
def test_a_fit_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(ONE_FIT, arms=ARMS)
    whole = mfh.study(make_signals(), teacher, student, config=config)
    original, calls = mfh.training.students.fit, []

    def stopped(*arguments: Any, **options: Any) -> Any:
        calls.append(options["checkpoint"].name)
        if len(calls) == 10:
            raise RuntimeError("stopped")
        return original(*arguments, **options)

    monkeypatch.setattr("mfh.training.students.fit", stopped)
    with pytest.raises(RuntimeError, match="stopped"):
        mfh.study(make_signals(), teacher, student, config=config, out=tmp_path)
    parts = tmp_path / "state" / "seed-0000"
    finished = {path.parent.name: path.stat().st_mtime_ns for path in parts.glob("*/best.safetensors")}
    assert {"teacher-regular", "teacher-unimodal fold 0", "pair-fused", "pair-joint fold 1"} <= set(finished)
    kept = {name: (parts / name / "best.safetensors") for name in finished}

    def counted(*arguments: Any, **options: Any) -> Any:
        found = original(*arguments, **options)
        name = options["checkpoint"].name
        if name in kept:
            assert kept[name].stat().st_mtime_ns == finished[name], "trained once"
        return found

    monkeypatch.setattr("mfh.training.students.fit", counted)
    result = mfh.study(make_signals(), teacher, student, config=config, out=tmp_path)
    assert without_seconds(result) == without_seconds(whole)
    assert not parts.exists()


# --- two processes

SCRIPT = """
import sys
sys.path.insert(0, {helpers!r})
from dataclasses import replace
import torch
import mfh._study.networks
from few_networks import ONE_FIT, make_signals, student, teacher
import mfh
mfh._study.networks.SMALL_NETWORK = 0
config = replace(ONE_FIT, arms={arms!r}, calibrate="temperature")
mfh.study(make_signals(), teacher, student, config=config, out={out!r})
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("large")
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    arms = (*ARMS, "general", "oracle")
    config = replace(ONE_FIT, arms=arms, calibrate="temperature")
    one = mfh.study(make_signals(), teacher, student, config=config)
    script, out = tmp_path / "script.py", tmp_path / "out"
    helpers = str(Path(__file__).parents[1] / "helpers")
    script.write_text(SCRIPT.format(helpers=helpers, arms=arms, out=str(out)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", str(script)],
        capture_output=True, text=True, timeout=400, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    two = mfh.load_results(out)
    assert two.frame().test.tolist() == one.frame().test.tolist()
    temperatures = [[record.temperature for record in result.records] for result in (one, two)]
    assert temperatures[0] == pytest.approx(temperatures[1], abs=1e-2)
    weights = [[c.weights for c in r.chosen if c.arm == "stack"] for r in (one, two)]
    for mine, theirs in zip(*weights, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
