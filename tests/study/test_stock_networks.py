"""Networks of timm, torchvision and transformers, by their import paths; nothing is downloaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mfh
from mfh._system.import_paths import ClassSpec
from mfh.cli import main
from mfh.training.objectives import Distill
from mfh.training.students import StudentJob, seeded, train_students

RESNET = {"class_path": "timm.create_model", "init_args": {"model_name": "resnet18", "num_classes": 2}}


def sound_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(1, 8, 32, stride=8), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Conv1d(8, 16, 9, stride=2), nn.BatchNorm1d(16), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip


def pictures_and_sounds(count: int = 400) -> mfh.PairedDataset:
    """A bright corner or none; a low tone or a high one; both in noise."""
    rng, label = np.random.default_rng(0), np.arange(count) % 2
    pictures = rng.normal(size=(count, 3, 32, 32))
    pictures[label == 1, :, :16, :16] += 1
    time = np.arange(800) / 800
    tones = np.sin(2 * np.pi * (40 + 60 * label[:, None]) * time + rng.uniform(0, 6, size=(count, 1)))
    sounds = tones[:, None] + rng.normal(size=(count, 1, 800))
    values = {"picture": pictures.astype("float32"), "sound": sounds.astype("float32")}
    return mfh.PairedDataset.from_arrays(values, label=label)


def best(build: Any, modality: str, epochs: int) -> float:
    """Return the validation accuracy of a network that is trained with no option given but the epochs."""
    data, config = pictures_and_sounds(), mfh.StudyConfig(epochs=epochs, device="cpu")
    rows = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    job = StudentJob(seeded(build, 0), Distill(), data, modality, rows[:240], rows[240:], 0)
    (done,) = train_students([job], config.settled(own_networks=True))
    return max(done.validation)


def test_a_small_audio_network_learns_with_no_option_given() -> None:
    assert best(sound_network, "sound", 8) > 75


@pytest.mark.slow
def test_a_resnet_learns_with_no_option_given() -> None:
    assert best(ClassSpec.parse(RESNET), "picture", 6) > 75


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("timm.create_model", {"model_name": "resnet10t", "num_classes": 3}),
        (
            "timm.create_model",
            {"model_name": "vit_tiny_patch16_224", "img_size": 32, "patch_size": 8, "num_classes": 3},
        ),
        ("torchvision.models.resnet18", {"num_classes": 3}),
        ("torchvision.models.get_model", {"name": "squeezenet1_1", "num_classes": 3}),
    ],
)
def test_a_factory_hands_its_arguments_on(path: str, arguments: dict[str, Any]) -> None:
    spec = ClassSpec(path, arguments)
    assert spec.problems("torch.nn.Module") == []
    with torch.no_grad():
        assert spec().eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_a_transformer_from_a_config() -> None:
    pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    pictures = {"image_size": 32, "patch_size": 16, "num_labels": 3}
    config = {"class_path": "transformers.ViTConfig", "init_args": {**sizes, **pictures}}
    spec = ClassSpec("transformers.AutoModelForImageClassification.from_config", {"config": config})
    assert spec.problems("torch.nn.Module") == []
    assert spec()(torch.zeros(2, 3, 32, 32)).logits.shape == (2, 3)


def test_flags_name_a_factory_and_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = pictures_and_sounds(20)
    np.savez("d.npz", label=data.label, sound=data.modalities["sound"], picture=data.modalities["picture"])
    words = ["layers", "--data", "d.npz", "--teacher", "picture", "--student", "sound"]
    network = ["--teacher-network", "timm.create_model", "--teacher-network.model_name=resnet10t"]
    assert main([*words, *network, "--teacher-network.num_classes", "2"]) == 0
    out = capsys.readouterr().out
    assert "teacher (picture): ResNet" in out
    assert "fc" in out
    assert main([*words, *network, "--teacher-network.num_classes", "010"]) == 2
    assert "`num_classes` is written as 010, which programs read in different ways" in capsys.readouterr().err
