"""The RAVDESS networks against a plain formulation, their places, and released state dicts."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

import mfh
from mfh import InputError
from mfh.models.ravdess import (
    PLACES,
    RavdessNetwork,
    is_released,
    layer_of_place,
    load_released,
    load_weights,
)

SHAPES = {"audio": (1, 40, 64), "image": (3, 48, 96)}


def network(modality: str, width: int = 2, seed: int = 0) -> RavdessNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RavdessNetwork(modality, width=width)


def example(modality: str, samples: int = 3) -> Tensor:
    return torch.randn(samples, *SHAPES[modality], generator=torch.Generator().manual_seed(1))


def plain(net: RavdessNetwork, x: Tensor) -> list[Tensor]:
    """The released order of operations, ReLU before pooling; the output of every place."""
    places = [x]
    x = functional.max_pool2d(functional.relu(functional.conv2d(x, **weights(net.conv1), padding=1)), 2, 2)
    places.append(x)
    x = functional.max_pool2d(functional.relu(functional.conv2d(x, **weights(net.conv2), padding=1)), 2, 2)
    places.append(x)
    x = functional.relu(functional.conv2d(x, **weights(net.conv3), padding=1))
    x = functional.adaptive_max_pool2d(x, (7, 14))
    places.append(x)
    for layer in (net.fc1, net.fc2):
        x = functional.relu(functional.linear(x.reshape(len(x), -1), **weights(layer)))
        places.append(x)
    return [*places, functional.linear(x, **weights(net.fc3))]


def weights(layer: nn.Module) -> dict[str, Tensor]:
    return {"weight": layer.weight, "bias": layer.bias}


@pytest.mark.parametrize("modality", ["audio", "image"])
def test_values_of_every_place_are_those_of_the_plain_formulation(modality: str) -> None:
    net, x, seen = network(modality), example(modality), {}
    for place, layer in PLACES.items():
        net.get_submodule(layer).register_forward_hook(
            lambda _, __, output, place=place: seen.update({place: output.detach()})
        )
    net(x)
    for place, expected in enumerate(plain(net, x)):
        torch.testing.assert_close(seen[place], expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("modality", ["audio", "image"])
def test_gradients_are_those_of_the_plain_formulation(modality: str) -> None:
    net, x = network(modality), example(modality)
    ours = torch.autograd.grad(net(x).square().sum(), list(net.parameters()))
    expected = torch.autograd.grad(plain(net, x)[-1].square().sum(), list(net.parameters()))
    for (name, _), a, b in zip(net.named_parameters(), ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_released_names_and_shapes() -> None:
    shapes = {key: tuple(v.shape) for key, v in RavdessNetwork("audio").state_dict().items()}
    assert shapes == {
        "conv1.weight": (32, 1, 7, 7),
        "conv1.bias": (32,),
        "conv2.weight": (64, 32, 5, 5),
        "conv2.bias": (64,),
        "conv3.weight": (128, 64, 5, 5),
        "conv3.bias": (128,),
        "fc1.weight": (1024, 128 * 7 * 14),
        "fc1.bias": (1024,),
        "fc2.weight": (128, 1024),
        "fc2.bias": (128,),
        "fc3.weight": (8, 128),
        "fc3.bias": (8,),
    }
    image = RavdessNetwork("image").state_dict()
    assert [tuple(image[f"conv{i}.weight"].shape) for i in (1, 2, 3)] == [
        (32, 3, 3, 3),
        (64, 32, 3, 3),
        (128, 64, 3, 3),
    ]
    assert list(image) == list(shapes)


def test_weights_stay_contiguous_so_that_safetensors_takes_them(tmp_path: Path) -> None:
    net = network("image")
    net(example("image")).sum().backward()
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    other = network("image", seed=5)
    load_weights(other, tmp_path / "x.safetensors")
    x = example("image")
    assert torch.equal(other(x), net(x))


@pytest.mark.parametrize("place", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("modality", ["audio", "image"])
def test_the_library_can_split_at_every_place(modality: str, place: int) -> None:
    net, x = network(modality).eval(), example(modality)
    trunk, head = mfh.split(net, layer_of_place(place, modality), example=x)
    torch.testing.assert_close(head(trunk(x)), net(x))
    channels = {1: 2, 2: 4, 3: 8, 4: 64, 5: 8}
    assert trunk(x).shape[1] == channels[place]
    assert place < 4 or isinstance(head[0] if isinstance(head, nn.Sequential) else head, nn.Linear)


@pytest.mark.parametrize("modality", ["audio", "image"])
def test_many_networks_at_once(modality: str) -> None:
    nets, x = [network(modality, seed=seed) for seed in range(3)], example(modality)
    parameters, buffers = torch.func.stack_module_state(nets)
    together = torch.vmap(lambda p, b, x: torch.func.functional_call(nets[0], (p, b), (x,)))(
        parameters, buffers, x.expand(3, *x.shape)
    )
    for ours, net in zip(together, nets, strict=True):
        torch.testing.assert_close(ours, net(x), rtol=1e-4, atol=1e-5)


def test_place_names_a_layer(caplog: pytest.LogCaptureFixture) -> None:
    assert [layer_of_place(place) for place in (1, 2, 3, 4, 5)] == [
        "relu1",
        "relu2",
        "relu3",
        "relu4",
        "relu5",
    ]
    assert layer_of_place(0, "image") == "input"
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert layer_of_place(6) == "fc3"
    assert "its channels are the classes" in caplog.text
    with pytest.raises(InputError, match=r"1 \.\.\. 6 for audio. Got 0: the input has one channel"):
        layer_of_place(0)
    with pytest.raises(InputError, match=r"`place` must lie in 0 \.\.\. 6\. Got 7"):
        layer_of_place(7)


@pytest.mark.parametrize("legacy", [False, True])
def test_released_state_dicts_load(tmp_path: Path, legacy: bool) -> None:
    net, path = network("audio"), tmp_path / "teacher_mod_1_overlap.pkl"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    loaded = load_released(path, "audio", width=2)
    x = example("audio")
    assert torch.equal(loaded(x), net(x))
    assert is_released(path)
    assert not is_released("teacher-joint.safetensors")


def test_a_checkpoint_of_another_shape_names_the_parameter(tmp_path: Path) -> None:
    path = tmp_path / "student.pkl"
    torch.save(network("image", width=2).state_dict(), path)
    with pytest.raises(InputError, match=r"`conv1.weight` has shape \(2, 3, 3, 3\), must be \(2, 1, 7, 7\)"):
        load_released(path, "audio", width=2)
    with pytest.raises(InputError, match=r"`fc3.weight` has shape \(8, 8\), must be \(5, 8\)"):
        load_released(path, "image", width=2, num_classes=5)


def test_missing_unknown_and_broken_parameters_are_named(tmp_path: Path) -> None:
    net = network("audio")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = dict(net.state_dict())
    del state["fc2.bias"]
    state["conv2.bias"] = torch.full((4,), torch.nan)
    state["bn.weight"] = torch.ones(1)
    state["fc1.bias"] = "text"
    path = tmp_path / "x.pt"
    torch.save(state, path)
    with pytest.raises(InputError) as caught:
        load_weights(net, path)
    for text in (
        "`fc2.bias` is missing",
        "`conv2.bias` contains NaN",
        "`bn.weight` is not in this network",
        "`fc1.bias` is not a tensor",
    ):
        assert text in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Attack:
    """What unrestricted unpickling would run."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("attacked"),))


def test_no_code_is_run_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "teacher.pkl"
    torch.save({"conv1.weight": Attack()}, path)
    with pytest.raises(InputError, match="cannot be read as a state dict"):
        load_released(path, "audio")
    torch.save(network("audio"), path)
    with pytest.raises(InputError, match=r"save `network.state_dict\(\)`"):
        load_released(path, "audio")
    assert not (tmp_path / "attacked").exists()


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no such file"):
        load_released(tmp_path / "none.pkl", "audio")
    for name in ("x.pkl", "x.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match="cannot be read as a state dict"):
            load_released(tmp_path / name, "audio")
    torch.save([torch.ones(2)], tmp_path / "list.pkl")
    with pytest.raises(InputError, match=r"maps names to tensors\. Got list"):
        load_released(tmp_path / "list.pkl", "audio")


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="`width` must be 1 or more"):
        RavdessNetwork("audio", width=0)
