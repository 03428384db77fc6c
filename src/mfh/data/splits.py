"""Training, validation and test splits: stratified by label, without shared groups, drawn by seed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from mfh._checks import InputError, listing, require
from mfh.data.held_out import SHARES
from mfh.data.paired import SPLITS, PairedDataset

VALIDATION_OF_TRAIN = 0.1
LEAST_KNOWN = 0.5
"""Share of the test samples whose class must be in the training split."""
LEAST_OF_PART = 0.5
"""Size of a part, relative to its share, below which rare classes are spread over all parts."""
_TRIES = 100
"""Orders of groups that are tried where the first leaves a class out of a part."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of each split, ascending and disjoint.

    Attributes:
        train: row numbers.
        validation: row numbers.
        test: row numbers.
        redrawn: whether another seed gives other rows.
        labelled: rows of `train` whose labels are seen, where some are not; None where all are.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    redrawn: bool = True
    labelled: np.ndarray | None = None

    @property
    def learnt(self) -> np.ndarray:
        """Rows of `train` whose labels are seen."""
        return self.train if self.labelled is None else self.labelled

    def only(self, kept: Bool[np.ndarray, " sample"]) -> "Split":
        """Return the rows of each split that belong to some samples.

        Args:
            kept: whether each sample of the data set is one of them.
        """
        train, validation, test = (rows[kept[rows]] for rows in (self.train, self.validation, self.test))
        labelled = None if self.labelled is None else self.labelled[kept[self.labelled]]
        return replace(self, train=train, validation=validation, test=test, labelled=labelled)


def draw_split(data: PairedDataset, seed: int, *, shares: Sequence[float] = SHARES) -> Split:
    """Draw a split, or return the split that the data have.

    Without a split in the data, samples are divided by `shares` (training, validation, test), with the same
    proportions for each class (for other tasks each stratum of `Task.strata`). If the data have groups, no
    group is in two splits, and the classes are as evenly divided as the groups allow. A split in the data is
    used as it is; if it has no validation samples, 10% of its training samples (stratified, by group) become
    validation samples.

    Args:
        data: the samples.
        seed: of the draw.
        shares: of training, validation and test.

    Raises:
        InputError: classes are missing in training as `require_classes` says, or there are fewer than three
            groups.
    """
    rng = np.random.default_rng([seed, 0x5EED])
    labels, complete = data.kind.strata(data.label), data.task == "single-label"
    if data.split is None:
        parts = divide(labels, data.group, shares, rng, complete=complete, spread=complete)
        train, validation, test = (np.sort(part) for part in parts)
        split = Split(train, validation, test)
    else:
        rows = {name: np.flatnonzero(data.split == name) for name in SPLITS}
        redrawn = len(rows["validation"]) == 0
        if redrawn:
            train = rows["train"]
            group = None if data.group is None else data.group[train]
            shares = (1 - VALIDATION_OF_TRAIN, VALIDATION_OF_TRAIN)
            kept, held = divide(labels[train], group, shares, rng, complete=complete, spread=complete)
            rows |= {"train": np.sort(train[kept]), "validation": np.sort(train[held])}
        split = Split(rows["train"], rows["validation"], rows["test"], redrawn)
    require_classes(data, split, seed)
    return split


def draw_pairs(data: PairedDataset, seed: int, *, unlabelled: bool = True) -> Split:
    """Return a split of the labelled samples, with unlabelled ones among the training samples.

    Unlabelled samples of the validation or test split, or of a group with samples in one of these, are left
    out. A line of the log counts both.

    Args:
        data: all samples.
        seed: of the draw.
        unlabelled: whether samples without a label are training samples at all.

    Raises:
        InputError: see `draw_split`.
    """
    if data.labelled.all():
        return draw_split(data, seed)
    known, free = np.flatnonzero(data.labelled), ~data.labelled
    # labels, groups and splits are all that a draw reads
    drawn = draw_split(replace(data, modalities={}).rows(known), seed)
    train, validation, test = known[drawn.train], known[drawn.validation], known[drawn.test]
    if data.split is not None:
        free &= data.split == "train"
    if data.group is not None:
        free &= ~np.isin(data.group, data.group[np.concatenate([validation, test])])
    pairs = np.flatnonzero(free) if unlabelled else train[:0]
    logger.info(
        "Unlabelled samples: %d train, %d are left out", len(pairs), len(data) - len(known) - len(pairs)
    )
    return Split(np.union1d(train, pairs), validation, test, drawn.redrawn, labelled=train)


