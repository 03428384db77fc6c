"""Saliency per channel, reduced to what a figure can show."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mfh.results import StudyResult

MAX_BARS = 256  # more bars than this would be thinner than a point
MAX_POINTS = 200  # points of a curve
MAX_CURVES = 20  # seeds drawn


def summarize_channels(
    result: StudyResult, *, chosen: Mapping[int, float], ratio: float | None
) -> dict[str, Any] | None:
    """One seed in channel order, all seeds sorted; None without arrays.

    Channels of two seeds are parts of two networks, so only sorted values can be laid over each other.
    """
    split = result.saliency.get("split") or result.config.get("saliency_split") or "train"
    found = channel_arrays(result, split)
    if found is None:
        return None
    array, seeds, errors = found["saliency"], found["seed"], found.get("error")
    own = chosen.get(seeds[0]) or ratio or 0.0
    num_channels = array.shape[1]
    # The epsilon undoes rounding: 0.29 x 100 channels are 29, not 28.
    num_removed = min(math.floor(own * num_channels + 1e-9), num_channels - 1)
    return {
        "score": found["score"],
        "split": split,
        "seed": seeds[0],
        "num_seeds": len(seeds),
        "num_channels": num_channels,
        "ratio": own,
        "num_removed": num_removed,
        "order": _channel_order(array[0], num_removed, None if errors is None else errors[0]),
        "sorted": _sorted_curves(array, own),
    }


def channel_arrays(result: StudyResult, split: str) -> dict[str, Any] | None:
    """The arrays of a split, each (seed, channel): `saliency`, and where they fit `error` and `importance`.

    Beside them `score`, what saliency is here, and `seed`, a number a row. None without finite saliency.
    """
    score = result.saliency.get("score") or result.config.get("score") or "increase"
    saliency = _matrix(result.channels.get(f"{score}_{split}"))
    if saliency is None:
        return None
    seeds = [int(seed) for seed in np.asarray(result.channels.get("seed", ())).ravel()]
    found: dict[str, Any] = {
        "score": score,
        "saliency": saliency,
        "seed": seeds if len(seeds) == len(saliency) else list(range(len(saliency))),
    }
    others = {"importance": f"importance_{split}"} | (
        {"error": f"stderr_{split}"} if score == "increase" else {}
    )
    for name, stored in others.items():
        array = _matrix(result.channels.get(stored))
        if array is not None and array.shape == saliency.shape:
            found[name] = array
    return found


def _matrix(array: object) -> np.ndarray | None:
    """A finite (seed, channel) array, or None."""
    if array is None:
        return None
    matrix = np.atleast_2d(np.asarray(array, dtype=np.float64))
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        return None
    return matrix


def _channel_order(values: np.ndarray, num_removed: int, errors: np.ndarray | None) -> dict[str, Any]:
    """Bars in channel order; neighbours share a bar (mean, lowest, highest) where there are too many."""
    removed = np.zeros(values.size, dtype=bool)
    removed[np.argsort(values, kind="stable")[:num_removed]] = True
    size = math.ceil(values.size / MAX_BARS)
    starts = np.arange(0, values.size, size)
    counts = np.diff(np.append(starts, values.size))
    bars = {
        "per_bar": size,
        "value": np.add.reduceat(values, starts) / counts,
        "removed": np.add.reduceat(removed.astype(float), starts) / counts,
        "low": None,
        "high": None,
    }
    if size > 1:
        bars |= {"low": np.minimum.reduceat(values, starts), "high": np.maximum.reduceat(values, starts)}
    elif errors is not None:
        bars |= {"low": values - 1.96 * errors, "high": values + 1.96 * errors}
    return {key: _short(v) if isinstance(v, np.ndarray) else v for key, v in bars.items()}


def _sorted_curves(array: np.ndarray, ratio: float) -> dict[str, Any]:
    """Each seed's values from largest to smallest, scaled to [0, 1] as step 3 of Algorithm 1 does."""
    low, high = array.min(axis=1, keepdims=True), array.max(axis=1, keepdims=True)
    scaled = (array - low) / np.where(high > low, high - low, 1.0)
    scaled = -np.sort(-scaled, axis=1)
    at = np.unique(np.linspace(0, scaled.shape[1] - 1, min(scaled.shape[1], MAX_POINTS)).round().astype(int))
    return {
        "share": _short((at + 0.5) / scaled.shape[1]),
        "curves": [_short(curve) for curve in scaled[:MAX_CURVES, at]],
        "median": _short(np.median(scaled[:, at], axis=0)),
        "kept": 1.0 - ratio,
    }


def _short(values: np.ndarray) -> list[float]:
    """Six significant digits: more than a figure shows, and short in a file."""
    return [float(f"{value:.6g}") for value in values]
