"""Which labels a fit may see: those of the labelled samples outside the test fold, or a share of them."""

from collections.abc import Sequence

import numpy as np

from mfh._checks import listing, require
from mfh.config import LabelCount
from mfh.data.paired import PairedDataset
from mfh.data.splits import Split
from mfh.results import fit_words

MOST_ADDED = 0.25
"""Share of the wanted labels that may come on top, so that every class has one."""


def draw_labelled(data: PairedDataset, rows: np.ndarray, count: LabelCount | None, seed: int) -> np.ndarray:
    """Return the rows whose labels a fit sees, ascending: a stratified draw, spread evenly over groups.

    Args:
        data: the samples, with all labels that are known.
        rows: rows outside the test fold.
        count: how many labels; None takes all that there are.
        seed: fixes the draw.

    Raises:
        InputError: no label, or labels of one class alone, would be left.
    """
    known = rows[data.labelled[rows]]
    strata = data.kind.strata(data.label)[known]
    if count is not None:
        codes = np.unique(strata, return_inverse=True)[1]
        group = np.zeros(len(known), int) if data.group is None else data.group[known]
        known = known[_chosen(codes, np.unique(group, return_inverse=True)[1], count, seed)]
    classes = len(np.unique(data.label.numpy()[known])) if data.task == "single-label" else 2
    require(
        len(known) >= 2 and classes >= 2,
        "Each fit must see two labels or more, of two classes or more, outside its test samples. "
        f"{fit_words(seed)[0].upper()}{fit_words(seed)[1:]} sees {len(known)} of {classes}: give more labels"
        + ("." if count is None else f", or a larger `labelled`. Got {count}."),
    )
    return np.sort(known)


def _share_of(sizes: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return how many samples of each stratum a share is: one at least, unless that adds a quarter in all.

    Where strata are too many for that, chance decides which of the small ones have a label, in proportion to
    their sizes; the sum is then that of the share.
    """
    wanted = np.clip(np.round(share * sizes).astype(int), 1, sizes)
    total = max(round(share * sizes.sum()), 2)
    if wanted.sum() <= (1 + MOST_ADDED) * total:
        return wanted
    rng = np.random.default_rng([seed, 0x5A4E])
    order = rng.permutation(len(sizes))
    ends = np.cumsum(sizes[order]) * (total / sizes.sum())
    reached = np.floor(ends + rng.random()).astype(int)
    reached[-1] = total
    found = np.empty_like(wanted)
    found[order] = np.diff(reached, prepend=0)
    return np.minimum(found, sizes)


def describe_shortage(data: PairedDataset, count: LabelCount, splits: Sequence[Split]) -> str:
    """Return how many labels of each class the fits see, if that is fewer than asked for; else nothing.

    Args:
        data: the samples, with all labels that are known.
        count: the number of labels asked for.
        splits: of the fits.
    """
    if not count.per_class or data.task != "single-label":
        return ""
    label, codes = data.label.numpy(), np.unique(data.label.numpy()[data.labelled])
    seen = np.array([[(label[split.learnt] == code).sum() for code in codes] for split in splits])
    short = (seen < count.per_class).any(axis=0)
    if not short.any():
        return ""
    least, most = seen[:, short].min(), seen[:, short].max()
    span = f"{least}" if least == most else f"{least} to {most}"
    which = f"{listing([data.class_names[code] for code in codes[short]], limit=5)} of {len(codes)} classes"
    return (
        f"`labelled` asks for {count} labels. {'Every class has' if short.all() else f'{which} have'} fewer "
        f"outside the test fold, so a fit sees all that there are: {span}."
    )


def _chosen(strata: np.ndarray, group: np.ndarray, count: LabelCount, seed: int) -> np.ndarray:
    """Return the places of the chosen samples: as many of each stratum, and of each group, as its share."""
    sizes = np.bincount(strata)
    wanted = np.minimum(count.per_class, sizes) if count.per_class else _share_of(sizes, count.share, seed)
    per_group = np.ceil(np.bincount(group) * wanted.sum() / len(group)).astype(int)
    order = np.random.default_rng([seed, 0x1ABE1]).permutation(len(strata))
    taken = np.zeros(len(strata), bool)
    left, room = wanted.copy(), per_group.copy()
    for strict in (True, False):  # groups that are full give way to complete strata
        for place in order:
            if not taken[place] and left[strata[place]] > 0 and (room[group[place]] > 0 or not strict):
                taken[place] = True
                left[strata[place]] -= 1
                room[group[place]] -= 1
    return np.flatnonzero(taken)
