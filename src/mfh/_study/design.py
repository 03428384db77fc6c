"""The design of a study: which samples each of its fits trains on, chooses by and is tested on."""

from dataclasses import dataclass

import numpy as np

from mfh._checks import require
from mfh._study.few.labels import draw_labelled
from mfh._study.outcome import ALL_SAMPLES
from mfh.config import LabelCount, StudyConfig
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
            folds = len(np.unique(data.fold[data.labelled]))
        elif data.group is not None:
            folds = min(folds, len(np.unique(data.group[data.labelled])))
        return cls("kfold", folds, count, config.seed)

    @property
    def seeds(self) -> range:
        """The seeds of all fits."""
        return range(self.first, self.first + self.repeats * self.folds)

    def place(self, seed: int) -> tuple[int, int]:
        """Return the repeat and the fold of a fit."""
        return divmod(seed - self.first, self.folds)

    def draw(self, data: PairedDataset, config: StudyConfig, seed: int) -> Split:
        """Return the split of one fit; `ALL_SAMPLES` holds out none, and hides the labels of the first fit.

        Raises:
            InputError: classes are missing in training (see `require_classes`), or there are too few groups.
        """
        if seed == ALL_SAMPLES:
            rows = np.arange(len(data))
            shown = self.draw(data, config, self.first).learnt if config.labelled else rows[data.labelled]
            return Split(rows, rows[:0], shown, redrawn=False, labelled=shown)
        if config.searches or config.labelled or not data.labelled.all():
            return self._draw_few(data, config, seed)
        if self.kind != "kfold":
            return draw_split(data, config.seed if config.fix_split else seed)
        return self.draw_fold(data, seed)

    def draw_fold(self, data: PairedDataset, seed: int) -> Split:
        """Return the split of one fit: one fold is tested, and a quarter of the rest validates.

        Raises:
            InputError: classes are missing in training (see `require_classes`), or there are too few groups.
        """
        repeat, fold = self.place(seed)
        test = np.sort(self.deal(data, repeat)[fold])
        rest = np.setdiff1d(np.arange(len(data)), test)
        labels = data.kind.strata(data.label)[rest]
        groups = None if data.group is None else data.group[rest]
        shares = (1 - VALIDATION_OF_REST, VALIDATION_OF_REST)
        rng = np.random.default_rng([seed, 0x5EED])
        kept, held = divide(labels, groups, shares, rng, spread=data.task == "single-label")
        split = Split(np.sort(rest[kept]), np.sort(rest[held]), test)
        require_classes(data, split, seed)
        return split

    def _draw_few(self, data: PairedDataset, config: StudyConfig, seed: int) -> Split:
        """Return a split where labels are missing: test samples, pairs of the training pool, visible labels.

        Test samples have labels. The pool is all other pairs, but for those of the test samples' groups.
        """
        if self.kind == "kfold":
            repeat, fold = self.place(seed)
            test = np.sort(self.deal(data, repeat)[fold])
        else:
            known = np.flatnonzero(data.labelled)
            require(
                data.split is None or bool((data.split[known] == "test").any()),
                "`split` must name labelled samples for testing. None of the test samples has a label.",
            )
            drawn = draw_split(data.rows(known), config.seed if config.fix_split else seed)
            test = known[drawn.test]
        rest = np.setdiff1d(np.arange(len(data)), test)
        if data.split is not None:
            rest = rest[data.split[rest] != "test"]
        if data.group is not None:
            rest = rest[~np.isin(data.group[rest], data.group[test])]
        count = LabelCount.of(config.labelled[0]) if config.labelled else None
        return Split(rest, rest[:0], test, labelled=draw_labelled(data, rest, count, seed))

    def deal(self, data: PairedDataset, repeat: int) -> list[np.ndarray]:
        """Return the rows of each fold of a repeat: stratified, with the samples of a group in one fold.

        Samples without a label are in none.
        """
        known = np.flatnonzero(data.labelled)
        if data.fold is not None:
            return [known[data.fold[known] == name] for name in np.unique(data.fold[known])]
        rng = np.random.default_rng([self.first, repeat, 0xF01D])
        shares = [1 / self.folds] * self.folds
        group = None if data.group is None else data.group[known]
        strata = data.kind.strata(data.label[known])
        parts = divide(strata, group, shares, rng, spread=data.task == "single-label")
        return [known[rows] for rows in parts]
