"""A convolution whose backward pass leaves out zeros gives what `Conv2d` gives."""

import pytest
import torch
from torch import Tensor, nn

from mfh.models import _sparse_gradient
from mfh.models._sparse_gradient import SparseGradientConv2d
from mfh.models.ravdess import RavdessNetwork

SIZES = [(3, 5, 3, 1), (3, 5, 5, 1), (2, 4, 3, 0), (1, 2, 5, 6)]  # channels in and out, kernel, padding


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def sparse_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each backward pass went through, of those that left out zeros."""
    counts, accumulate = [], _sparse_gradient._accumulate

    def count(values, *more) -> None:
        counts.append(len(values))
        accumulate(values, *more)

    monkeypatch.setattr(_sparse_gradient, "_accumulate", count)
    return counts


def gradients(layer: nn.Module, x: Tensor, share: float) -> tuple[Tensor, ...]:
    """Of input, weight and bias, for an output of which a share is read, the corners among it."""
    x = x.clone().requires_grad_()
    y = layer(x)
    generator = torch.Generator().manual_seed(2)
    read = torch.rand(y.shape, generator=generator) < share
    read[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]] = True
    weight = torch.randn(y.shape, generator=generator) * read
    return torch.autograd.grad((y * weight).sum(), (x, *layer.parameters()))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", SIZES)
def test_sparse_gradients_are_those_of_conv2d(
    size: tuple[int, int, int, int], memory: torch.memory_format, sparse_passes: list[int]
) -> None:
    *channels, kernel, padding = size
    ours, plain = (
        SparseGradientConv2d(*channels, kernel, padding=padding),
        nn.Conv2d(*size[:3], padding=padding),
    )
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(3, size[0], 24, 31).contiguous(memory_format=memory)
    assert torch.equal(ours(x), plain(x))
    for a, b in zip(gradients(ours, x, 0.01), gradients(plain, x, 0.01), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert len(sparse_passes) == 1


def test_dense_gradients_and_frozen_inputs_are_those_of_conv2d(sparse_passes: list[int]) -> None:
    ours, plain = SparseGradientConv2d(3, 5, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 24, 31)
    for a, b in zip(gradients(ours, x, 0.5), gradients(plain, x, 0.5), strict=True):
        torch.testing.assert_close(a, b)
    assert sparse_passes == []
    ours(x)[0, 0, 0, 0].backward()
    plain(x)[0, 0, 0, 0].backward()
    assert sparse_passes == [1]
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_ravdess_networks_at_full_size_go_through_what_is_read(sparse_passes: list[int]) -> None:
    network = RavdessNetwork("image", width=2)
    x = torch.randn(1, 3, 256, 512)
    ours = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    assert 0 < sparse_passes[0] <= 8 * 7 * 14
    y = torch.relu(torch.max_pool2d(network.conv1(x), 2, 2))
    y = torch.relu(torch.max_pool2d(network.conv2(y), 2, 2))
    y = nn.functional.conv2d(y, network.conv3.weight, network.conv3.bias, padding=1)
    y = torch.relu(nn.functional.adaptive_max_pool2d(y, (7, 14))).flatten(1)
    y = network.fc3(torch.relu(network.fc2(torch.relu(network.fc1(y)))))
    expected = torch.autograd.grad(y.square().sum(), list(network.parameters()))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_under_func_and_in_mixed_precision_it_is_conv2d(sparse_passes: list[int]) -> None:
    layer, x = SparseGradientConv2d(1, 2, 3), torch.randn(2, 1, 16, 16)
    weights = dict(layer.named_parameters())

    def peak(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, weights, (x,))[..., 0, 0].square().sum()

    each = torch.vmap(torch.func.grad(peak), in_dims=(None, 0))(weights, x[:, None])
    together = torch.func.grad(peak)(weights, x)
    torch.testing.assert_close(each["weight"].sum(dim=0), together["weight"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert sparse_passes == []
