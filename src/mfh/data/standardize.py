"""Features with mean 0 and standard deviation 1, by the statistics of the training split."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Standardize:
    """Per-feature (x - mean) / sd, with training-split statistics; a constant feature becomes 0."""

    mean: Tensor
    sd: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> "Standardize":
        """Take mean and standard deviation over samples, in float64, of shape (1, *shape)."""
        values = values.double()
        sd, mean = torch.std_mean(values, dim=0, correction=0, keepdim=True)
        # below rounding of the mean a feature is constant; dividing by its sd would blow up noise
        constant = sd <= 1e-6 * mean.abs()
        return cls(mean.float(), torch.where(constant, torch.inf, sd).float())

    def __call__(self, values: Tensor) -> Tensor:
        """Standardise a batch (sample, *shape)."""
        return (values.float() - self.mean.to(values.device)) / self.sd.to(values.device)
