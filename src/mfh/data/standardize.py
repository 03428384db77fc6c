"""Standardised features: mean 0 and standard deviation 1 on the training split, missing values filled in."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mfh._checks import require
from mfh.data.features import Features

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standardize:
    """(x - mean) / sd for each feature, with statistics of the training split; constant features become 0.

    Attributes:
        mean: of shape (1, *shape).
        sd: standard deviation, of shape (1, *shape); infinite for constant features.
        fill: medians, of shape (1, *shape), which replace NaN before; None if no value can be missing.
    """

    mean: Tensor
    sd: Tensor
    fill: Tensor | None = None

    @classmethod
    def fit(cls, values: Tensor, *, gaps: bool = False) -> "Standardize":
        """Compute mean and standard deviation over samples, in float64.

        Args:
            values: training samples, (sample, *shape).
            gaps: whether values may be NaN, here or in other samples. They are replaced by medians first.
        """
        values = values.double()
        fill = _medians(values) if gaps else None
        if fill is not None:
            values = torch.where(values.isnan(), fill, values)
        sd, mean = torch.std_mean(values, dim=0, correction=0, keepdim=True)
        # an sd below the rounding error of the mean is that of a constant; dividing by it would amplify noise
        constant = sd <= 1e-6 * mean.abs()
        sd = torch.where(constant, torch.inf, sd).float()
        return cls(mean.float(), sd, None if fill is None else fill.float())

    @classmethod
    def fill_only(cls, values: Tensor, features: Features) -> "Standardize":
        """Return what fills in missing values, makes unseen categories 0, and leaves others as they are.

        Args:
            values: training samples, (sample, value).
            features: what the values mean.
        """
        unseen = torch.tensor(features.category) & ~(values > 0).any(dim=0)
        fill = _medians(values.double()).float() if features.gaps else None
        one = torch.ones(1, values.shape[1])
        return cls(torch.zeros_like(one), torch.where(unseen, torch.inf, one), fill)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The statistics by name, as `mfh.models.mlp.Standardized` has them."""
        found = {"mean": self.mean, "sd": self.sd}
        return found if self.fill is None else found | {"fill": self.fill}

    def __call__(self, values: Tensor) -> Tensor:
        """Standardise a batch (sample, *shape)."""
        values = values.float()
        if self.fill is not None:
            values = torch.where(values.isnan(), self.fill.to(values.device), values)
        return (values - self.mean.to(values.device)) / self.sd.to(values.device)


def _medians(values: Tensor) -> Tensor:
    """Return the median of each feature over the samples that have it, (1, *shape); 0 where none has it."""
    array = values.numpy(force=True)
    array = np.where(np.isnan(array).all(axis=0), 0.0, array)
    return torch.from_numpy(np.nanmedian(array, axis=0, keepdims=True))


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
