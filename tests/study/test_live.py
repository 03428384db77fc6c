"""What a study shows and leaves while it runs: time left, progress.json, curves, trackers."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import make_paired

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study import cost, experiment, live
from mfh._study.describe import find_leaks
from mfh._study.live import Live, units_per_seed
from mfh._study.networks import Networks
from mfh._study.seed import run_seed
from mfh._system import progress
from mfh._system.progress import FILE, RunState, Stage, load_progress
from mfh.data.splits import Split

QUICK = StudyConfig(
    resampling="splits",
    teacher="audio",
    student="image",
    seeds=2,
    epochs=3,
    ratio=(0.5,),
    random_draws=2,
    hidden=(16, 12),
)


def test_curves_belong_to_the_records(tmp_path: Path) -> None:
    result = mfh.study(make_paired(), config=QUICK, out=tmp_path)
    assert result.curves["students_loss"].shape == (len(result.records), 3)
    assert result.curves["regular_loss"].shape == result.curves["joint_validation"].shape == (2, 3)
    for record, row in zip(result.records, result.curves["students_validation"], strict=True):
        assert record.validation == pytest.approx(row.max(), abs=1e-4)
        assert record.best_epoch == row.argmax() + 1
    read = mfh.load_results(tmp_path)
    assert read.curves.keys() == result.curves.keys()  # type: ignore[attr-defined]
    (tmp_path / "results.json").unlink()
    again = mfh.study(make_paired(), config=QUICK, out=tmp_path)
    np.testing.assert_array_equal(again.curves["students_loss"], result.curves["students_loss"])


def test_curves_of_students_that_stopped_early_end_in_nan() -> None:
    result = mfh.study(make_paired(), config=replace(QUICK, seeds=1, epochs=12, patience=1, engine="many"))
    lengths = np.isfinite(result.curves["students_loss"]).sum(axis=1)
    assert lengths.max() == result.curves["students_loss"].shape[1] > lengths.min() > 1
    assert np.isfinite(result.curves["students_validation"]).sum(axis=1).tolist() == lengths.tolist()


def test_progress_says_what_is_finished_and_is_gone_at_the_end(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "WRITE_EVERY", 0.0)
    seen: list[RunState] = []
    original = experiment.Store.save

    def stop_at_the_second(self: Any, result: Any) -> None:
        found = load_progress(tmp_path)
        assert found is not None
        seen.append(found)
        if result.seed == 1:
            raise KeyboardInterrupt
        original(self, result)

    monkeypatch.setattr(experiment.Store, "save", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        mfh.study(make_paired(), config=QUICK, out=tmp_path)
    first, second = seen
    assert (first.finished, first.running, list(first.seeds)) == ([], 0, [0, 1])
    assert [stage.name for stage in first.stages] == ["teachers", "saliency", "students"]
    assert (second.finished, second.running) == ([0], 1)
    students = second.stages[-1]
    assert students.done == students.total == 2 * units_per_seed(Networks(make_paired(), QUICK))["students"]
    assert second.config["epochs"] == 3
    left = load_progress(tmp_path)
    assert left is not None
    assert left.finished == [0]
    monkeypatch.undo()
    result = mfh.study(make_paired(), config=QUICK, out=tmp_path)
    assert load_progress(tmp_path) is None
    assert len({record.seed for record in result.records}) == 2


def test_stages_count_every_epoch() -> None:
    for changes in (
        {},
        {"teacher_source": "regular"},
        {"teacher_outputs": "cross-fit", "cross_fit_folds": 2},
    ):
        config = replace(QUICK, **changes)  # type: ignore[arg-type]
        networks = Networks(make_paired(), config)
        counted = dict.fromkeys(units_per_seed(networks), 0)

        def count(stage: str, number: int, counted: dict[str, int] = counted) -> None:
            counted[stage] += number

        run_seed(networks, 0, count)
        assert counted == units_per_seed(networks)


def test_time_left_is_that_of_each_stage(monkeypatch: Any) -> None:
    clock = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    with Live(Networks(make_paired(), QUICK), [0, 1], [], folder=None, show=False) as shown:
        clock[0] = 9.0
        shown.advance("teachers", 9)
        assert [stage.seconds_left for stage in shown.stages()] == [9.0, None, None]
        clock[0] = 10.0
        shown.advance("saliency", 1)
        clock[0] = 15.0
        shown.advance("students", units_per_seed(Networks(make_paired(), QUICK))["students"])
        assert [stage.seconds_left for stage in shown.stages()] == [9.0, 1.0, 5.0]
    stages = [Stage("a", 1, 2, 3.0), Stage("b", 2, 2, None)]
    assert RunState("study", stages=stages).seconds_left == 3.0
    assert RunState("study", stages=[Stage("a", 0, 2, None)]).seconds_left is None


def test_bars_show_the_time_left(capsys: Any, monkeypatch: Any) -> None:
    for module in (progress, live):
        monkeypatch.setattr(module, "draws_bars", lambda: True)
    mfh.study(make_paired(), config=replace(QUICK, seeds=1), progress=True)
    shown = capsys.readouterr().err
    for stage in ("teachers", "saliency", "students"):
        assert f"{stage:<9} 100%" in shown


def test_a_refused_run_leaves_no_progress(tmp_path: Path, monkeypatch: Any) -> None:
    def advance_then_fail(networks: Any, seed: int, progress: Any, *more: Any) -> None:
        progress("teachers", 1)
        raise InputError("no")

    monkeypatch.setattr(live, "WRITE_EVERY", 0.0)
    monkeypatch.setattr(experiment, "run_seed", advance_then_fail)
    with pytest.raises(InputError, match="no"):
        mfh.study(make_paired(), config=QUICK, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_damaged_progress_is_refused(tmp_path: Path) -> None:
    assert load_progress(tmp_path) is None
    for text in ("{", "[]", '{"kind": "study", "colour": 1}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(InputError, match=r"progress\.json` cannot be read"):
            load_progress(tmp_path)


def test_leaks_are_found() -> None:
    rows = np.arange(12.0).reshape(6, 2)
    twin = rows.copy()
    twin[5] = twin[0]
    label = np.array([0, 1, 0, 1, 0, 1])
    split = Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]))
    clean = PairedDataset.from_arrays({"a": rows, "b": twin}, label=label)
    assert find_leaks(clean, split) == {"duplicates": 0, "equal": [], "groups": None}
    both = PairedDataset.from_arrays({"a": twin, "b": twin}, label=label, group=list("xyzzwx"))
    assert find_leaks(both, split) == {"duplicates": 1, "equal": [["0", "5"]], "groups": 1}
    assert mfh.study(make_paired(), config=replace(QUICK, seeds=1)).data["leaks"] == {
        "duplicates": 0, "equal": [], "groups": None,
    }  # fmt: skip


def test_a_tracker_gets_curves_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(QUICK, tracker="tensorboard")
    with pytest.raises(InputError, match="needs a folder to write to: give `out`"):
        mfh.study(make_paired(), config=config)
    result = mfh.study(make_paired(), config=config, out=tmp_path)
    events = EventAccumulator(str(tmp_path / "logs" / "mfh"))
    events.Reload()
    row = next(i for i, r in enumerate(result.records) if (r.arm, r.seed) == ("general", 1))
    curve = [(e.step, e.value) for e in events.Scalars("validation/general at 0.5")]
    assert [step for step, _ in curve] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([v for _, v in curve[3:]], result.curves["students_validation"][row])
    final = [e.value for e in events.Scalars("test/no-kd")]
    assert final == pytest.approx([r.test for r in result.records if r.arm == "no-kd"])
    assert {"figures/differences", "figures/arms"} <= set(events.Tags()["images"])


def test_the_cost_is_said_before_training_and_refined(capsys: Any, monkeypatch: Any) -> None:
    mfh.study(make_paired(), config=QUICK, progress=True)
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"15 students and 3 teachers x 2 fits, about .+ \(measured on one of each\)", first)
    assert re.fullmatch(r"1 of 2 fits, teachers 50%, students 50%: about .+ left", second)
    assert rest == []
    mfh.study(make_paired(), config=QUICK)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_in_terminal", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    mfh.study(make_paired(), config=replace(QUICK, seeds=1))
    assert capsys.readouterr().err.startswith("15 students and 3 teachers x 1 fit, about ")


COMPILED = """
import mfh
from samples import make_clear_and_noisy
from mfh import _formula_kernels
from mfh._study import cost
from mfh._study.networks import Networks
from mfh._study.seed import run_seed
from mfh.training.many import kernel, pair, product

