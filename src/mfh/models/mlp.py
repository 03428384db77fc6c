"""Multilayer perceptrons: the default networks for modalities that are vectors."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mfh._checks import require

HIDDEN = (128, 64)
"""Widths of the hidden layers."""


def mlp(num_inputs: int, num_outputs: int, *, hidden: Sequence[int] = HIDDEN) -> nn.Sequential:
    """Build linear layers with ReLU between them, with torch's default initialisation.

    Inputs of several dimensions are flattened first. The layers are named `flatten`, `linear1`, `relu1`, ...
    and `output`. By default Algorithm 1 ranks the channels of the last ReLU.

    Args:
        num_inputs: values per sample, after flattening.
        num_outputs: number of logits.
        hidden: widths of the hidden layers; empty gives a linear classifier.

    Example:
        >>> [name for name, _ in mlp(6, 3, hidden=(4,)).named_children()]
        ['flatten', 'linear1', 'relu1', 'output']
    """
    require(num_inputs >= 1, f"`num_inputs` must be 1 or more. Got {num_inputs} instead.")
    network = nn.Sequential()
    network.add_module("flatten", nn.Flatten())
    width = num_inputs
    for number, size in enumerate(hidden, start=1):
        network.add_module(f"linear{number}", nn.Linear(width, size))
        network.add_module(f"relu{number}", nn.ReLU())
        width = size
    network.add_module("output", nn.Linear(width, num_outputs))
    return network


class Standardized(nn.Module):
    """Compute (x - mean) / sd per value: standardisation as the first step of a network.

    Args:
        shape: shape of one sample.
        fills: whether missing values, which are NaN, are replaced by the buffer `fill` before.
    """

    mean: Tensor
    sd: Tensor
    fill: Tensor

    def __init__(self, shape: Sequence[int], *, fills: bool = False) -> None:
        super().__init__()
        self.fills = fills
        self.register_buffer("mean", torch.zeros(1, *shape))
        self.register_buffer("sd", torch.ones(1, *shape))
        if fills:
            self.register_buffer("fill", torch.zeros(1, *shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardise a batch (sample, *shape)."""
        values = inputs.float()
        if self.fills:
            values = torch.where(values.isnan(), self.fill, values)
        return (values - self.mean) / self.sd


def standardized(network: nn.Module, shape: Sequence[int], *, fills: bool = False) -> nn.Sequential:
    """Put standardisation before a network: modules `standardize` and `network`.

    Args:
        network: a network for standardised inputs.
        shape: shape of one sample. Mean and standard deviation are 0 and 1 until they are loaded or set.
        fills: whether it fills in missing values.

    Example:
        >>> model = standardized(mlp(2, 3, hidden=()), [2])
        >>> sorted(model.state_dict())[-2:]
        ['standardize.mean', 'standardize.sd']
    """
    return nn.Sequential(OrderedDict(standardize=Standardized(shape, fills=fills), network=network))
