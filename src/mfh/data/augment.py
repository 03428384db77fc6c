"""Random changes of training inputs, which depend only on the numbers drawn for each sample.

An augmentation is a function of a batch of network inputs and of one row of numbers per sample, uniform in
[0, 1). The training loop draws these numbers from its seed, the step and the sample. So a training that was
stopped continues exactly, and several processes, or a batch in parts, change each sample in the same way.
Evaluation and the teachers' cached outputs use no augmentation.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._checks import require


@runtime_checkable
class Augment(Protocol):
    """An augmentation that needs `num_draws` random numbers for each sample."""

    @property
    def num_draws(self) -> int:
        """Number of random numbers for one sample."""

    def __call__(self, batch: Tensor, draws: Float[Tensor, "sample draw"]) -> Tensor:
        """Return the changed batch, of the same shape.

        Args:
            batch: network inputs, (sample, ...), which stay unchanged.
            draws: numbers in [0, 1), on the device of the batch.
        """


@dataclass(frozen=True, kw_only=True)
class SpectrogramAugment:
    """Shift spectrograms in time, and mask a span of time and a band of frequencies (SpecAugment).

    Spectra that leave at one end return at the other. Masked values become the mean of the sample. The length
    of a mask is drawn from 0 to its largest length.

    Attributes:
        shift: largest shift, in spectra, to either side.
        time_mask: largest length of the masked span, in spectra.
        frequency_mask: largest height of the masked band, in bins.

    Example:
        >>> change = SpectrogramAugment(shift=1, time_mask=0, frequency_mask=0)
        >>> change(torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([[0.9, 0, 0, 0, 0]])).flatten()
        tensor([3., 0., 1., 2.])

    Reference: Park et al. 2019, arXiv 1904.08779.
    """

    shift: int = 8
    time_mask: int = 12
    frequency_mask: int = 64
    num_draws = 5

    def __post_init__(self) -> None:
        """Refuse lengths below 0."""
        _require_lengths(self, "shift", "time_mask", "frequency_mask")

    def __call__(
        self, batch: Float[Tensor, "sample channel frequency time"], draws: Float[Tensor, "sample draw"]
    ) -> Float[Tensor, "sample channel frequency time"]:
        """Return the changed spectrograms."""
        batch = shifted(batch, _whole(draws[:, 0], -self.shift, self.shift), 3, wrap=True)
        mean = batch.mean(dim=(1, 2, 3), keepdim=True)
        masked = _span(draws[:, 1:3], self.time_mask, batch.shape[3])[:, None, None, :]
        masked = masked | _span(draws[:, 3:5], self.frequency_mask, batch.shape[2])[:, None, :, None]
        return torch.where(masked, mean, batch)


@dataclass(frozen=True, kw_only=True)
class VideoAugment:
    """Shift clips sideways, up and down and in time, change their contrast, and mirror half of them.

    At the edges the outermost pixels and frames are repeated, so a shift is like a random crop.

    Attributes:
        shift: largest shift in pixels, in both directions of the picture.
        frames: largest shift in frames.
        contrast: largest relative change of the values, in [0, 1).
        flip: whether half of the clips are mirrored; it must be off if left and right have a meaning.

    Example:
        >>> change = VideoAugment(shift=1)
        >>> change(torch.arange(3.0).view(1, 1, 1, 1, 3), torch.tensor([[0.5, 0.9, 0.5, 0.5, 0]])).flatten()
        tensor([0., 0., 1.])
    """

    shift: int = 2
    frames: int = 0
    contrast: float = 0.0
    flip: bool = False
    num_draws = 5

    def __post_init__(self) -> None:
        """Refuse lengths below 0."""
        _require_lengths(self, "shift", "frames")
        require(0 <= self.contrast < 1, f"`contrast` must lie in [0, 1). Got {self.contrast}.")

    def __call__(
        self, batch: Float[Tensor, "sample channel frame height width"], draws: Float[Tensor, "sample draw"]
    ) -> Float[Tensor, "sample channel frame height width"]:
        """Return the changed clips."""
        for dim, number, largest in ((3, 0, self.shift), (4, 1, self.shift), (2, 2, self.frames)):
            batch = shifted(batch, _whole(draws[:, number], -largest, largest), dim)
        if self.contrast:
            factor = 1 + self.contrast * (2 * draws[:, 3] - 1)
            batch = batch * factor.to(batch.dtype).view(-1, 1, 1, 1, 1)
        if self.flip:
            mirrored = draws[:, 4].view(-1, 1, 1, 1, 1) >= 0.5
            batch = torch.where(mirrored, batch.flip(4), batch)
        return batch


def shifted(batch: Tensor, by: Int[Tensor, " sample"], dim: int, *, wrap: bool = False) -> Tensor:
    """Move each sample of a batch along a dimension by its own number of places, to larger indices.

    With `wrap`, values that leave at one end return at the other; else the outermost values are repeated.
    """
    if not bool(by.any()):
        return batch
    size = batch.shape[dim]
    places = torch.arange(size, device=batch.device) - by.to(batch.device)[:, None]
    places = places % size if wrap else places.clamp(0, size - 1)
    shape = [len(batch)] + [1] * (batch.ndim - 1)
    shape[dim] = size
    return batch.take_along_dim(places.view(shape), dim=dim)


def _whole(draws: Tensor, low: int, high: int) -> Int[Tensor, " sample"]:
    """Return whole numbers from `low` to `high`, both included."""
    return (low + (draws * (high - low + 1)).floor()).long().clamp(max=high)


def _span(draws: Float[Tensor, "sample 2"], largest: int, size: int) -> Tensor:
    """Return which of `size` places a span of random length and start covers, bool (sample, size)."""
    length = _whole(draws[:, 0], 0, min(largest, size))
    start = (draws[:, 1] * (size - length + 1)).floor().long().minimum(size - length)
    places = torch.arange(size, device=draws.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])


def _require_lengths(augment: object, *names: str) -> None:
    for name in names:
        value = getattr(augment, name)
        require(value >= 0, f"`{name}` must be 0 or more. Got {value}.")