def compiled():
    found = [f for part in (kernel, pair, product, _formula_kernels) for f in vars(part).values()]
    return {str(f): len(f.signatures) for f in found if hasattr(f, "signatures")}

config = mfh.FitConfig(
    teacher="a", student="b", labelled=("0.3",), folds=2, budget=8, steps=3, ratio=(0.5,), hidden=(4,)
)
networks = Networks(make_clear_and_noisy(90), config.settled())
cost.measure(networks, 1)
before = compiled()
run_seed(networks, 0, lambda stage, count: None)
assert compiled() == before, set(compiled().items()) - set(before.items())
"""


def test_a_fit_compiles_nothing_that_was_not_compiled_before_its_cost_was_measured() -> None:
    """Otherwise the first fit takes longer than the others, and the time left is too long."""
    helpers = str(Path(__file__).parents[1] / "helpers")
    path = os.pathsep.join([helpers, *filter(None, [os.environ.get("PYTHONPATH")])])
    words, environment = [sys.executable, "-c", COMPILED], os.environ | {"PYTHONPATH": path}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_what_is_left_is_counted(tmp_path: Path, capsys: Any) -> None:
    config = replace(QUICK, arms=("no-kd",))
    mfh.study(make_paired(), config=replace(config, seeds=1), out=tmp_path)
    (tmp_path / "results.json").unlink()
    mfh.study(make_paired(), config=replace(config, seeds=3), out=tmp_path, progress=True)
    assert "1 student x 2 of 3 fits, about a few seconds (measured on one)\n" in capsys.readouterr().err


def test_measuring_the_cost_changes_no_number() -> None:
    shown, hidden = (mfh.study(make_paired(), config=QUICK, progress=on) for on in (True, False))
    assert [record.test for record in shown.records] == [record.test for record in hidden.records]
    np.testing.assert_array_equal(shown.curves["students_loss"], hidden.curves["students_loss"])


def test_the_cost_of_a_teacher_depends_on_what_it_sees(monkeypatch: Any) -> None:
    seconds = {"teacher": 3.0, "student": 1.0}
    monkeypatch.setattr(cost, "_epoch_seconds", lambda _networks, _build, _name, side: seconds[side])

    def each(**changes: Any) -> dict[str, float]:
        return cost.measure(Networks(make_paired(), replace(QUICK, **changes)), threads=1)

    assert each(arms=("no-kd", "regular")) == {"teachers": 3.0, "students": 1.0}
    assert each(arms=("self",))["teachers"] == 1.0
    assert each(arms=("joint",))["teachers"] == 4.0
    assert each(arms=("regular", "joint", "self"))["teachers"] == 8 / 3


@pytest.mark.parametrize("labelled", [12, 60])
def test_the_cost_with_few_labels_depends_on_steps_and_not_on_the_number_of_labels(
    labelled: int, monkeypatch: Any
) -> None:
    data = make_paired(60).without_labels(np.arange(labelled, 60))
    config = replace(QUICK, labelled=("1",), steps=50, arms=("no-kd", "stack"))
    clock = [0.0]

    def train(jobs: Any, options: Any, **_: Any) -> None:
        clock[0] += len(jobs) * options.steps * options.batch_size

    monkeypatch.setattr(cost, "train_students", train)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    found = cost.measure(Networks(data, config), threads=1)
    size = 3 * config.batch_size // 2
    assert found["students"] == pytest.approx(50 * size)
