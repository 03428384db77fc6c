"""Copies of networks."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from typing import TypeVar

from torch import Tensor, nn

from mfh._checks import InputError, one_line

N = TypeVar("N", bound=nn.Module)


def copied(network: N) -> N:
    """Return a copy of a network that shares no tensor with it.

    Some modules keep tensors that they compute from their parameters, as `torch.nn.utils.weight_norm` does.
    These are copied by value; the copy's next forward pass computes them from the copy's parameters.

    Raises:
        InputError: the network contains something that cannot be copied.

    Example:
        >>> layer = nn.utils.spectral_norm(nn.Linear(3, 2))
        >>> copied(layer).weight_orig is layer.weight_orig
        False
    """
    memo = {}
    for module in network.modules():
        for value in _tensors(list(vars(module).values())):
            if not value.is_leaf:  # `deepcopy` refuses these
                memo[id(value)] = value.detach().clone()
    try:
        return deepcopy(network, memo)
    except Exception as error:
        reason = one_line(error).partition(". ")[0]
        raise InputError(
            f"`copy.deepcopy` must be able to copy a network. It cannot copy {type(network).__name__}: "
            f"{reason}. Keep what cannot be copied outside of the network."
        ) from error


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in a value, those in lists, tuples and dicts included."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from chain.from_iterable(map(_tensors, value))
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
