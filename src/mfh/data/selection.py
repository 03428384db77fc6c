"""Some of the samples of a data set."""

import logging
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from jaxtyping import Int

from mfh._checks import InputError, listing, require
from mfh.data.paired import PairedDataset

logger = logging.getLogger(__name__)


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
        "%s of %s samples lack %s and are left out: %s needs %s.",
        f"{len(data) - len(rows):,}",
        f"{len(data):,}",
        " or ".join(f"`{name}`" for name in names if not data.present(name).all()),
        user,
        "complete pairs" if len(names) > 1 else "it",
    )
    return data.rows(rows)


def usable_only(data: PairedDataset, teacher: str, student: str, user: str) -> PairedDataset:
    """Return the samples from which a study learns: complete pairs, and labelled samples of one modality.

    A line counts the samples that lack a modality, and a warning those that are left out.

    Args:
        data: all samples.
        teacher: the modality that the teacher sees.
        student: the modality that the student sees.
        user: what uses the samples, in words, for the messages.

    Raises:
        InputError: no sample has both.

    Example:
        >>> gone = np.array([[np.nan], [np.nan], [1.0], [2.0]])
        >>> data = PairedDataset.from_arrays({"a": gone, "b": np.eye(4)}, label=["x", None, "y", None])
        >>> usable_only(data, "a", "b", "this example").id.tolist()
        ['0', '2', '3']
    """
    there = {name: data.present(name) for name in (teacher, student)}
    both, either = there[teacher] & there[student], there[teacher] | there[student]
    if both.all():
        return data
    require(bool(both.any()), f"{user} needs samples that have {listing((teacher, student))}. There is none.")
    kept = both | (either & data.labelled)
    lacks = {name: int((kept & ~mask).sum()) for name, mask in there.items()}
    if any(lacks.values()):
        logger.info(
            "Of %s samples %s: networks that see the other modality learn from their labels.",
            f"{int(kept.sum()):,}",
            " and ".join(f"{count:,} lack `{name}`" for name, count in lacks.items() if count),
        )
    if not kept.all():
        logger.warning(
            "%s of %s samples lack both modalities, or one of them and a label: %s leaves them out.",
            f"{int((~kept).sum()):,}",
            f"{len(data):,}",
            user,
        )
    return data if kept.all() else data.rows(np.flatnonzero(kept))
