"""Exporting students: every arm, from memory and folder; files, checks, card and script."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from samples import make_paired
from torch import nn

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._export import export_run, files, load_export, write
from mfh._export.choose import recommended
from mfh._study import kept
from mfh.models.mlp import mlp
from mfh.results import StudyResult, Verdict

ARMS = (
    "no-kd", "no-kd-smoothed", "regular", "joint", "general", "important", "softened", "mismatched", "random",
    "self", "softened-regular",
)  # fmt: skip
CONFIG = StudyConfig(
    teacher="audio", student="image", repeats=1, folds=2, epochs=4, ratio=(0.25, 0.5), random_draws=2,
    smoothing=(0.1, 0.2), hidden=(8,), device="cpu", arms=ARMS, label_weight=1.0,
)  # fmt: skip
onnxruntime = pytest.importorskip("onnxruntime")


def load(folder: Path) -> StudyResult:
    result = mfh.load_results(folder)
    assert isinstance(result, StudyResult)
    return result


def scores(folder: Path, inputs: torch.Tensor) -> np.ndarray:
    return files.onnx_scores(folder / "model.onnx", inputs.numpy())


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_paired(num_groups=20)


@pytest.fixture(scope="module")
def result(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return mfh.study(data, config=CONFIG, out=tmp_path_factory.mktemp("study") / "out")


def best_of(result: StudyResult, *names: str) -> float:
    return max(r.validation or 0.0 for r in result.records if r.arm in names)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out ONNX, which takes a second a file."""
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_gives_its_best_student_with_its_recorded_score(
    data: PairedDataset, result: StudyResult, tmp_path: Path, arm: str
) -> None:
    result.export(tmp_path, arm=arm)
    exported = load_export(tmp_path)
    about = exported.info["student"]
    names = (arm, "joint") if arm == "general" else (arm,)
    assert about["arm"] in names
    assert about["validation"] == pytest.approx(best_of(result, *names))
    test = result.predictions[f"rows/{exported.info['seed']}"]
    with torch.no_grad():
        right = exported.student(data.modalities["image"][test]).argmax(1) == data.label[test]
    assert 100 * right.double().mean().item() == pytest.approx(about["test"])


def test_all_files_give_the_same_scores_for_any_number_of_samples(
    data: PairedDataset, result: StudyResult, tmp_path: Path
) -> None:
    result.export(tmp_path, arm="self", seed=1)
    student, program = load_export(tmp_path).student, files.read_program(tmp_path / "model.pt2")
    for count in (1, 2, 100):
        inputs = torch.as_tensor(data.modalities["image"])[:count]
        with torch.no_grad():
            expected = student(inputs).numpy()
        np.testing.assert_allclose(scores(tmp_path, inputs), expected, atol=1e-5)
        np.testing.assert_allclose(program(inputs).detach().numpy(), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(i.name, i.shape[1:]) for i in session.get_inputs()] == [("inputs", [7])]
    assert [(o.name, o.shape[1:]) for o in session.get_outputs()] == [("scores", [3]), ("probabilities", [3])]
    found = session.run(None, {"inputs": inputs.numpy()})
    np.testing.assert_allclose(found[1], torch.from_numpy(found[0]).softmax(1), atol=1e-6)


