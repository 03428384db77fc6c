"""A student that returns the features of a layer with its logits, for losses that compare features."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import require
from mfh._focus.channels import channels_second
from mfh._focus.inventory import find, find_channel_dim
from mfh._focus.splitting import Hooked
from mfh._saliency.heads import evaluating, logits_of
from mfh.losses import Outputs

PREFIX = "model."


class Watched(nn.Module):
    """A network whose output is an `Outputs`: its logits, and the output of one of its layers.

    Args:
        model: the network.
        layer: name of the layer; see `mfh.layers`.
        width: number of channels to which a linear layer, trained with the network, maps the features; None
            adds no such layer.
        example: an input of the network, from which the width of the layer is found.

    Raises:
        InputError: there is no such layer, or it does not return a tensor.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> watched = Watched(network, "1", 5, torch.zeros(2, 3))
        >>> outputs = watched(torch.zeros(2, 3))
        >>> tuple(outputs.logits.shape), tuple(outputs.features.shape)
        ((2, 2), (2, 5))
    """

    def __init__(self, model: nn.Module, layer: str, width: int | None, example: Tensor) -> None:
        super().__init__()
        find(model, layer, "student_layer", example)
        self.model, self.layer = model, layer
        self.regressor: nn.Module = nn.Identity()
        self.channel_dim = find_channel_dim(model, layer, example)
        with evaluating(model):
            features = self(example).features
        if width is not None:
            self.regressor = nn.Linear(features.shape[1], width).to(features)

    def forward(self, *inputs: Tensor) -> Outputs:
        """Return logits and features of a batch."""
        kept: list[Any] = []
        logits = logits_of(Hooked(self.model, self.layer).run(kept.append, *inputs))
        require(
            len(kept) == 1,
            f"`student_layer` must be called once in a forward pass. `{self.layer}` was called {len(kept)} "
            "times: name another layer.",
        )
        features = channels_second(kept[0], self.channel_dim, "student_layer")
        return Outputs(logits, self.regressor(pooled(features)))

    def student_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries of a state dict of this module that belong to the network."""
        return {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}


def pooled(features: Float[Tensor, "sample channel *position"]) -> Float[Tensor, "sample channel"]:
    """Return features averaged over positions."""
    return features.flatten(2).mean(dim=2) if features.ndim > 2 else features
