"""The folder of a partial study: the layout of a study's, and what damage to one of its files costs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

import mfh
from mfh import InputError, PairedDataset
from mfh._export import export_run, files, load_export, write
from mfh.experiments import ravdess
from mfh.experiments._steps import students
from mfh.experiments.ravdess_config import RavdessConfig
from mfh.results import StudyResult, load_results

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")
SMALL = RavdessConfig(width=2, epochs=1, batch_size=8, lr=0.05, device="cpu")


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    rng, label = np.random.default_rng(0), np.arange(36) % 3
    audio = rng.normal(size=(36, 1, 40, 48)).astype(np.float32) + label[:, None, None, None]
    image = rng.normal(size=(36, 3, 32, 32)).astype(np.float32) + label[:, None, None, None]
    split = np.repeat(["train", "validation", "test"], [18, 6, 12])
    return PairedDataset.from_arrays({"audio": audio, "image": image}, label=label, split=split)


@pytest.fixture(scope="module")
def finished(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    """A folder with students of two modes and two seeds, and its result; tests copy what they change."""
    out = tmp_path_factory.mktemp("partial") / "out"
    ravdess.train(data, out, config=SMALL)
    ravdess.saliency(data, out, config=SMALL)
    ravdess.verify(data, out, mode="joint", seeds=2, config=SMALL)
    return out, ravdess.verify(data, out, mode="random", seeds=2, config=SMALL)


@pytest.fixture
def out(finished: tuple[Path, StudyResult], tmp_path: Path) -> Path:
    return shutil.copytree(finished[0], tmp_path / "out")


def numbers(result: StudyResult) -> tuple[object, ...]:
    """All numbers of a result but times."""
    return (
        [replace(record, seconds=0.0) for record in result.records],
        list(result.summary),
        list(result.comparisons),
        sorted(result.teachers, key=lambda row: (row.seed, row.teacher)),
    )


def test_the_folder_has_the_layout_of_a_study(finished: tuple[Path, StudyResult]) -> None:
    out, result = finished
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    networks = ("teacher-joint", "student-joint", "teacher-regular", "distilled-no-kd", "distilled-joint",
                "distilled-random-0.75", "students")  # fmt: skip
    assert {name for name in files if name.startswith("checkpoints/")} == {
        *(f"checkpoints/seed-0000/{network}.safetensors" for network in networks),
        *(f"checkpoints/seed-0001/{network}.safetensors" for network in networks[4:]),
    }
    assert {name for name in files if name.startswith("state/")} == {
        f"state/seed-000{seed}.{kind}" for seed in (0, 1) for kind in ("json", "npz")
    }
    assert [(r.arm, r.seed) for r in result.records] == [
        ("joint", 0), ("no-kd", 0), ("random", 0), ("joint", 1), ("random", 1)
    ]  # fmt: skip
    assert {(t.teacher, t.seed) for t in result.teachers} == {
        ("joint", 0), ("regular", 0), ("random@0.75", 0), ("random@0.75", 1)
    }  # fmt: skip


def test_the_results_keep_what_those_of_a_study_keep(finished: tuple[Path, StudyResult]) -> None:
    _, result = finished
    metrics = [metric.name for metric in result.metrics]
    assert metrics[:2] == ["accuracy", "balanced-accuracy"]
    assert [row.metric for row in result.summary if row.arm == "joint"] == metrics
    assert all(set(record.also) == set(metrics[1:]) for record in result.records)
    outputs, rows = result.predictions["outputs/0"], result.predictions["rows/0"]
    right = (outputs.argmax(axis=2) == result.predictions["label"][rows]).mean(axis=1)
    assert [100 * share for share in right] == pytest.approx([r.test for r in result.records if r.seed == 0])


def test_students_are_chosen_by_the_metric_of_the_config(data: PairedDataset, tmp_path: Path) -> None:
    config = replace(SMALL, metric="log-loss", epochs=3)
    result = ravdess.train(data, tmp_path / "out", config=config)
    assert {row.metric for row in (*result.records, *result.teachers)} == {"log-loss"}
    assert result.metrics[0].name == "log-loss"
    with pytest.raises(InputError, match="`metric` was 'log-loss', is 'auto'"):
        ravdess.verify(data, tmp_path / "out", mode="joint", config=replace(config, metric="auto"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out ONNX, which takes seconds a file."""
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("arm", "seed"), [("no-kd", 0), ("joint", 0), ("joint", 1), ("random", 1)])
def test_every_student_is_exported_with_its_recorded_outputs(
    data: PairedDataset, finished: tuple[Path, StudyResult], tmp_path: Path, arm: str, seed: int
) -> None:
    out, result = finished
    result.save(out)
    export_run(out, tmp_path, arm=arm, seed=seed)
    rows = torch.from_numpy(result.predictions[f"rows/{seed}"])
    mine = [record.arm for record in result.records if record.seed == seed]
    recorded = result.predictions[f"outputs/{seed}"][mine.index(arm)]
    inputs = data.inputs("image", rows)
    program = files.read_program(tmp_path / "model.pt2")
    for network in (load_export(tmp_path).student, program):
        with torch.no_grad():
            np.testing.assert_allclose(network(inputs), recorded, atol=1e-5)


