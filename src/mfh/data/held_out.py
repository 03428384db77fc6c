"""Which samples are held out, as the caller says: splits, folds, or times to split by."""

from typing import Any

import numpy as np

from mfh._checks import listing, require
from mfh.config import SPLITS
from mfh.data.codes import codes_of
from mfh.data.values import as_column

SHARES = (0.6, 0.2, 0.2)
"""Shares of the samples for training, validation and testing."""


def read_splits(split: Any, count: int) -> np.ndarray:
    """Return `train`, `validation` or `test` for each sample; check that train and test have samples."""
    values = as_column("split", split, count).astype(str)
    unknown = sorted(set(values) - set(SPLITS))
    require(not unknown, f"`split` must hold {listing(SPLITS)}. Got {listing(unknown)} instead.")
    missing = sorted({"train", "test"} - set(values))
    require(not missing, f"`split` must hold train and test samples. No sample is in {listing(missing)}.")
    return values


def read_folds(fold: Any, group: np.ndarray | None, count: int) -> np.ndarray:
    """Return codes of folds; check that there are two or more, and that no group is in several."""
    codes, names = codes_of("fold", fold, count)
    require(len(names) >= 2, f"`fold` must hold two folds or more. Got {len(names)}.")
    if group is not None:
        pairs = np.unique(np.stack([group, codes]), axis=1)
        split = np.flatnonzero(np.bincount(pairs[0]) > 1)
        require(
            not len(split),
            f"`fold` must keep each group in one fold. {len(split)} groups are in several: give other folds, "
            "or leave the groups out.",
        )
    return codes


def split_by_time(time: np.ndarray) -> np.ndarray:
    """Return `train`, `validation` or `test` for each sample, so that training comes first and testing last.

    Samples of the same time are in the same split, so the shares of 60, 20 and 20% hold about.

    Args:
        time: one number, date or text that sorts by time for each sample, (sample,).

    Raises:
        InputError: there are fewer than three different times.

    Example:
        >>> split_by_time(np.array([3, 1, 2, 5, 4])).tolist()
        ['train', 'train', 'train', 'test', 'validation']
    """
    times, codes, counts = np.unique(time, return_inverse=True, return_counts=True)
    require(len(times) >= 3, f"`time` must hold three different times or more. Got {len(times)}.")
    middle = (np.cumsum(counts) - counts / 2) / len(time)
    part = np.searchsorted(np.cumsum(SHARES)[:-1], middle, side="right")
    part[0], part[-1] = 0, len(SPLITS) - 1
    if not (part == 1).any():
        part[np.flatnonzero(part == 0)[-1] if (part == 0).sum() > 1 else np.flatnonzero(part == 2)[0]] = 1
    return np.asarray(SPLITS)[part][codes]
