"""Some of the samples of a data set."""

import logging

import numpy as np

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
