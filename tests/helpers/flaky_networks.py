"""A network whose making fails when it is told to; importable by workers."""

from collections.abc import Sequence

import torch
from flaky import work
from torch import nn

from mfh.models.mlp import mlp


class Student(nn.Module):
    """A small network of `make_paired`'s pictures whose making fails in some seeds of a study.

    Args:
        folder: where marks are left.
        trouble: as in `work`.
        drawn: what torch was seeded with where it fails.
    """

    def __init__(self, folder: str, trouble: str, drawn: Sequence[int]) -> None:
        super().__init__()
        self.layers = mlp(7, 3, hidden=(8,))
        if torch.initial_seed() in drawn:
            work(0, folder, trouble)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.layers(x)
