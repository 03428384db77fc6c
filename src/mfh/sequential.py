"""Looks at a study while it grows: bounds that keep the error over all looks at its level.

After each repeat the interval is looked at. Looking often and stopping when it excludes 0 would raise the
error, so each look may spend a part of it only (Lan and DeMets 1983, doi:10.2307/2336502). The part is fixed
before the first look: after R of at most M repeats, the share R / M of the information is taken as known.

The estimates after R < S repeats share the variance A that no repeat removes, and average the rest:
Var(g_R) = A + B/R and Cov(g_R, g_S) = Var(g_S), the joint distribution of group-sequential tests, so the
bounds follow by numerical integration (Armitage, McPherson and Rowe 1969). R / M is the information fraction
if A = 0. If A > 0 successive looks are more alike, and the error is smaller than planned. Fractions that are
estimated from the components of variance would be larger and decide earlier, but they jump from look to look,
and a fraction that was too large once leaves nothing for later looks: docs/intervals.md has the simulation.
Free of torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from mfh._checks import require

GRID = 401
"""Smallest number of points of the grid of an integral."""
WIDEST = 8.0
"""Largest bound that is looked for."""
LEAST = 1e-4
"""Smallest step between two information fractions; a look after less may spend nothing."""


def planned_fractions(repeats: int, most: int, *, first: int = 1) -> list[float]:
    """Return the information fractions of looks after each repeat, as planned before the first.

    Args:
        repeats: repeats at the last of these looks.
        most: repeats after which the study stops in any case.
        first: repeats at the first look.

    Example:
        >>> planned_fractions(4, 8, first=2)
        [0.25, 0.375, 0.5]
    """
    require(
        1 <= first <= repeats <= most,
        f"`first`, `repeats` and `most` must rise and be 1 or more. Got {first}, {repeats} and {most}.",
    )
    return [count / most for count in range(first, repeats + 1)]


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

    A look that brings no new information may spend nothing: its bound is infinite. The bounds of the first
    looks do not depend on later ones.

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
        if fraction - walk.time < LEAST:
            found.append(math.inf)
            continue
        low, high = 0.0, WIDEST
        for _ in range(40):
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
        count = max(GRID, 2 * math.ceil(8 * edge / step) + 1)
        grid = np.linspace(-edge, edge, count)
        kernel = np.exp(-0.5 * ((grid[:, None] - self.grid[None, :]) / step) ** 2)
        width = np.full(count, grid[1] - grid[0])
        width[[0, -1]] /= 2
        return _Walk(grid, kernel @ self.mass * width / (step * np.sqrt(2 * np.pi)), time)

    def _step(self, time: float) -> float:
        return math.sqrt(time - self.time)