def require_classes(data: PairedDataset, split: Split, seed: int) -> None:
    """Check that a training split teaches something about its test split.

    Metrics leave out classes that a split lacks; `absent_classes` tells which.

    Raises:
        InputError: the training split has samples of one class alone, or of the classes of less than half of
            the test samples.
    """
    if data.task != "single-label":
        return
    label = data.label.numpy()
    learnt = np.unique(label[split.learnt])
    require(
        len(learnt) >= 2,
        f"The training split must have two classes or more (seed {seed}). It has "
        + (f"only {listing(data.class_names[k] for k in learnt)}" if len(learnt) else "no labelled sample")
        + ": give more samples of the others, or a split of your own.",
    )
    known = float(np.isin(label[split.test], learnt).mean())
    require(
        known >= LEAST_KNOWN,
        f"The training split must have samples of most classes. Only {known:.0%} of the test samples (seed "
        f"{seed}) have a class that it has: give more samples of each class, put rare ones together, or name "
        "the task regression if these labels are quantities.",
    )


def absent_classes(data: PairedDataset, split: Split) -> dict[str, list[str]]:
    """Return the names of the classes, or labels, that have no sample in a split, for each such split.

    Classes without any sample in the data do not count, nor do splits without samples.
    """
    label, found = data.label.numpy(), {}
    for name in SPLITS:
        rows = split.learnt if name == "train" else getattr(split, name)
        if data.task == "single-label":
            absent = np.setdiff1d(label[data.labelled], label[rows])
        elif data.task == "multi-label":
            absent = np.flatnonzero(~(label[rows] > 0).any(axis=0))
        else:
            continue
        if len(rows) and len(absent):
            found[name] = [data.class_names[k] for k in absent]
    return found


def divide(
    labels: np.ndarray,
    groups: np.ndarray | None,
    shares: Sequence[float],
    rng: np.random.Generator,
    *,
    complete: bool = False,
    spread: bool = False,
) -> list[np.ndarray]:
    """Divide row numbers into parts of the given shares, stratified by label; groups stay together.

    Args:
        labels: class of each sample.
        groups: group of each sample; None lets every sample be on its own.
        shares: of the parts.
        rng: draws.
        complete: whether another division is looked for if the groups leave a class out of a part that could
            have it.
        spread: whether samples of classes that have fewer than there are parts are spread over all parts, if
            a part would otherwise have less than half of its share; not for groups.

    Raises:
        InputError: there are fewer groups than parts.
    """
    if groups is None:
        parts = _divide_samples(labels, shares, rng)
        sizes = np.array([len(part) for part in parts])
        few = (sizes < LEAST_OF_PART * len(labels) * np.asarray(shares)).any()
        return _divide_samples(labels, shares, rng, spread=True) if few and spread else parts
    count = len(np.unique(groups))
    if count < len(shares):
        raise InputError(
            f"`group` must hold {len(shares)} groups or more, one for each split. Got {count}: "
            "give a split of your own, or leave the groups out."
        )
    return _divide_groups(labels, groups, shares, rng, complete)


