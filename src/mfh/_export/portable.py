"""A form of a network that ONNX can express, with the same outputs."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

POOLS: Mapping[type[nn.Module], Callable[..., Tensor]] = {
    nn.AdaptiveMaxPool1d: torch.amax,
    nn.AdaptiveMaxPool2d: torch.amax,
    nn.AdaptiveMaxPool3d: torch.amax,
    nn.AdaptiveAvgPool1d: torch.mean,
    nn.AdaptiveAvgPool2d: torch.mean,
    nn.AdaptiveAvgPool3d: torch.mean,
}
"""Adaptive pools, and what each does with the values of a window. ONNX has windows of one size alone."""


class Windows(nn.Module):
    """An adaptive pool as slices of a known size: its windows differ in size where a length is no multiple.

    Window i of n over a length L goes from floor(i L / n) to ceil((i + 1) L / n), as in PyTorch. A window of
    several dimensions is a box, so the dimensions are pooled one after the other.

    Args:
        pool: the adaptive pool; it returns no indices.

    Example:
        >>> pool = nn.AdaptiveMaxPool2d((3, 2))
        >>> image = torch.arange(35.0).view(1, 1, 5, 7).sin()
        >>> torch.equal(Windows(pool)(image), pool(image))
        True
    """

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.reduce, size = POOLS[type(pool)], pool.output_size
        dimensions = int(type(pool).__name__[-2])
        self.size = tuple(size) if isinstance(size, tuple) else (size,) * dimensions

    def forward(self, values: Float[Tensor, "... length"]) -> Float[Tensor, "... window"]:
        """Return the pooled values."""
        for dim, count in enumerate(self.size, start=-len(self.size)):
            length = values.shape[dim]
            if count is None or count == length:
                continue
            starts = [math.floor(i * length / count) for i in range(count)]
            ends = [math.ceil((i + 1) * length / count) for i in range(count)]
            windows = [
                self.reduce(values.narrow(dim, start, end - start), dim=dim)
                for start, end in zip(starts, ends, strict=True)
            ]
            values = torch.stack(windows, dim=dim)
        return values


def portable(network: nn.Module) -> nn.Module:
    """Return the network, or a copy of it without adaptive pools of several windows; outputs stay the same.

    Example:
        >>> network = nn.Sequential(nn.AdaptiveMaxPool1d(2), nn.ReLU())
        >>> type(portable(network)[0]).__name__, type(network[0]).__name__
        ('Windows', 'AdaptiveMaxPool1d')
    """
    names = [name for name, module in network.named_modules() if _is_replaced(module)]
    if not names:
        return network
    changed = copy.deepcopy(network)
    for name in names:
        changed.set_submodule(name, Windows(changed.get_submodule(name)))
    return changed


def _is_replaced(module: nn.Module) -> bool:
    size = getattr(module, "output_size", 1)
    several = any(part != 1 for part in (size if isinstance(size, tuple) else (size,)))
    return type(module) in POOLS and several and not getattr(module, "return_indices", False)
