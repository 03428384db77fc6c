"""Multilayer perceptrons: the default networks for modalities that are vectors."""

from collections.abc import Sequence

from torch import nn

from mfh._checks import require


def mlp(num_inputs: int, num_outputs: int, *, hidden: Sequence[int] = (128, 64)) -> nn.Sequential:
    """Linear layers with ReLU between, torch's default initialisation.

    Inputs of several dimensions are flattened first. The layers are named `flatten`, `linear1`, `relu1`, ...
    and `output`; the last ReLU's channels are what Algorithm 1 ranks by default.

    Args:
        num_inputs: values a sample, after flattening.
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
