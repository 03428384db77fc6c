"""The design of a study: which samples each of its fits trains on, chooses by and is tested on."""

from dataclasses import dataclass, replace

import numpy as np

from mfh._checks import require
from mfh._study.few.labels import draw_labelled
from mfh.config import LabelCount, StudyConfig
from mfh.data.paired import SPLITS, PairedDataset
from mfh.data.selection import complete_rows
from mfh.data.splits import Split, divide, draw_split, require_classes
from mfh.results import ALL_SAMPLES, fit_words

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
        tested = testable(data, config)
        if data.split is not None or config.fix_split:
            fits = count * config.folds if config.resampling == "kfold" else count
            if repeats is None and config.seeds is not None and config.resampling == "kfold":
                fits = config.seeds
            return cls("fixed", 1, fits, config.seed)
        if config.resampling == "splits":
            return cls("splits", 1, count, config.seed)
        folds = config.folds
        if data.fold is not None:
            folds = len(np.unique(data.fold[tested]))
        elif data.group is not None:
            folds = min(folds, len(np.unique(data.group[tested])))
        return cls("kfold", folds, count, config.seed)

    @property
    def seeds(self) -> range:
        """The seeds of all fits."""
        return range(self.first, self.first + self.repeats * self.folds)

    def require_labels(self, data: PairedDataset, config: StudyConfig) -> list[Split]:
        """Check before any training that the fits can be drawn: the first one, with few labels a repeat.

        Args:
            data: all samples.
            config: the options of the study.

        Returns:
            The splits that were drawn for this; that of the first fit comes first.

        Raises:
            InputError: labelled samples are fewer than two for each fold, or of one group, or a fit cannot be
                drawn (see `draw`).
        """
        few, tested = bool(config.labelled) or not data.labelled.all(), testable(data, config)
        if few and self.kind == "kfold" and data.fold is None:
            groups = 2 if data.group is None else len(np.unique(data.group[tested]))
            require(
                groups > 1,
                "`group` must have two groups or more with labels, because all samples of a group are in one "
                f"fold. Labelled samples are of {groups} group alone: label samples of other groups, or name "
                "no groups if samples do not depend on each other.",
            )
            found = f"{self.folds} folds and {len(tested)} labelled samples"
            fewer = f", or fewer folds (`--folds {len(tested) // 2}`)" if len(tested) >= 4 else ""
            require(
                len(tested) >= 2 * self.folds,
                f"`folds` must leave two labelled samples or more to test in each fold. Got {found}: give "
                f"more labels{fewer}.",
            )
        return [self.draw(data, config, seed) for seed in self.seeds[: self.folds if few else 1]]

    def place(self, seed: int) -> tuple[int, int]:
        """Return the repeat and the fold of a fit."""
        return divmod(seed - self.first, self.folds)

    def draw(self, data: PairedDataset, config: StudyConfig, seed: int) -> Split:
        """Return the split of one fit; `ALL_SAMPLES` holds out none, and hides the labels of the first fit.

        Samples without the student's modality are training or validation samples, of teachers.

        Raises:
            InputError: classes are missing in training (see `require_classes`), or there are too few groups.
        """
        tested = testable(data, config)
        if seed == ALL_SAMPLES:
            shown = data.labelled.nonzero()[0]
            shown = self.draw(data, config, self.first).learnt if config.labelled else shown
            rows = np.union1d(complete_rows(data, _sides(config)), shown)
            return Split(rows, rows[:0], np.intersect1d(shown, tested), redrawn=False, labelled=shown)
        if config.searches or config.labelled or not data.labelled.all():
            return self._draw_few(data, tested, config, seed)
        # labels, groups and folds are all that a draw reads
        part = data if len(tested) == len(data) else replace(data, modalities={}).rows(tested)
        if self.kind == "kfold":
            split = self.draw_fold(part, seed)
        else:
            split = draw_split(part, config.seed if config.fix_split else seed)
        return split if part is data else self._with_others(data, tested, split)

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

    def _draw_few(self, data: PairedDataset, tested: np.ndarray, config: StudyConfig, seed: int) -> Split:
        """Return a split where labels are missing: test samples, pairs of the training pool, visible labels.

        Test samples have labels. The pool is all other pairs, but for those of the test samples' groups, and
        the samples with a visible label that lack a modality.
        """
        if self.kind == "kfold":
            repeat, fold = self.place(seed)
            test = np.sort(self.deal(data, repeat, tested)[fold])
        else:
            require(
                data.split is None or bool((data.split[tested] == "test").any()),
                "`split` must name labelled samples for testing. None of the test samples has a label.",
            )
            drawn = draw_split(
                replace(data, modalities={}).rows(tested), config.seed if config.fix_split else seed
            )
            test = tested[drawn.test]
        rest = np.setdiff1d(np.arange(len(data)), test)
        rest = rest[self._may_train(data, tested, test)[rest]]
        count = LabelCount.of(config.labelled[0]) if config.labelled else None
        labelled = draw_labelled(data, rest, count, seed)
        rest = np.union1d(np.intersect1d(rest, complete_rows(data, _sides(config))), labelled)
        return Split(rest, rest[:0], test, labelled=labelled)

    def deal(self, data: PairedDataset, repeat: int, known: np.ndarray | None = None) -> list[np.ndarray]:
        """Return the rows of each fold of a repeat: stratified, with the samples of a group in one fold.

        Args:
            data: all samples.
            repeat: number of the repeat.
            known: rows that can be tested; by default those that have a label. Others are in no fold.
        """
        known = np.flatnonzero(data.labelled) if known is None else known
        if data.fold is not None:
            return [known[data.fold[known] == name] for name in np.unique(data.fold[known])]
        rng = np.random.default_rng([self.first, repeat, 0xF01D])
        shares = [1 / self.folds] * self.folds
        group = None if data.group is None else data.group[known]
        strata = data.kind.strata(data.label[known])
        parts = divide(strata, group, shares, rng, spread=data.task == "single-label")
        return [known[rows] for rows in parts]

    def _may_train(self, data: PairedDataset, tested: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return whether each sample may be trained on, bool: no test sample is in its split or group.

        Args:
            data: all samples.
            tested: rows that can be tested.
            test: rows of the test split.
        """
        free = np.ones(len(data), dtype=bool)
        if data.split is not None:
            free &= data.split != "test"
        if data.group is not None:
            free &= ~np.isin(data.group, data.group[test])
        if data.fold is not None and self.kind == "kfold":
            lone = data.labelled.copy()
            lone[tested] = False
            free &= ~(lone & np.isin(data.fold, data.fold[test]))
        free[test] = False
        return free

    def _with_others(self, data: PairedDataset, tested: np.ndarray, split: Split) -> Split:
        """Add the samples without the student's modality to a split of those that can be tested.

        They train, unless the data's own split or their group says that they validate.

        Args:
            data: all samples.
            tested: rows that can be tested.
            split: of these rows.
        """
        train, validation, test = (tested[getattr(split, name)] for name in SPLITS)
        others = np.setdiff1d(np.flatnonzero(self._may_train(data, tested, test)), tested)
        held = np.zeros(len(others), dtype=bool)
        if data.split is not None:
            held = data.split[others] == "validation"
        elif data.group is not None:
            held = np.isin(data.group[others], data.group[validation])
        train, validation = np.union1d(train, others[~held]), np.union1d(validation, others[held])
        return replace(split, train=train, validation=validation, test=test)


def _sides(config: StudyConfig) -> list[str]:
    return [str(name) for name in (config.teacher, config.student) if name is not None]


def testable(data: PairedDataset, config: StudyConfig) -> np.ndarray:
    """Return the rows of the samples that can be tested: they have a label and the student's modality."""
    there = data.labelled if config.student is None else data.labelled & data.present(config.student)
    return np.flatnonzero(there)


def require_pairs(both: np.ndarray, split: Split, seed: int) -> None:
    """Check that every split has complete pairs.

    Args:
        both: whether each sample has both modalities.
        split: of a fit.
        seed: of this fit, for the message.

    Raises:
        InputError: a split has none.
    """
    for name in SPLITS:
        rows = split.learnt if name == "train" else getattr(split, name)
        require(
            not len(rows) or bool(both[rows].any()),
            f"Every split needs labelled samples that have both modalities. The {name} split of "
            f"{fit_words(seed)} has none: give more complete pairs, or a split of your own.",
        )
