"""Choose the channels to remove, and the values that replace them."""

import math
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh._checks import InputError, listing, require
from mfh._focus.channels import channels_second
from mfh._focus.inventory import arguments
from mfh._saliency.heads import evaluating
from mfh.arms import ARMS, Arm


def select(
    saliency: object, ratio: float, arm: str | Arm, *, generator: torch.Generator | None = None
) -> Int[Tensor, " removed"]:
    """Choose the channels that an arm removes: floor(ratio x C) of C, in ascending order.

    The product is first rounded to nine decimals, so that .3 of 10 channels is 3, not 2 by rounding error.
    Channels are ranked by descending saliency; of equal ones the lower index ranks higher.

    Args:
        saliency: one value per channel, finite: an array, a tensor, or an object with `.values`.
        ratio: share of channels to remove, in [0, 1).
        arm: `general` removes the least salient channels (mode 1 of the MFH paper's released code),
            `specific` the most salient (mode 2), `random` any (mode 0); `important` does as `general`, for a
            ranking by the teacher alone. An `Arm` of your own removes the end of the ranking that it names.
        generator: source of the channels of `random`, which requires it; on the CPU.

    Raises:
        InputError: an argument breaks its rule.

    Warns:
        UserWarning: the ratio is above 0 but too small to remove a channel.

    Example:
        >>> select(torch.tensor([0.9, 0.1, 0.5, 0.0]), 0.5, "general")
        tensor([1, 3])
    """
    chosen = _removing_arm(arm)
    values = saliency if isinstance(saliency, Tensor) else getattr(saliency, "values", saliency)
    try:
        values = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"`saliency` of `select` must be an array of numbers. {error}") from error
    require(
        values.ndim == 1 and len(values) > 0,
        f"`saliency` of `select` must contain one value per channel. Got shape {tuple(values.shape)}.",
    )
    require(
        bool(values.isfinite().all()),
        "`saliency` of `select` must be finite. "
        f"Channels {(~values.isfinite()).nonzero().flatten().tolist()[:12]} are not, so they have no rank.",
    )
    num_removed = _num_removed(ratio, len(values))
    if chosen.is_drawn:
        if generator is None:
            raise InputError(
                "`generator` of `select` must be given for the arm `random`, so that its channels can be "
                "drawn again. Pass torch.Generator().manual_seed(...)."
            )
        ranking = torch.randperm(len(values), generator=generator)
    else:
        ranking = values.argsort(descending=True, stable=True)
    removed = ranking[:num_removed] if chosen.remove == "highest" else ranking[len(values) - num_removed :]
    return removed.sort().values


def _removing_arm(arm: str | Arm) -> Arm:
    """Return the arm, which must remove channels."""
    found = ARMS.get(arm) if isinstance(arm, str) else arm
    if found is None or found.ranking is None:
        names = [known.name for known in ARMS.values() if known.ranking is not None]
        raise InputError(f"`arm` of `select` must be one of {listing(names)}. Got {arm!r}.")
    return found


def _num_removed(ratio: float, num_channels: int) -> int:
    why = "removing every channel leaves nothing to teach" if ratio >= 1 else "it is a share of the channels"
    require(0 <= ratio < 1, f"`ratio` of `select` must lie in [0, 1). Got {ratio}: {why}.")
    num_removed = min(math.floor(round(ratio * num_channels, 9)), num_channels - 1)
    if ratio > 0 and num_removed == 0:
        warnings.warn(
            f"`ratio` {ratio} removes nothing: floor({ratio} x {num_channels}) channels is 0. "
            f"The smallest ratio that removes one is {1 / num_channels:.4g}.",
            UserWarning,
            stacklevel=3,
        )
    return num_removed


def channel_means(
    inputs: Tensor | Iterable[Any],
    trunk: nn.Module | None = None,
    *,
    per_position: bool = False,
    channel_dim: int = 1,
) -> Float[Tensor, "channel *position"]:
    """Return the mean of every channel of a layer's output over samples, which replaces removed channels.

    Sums are float64; the means have the type of the layer's output. The trunk runs in evaluation mode and
    without gradients.

    Args:
        inputs: inputs of the training split: a tensor with samples first, or batches. Each batch is a tensor
            or, for a trunk, a tuple or a dict of inputs.
        trunk: maps inputs to the layer's output (sample, channel, *position); None if `inputs` are that
            output.
        per_position: whether to return a mean for each position instead of one per channel.
        channel_dim: the dimension of the layer's output that is the channels.

    Raises:
        InputError: there are no samples, or the layer's output has no channels or changes its shape.

    Example:
        >>> channel_means(torch.tensor([[1.0, 4.0], [3.0, 8.0]]))
        tensor([2., 6.])
    """
    total, count, dtype = torch.zeros((), dtype=torch.float64), 0, torch.float64
    with evaluating(trunk):
        for batch in inputs.split(256) if isinstance(inputs, Tensor) else inputs:
            args, kwargs = arguments(batch)
            features = batch if trunk is None else trunk(*args, **kwargs)
            moved = channels_second(features, channel_dim, "channel_means").detach()
            kept = [0] if per_position else [0, *range(2, moved.ndim)]
            sums = moved.sum(kept, dtype=torch.float64)
            require(
                total.ndim == 0 or total.shape == sums.shape,
                "`inputs` of `channel_means` must give features of one shape. "
                f"Got {tuple(sums.shape)} after {tuple(total.shape)}.",
            )
            total = total.to(sums.device) + sums
            count += moved.numel() // sums.numel()
            dtype = torch.result_type(moved, 1.0)
    require(count > 0, "`inputs` of `channel_means` must contain at least one sample. Got none.")
    return (total / count).to(dtype)
