"""Standardised features: mean 0 and standard deviation 1 on the training split."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from mfh._checks import require

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standardize:
    """(x - mean) / sd for each feature, with statistics of the training split; constant features become 0.

    Attributes:
        mean: of shape (1, *shape).
        sd: standard deviation, of shape (1, *shape); infinite for constant features.
    """

    mean: Tensor
    sd: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> "Standardize":
        """Compute mean and standard deviation over samples, in float64.

        Args:
            values: training samples, (sample, *shape).
        """
        values = values.double()
        sd, mean = torch.std_mean(values, dim=0, correction=0, keepdim=True)
        # an sd below the rounding error of the mean is that of a constant; dividing by it would amplify noise
        constant = sd <= 1e-6 * mean.abs()
        return cls(mean.float(), torch.where(constant, torch.inf, sd).float())

    def __call__(self, values: Tensor) -> Tensor:
        """Standardise a batch (sample, *shape)."""
        return (values.float() - self.mean.to(values.device)) / self.sd.to(values.device)


def require_resolved(name: str, values: Tensor) -> None:
    """Refuse 64-bit values that differ by less than 32-bit floats can represent: they would become constants.

    Raises:
        InputError: this is the case for every feature. If only some features are affected, a warning is
            logged.
    """
    low, high = values.amin(dim=0), values.amax(dim=0)
    fine = (high - low > 1e-6 * torch.maximum(low.abs(), high.abs())) & (high.float() > low.float())
    lost = (high > low) & ~fine
    reason = (
        f"differ by less than 32-bit floats can tell, as {low[lost][0].item():.12g} and "
        f"{high[lost][0].item():.12g}" if lost.any() else ""
    )  # fmt: skip
    require(
        not bool(lost.all()) or lost.numel() == 0,
        f"Modality `{name}` must vary. Its values {reason}: subtract their mean, or rescale them.",
    )
    if lost.any():
        count = f"{int(lost.sum())} of {lost.numel()}"
        _log.warning("%s features of `%s` %s: they become constants", count, name, reason)