def _divide_samples(
    labels: np.ndarray, shares: Sequence[float], rng: np.random.Generator, *, spread: bool = False
) -> list[np.ndarray]:
    parts = [[np.arange(0)] for _ in shares]
    cuts, rare = np.cumsum(shares)[:-1], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if spread and len(rows) < len(shares):
            rare.append(rows)
            continue
        # a class with as many samples as parts is in every part, also where rounding gives 0
        ends = np.round(cuts * len(rows)).astype(int)
        if len(rows) >= len(shares):
            for i in range(len(ends)):
                lowest = (ends[i - 1] if i else 0) + 1
                ends[i] = min(max(ends[i], lowest), len(rows) - (len(ends) - i))
        for part, piece in zip(parts, np.split(rows, ends), strict=True):
            part.append(piece)
    counts = np.zeros(len(shares))
    for number, row in enumerate(np.concatenate(rare) if rare else (), start=1):
        place = int((number * np.asarray(shares) - counts).argmax())  # of the part that lacks most
        parts[place].append(row[None])
        counts[place] += 1
    return [np.concatenate(part) if part else np.zeros(0, int) for part in parts]


def _divide_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    shares: Sequence[float],
    rng: np.random.Generator,
    complete: bool,
) -> list[np.ndarray]:
    names, codes = np.unique(groups, return_inverse=True)
    classes, label_codes = np.unique(labels, return_inverse=True)
    table = np.zeros((len(names), len(classes)))
    np.add.at(table, (codes, label_codes), 1)
    targets = np.outer(shares, table.sum(axis=0))
    # shuffled, then large groups first, so that small ones can even out the shares; the sort is stable
    order = rng.permutation(len(names))
    order = order[np.argsort(-table[order].sum(axis=1), kind="stable")]
    owner = _fill(table, targets, order, np.full(len(names), -1))
    spread = (table > 0).sum(axis=0) >= len(shares)  # classes that could be in every part
    for _ in range(0 if not complete or _covers(table, owner, spread, len(shares)) else _TRIES):
        first = _cover(table, targets, spread, rng.permutation(len(names)))
        if _covers(table, first, spread, len(shares)):
            owner = _fill(table, targets, order, first)
            break
    return [np.flatnonzero(owner[codes] == part) for part in range(len(shares))]


def _covers(table: np.ndarray, owner: np.ndarray, classes: np.ndarray, parts: int) -> bool:
    """Whether every part has a group of each of these classes."""
    return all((table[owner == part][:, classes] > 0).any(axis=0).all() for part in range(parts))


def _cover(table: np.ndarray, targets: np.ndarray, classes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Give every part a group of each class, classes with the fewest groups first.

    Args:
        table: samples (group, class).
        targets: samples that each part should have (part, class).
        classes: which classes, bool.
        order: of the groups; of equally large ones the first is taken.

    Returns:
        The part of each group; -1 for groups that are left.
    """
    owner = np.full(len(table), -1)
    sizes, groups = table.sum(axis=1), (table > 0).sum(axis=0)
    for k in sorted(np.flatnonzero(classes), key=lambda k: groups[k]):
        for part in np.argsort(targets[:, k], kind="stable"):  # the smallest part takes the smallest group
            free = order[(owner[order] < 0) & (table[order, k] > 0)]
            if len(free) and not (table[owner == part, k] > 0).any():
                owner[free[sizes[free].argmin()]] = part
    return owner


def _fill(table: np.ndarray, targets: np.ndarray, order: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Give the groups without a part to the parts that need their classes most; return the part of each.

    Args:
        table: see `_cover`.
        targets: see `_cover`.
        order: in which the groups are given.
        owner: the part of each group, -1 for those without.
    """
    owner = owner.copy()
    filled = np.stack([table[owner == part].sum(axis=0) for part in range(len(targets))])
    order = order[owner[order] < 0]
    for position, g in enumerate(order):
        left = len(order) - position
        empty = [p for p in range(len(targets)) if not filled[p].any()]
        candidates = empty if len(empty) == left else range(len(targets))
        # the part that, with this group, is furthest below its target, as a mean over classes
        costs = [
            (((filled[p] + table[g] - targets[p]) / targets[p].clip(1e-9))[table[g] > 0]).mean()
            for p in candidates
        ]
        owner[g] = candidates[int(np.argmin(costs))]
        filled[owner[g]] += table[g]
    return owner
