"""Checks of the arguments of saliency functions, and the warning about negative increases."""

import warnings

import numpy as np
import torch
from torch import Tensor

from mfh._checks import InputError, require
from mfh._saliency.result import SaliencyResult


def check_samples(count: int) -> None:
    """Raise `InputError` if there are too few samples to permute."""
    require(count >= 2, f"Saliency needs at least 2 samples, which exchange values. Got {count}.")


def check_width(student_logits: Tensor, num_outputs: int) -> None:
    """Raise `InputError` unless the student has the head's number of outputs."""
    width = student_logits.shape[1]
    require(
        width == num_outputs,
        f"`student_logits` must have as many outputs as `head` gives. Got {width} for a head with "
        f"{num_outputs} outputs.",
    )


def check_pair(features: Tensor, student_logits: Tensor, *, minimum: int = 2) -> None:
    """Raise `InputError` unless both are finite floating-point tensors of paired samples."""
    for name, x, axes in (
        ("features", features, "(sample, channel, *position)"),
        ("student_logits", student_logits, "(sample, output)"),
    ):
        require(
            x.is_floating_point(),
            f"`{name}` must be floating-point numbers. Got {x.dtype}: convert with `.float()`.",
        )
        fits = x.ndim == 2 if name == "student_logits" else x.ndim >= 2
        require(fits, f"`{name}` must have the shape {axes}. Got {tuple(x.shape)}.")
        require(x[:1].numel() > 0 or len(x) == 0, f"`{name}` must not be empty. Got {tuple(x.shape)}.")
    require(
        len(features) == len(student_logits),
        "`features` and `student_logits` must contain the same samples in the same order. Got "
        f"{len(features)} and {len(student_logits)} samples.",
    )
    if minimum >= 2:
        check_samples(len(features))
    require(len(features) > 0, "`features` must contain at least one sample. Got none.")
    _check_finite(features, "features", "channel")
    _check_finite(student_logits, "student_logits", "output")


def all_finite(x: Tensor) -> bool:
    """Return whether no number is NaN or infinite. The sum shows it in one pass, without a copy."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def _check_finite(x: Tensor, name: str, axis: str) -> None:
    if all_finite(x):
        return
    bad = (~torch.isfinite(x)).nonzero()
    sample, channel = int(bad[0, 0]), int(bad[0, 1])
    value = x[tuple(bad[0])].item()
    raise InputError(
        f"`{name}` must be finite. Got {value} at sample {sample}, {axis} {channel}, and {len(bad)} such "
        f"number{'s' * (len(bad) != 1)} in {len(bad[:, 0].unique())} of {len(x)} samples: remove these "
        "samples, or find out why they are not finite."
    )


def warn_of_negatives(result: SaliencyResult) -> None:
    """Warn if increases rank the channels and some are negative beyond rounding."""
    if result.score != "increase":
        return
    rounding = (1e-12 if result.num_permutations == "exact" else 1e-6) * max(
        result.baseline, abs(result.increase).max()
    )
    negative = result.increase < -rounding
    if not negative.any():
        return
    clear = int((result.increase < -2 * result.stderr).sum())
    beyond = "" if np.isnan(result.stderr).any() else f" ({clear} of them by more than two standard errors)"
    remedy = "" if result.distance == "mse" else "distance='mse', "
    warnings.warn(
        f"{int(negative.sum())} of {result.num_channels} channels have a negative increase{beyond}: "
        "permuting them brings the teacher closer to the student, so ranking by the increase can mislead. "
        "This happens on held-out samples, with networks trained independently and with correlated channels. "
        f"Rank with {remedy}score='followed', or turn this warning off with warn=False.",
        UserWarning,
        stacklevel=3,
    )
