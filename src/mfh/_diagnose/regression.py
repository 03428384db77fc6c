"""Predict the teacher's logits from modality b: a ridge regression across folds that shrinks little.

gamma_hat is a covariance of the prediction. Noise in the prediction does not bias it, but shrinkage does:
half the slope gives half the gamma. So cross-validation takes the smallest of all penalties that predict
about equally well (within one standard error of the best); the usual rule takes the largest. If there are few
components, they are not penalised.

Targets are one table, (sample, output), or one table for each fold, (fold, sample, output). In the second
case table f has the outputs of the teacher of fold f for all samples, and is used to predict fold f alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from mfh._diagnose.basis import Basis

PENALTIES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
SAMPLES_PER_COMPONENT = 3


@dataclass(frozen=True)
class Choice:
    """The choice of cross-validation for one fold.

    Attributes:
        kernel: index of the kernel; None for the linear columns alone.
        penalty: ridge penalty.
    """

    kernel: int | None
    penalty: float


class Regression:
    """Ridge regression on a basis, fitted on all folds but one to predict that one.

    Args:
        basis: columns of modality b.
        folds: fold of each sample, 0 ... F - 1, three folds or more. Each group must be within one fold.
    """

    def __init__(self, basis: Basis, folds: Int[np.ndarray, " sample"]) -> None:
        self.folds = folds
        self.num_folds = int(folds.max()) + 1
        self.rows = [np.flatnonzero(folds == fold) for fold in range(self.num_folds)]
        ones = np.ones((len(folds), 1))
        linear = basis.linear / max(float(np.sqrt((basis.linear**2).sum(axis=1).mean())), 1e-12)
        fitted = len(folds) * (self.num_folds - 1) / self.num_folds
        self.free = basis.linear.shape[1] * SAMPLES_PER_COMPONENT <= fitted
        self._designs = [np.hstack([ones, linear])]
        self._designs += [np.hstack([ones, linear, kernel]) for kernel in basis.kernels]
        self._num_linear = linear.shape[1]

    def choose(self, targets: Float[np.ndarray, "*fold sample output"]) -> list[Choice]:
        """Choose kernel and penalty for each fold by cross-validation over the other folds."""
        errors: dict[tuple[int, float], np.ndarray] = {}
        tables = targets.reshape(-1, *targets.shape[-2:])
        for design in range(len(self._designs)):
            grams = self._grams(design, tables)
            for penalty in PENALTIES if design or not self.free else PENALTIES[:1]:
                errors[design, penalty] = self._pair_errors(design, grams, tables, penalty)
        return [self._choose_one(errors, fold) for fold in range(self.num_folds)]

    def _pair_errors(
        self, design: int, grams: tuple[np.ndarray, np.ndarray], tables: np.ndarray, penalty: float
    ) -> np.ndarray:
        """Return squared errors, (fold, sample), of fits without the sample's own fold and that fold."""
        errors = np.full((self.num_folds, tables.shape[1]), np.nan)
        for a in range(self.num_folds):
            for b in range(a):
                slopes = self._solve(grams, (a, b), penalty)
                for outer, inner in ((a, b), (b, a)):
                    rows, table = self.rows[inner], outer % len(tables)
                    gap = self._designs[design][rows] @ slopes[table] - tables[table][rows]
                    errors[outer, rows] = (gap**2).sum(axis=1)
        return errors

    def _choose_one(self, errors: dict[tuple[int, float], np.ndarray], fold: int) -> Choice:
        others = self.folds != fold
        of_fold = {key: values[fold, others] for key, values in errors.items()}
        best = {
            design: min((k for k in of_fold if k[0] == design), key=lambda k: of_fold[k].mean())
            for design in range(len(self._designs))
        }
        design = min(best, key=lambda d: float(of_fold[best[d]].mean()))
        if design and not _worse(of_fold[best[0]], of_fold[best[design]]):
            design = 0  # no kernel without clear gain
        least = of_fold[best[design]]
        bound = least.mean() + least.std() / np.sqrt(len(least))
        enough = [key[1] for key, values in of_fold.items() if key[0] == design and values.mean() <= bound]
        return Choice(design - 1 if design else None, min(enough))

    def predict(
        self,
        targets: Float[np.ndarray, "*fold sample output"],
        choices: Sequence[Choice],
        weights: Float[np.ndarray, " sample"] | None = None,
    ) -> Float[np.ndarray, "sample output"]:
        """Predict each sample by the regression on the other folds; `weights` are counts of the samples."""
        tables = targets.reshape(-1, *targets.shape[-2:])
        predictions = np.empty(tables.shape[1:])
        for design in {choice.kernel for choice in choices}:
            number = 0 if design is None else design + 1
            grams = self._grams(number, tables, weights)
            for fold, choice in enumerate(choices):
                if choice.kernel == design:
                    table = fold % len(tables)
                    mine = grams[0], grams[1][table : table + 1]
                    slopes = self._solve(mine, (fold,), choice.penalty)[0]
                    rows = self.rows[fold]
                    predictions[rows] = self._designs[number][rows] @ slopes
        return predictions

    def _grams(
        self, design: int, tables: np.ndarray, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the products of the columns with themselves and with each table of targets, per fold."""
        columns = self._designs[design]
        if weights is None:
            own = self._own_grams[design]
        else:
            own = np.stack([(columns[r] * weights[r, None]).T @ columns[r] for r in self.rows])
            tables = tables * weights[:, None]
        return own, np.stack([[columns[r].T @ table[r] for r in self.rows] for table in tables])

    @cached_property
    def _own_grams(self) -> list[np.ndarray]:
        return [np.stack([x[rows].T @ x[rows] for rows in self.rows]) for x in self._designs]

    def _solve(
        self, grams: tuple[np.ndarray, np.ndarray], without: tuple[int, ...], penalty: float
    ) -> Float[np.ndarray, "table column output"]:
        used = [fold for fold in range(self.num_folds) if fold not in without]
        own, cross = grams[0][used].sum(axis=0), grams[1][:, used].sum(axis=1)
        count = own[0, 0]
        sizes = np.full(len(own), penalty * count)
        sizes[0] = 0.0
        if self.free:
            sizes[1 : 1 + self._num_linear] = 0.0
        # a tiny penalty keeps the system solvable if columns are sums of others
        sizes += 1e-9 * count
        side_by_side = np.concatenate(list(cross), axis=1)
        slopes = np.linalg.solve(own + np.diag(sizes), side_by_side)
        return np.stack(np.split(slopes, len(cross), axis=1))


def _worse(errors: np.ndarray, than: np.ndarray) -> bool:
    """Return whether errors exceed others of the same samples by more than two standard errors."""
    gap = errors - than
    return bool(gap.mean() > 2 * gap.std() / np.sqrt(len(gap)))
