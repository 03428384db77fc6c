"""Looks at a study that goes on until it is decided; see `mfh.sequential`."""

import math
from collections.abc import Sequence

from scipy import special

from mfh._study.assemble import assemble
from mfh._study.networks import Networks
from mfh._study.outcome import SeedResult
from mfh.arms import BASELINE
from mfh.config import StudyConfig
from mfh.results import Comparison, Look, StudyResult
from mfh.sequential import bounds


def take_look(
    networks: Networks,
    config: StudyConfig,
    seeds: Sequence[SeedResult],
    repeats: int,
    before: Sequence[Look],
) -> Look:
    """Look at the declared question after some repeats, at the level that the bound of this look leaves.

    Args:
        networks: the data, arms and metrics of the study.
        config: its options.
        seeds: what the fits so far gave.
        repeats: how many repeats these are.
        before: the earlier looks.
    """
    plain = _gain(assemble(networks, config, seeds, elapsed=0.0))
    fraction = _fraction(plain)
    if before:
        fraction = max(fraction, before[-1].fraction)
    bound = bounds([*(look.fraction for look in before), fraction])[-1]
    level = 1 - 2 * float(special.ndtr(-bound))
    result = assemble(networks, config, seeds, elapsed=0.0, level=level)
    gain = _gain(result)
    return Look(
        repeats=repeats,
        fraction=fraction,
        bound=bound,
        level=level,
        difference=math.nan if gain is None else gain.difference,
        low=None if gain is None else gain.low,
        high=None if gain is None else gain.high,
        verdict=result.verdict.verdict,
    )


def _gain(result: StudyResult) -> Comparison | None:
    """Return the comparison that answers the first declared question."""
    return next((row for row in result.comparisons if row.question == 1 and row.b == BASELINE), None)


def _fraction(gain: Comparison | None) -> float:
    """Return the share of the information that no repeat could add to; 1 without components."""
    if gain is None or gain.components is None:
        return 1.0
    return min(max(1 - gain.components["more_repeats"], 1e-3), 1.0)