@pytest.mark.usefixtures("quick")
def test_a_folder_a_result_and_a_run_in_memory_give_the_same_files(
    data: PairedDataset, result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = result.kept.folder
    monkeypatch.chdir(tmp_path)
    mfh.study(data, config=CONFIG).export("memory", arm="regular")
    result.export("live", arm="regular")
    load(out).export("read", arm="regular")
    export_run(str(out), "folder", arm="regular")
    weights = {
        name: (tmp_path / name / "model.safetensors").read_bytes()
        for name in ("memory", "live", "read", "folder")
    }
    assert len(set(weights.values())) == 1


def test_without_an_arm_the_recommended_one_is_exported(result: StudyResult) -> None:
    def verdict(word: str) -> StudyResult:
        return replace(result, verdict=Verdict(word, None, ""))  # type: ignore[arg-type]

    assert [recommended(verdict(word)) for word in ("help", "hurt", "no-effect")] == [
        "general",
        "no-kd",
        "no-kd",
    ]
    alone = replace(result, records=[r for r in result.records if r.arm == "no-kd"])
    assert recommended(replace(alone, verdict=Verdict("help", None, ""))) == "no-kd"
    worse = [replace(r, validation=0.0) if r.arm == "no-kd" else r for r in result.records]
    assert recommended(replace(verdict("abstain"), records=worse)) == "general"


def test_calibrated_scores_have_a_smaller_log_loss_on_validation_and_the_same_classes(
    result: StudyResult, data: PairedDataset, tmp_path: Path
) -> None:
    result.export(tmp_path / "plain", arm="no-kd", seed=0)
    result.export(tmp_path / "calibrated", arm="no-kd", seed=0, calibrate="temperature")
    plain, calibrated = (load_export(tmp_path / name) for name in ("plain", "calibrated"))
    temperature = next(r.temperature for r in result.records if (r.arm, r.seed) == ("no-kd", 0))
    assert temperature not in (None, 1.0)
    assert calibrated.info["calibration"] == {"method": "temperature", "temperature": temperature}
    with torch.no_grad():
        raw, scaled = (e.student(torch.as_tensor(data.modalities["image"])) for e in (plain, calibrated))
    torch.testing.assert_close(scaled * temperature, raw)
    np.testing.assert_allclose(
        scores(tmp_path / "calibrated", torch.as_tensor(data.modalities["image"])), scaled, atol=1e-5
    )


def test_the_script_predicts_without_mfh(
    result: StudyResult, data: PairedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = torch.as_tensor(data.modalities["image"])[:9]
    names = ",".join(f"x{k}" for k in range(new.shape[1]))
    np.savetxt(tmp_path / "new.csv", new.numpy(), delimiter=",", header=names, comments="")
    np.save(tmp_path / "new.npy", new.numpy())
    printed = []
    for name, missing in (("onnx", []), ("torch", ["onnx"])):
        monkeypatch.setattr(write, "missing_for_onnx", lambda missing=missing: missing)
        result.export(tmp_path / name, arm="joint")
        script = tmp_path / name / "predict.py"
        code = [line for line in script.read_text().splitlines() if line]
        assert len(code) <= 15
        assert not any("mfh" in line for line in code[1:])
        for file in ("new.csv", "new.npy"):
            command = [sys.executable, str(script), str(tmp_path / file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
            printed.append(done.stdout.split())
    with torch.no_grad():
        expected = load_export(tmp_path / "onnx").student(new).argmax(1)
    assert printed == [["prediction", *(data.class_names[k] for k in expected)]] * 4


@pytest.mark.usefixtures("quick")
def test_the_card_is_one_of_hugging_face_and_says_how_good_the_student_is(
    result: StudyResult, data: PairedDataset, tmp_path: Path
) -> None:
    result.export(tmp_path, arm="general")
    text = (tmp_path / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    row = next(r for r in result.summary if r.arm == "general (chosen)" and r.metric == "accuracy")
    assert row.low is not None
    assert f"**{row.mean:.2f}%** (95% interval {row.low:.2f} to {row.high:.2f})" in body
    assert yaml.safe_load(head)["pipeline_tag"] == "tabular-classification"
    for heading in (
        "Data and labels",
        "Results",
        "By class",
        "By group",
        "Intended use",
        "What it must not be used for",
        "How it was made",
    ):
        assert f"# {heading}\n" in body, heading
    by_group = body[body.index("### By group") : body.index("## Intended use")]
    counts = [int(line.split("|")[2]) for line in by_group.splitlines() if line.startswith("| actor")]
    assert sum(counts) == len(data)
    hub = pytest.importorskip("huggingface_hub")
    found = hub.ModelCard(text).data.eval_results[0]
    assert (found.metric_type, found.metric_value) == ("accuracy", pytest.approx(row.mean, abs=1e-4))


class Pooled(nn.Module):
    """A network with a batch normalisation, as its users would write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(7, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3)
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs.flatten(1))


def halved(values: torch.Tensor) -> torch.Tensor:
    return values.float() / 2


def test_networks_and_transforms_with_an_import_path_are_exported_from_a_folder(
    data: PairedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooled", sys.modules[__name__])
    monkeypatch.setattr(Pooled, "__module__", "pooled")
    monkeypatch.setattr(halved, "__module__", "pooled")
    config = replace(CONFIG, arms=("no-kd", "joint"))
    seen = data.with_transforms({"image": halved})
    mfh.study(
        seen,
        partial(mlp, num_inputs=10, num_outputs=3),
        partial(Pooled, width=4),
        config=config,
        out=tmp_path / "out",
    )
    export_run(tmp_path / "out", tmp_path / "to", arm="no-kd")
    with pytest.raises(InputError, match=r"`pooled\.halved` is refused"):
        load_export(tmp_path / "to")
    student, inputs = (
        load_export(tmp_path / "to", imports=True).student,
        torch.as_tensor(data.modalities["image"])[:20],
    )
    np.testing.assert_allclose(scores(tmp_path / "to", inputs), student(inputs).detach(), atol=1e-5)


def test_a_network_without_an_import_path_is_exported_by_its_program_alone(
    data: PairedDataset, tmp_path: Path
) -> None:
    config = replace(CONFIG, arms=("no-kd", "joint"))
    result = mfh.study(data, None, lambda: Pooled(4), config=config, out=tmp_path / "out")
    result.export(tmp_path / "to", arm="no-kd")
    assert len(scores(tmp_path / "to", torch.zeros(5, 7))) == 5
    with pytest.raises(InputError, match=r"no import path.*Use model.onnx or model.pt2"):
        load_export(tmp_path / "to")
    with pytest.raises(InputError, match="Export in the program that made the run"):
        export_run(tmp_path / "out", tmp_path / "again", arm="no-kd")
    export_run(tmp_path / "out", tmp_path / "again", arm="no-kd", student=lambda: Pooled(4))
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "to" / "model.safetensors"
    ).read_bytes()


def test_a_regression_gives_numbers_in_the_unit_of_the_targets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = 1000 + 50 * x[:, 0]
    data = PairedDataset.from_arrays({"a": x + 0.1, "b": x}, label=y, task="regression")
    config = replace(CONFIG, teacher="a", student="b", arms=("no-kd", "joint"), epochs=30)
    mfh.study(data, config=config).export(tmp_path, arm="no-kd")
    found = scores(tmp_path, torch.as_tensor(data.modalities["b"]))[:, 0]
    assert np.corrcoef(found, y)[0, 1] > 0.95
    assert abs(found.mean() - 1000) < 10
    assert "probabilities" not in (tmp_path / "README.md").read_text().split("## How")[0]
    with pytest.raises(InputError, match="`calibrate` must be none for the task regression"):
        mfh.study(data, config=config).export(tmp_path, arm="no-kd", calibrate="temperature")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("given", "text"),
    [({"arm": "nearly"}, "`arm` must be one of the arms of the run, `no-kd`.*Got 'nearly'"),
     ({"seed": 7}, "`seed` must be one of `0`, `1`. Got 7"),
     ({"loss": "rkd"}, "has no student with the loss rkd in any fit"),
     ({"calibrate": "platt"}, "`calibrate` must be none or temperature. Got 'platt'")],
)  # fmt: skip
def test_what_does_not_exist_is_refused(
    result: StudyResult, tmp_path: Path, given: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        result.export(tmp_path / "to", **{"arm": "general", **given})  # type: ignore[arg-type]
    assert not (tmp_path / "to").exists() or not list((tmp_path / "to").iterdir())


def test_a_damaged_file_of_students_is_named(result: StudyResult, tmp_path: Path) -> None:
    path = result.kept.folder / "checkpoints" / "seed-0000" / "students.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match=r"students\.safetensors"):
            result.export(tmp_path, arm="no-kd", seed=0)
    finally:
        path.write_bytes(content)


def test_outputs_that_differ_from_the_recorded_ones_are_refused(result: StudyResult, tmp_path: Path) -> None:
    outputs = {
        name: -values if name.startswith("outputs") else values for name, values in result.predictions.items()
    }
    with pytest.raises(InputError, match="gives other outputs than the run recorded"):
        replace(result, predictions=outputs).export(tmp_path, arm="no-kd")


@pytest.mark.usefixtures("quick")
def test_of_large_networks_three_arms_are_kept(
    data: PairedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST_BYTES", 100)
    result = mfh.study(
        data,
        config=replace(CONFIG, arms=("no-kd", "joint", "regular", "self", "general")),
        out=tmp_path / "out",
    )
    for arm in ("no-kd", "joint", "general"):
        result.export(tmp_path / arm, arm=arm)
    with pytest.raises(InputError, match=r"were not kept.*--arms no-kd self"):
        result.export(tmp_path / "self", arm="self")


def test_the_extra_onnx_is_named_if_it_is_missing(
    result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    result.export(tmp_path, arm="no-kd")
    monkeypatch.setattr(files, "find_spec", lambda name: None if name == "onnxscript" else object())
    result.export(tmp_path, arm="no-kd")
    assert "`onnxscript` is not installed: pip install 'mfh[onnx]'" in caplog.text
    assert not (tmp_path / "model.onnx").exists()
    assert "model.onnx" not in json.loads((tmp_path / "export.json").read_text())["files"]
