"""Looks at a study while it grows: bounds that keep the error over all looks at its level.

After each repeat the interval is looked at. Looking often and stopping when it excludes 0 would raise the
error, so each look spends a part of it, given by the information fraction t = SE^2(R -> infinity) / SE^2(R),
which never reaches 1 (Lan and DeMets 1983, doi:10.2307/2336502). The estimates of successive repeats share
the variance that no repeat removes, and average the rest: for R < S, Cov(g_R, g_S) = Var(g_S), the canonical
joint distribution of group-sequential tests, so the bounds follow by numerical integration (Armitage,
McPherson and Rowe 1969). Free of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from mfh._checks import require

GRID = 801
WIDEST = 8.0


def spent(fraction: float, level: float = 0.05) -> float:
    """Return the error that may be spent up to an information fraction, as Pocock's test spends it.

    Args:
        fraction: share of the information, in (0, 1].
        level: two-sided error over all looks.

    Example:
        >>> round(spent(1.0), 3), spent(0.3) < spent(0.6)
        (0.05, True)
    """
    return float(level * np.log1p((np.e - 1) * min(fraction, 1.0)))


def bounds(fractions: Sequence[float], level: float = 0.05) -> list[float]:
    """Return for each look the bound that |estimate / standard error| must exceed.

    Args:
        fractions: information fraction of each look, rising, in (0, 1].
        level: two-sided error over all looks.

    Example:
        >>> [round(bound, 2) for bound in bounds([1.0])]
        [1.96]
        >>> first, second = bounds([0.5, 1.0])
        >>> 1.96 < first and 1.96 < second
        True
    """
    fractions = [float(t) for t in fractions]
    require(
        all(0 < t <= 1 for t in fractions)
        and all(later >= earlier for earlier, later in pairwise(fractions)),
        f"`fractions` must rise and lie in (0, 1]. Got {fractions}.",
    )
    found: list[float] = []
    walk = _Walk(np.zeros(1), np.ones(1), 0.0)
    used = 0.0
    for fraction in fractions:
        target = spent(fraction, level) - used
        low, high = 0.0, WIDEST
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if walk.crossing(fraction, middle) > target else (low, middle)
        found.append(high)
        used += walk.crossing(fraction, high)
        walk = walk.advance(fraction, high)
    return found


@dataclass(frozen=True, eq=False)
class _Walk:
    """The density of sqrt(t) z for studies that have crossed no bound yet, with independent increments.

    Attributes:
        grid: values.
        mass: probability near each.
        time: the information fraction t.
    """

    grid: np.ndarray
    mass: np.ndarray
    time: float

    def crossing(self, time: float, bound: float) -> float:
        """Return the probability that |z| exceeds a bound at a later time, and did not before."""
        edge, step = bound * np.sqrt(time), self._step(time)
        outside = special.ndtr((self.grid - edge) / step) + special.ndtr((-edge - self.grid) / step)
        return float(self.mass @ outside)

    def advance(self, time: float, bound: float) -> "_Walk":
        """Return the density at a later time within a bound."""
        edge, step = bound * np.sqrt(time), self._step(time)
        grid = np.linspace(-edge, edge, GRID)
        kernel = np.exp(-0.5 * ((grid[:, None] - self.grid[None, :]) / step) ** 2)
        width = np.full(GRID, grid[1] - grid[0])
        width[[0, -1]] /= 2
        return _Walk(grid, kernel @ self.mass * width / (step * np.sqrt(2 * np.pi)), time)

    def _step(self, time: float) -> float:
        return float(np.sqrt(max(time - self.time, 1e-12)))
