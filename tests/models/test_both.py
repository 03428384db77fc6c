"""Networks of several modalities, against the two networks whose logits they add, and how they are called."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mfh._focus import FocusedTeacher
from mfh.models.both import Named, SideBySide, with_inputs
from mfh.models.mlp import mlp

INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.ones(5, 3)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 2)])
def test_the_logits_are_the_sum_of_those_of_the_halves(hidden: tuple[int, ...]) -> None:
    network = SideBySide([4, 3], 2, hidden=hidden)
    halves = network.halves()
    torch.testing.assert_close(network(*INPUTS), halves[0](INPUTS[0]) + halves[1](INPUTS[1]))
    assert [type(layer) for layer in halves[0]] == [type(layer) for layer in mlp(4, 2, hidden=hidden)]
    other = SideBySide([4, 3], 2, hidden=hidden)
    other.load_halves(halves)
    torch.testing.assert_close(other(*INPUTS), network(*INPUTS))


def test_halves_have_weights_of_their_own() -> None:
    network = SideBySide([4, 3], 2, hidden=(6,))
    before = network(*INPUTS)
    for half in network.halves():
        for weight in half.parameters():
            weight.data.zero_()
    assert network(*INPUTS).equal(before)


class Sees(nn.Module):
    """The first modality minus the second, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False)

    def of(self, lidar: Tensor, camera: Tensor) -> Tensor:
        return self.scale(lidar - 2 * camera)


class Positional(Sees):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.of(first, second)


class Swapped(Sees):
    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        return self.of(lidar, camera)


class Keywords(Sees):
    def forward(self, *, lidar: Tensor, camera: Tensor) -> Tensor:
        return self.of(lidar, camera)


class AnyKeywords(Sees):
    def forward(self, **inputs: Tensor) -> Tensor:
        return self.of(inputs["lidar"], inputs["camera"])


class OneDict(Sees):
    def forward(self, batch: dict[str, Tensor], mask: Any = None) -> Tensor:
        assert mask is None
        return self.of(batch["lidar"], batch["camera"])


class Starred(Sees):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.of(*inputs)


@pytest.mark.parametrize("kind", [Positional, Swapped, Keywords, AnyKeywords, OneDict, Starred])
def test_each_way_to_take_two_inputs_gives_the_same(kind: type[Sees]) -> None:
    network = kind()
    called = with_inputs(network, ["lidar", "camera"])
    x = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    assert called(*x).equal(network.scale(torch.tensor([[1.0]])))
    assert list(called.state_dict()) == ["scale.weight"]
    assert (called is network) == (kind in (Positional, Starred))


def test_a_focused_teacher_takes_what_its_network_takes() -> None:
    focused = FocusedTeacher(OneDict(), "scale", [0], 7.0)
    assert with_inputs(focused, ["lidar", "camera"])(*torch.zeros(2, 1, 1)).item() == 7


def test_an_adapted_network_is_copied_and_moved_as_one() -> None:
    called = with_inputs(OneDict(), ["lidar", "camera"])
    again = deepcopy(called)
    again.scale.weight.data.fill_(2)
    assert again.double()(*torch.ones(2, 1, 1, dtype=torch.float64)).item() == -2
    assert called.scale.weight.item() != 2
    assert isinstance(again, Named)
    again.eval()(*torch.ones(2, 1, 1, dtype=torch.float64))
    assert not again.network.training
