"""The design of a study: which samples each of its fits trains on, chooses by and is tested on."""

from dataclasses import dataclass

import numpy as np

from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.splits import Split, divide, draw_split, require_classes

VALIDATION_OF_REST = 0.25
"""Share of the samples outside the test fold that are for validation: 20% of all at five folds."""


@dataclass(frozen=True)
class Design:
    """How the fits of a study are drawn.

    Attributes:
        kind: `kfold`; `splits`, a random split for each fit; or `fixed`, one split for all fits, which the
            data bring or `fix_split` asks for.
        folds: fits of one repeat; 1 unless the kind is `kfold`.
        repeats: number of repeats.
        first: seed of the first fit; the others follow it.
    """

    kind: str
    folds: int
    repeats: int
    first: int

    @classmethod
    def of(cls, data: PairedDataset, config: StudyConfig, repeats: int | None = None) -> "Design":
        """Return the design of a study.

        Args:
            data: all samples.
            config: the options of the study.
            repeats: another number of repeats than that of the options.
        """
        count = config.num_repeats if repeats is None else repeats
        if data.split is not None or config.fix_split:
            fits = count * config.folds if config.resampling == "kfold" else count
            if repeats is None and config.seeds is not None and config.resampling == "kfold":
                fits = config.seeds
            return cls("fixed", 1, fits, config.seed)
        if config.resampling == "splits":
            return cls("splits", 1, count, config.seed)
        folds = config.folds
        if data.fold is not None:
            folds = len(np.unique(data.fold))
        elif data.group is not None:
            folds = min(folds, len(np.unique(data.group)))
        return cls("kfold", folds, count, config.seed)

    @property
    def seeds(self) -> range:
        """The seeds of all fits."""
        return range(self.first, self.first + self.repeats * self.folds)

    def place(self, seed: int) -> tuple[int, int]:
        """Return the repeat and the fold of a fit."""
        return divmod(seed - self.first, self.folds)

    def draw(self, data: PairedDataset, config: StudyConfig, seed: int) -> Split:
        """Return the split of one fit.

        Raises:
            InputError: a split would lack a class, or there are too few groups.
        """
        if self.kind != "kfold":
            return draw_split(data, config.seed if config.fix_split else seed)
        repeat, fold = self.place(seed)
        test = np.sort(self.deal(data, repeat)[fold])
        rest = np.setdiff1d(np.arange(len(data)), test)
        labels = data.kind.strata(data.label)[rest]
        groups = None if data.group is None else data.group[rest]
        shares = (1 - VALIDATION_OF_REST, VALIDATION_OF_REST)
        kept, held = divide(labels, groups, shares, np.random.default_rng([seed, 0x5EED]))
        split = Split(np.sort(rest[kept]), np.sort(rest[held]), test)
        require_classes(data, split, seed)
        return split

    def deal(self, data: PairedDataset, repeat: int) -> list[np.ndarray]:
        """Return the rows of each fold of a repeat: stratified, with the samples of a group in one fold."""
        if data.fold is not None:
            return [np.flatnonzero(data.fold == name) for name in np.unique(data.fold)]
        rng = np.random.default_rng([self.first, repeat, 0xF01D])
        shares = [1 / self.folds] * self.folds
        return divide(data.kind.strata(data.label), data.group, shares, rng)
