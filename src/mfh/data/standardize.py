"""Features with mean 0 and standard deviation 1, by the statistics of the training split."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from mfh._checks import require

_log = logging.getLogger(__name__)


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


def require_resolved(name: str, values: Tensor) -> None:
    """Refuse 64-bit values whose differences 32 bits cannot hold: they would become constants in silence.

    Raises:
        InputError: that holds for every value of a sample. For some of them there is a warning.
    """
    low, high = values.amin(dim=0), values.amax(dim=0)
    fine = (high - low > 1e-6 * torch.maximum(low.abs(), high.abs())) & (high.float() > low.float())
    lost = (high > low) & ~fine
    told = (
        f"differ by less than 32-bit floats can tell, as {low[lost][0].item():.12g} and "
        f"{high[lost][0].item():.12g}" if lost.any() else ""
    )  # fmt: skip
    require(
        not bool(lost.all()) or lost.numel() == 0,
        f"Modality `{name}` must vary. Its values {told}: subtract their mean, or rescale them.",
    )
    if lost.any():
        count = f"{int(lost.sum())} of {lost.numel()}"
        _log.warning("%s values of `%s` %s: they are constants here", count, name, told)
