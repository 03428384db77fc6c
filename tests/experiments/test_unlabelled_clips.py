"""Clips without a label in the steps and studies of VGGSound and RAVDESS: who learns from them, and how."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from vggsound_samples import CONFIG, make_vggsound

import mfh
from mfh import DistillConfig, InputError, PairedDataset, StudyConfig
from mfh._export import export_run, load_export, write
from mfh._study.task import derived_seed
from mfh.data.splits import draw_pairs
from mfh.experiments import ravdess, vggsound
from mfh.experiments.ravdess_config import RavdessConfig
from mfh.experiments.vggsound_config import NetworkConfig
from mfh.models.vggsound import AudioNetwork, VideoNetwork, load_weights
from mfh.training.loop import fit
from mfh.training.objectives import Joint, Pair
from mfh.training.students import seeded

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")
GONE = np.array([2, 3, 7, 9, 10, 14, 16, 20, 30, 31])
"""Clips without a label: seven of the training split, one of the validation split, two of the test split."""


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_vggsound().without_labels(GONE)


@pytest.fixture(scope="module")
def known(data: PairedDataset) -> PairedDataset:
    return data.rows(np.flatnonzero(data.labelled))


@pytest.fixture(scope="module")
def trained(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after both `pretrain` and `saliency --joint`; tests copy what they change."""
    out = tmp_path_factory.mktemp("unlabelled") / "out"
    for modality in ("audio", "video"):
        vggsound.pretrain(data, out, modality=modality, config=CONFIG)
    vggsound.saliency(data, out, joint=True, config=CONFIG)
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "out")


def weights(out: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / "seed-0000" / f"{name}.safetensors")