@pytest.mark.usefixtures("quick")
def test_a_student_and_its_teachers_are_trained_once_more_on_all_samples(
    data: PairedDataset, finished: tuple[Path, StudyResult], tmp_path: Path
) -> None:
    out, result = finished
    result.save(out)
    export_run(out, tmp_path, arm="joint", refit=True, data=data)
    about = load_export(tmp_path).info
    assert about["refit"] == {"samples": 36, "labelled": 36, "steps": 5}
    assert about["student"]["arm"] == "joint"


@pytest.mark.usefixtures("quick")
def test_of_large_networks_those_of_the_first_seed_are_kept(
    data: PairedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "MOST_BYTES", 1000)
    config, out = replace(SMALL, seed=3), tmp_path / "out"
    ravdess.train(data, out, config=config)
    ravdess.saliency(data, out, config=config)
    result = ravdess.verify(data, out, mode="general", seeds=2, config=config)
    assert result.channels["seed"].tolist() == [3]
    result.save(out)
    load_results(out).export(tmp_path / "to", arm="general")
    exported = mfh.load_export(tmp_path / "to")
    assert exported.info["seed"] == 3
    assert exported.info["calibration"]["temperature"] is None
    with pytest.raises(InputError, match=r"Fit 4 kept no student of the arm `general`.*Fit 3 did: leave"):
        load_results(out).export(tmp_path / "to", arm="general", seed=4)


def test_a_damaged_seed_is_trained_again_with_the_same_numbers(
    data: PairedDataset, finished: tuple[Path, StudyResult], out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = out / "state" / "seed-0001.json"
    path.write_text(path.read_text().replace('"joint"', '"regular"'))
    ravdess.verify(data, out, mode="joint", seeds=2, config=SMALL)
    assert "Fit 1 is run again" in caplog.text
    assert numbers(ravdess.verify(data, out, mode="random", seeds=2, config=SMALL)) == numbers(finished[1])


def test_a_damaged_network_costs_its_student_only(
    data: PairedDataset, finished: tuple[Path, StudyResult], out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = out / "checkpoints" / "seed-0000" / "distilled-joint.safetensors"
    intact = path.read_bytes()
    weights = load(intact)
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    again = ravdess.verify(data, out, mode="joint", seeds=2, config=SMALL)
    assert "It is trained again" in caplog.text
    assert numbers(again) == numbers(finished[1])
    before, after = ({(r.arm, r.seed): r.seconds for r in x.records} for x in (finished[1], again))
    assert [key for key in before if before[key] != after[key]] == [("joint", 0)]
    assert all(torch.equal(value, weights[name]) for name, value in load(path.read_bytes()).items())


def test_a_supplied_network_that_is_damaged_must_be_supplied_again(
    data: PairedDataset, finished: tuple[Path, StudyResult], tmp_path: Path
) -> None:
    networks = finished[0] / "checkpoints" / "seed-0000"
    files = {f"joint_{side}": networks / f"{side}-joint.safetensors" for side in ("teacher", "student")}
    out = tmp_path / "new"
    ravdess.train(data, out, config=SMALL, **files)
    path = out / "checkpoints" / "seed-0000" / "teacher-joint.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="You supplied this network: supply it again"):
        ravdess.train(data, out, config=SMALL)
    assert ravdess.train(data, out, config=SMALL, **files).records[0].arm == "no-kd"


def test_a_folder_of_an_earlier_version_is_named(data: PairedDataset, out: Path) -> None:
    (out / "students").mkdir()
    with pytest.raises(InputError, match=r"written by an earlier version of mfh.* Name another `out`"):
        ravdess.verify(data, out, mode="joint", config=SMALL)


def test_checkpoints_say_which_run_they_belong_to(data: PairedDataset, out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    ravdess.train(data, other, config=replace(SMALL, seed=5))
    source = other / "checkpoints" / "seed-0005" / "teacher-joint.safetensors"
    shutil.copy(source, out / "checkpoints" / "seed-0000" / "teacher-joint.safetensors")
    with pytest.raises(InputError, match="was replaced by another file: `run` is"):
        ravdess.verify(data, out, mode="joint", config=SMALL)
    assert json.loads((out / "run.json").read_text())["seed"] == 0
