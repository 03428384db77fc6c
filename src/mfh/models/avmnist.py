"""Networks for AV-MNIST: late fusion of two perceptrons on one flat input."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh.models.mlp import mlp


class LateFusion(nn.Module):
    """Two trunks, one per modality, and one linear layer on their concatenated features.

    Args:
        sizes: number of values of each modality; the input is their concatenation.
        num_outputs: number of logits.
        hidden: widths of the hidden layers of each trunk.

    Example:
        >>> LateFusion((4, 6), 3, hidden=(8,))(torch.zeros(2, 10)).shape
        torch.Size([2, 3])
    """

    def __init__(self, sizes: Sequence[int], num_outputs: int, *, hidden: Sequence[int] = (128, 64)) -> None:
        super().__init__()
        require(
            len(hidden) > 0,
            "`hidden` must contain at least one width. Got none, so there are no features to fuse.",
        )
        self.sizes = tuple(sizes)
        self.trunks = nn.ModuleList(
            nn.Sequential(mlp(size, hidden[-1], hidden=hidden[:-1]), nn.ReLU()) for size in self.sizes
        )
        self.output = nn.Linear(len(self.sizes) * hidden[-1], num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of (sample, values of all modalities)."""
        parts = inputs.flatten(1).split(self.sizes, dim=1)
        features = [trunk(part) for trunk, part in zip(self.trunks, parts, strict=True)]
        return self.output(torch.cat(features, dim=1))
