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
from mfh.sequential import bounds, planned_fractions


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
    first = before[0].repeats if before else repeats
    fractions = planned_fractions(repeats, max(repeats, config.max_repeats), first=first)
    bound = bounds(fractions)[-1]
    level = 1 - 2 * float(special.ndtr(-bound))
    result = assemble(networks, config, seeds, elapsed=0.0, level=level)
    gain = _gain(result)
    return Look(
        repeats=repeats,
        fraction=fractions[-1],
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