def test_networks_without_a_teacher_learn_from_labelled_clips_alone(
    data: PairedDataset,
    known: PairedDataset,
    trained: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for modality in ("audio", "video"):
        alone = vggsound.pretrain(known, tmp_path / "known", modality=modality, config=CONFIG)
    for name in ("teacher-regular", "student-regular"):
        mine, theirs = weights(trained, name), weights(tmp_path / "known", name)
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    with caplog.at_level(logging.INFO, "mfh"):
        result = vggsound.pretrain(data, tmp_path / "all", modality="video", config=replace(CONFIG, epochs=1))
    assert "Unlabelled samples: 7 train, 3 are left out" in caplog.messages
    assert (
        "no-kd learns from 11 labelled samples: 7 training samples without a label are left out"
        in caplog.messages
    )
    assert result.data["splits"] == {"train": 18, "validation": 6, "test": 15}
    assert (result.data["unlabelled_training_samples"], result.data["num_samples"]) == (7, 42)
    assert "unlabelled_training_samples" not in alone.data
    assert result.predictions["rows/0"].tolist() == sorted({*range(25, 42)} - {30, 31})


def test_students_learn_the_outputs_of_the_teacher_on_every_training_clip(
    data: PairedDataset, known: PairedDataset, out: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, label_weight=1.0)
    result = vggsound.distill(data, out, mode="regular", config=config)
    teacher = AudioNetwork(3, width=2)
    load_weights(teacher, out / "checkpoints" / "seed-0000" / "teacher-regular.safetensors")
    same = ("label_weight", "distill_weight", "optimizer", "lr", "weight_decay", "schedule", "epochs",
            "batch_size", "device", "temperature")  # fmt: skip
    options = DistillConfig(**{name: getattr(config, name) for name in same})
    expected = mfh.distill(
        teacher.eval(), lambda: VideoNetwork(3, width=2), data, options, teacher_modality="audio"
    )
    place = [record.arm for record in result.records].index("regular")
    rows = result.predictions["rows/0"]
    np.testing.assert_allclose(
        result.predictions["outputs/0"][place], expected.predictions["logits"][rows], rtol=1e-5, atol=1e-6
    )
    assert result.records[place].test == expected.records[0].test
    alone = vggsound.distill(
        known, tmp_path / "known", mode="regular", config=config,
        audio_checkpoint=out / "checkpoints" / "seed-0000" / "teacher-regular.safetensors",
    )  # fmt: skip
    assert not np.array_equal(alone.predictions["outputs/0"][0], result.predictions["outputs/0"][place])


def test_without_soft_labels_a_student_leaves_unlabelled_clips_out(data: PairedDataset, out: Path) -> None:
    config = replace(CONFIG, label_weight=1.0, distill_weight=0.0)
    outputs = vggsound.distill(data, out, mode="regular", config=config).predictions["outputs/0"]
    np.testing.assert_array_equal(outputs[0], outputs[1])  # no-kd and regular


def test_a_loss_that_reads_labels_is_refused(data: PairedDataset, out: Path) -> None:
    with pytest.raises(InputError, match="`loss` must not be `dkd` where samples have no label"):
        vggsound.distill(data, out, mode="regular", config=replace(CONFIG, loss="dkd", label_weight=1.0))


def test_the_pair_is_held_together_on_every_training_clip(data: PairedDataset, trained: Path) -> None:
    networks = [
        seeded(lambda kind=kind: kind(3, width=2), derived_seed(0, role))
        for kind, role in ((AudioNetwork, "teacher"), (VideoNetwork, "joint student"))
    ]
    pair = Pair(*networks)
    fit(
        pair, data, Joint(label_share=11 / 18), modalities=("audio", "video"), train=torch.arange(18),
        config=CONFIG, seed=derived_seed(0, "batches"),
    )  # fmt: skip
    kept = weights(trained, "teacher-joint")
    assert all(torch.equal(kept[key], value) for key, value in pair.teacher.state_dict().items())
    assert mfh.SaliencyResult.load(trained / "saliency-joint.npz").num_samples == 18


def test_the_focused_teacher_is_exported_and_the_student_not_trained_on_all_samples(
    data: PairedDataset, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    result = vggsound.distill(data, out, mode="general", ratio=0.25, joint=True, config=CONFIG)
    result.save(out)
    spec = vggsound.network(CONFIG, "audio", 3)
    export_run(out, tmp_path / "to", arm="general", with_teacher=True, data=data, teacher=spec)
    focused = mfh.FocusedTeacher.load(tmp_path / "to" / "teacher", AudioNetwork(3, width=2)).eval()
    assert load_export(tmp_path / "to").info["teacher"]["num_removed"] == 4
    rows = torch.arange(18)
    plain = AudioNetwork(3, width=2)
    load_weights(plain, out / "checkpoints" / "seed-0000" / "teacher-joint.safetensors")
    trunk, _ = mfh.split(plain.eval(), "flatten")
    with torch.no_grad():
        means = trunk(data.inputs("audio", rows)).mean(dim=0)
    np.testing.assert_allclose(focused.fill, means[torch.as_tensor(focused.removed)], rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="`refit` needs a label for every sample, or a study"):
        export_run(out, tmp_path / "again", arm="general", refit=True, data=data)


@pytest.mark.parametrize("recipe", ["vggsound", "ravdess"])
def test_a_study_is_one_of_few_labels_without_asking(recipe: str, data: PairedDataset) -> None:
    config = StudyConfig(
        resampling="splits", seeds=1, epochs=1, arms=("no-kd", "stack"), batch_size=8,
        label_tuning="none", device="cpu",
    )  # fmt: skip
    if recipe == "vggsound":
        result = vggsound.study(data, config=config, networks=NetworkConfig(width=2))
    else:
        result = ravdess.study(make_ravdess(), config=config, width=2)
    assert (result.labels["labelled"], result.labels["unlabelled"]) == (17, 8), "validation samples are pairs"
    assert not result.labels["hidden"]
    assert result.data["splits"] == {"train": 25, "validation": 0, "test": 15}
    assert {record.arm for record in result.records} == {"no-kd", "stack"}


def make_ravdess() -> PairedDataset:
    """Samples in the shapes of RAVDESS with the splits and the gaps of `data`."""
    rng, label = np.random.default_rng(0), np.arange(42) % 3
    audio = rng.normal(size=(42, 1, 40, 48)).astype(np.float32) + label[:, None, None, None]
    image = rng.normal(size=(42, 3, 32, 32)).astype(np.float32) + label[:, None, None, None]
    split = np.repeat(["train", "validation", "test"], [18, 7, 17])
    data = PairedDataset.from_arrays({"audio": audio, "image": image}, label=label, split=split)
    return data.without_labels(GONE)


def test_the_steps_of_ravdess_use_them_too(tmp_path: Path) -> None:
    data, config = make_ravdess(), RavdessConfig(width=2, epochs=1, batch_size=8, lr=0.05, device="cpu")
    known = data.rows(np.flatnonzero(data.labelled))
    for name, some in (("all", data), ("known", known)):
        ravdess.train(some, tmp_path / name, config=config)
    mine, theirs = (weights(tmp_path / name, "teacher-regular") for name in ("all", "known"))
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    mine, theirs = (weights(tmp_path / name, "teacher-joint") for name in ("all", "known"))
    assert not all(torch.equal(mine[key], theirs[key]) for key in theirs)
    result = ravdess.verify(data, tmp_path / "all", mode="joint", config=config)
    assert [record.arm for record in result.records] == ["joint", "no-kd"]
    assert result.data["unlabelled_training_samples"] == 7


def test_the_split_keeps_unlabelled_samples_of_held_out_groups_away() -> None:
    group = np.arange(42) // 3
    data = replace(make_ravdess(), split=None, group=group, group_names=tuple(map(str, range(14))))
    split = draw_pairs(data, 0)
    assert split.labelled is not None
    held = np.concatenate([split.validation, split.test])
    assert data.labelled[held].all()
    assert data.labelled[split.labelled].all()
    pairs = np.setdiff1d(split.train, split.labelled)
    assert set(pairs) == {row for row in GONE if group[row] not in set(group[held])}
    assert 0 < len(pairs) < len(GONE)
