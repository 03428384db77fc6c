"""The VGGSound networks: shapes, sizes, torchvision as the reference, checkpoints."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18, resnet50
from torchvision.models.video import r3d_18

from mfh import InputError, split
from mfh.models.vggsound import (
    LAYER,
    AudioNetwork,
    VideoNetwork,
    audio_network,
    load_weights,
    video_network,
    video_networks,
)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("name", "reference"), [("resnet18", resnet18), ("resnet50", resnet50)])
def test_the_audio_network_is_torchvisions_behind_another_stem(name: str, reference: object) -> None:
    theirs = reference(num_classes=309)  # type: ignore[operator]
    mine = audio_network(309, name=name)
    assert count(mine) == count(theirs) - 2 * 64 * 49  # one input channel instead of three
    renamed = {"conv1": "inconv.0", "bn1": "inconv.1", "fc": "fc_avg"}
    state = theirs.state_dict()
    state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    for old, new in renamed.items():
        state = {
            k.replace(f"{old}.", f"{new}.") if k.startswith(f"{old}.") else k: v for k, v in state.items()
        }
    mine.load_state_dict(state)
    theirs.conv1.padding = (1, 1)
    x = torch.randn(2, 1, 65, 50)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


def test_the_video_network_has_the_released_names_and_shapes() -> None:
    network = VideoNetwork(100)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["inconv.0.weight"] == (64, 3, 3, 7, 7)
    assert shapes["layer1.2.conv.3.weight"] == (64, 64, 3, 3, 3)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1, 1)
    assert shapes["proj.weight"] == (100, 512)
    assert not any(name.startswith("layer1.0.downsample") for name in shapes)
    assert {name.split(".")[0] for name in shapes} == {
        "inconv", "layer1", "layer2", "layer3", "layer4", "proj"
    }  # fmt: skip


def test_a_block_of_the_video_network_is_torchvisions() -> None:
    """The second stage of both is a basic block that halves, then one that does not."""
    mine, theirs = VideoNetwork(10).layer2[:2].eval(), r3d_18(num_classes=10).layer2.eval()
    for block, other in zip(mine, theirs, strict=True):
        parts = {"conv1.0": "conv.0", "conv1.1": "conv.1", "conv2.0": "conv.3", "conv2.1": "conv.4"}
        state = other.state_dict()
        for old, new in parts.items():
            state = {k.replace(f"{old}.", f"{new}."): v for k, v in state.items()}
        block.load_state_dict(state)
    x = torch.randn(1, 64, 4, 6, 6)
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_clips_of_the_released_size_come_through() -> None:
    with torch.no_grad():
        assert VideoNetwork(5, width=1)(torch.zeros(1, 3, 32, 256, 256)).shape == (1, 5)
        assert AudioNetwork(5, width=1)(torch.zeros(1, 1, 513, 313)).shape == (1, 5)
    assert {"flatten"} == {LAYER}


def test_the_network_splits_into_pooled_features_and_a_linear_head() -> None:
    network = AudioNetwork(10, width=2).eval()
    x = torch.randn(3, 1, 65, 40)
    trunk, head = split(network, LAYER, example=x)
    assert trunk(x).shape == (3, 16)
    assert isinstance(head, nn.Linear) or isinstance(head[0], nn.Linear)  # type: ignore[index]
    torch.testing.assert_close(head(trunk(x)), network(x))


def test_models_of_torchvision_are_students_by_name() -> None:
    assert type(video_network(7, name="mc3_18")).__name__ == "VideoResNet"
    assert video_network(7, name="r3d_18").fc.out_features == 7
    with pytest.raises(InputError, match=r"`student_network` must be one of `resnet3d`, .*`r3d_18`.*'r9d'"):
        video_network(7, name="r9d")
    with pytest.raises(InputError, match="`audio_network` must be one of `resnet18`, `resnet50`"):
        audio_network(7, name="vgg")
    assert len(video_networks()) > 5


def test_checkpoints_of_several_processes_and_of_safetensors(tmp_path: Path) -> None:
    network, other = AudioNetwork(5, width=2), AudioNetwork(5, width=2)
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "a.pth")
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        load_weights(other, tmp_path / name)
        assert torch.equal(other.fc_avg.weight, network.fc_avg.weight)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(AudioNetwork(6, width=2).state_dict(), path)
    with pytest.raises(
        InputError, match=r"must have 5 classes, as the data have. It has 6 \(`fc_avg.weight`\)"
    ):
        load_weights(AudioNetwork(5, width=2), path)
    with pytest.raises(
        InputError, match=r"`inconv.0.weight` has shape \(2, 1, 7, 7\), must be \(3, 1, 7, 7\)"
    ):
        load_weights(AudioNetwork(6, width=3), path)
    with pytest.raises(InputError, match=r"`proj.weight` is missing"):
        load_weights(VideoNetwork(6, width=2), path)
    torch.save(AudioNetwork(6, width=2), path)
    with pytest.raises(InputError, match="Only tensors are read"):
        load_weights(AudioNetwork(6, width=2), path)
    with pytest.raises(InputError, match="no such file"):
        load_weights(AudioNetwork(6, width=2), tmp_path / "none.pth")
