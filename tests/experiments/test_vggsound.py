"""The VGGSound experiment in Python: what each step leaves, on generated clips in memory."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from vggsound_samples import CONFIG, make_vggsound

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study import networks
from mfh.data.augment import SpectrogramAugment, VideoAugment
from mfh.experiments import vggsound
from mfh.experiments.vggsound_config import InputConfig, NetworkConfig, VggsoundConfig
from mfh.models.vggsound import AudioNetwork, VideoNetwork, load_weights
from mfh.training.evaluate import predict

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_vggsound()


@pytest.fixture(scope="module")
def trained(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after both `pretrain` and `saliency`; tests copy what they change."""
    out = tmp_path_factory.mktemp("vggsound") / "out"
    vggsound.pretrain(data, out, modality="audio", config=CONFIG)
    vggsound.pretrain(data, out, modality="video", config=CONFIG)
    vggsound.saliency(data, out, config=CONFIG)
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "out")


def loaded(out: Path, name: str, kind: type) -> torch.nn.Module:
    network = kind(3, width=2)
    load_weights(network, out / "checkpoints" / "seed-0000" / f"{name}.safetensors")
    return network.eval()


def test_independent_networks_are_ranked_by_what_the_student_follows(
    data: PairedDataset, trained: Path
) -> None:
    teacher, student = (
        loaded(trained, "teacher-regular", AudioNetwork),
        loaded(trained, "student-regular", VideoNetwork),
    )
    rows = torch.arange(18)
    trunk, head = mfh.split(teacher, "flatten")
    expected = mfh.saliency(
        predict(trunk, data, "audio", rows), head, predict(student, data, "video", rows), score="followed"
    )
    kept = mfh.SaliencyResult.load(trained / "saliency-regular.npz")
    assert (kept.score, kept.num_permutations, kept.num_samples) == ("followed", "exact", 18)
    np.testing.assert_allclose(kept.values, expected.values, rtol=1e-4, atol=1e-10)
    assert kept.values.std() > 0


def test_the_joint_pair_is_trained_and_ranked_by_the_increase(data: PairedDataset, out: Path) -> None:
    result = vggsound.saliency(data, out, joint=True, config=CONFIG)
    assert result.score == "increase"
    assert (out / "checkpoints" / "seed-0000" / "teacher-joint.safetensors").exists()
    assert mfh.SaliencyResult.load(out / "saliency-joint.npz").num_channels == 16
    told = vggsound.distill(data, out, mode="specific", joint=True, config=CONFIG)
    assert [(r.arm, r.ratio) for r in told.records] == [("no-kd", None), ("specific", 0.5)]
    assert {t.teacher for t in told.teachers} == {"regular", "joint", "specific@0.5"}
    with pytest.raises(InputError, match="`layer` was joint, is regular"):
        vggsound.distill(data, out, mode="general", config=CONFIG)


def test_the_released_distance_is_l1(data: PairedDataset, out: Path) -> None:
    result = vggsound.saliency(data, out, distance="l1", config=CONFIG)
    assert (result.distance, result.score) == ("l1", "increase")


def test_students_of_every_mode_are_compared(data: PairedDataset, out: Path) -> None:
    for mode in ("regular", "general", "random"):
        told = vggsound.distill(data, out, mode=mode, ratio=0.25, config=CONFIG)
    assert [r.arm for r in told.records] == ["general", "no-kd", "random", "regular"]
    assert told.saliency["score"] == "followed"
    gone = mfh.select(mfh.SaliencyResult.load(out / "saliency-regular.npz"), 0.25, "general")
    assert len(gone) == 4
    with pytest.raises(InputError, match="Run `mfh vggsound saliency --joint` with the same"):
        vggsound.distill(data, out, mode="joint", config=CONFIG)


