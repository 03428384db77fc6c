"""Multilayer perceptrons: recognise them, and convert their weights to the layout of the compiled code."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mfh._saliency.plain import has_backward_hooks, is_plain
from mfh.training.many.kernel import Layout


@dataclass(frozen=True)
class Perceptron:
    """The structure of a multilayer perceptron.

    Attributes:
        names: prefix of each linear layer's parameters in the state dict.
        sizes: number of inputs, then of each layer's outputs.
        rectified, biased: whether a ReLU follows each layer, and whether it has a bias.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    rectified: tuple[bool, ...]
    biased: tuple[bool, ...]

    @classmethod
    def of(cls, model: nn.Module, shape: Sequence[int]) -> "Perceptron | None":
        """Return the structure of a network for samples of this shape; None if it is no such network.

        It must be a `Sequential` of Flatten, Linear, ReLU and Identity, with no ReLU at either end and
        weights in float32 or float64.

        Example:
            >>> from mfh.models.mlp import mlp
            >>> Perceptron.of(mlp(6, 3, hidden=(4,)), (2, 3)).sizes
            (6, 4, 3)
        """
        runs_own_code = all(is_plain(m, type(m)) and not has_backward_hooks(m) for m in model.modules())
        if type(model) is not nn.Sequential or not runs_own_code:
            return None
        flat = len(shape) == 1
        names, linear, rectified = [], [], []
        for name, part in model.named_children():
            if type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1):
                flat = True
            elif type(part) is nn.Linear and flat:
                names.append(name)
                linear.append(part)
                rectified.append(False)
            elif type(part) is nn.ReLU and linear:
                rectified[-1] = True
            elif type(part) is not nn.Identity:
                return None
        if not linear or rectified[-1] or linear[0].weight.dtype not in (torch.float32, torch.float64):
            return None
        sizes = (linear[0].in_features, *(layer.out_features for layer in linear))
        return cls(tuple(names), sizes, tuple(rectified), tuple(layer.bias is not None for layer in linear))

    def pack(self, model: nn.Module, layout: Layout) -> np.ndarray:
        """Return the network's weights in the layout of the compiled code."""
        state = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
        weights = np.zeros(layout.weight[-1], state[f"{self.names[0]}.weight"].dtype)
        for layer, name in enumerate(self.names):
            matrix = _matrix(weights, layout, layer)
            matrix[: self.sizes[layer], : self.sizes[layer + 1]] = state[f"{name}.weight"].T
            if self.biased[layer]:
                matrix[-1, : self.sizes[layer + 1]] = state[f"{name}.bias"]
        return weights

    def unpack(self, weights: np.ndarray, layout: Layout) -> dict[str, Tensor]:
        """Return the state dict of weights that have the layout of the compiled code."""
        state = {}
        for layer, name in enumerate(self.names):
            matrix = _matrix(weights, layout, layer)[:, : self.sizes[layer + 1]]
            state[f"{name}.weight"] = torch.from_numpy(matrix[: self.sizes[layer]].T.copy())
            if self.biased[layer]:
                state[f"{name}.bias"] = torch.from_numpy(matrix[-1].copy())
        return state


def _matrix(weights: np.ndarray, layout: Layout, layer: int) -> np.ndarray:
    part = weights[layout.weight[layer] : layout.weight[layer + 1]]
    return part.reshape(-1, layout.width[layer + 1])
