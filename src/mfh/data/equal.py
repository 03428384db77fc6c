"""Samples that are equal in every modality, which should not be in different splits."""

import numpy as np
from jaxtyping import Int
from torch import Tensor

from mfh.config import SPLITS
from mfh.data.paired import PairedDataset
from mfh.data.splits import Split

MOST_VALUES = 2**27
"""Values of a modality above which samples are not compared with each other."""


def equal_across_splits(data: PairedDataset, split: Split) -> list[tuple[str, ...]] | None:
    """Return the ids of samples that are equal in every modality although they are in different splits.

    Args:
        data: the samples.
        split: rows of each split, see `mfh.data.splits.draw_split`.

    Returns:
        Groups of ids, each in the order of the rows; None if a modality is not in memory, or has more than
        `MOST_VALUES` values.

    Example:
        >>> values = np.array([[1.0], [2.0], [1.0], [3.0]])
        >>> data = PairedDataset.from_arrays({"a": values, "b": values}, label=[0, 1, 0, 1], id=list("abcd"))
        >>> rows = np.arange(4)
        >>> equal_across_splits(data, Split(train=rows[:2], validation=rows[:0], test=rows[2:]))
        [('a', 'c')]
    """
    arrays = list(data.modalities.values())
    if not all(isinstance(array, Tensor) and array.numel() <= MOST_VALUES for array in arrays):
        return None
    codes = row_codes(np.stack([row_codes(np.asarray(array)) for array in arrays], axis=1))
    part = np.full(len(data), -1)
    for number, name in enumerate(SPLITS):
        part[getattr(split, name)] = number
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    shared = [rows for rows in groups if len(set(part[rows][part[rows] >= 0].tolist())) > 1]
    return sorted((tuple(data.id[rows].tolist()) for rows in shared), key=lambda ids: ids[0])


def row_codes(array: np.ndarray) -> Int[np.ndarray, " sample"]:
    """Return one number per row: the same for equal rows, different ones for different rows.

    Example:
        >>> row_codes(np.array([[0.5, 0.0], [1.0, 1.0], [0.5, -0.0]])).tolist()
        [0, 1, 0]
    """
    rows = np.ascontiguousarray(array.reshape(len(array), -1) + 0)  # -0.0 becomes 0.0
    return np.unique(rows.view(np.dtype((np.void, rows[:1].nbytes))).ravel(), return_inverse=True)[1]