def test_a_damaged_saliency_is_left_aside_where_it_is_not_needed(
    data: PairedDataset, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = out / "saliency-regular.npz"
    path.write_bytes(path.read_bytes()[:100])
    told = vggsound.distill(data, out, mode="regular", config=CONFIG)
    assert [r.arm for r in told.records] == ["no-kd", "regular"]
    assert told.saliency == {}
    assert "It is ignored. Run `mfh vggsound saliency` again." in caplog.text
    with pytest.raises(InputError, match=r"saliency-regular.npz`.* Run `mfh vggsound saliency` again"):
        vggsound.distill(data, out, mode="general", config=CONFIG)
    vggsound.saliency(data, out, config=CONFIG)
    assert vggsound.distill(data, out, mode="general", config=CONFIG).saliency["score"] == "followed"


def test_checkpoints_stand_in_for_pretraining(data: PairedDataset, trained: Path, tmp_path: Path) -> None:
    files = {
        f"{name}_checkpoint": trained / "checkpoints" / "seed-0000" / f"{side}-regular.safetensors"
        for name, side in (("audio", "teacher"), ("video", "student"))
    }
    result = vggsound.saliency(data, tmp_path / "out", config=CONFIG, **files)
    kept = mfh.SaliencyResult.load(trained / "saliency-regular.npz")
    np.testing.assert_allclose(result.values, kept.values)
    with pytest.raises(InputError, match="`joint` ranks a pair that is trained together"):
        vggsound.saliency(data, tmp_path / "out", joint=True, config=CONFIG, **files)
    torch.save(AudioNetwork(4, width=2).state_dict(), tmp_path / "four.pth")
    with pytest.raises(InputError, match=r"must have 3 classes, as the data have. It has 4"):
        vggsound.saliency(data, tmp_path / "new", config=CONFIG, audio_checkpoint=tmp_path / "four.pth")


def test_steps_out_of_order_say_which_comes_first(data: PairedDataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="Run `mfh vggsound pretrain --modality audio` with the same"):
        vggsound.saliency(data, out, config=CONFIG)
    with pytest.raises(InputError, match="--audio-checkpoint"):
        vggsound.distill(data, out, mode="general", config=CONFIG)
    with pytest.raises(InputError, match="`modality` must be one of `audio`, `video`"):
        vggsound.pretrain(data, out, modality="image", config=CONFIG)
    assert not out.exists()


def test_a_folder_belongs_to_its_inputs_and_augmentation(data: PairedDataset, out: Path) -> None:
    changed = data.with_augment({"video": VideoAugment(shift=1)})
    with pytest.raises(InputError, match="`inputs` was"):
        vggsound.distill(changed, out, mode="regular", config=CONFIG)
    with pytest.raises(InputError, match="`pixel_shift` was 0, is 1"):
        vggsound.distill(data, out, mode="regular", config=replace(CONFIG, pixel_shift=1))


def test_a_torchvision_student_trains(data: PairedDataset, tmp_path: Path) -> None:
    config = replace(CONFIG, student_network="mc3_18", epochs=1, batch_size=18)
    small = replace(data, modalities={**data.modalities, "video": data.modalities["video"][:, :2, :8, :8]})
    assert (
        vggsound.pretrain(small, tmp_path / "out", modality="video", config=config).records[0].arm == "no-kd"
    )


def test_the_study_has_every_arm_and_resumes_within_a_seed(
    data: PairedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "SMALL_NETWORK", 0)
    data = data.with_augment(
        {"audio": SpectrogramAugment(shift=1, time_mask=1, frequency_mask=4), "video": VideoAugment(shift=1)}
    )
    config = StudyConfig(
        resampling="splits",
        seeds=1, epochs=1, ratio=(0.5,), random_draws=1, smoothing=(0.1,), batch_size=8, device="cpu",
        temperature=4.0,
    )  # fmt: skip
    result = vggsound.study(data, tmp_path / "out", config=config, networks=NetworkConfig(width=2))
    assert result.config["layer"] == "flatten"
    assert result.channels["increase_train"].shape == (1, 16)
    assert {"no-kd", "regular", "joint", "general", "important", "softened", "mismatched", "self"} <= {
        r.arm for r in result.records
    }
    assert not (tmp_path / "out" / "state" / "seed-0000").exists()
    with pytest.raises(InputError, match="`teacher` must be `audio`"):
        vggsound.study(data, config=replace(config, teacher="video"), networks=NetworkConfig(width=2))


def test_the_study_hides_labels(data: PairedDataset) -> None:
    data = data.with_augment({"audio": SpectrogramAugment(shift=1), "video": VideoAugment(shift=1)})
    config = StudyConfig(
        resampling="splits", seeds=1, epochs=1, labelled=("0.5",), arms=("no-kd", "stack"), batch_size=8,
        label_tuning="none", device="cpu",
    )  # fmt: skip
    result = vggsound.study(data, config=config, networks=NetworkConfig(width=2))
    assert result.labels["labelled"] + result.labels["unlabelled"] == 25, "validation samples are pairs too"
    assert {record.arm for record in result.records} == {"no-kd", "stack"}


def test_all_errors_of_a_config_are_told_at_once() -> None:
    with pytest.raises(InputError, match=r"`lr` must be.*`width` must be.*`contrast` must lie"):
        VggsoundConfig(lr=-1.0, width=0, contrast=1.0)
    with pytest.raises(InputError, match="`span` must be two shares"):
        InputConfig(span=(0.5,))


@pytest.mark.gpu
def test_the_steps_run_on_an_accelerator(data: PairedDataset, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no accelerator")
    config = replace(CONFIG, device="cuda", precision="bf16", channels_last=True)
    for modality in ("audio", "video"):
        vggsound.pretrain(data, tmp_path / "out", modality=modality, config=config)
    assert vggsound.saliency(data, tmp_path / "out", config=config).values.std() > 0
    told = vggsound.distill(data, tmp_path / "out", mode="general", config=config)
    assert {r.arm for r in told.records} == {"no-kd", "general"}
