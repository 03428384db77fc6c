"""Cutting before a layer: features that code joins, for which no layer stands."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mfh._checks import InputError
from mfh._focus import FocusedTeacher, channel_split, split
from mfh._study.ranking import last_hidden
from mfh.models.both import SideBySide

INPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.ones(6, 3)


class Joined(nn.Module):
    """Two branches that `torch.cat` joins, and a head; `relu` is called as a function."""

    def __init__(self, *, between: bool = False) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(3, 5)
        self.middle = nn.Linear(10, 10) if between else None
        self.head = nn.Linear(10, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        features = torch.cat([functional.relu(self.a(a)), functional.relu(self.b(b))], dim=1)
        if self.middle is not None:
            features = functional.relu(self.middle(features))
        return self.head(features)


class Tokens(nn.Module):
    """One token for each modality; channels are the last dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(3, 5)
        self.mix, self.head = nn.Linear(5, 7), nn.Linear(7, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(self.mix(torch.stack([self.a(a), self.b(b)], dim=1)).mean(1))


@pytest.mark.parametrize("between", [False, True])
def test_the_model_is_cut_before_the_layer(between: bool) -> None:
    model = Joined(between=between)
    name = "middle" if between else "head"
    trunk, head = split(model, f"{name}:input", example=INPUTS)
    branches = model.a(INPUTS[0]).relu(), model.b(INPUTS[1]).relu()
    assert trunk(*INPUTS).equal(torch.cat(branches, dim=1))
    torch.testing.assert_close(head(trunk(*INPUTS)), model(*INPUTS))
    if not between:
        assert head is model.head
        assert split(model, "head:input")[1] is model.head  # an example is not needed


def test_a_focused_teacher_replaces_channels_of_the_input() -> None:
    model = Joined()
    features = split(model, "head:input")[0](*INPUTS).clone()
    features[:, [0, 7]] = torch.tensor([3.0, -1.0])
    focused = FocusedTeacher(model, "head:input", [0, 7], torch.tensor([3.0, -1.0]))
    assert focused(*INPUTS).equal(model.head(features))


def test_channels_of_a_linear_layer_s_input_are_its_last_dimension() -> None:
    model = Tokens()
    trunk, head = channel_split(model, "mix:input", INPUTS)
    assert trunk(*INPUTS).shape == (6, 5, 2)
    torch.testing.assert_close(head(trunk(*INPUTS)), model(*INPUTS))


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (Joined(), "head:input"),
        (Joined(between=True), "middle"),
        (SideBySide([4, 3], 2), "features"),
        (Tokens(), "mix"),
    ],
)
def test_the_default_layer_is_one_at_which_the_network_can_be_cut(model: nn.Module, layer: str) -> None:
    assert last_hidden(model, INPUTS) == layer
    split(model, layer, example=INPUTS)


def test_a_branch_is_refused_with_a_layer_that_the_network_has() -> None:
    with pytest.raises(InputError, match="such as `head:input`, the input of `head`, or pass a trunk"):
        split(Joined(), "a", example=INPUTS)


def test_a_name_that_is_no_layer_is_refused() -> None:
    with pytest.raises(InputError, match=r"must name a submodule\. Got 'tail:input'"):
        split(Joined(), "tail:input")
