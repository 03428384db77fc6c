"""Some of the samples of a data set."""

import logging
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from jaxtyping import Int

from mfh._checks import InputError, listing, require
from mfh.data.paired import PairedDataset

logger = logging.getLogger(__name__)


def labelled_only(data: PairedDataset, user: str) -> PairedDataset:
    """Return the samples that have a label; a warning counts the others.

    Args:
        data: all samples.
        user: what cannot use the others yet, in words, for the warning.

    Example:
        >>> values = np.arange(8.0).reshape(4, 2)
        >>> data = PairedDataset.from_arrays({"a": values, "b": values}, label=["x", "y", None, "x"])
        >>> len(labelled_only(data, "this example"))
        3
    """
    if data.labelled.all():
        return data
    rows = np.flatnonzero(data.labelled)
    logger.warning(
        "%s of %s samples have no label and are left out: %s needs a label for every sample.",
        f"{len(data) - len(rows):,}",
        f"{len(data):,}",
        user,
    )
    return data.rows(rows)


def complete_rows(data: PairedDataset, modalities: Iterable[str]) -> Int[np.ndarray, " row"]:
    """Return the rows of the samples that have all of some modalities."""
    known = np.ones(len(data), dtype=bool)
    for name in [part for side in modalities for part in data.parts(side)]:
        known &= data.present(name)
    return np.flatnonzero(known)


def complete_only(data: PairedDataset, modalities: Iterable[str], user: str) -> PairedDataset:
    """Return the samples that have all of some modalities; a warning counts the others.

    Args:
        data: all samples.
        modalities: names, also of several modalities together; those that the data do not have are ignored.
        user: what cannot use the others, in words, for the warning.

    Raises:
        InputError: no sample has all of them.
    """
    names: list[str] = []
    for side in dict.fromkeys(modalities):
        with suppress(InputError):
            names += [name for name in data.parts(side) if name not in names]
    rows = complete_rows(data, names)
    if len(rows) == len(data):
        return data
    require(len(rows) > 0, f"{user} needs samples that have {listing(names)}. There is none.")
    logger.warning(
        "%s of %s samples lack %s and are left out: %s needs complete pairs.",
        f"{len(data) - len(rows):,}",
        f"{len(data):,}",
        " or ".join(f"`{name}`" for name in names if not data.present(name).all()),
        user,
    )
    return data.rows(rows)
