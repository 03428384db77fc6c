"""Looks at the declared question of a study: those planned before the first, and exploratory ones.

A study with a fixed number of repeats plans one look. A study that goes on until it is decided plans one look
after each repeat, up to `max_repeats`. The plan is recorded in the folder of the study before the first look,
and the bounds of the looks follow from it; see `mfh.sequential`. A look that is added later, because the
planned ones decided nothing, is exploratory: its interval excludes 0 by chance more often than in 5% of
studies.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from scipy import special

from mfh._checks import InputError
from mfh._study.assemble import assemble
from mfh._study.networks import Networks
from mfh._study.outcome import SeedResult
from mfh._system.files import read_json, write_json
from mfh.arms import BASELINE
from mfh.results import Comparison, Look, StudyResult
from mfh.sequential import bounds, planned_fractions

FILE = "looks.json"
"""File of a study's folder that records which looks were planned."""


@dataclass(frozen=True)
class LookPlan:
    """The looks that were planned before the first one: one after each repeat from `first` to `last`.

    Attributes:
        first: repeats at the first look.
        last: repeats at the last look.

    Example:
        >>> plan = LookPlan(2, 10)
        >>> plan.includes(10), plan.includes(11)
        (True, False)
        >>> plan.bound(11) == plan.bound(10) > 1.96
        True
    """

    first: int
    last: int

    def includes(self, repeats: int) -> bool:
        """Return whether a look after so many repeats was planned."""
        return self.first <= repeats <= self.last

    def fraction(self, repeats: int) -> float:
        """Return the share of the planned repeats that are made, at most 1."""
        return min(repeats, self.last) / self.last

    def bound(self, repeats: int) -> float:
        """Return what |difference / standard error| must exceed at a look; else that of the nearest one."""
        nearest = min(max(repeats, self.first), self.last)
        return _bounds(self.first, self.last)[nearest - self.first]

    def level(self, repeats: int) -> float:
        """Return the coverage of the interval of a look, in (0, 1)."""
        return 0.95 if self.first == self.last else 1 - 2 * float(special.ndtr(-self.bound(repeats)))

    def why_exploratory(self, repeats: int, unit: str = "repeats") -> str:
        """Return why a look is exploratory, in a sentence; empty for a planned one.

        Args:
            repeats: repeats at the look.
            unit: what is counted: `repeats`, or `fits` where each fit is a repeat.
        """
        if self.includes(repeats):
            return ""
        planned = f"after {self.first} to {self.last} {unit}"
        if self.first == self.last:
            planned = f"after {self.last} {unit} only"
        return (
            f"This verdict is exploratory: looks at the data were planned {planned}, and the one after "
            f"{repeats} was added later. Repeat the study with other data to confirm it."
        )


@cache
def _bounds(first: int, last: int) -> list[float]:
    """Return the bounds of all planned looks."""
    return bounds(planned_fractions(last, last, first=first))


def keep_plan(plan: LookPlan, folder: Path | None, *, write: bool = True) -> LookPlan:
    """Return the plan that the folder of a study has recorded; record this one if there is none.

    Args:
        plan: the looks that the options ask for.
        folder: of the study; None where it has none.
        write: whether this process may write.

    Raises:
        InputError: the recorded plan cannot be read.
    """
    if folder is None:
        return plan
    path = folder / FILE
    if path.exists():
        try:
            values = read_json(path)
            return LookPlan(int(values["first"]), int(values["last"]))
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"`{path}` must record which looks at the study were planned, and cannot be read: {error} "
                "Name another folder, or remove this one."
            ) from error
    if write:
        write_json(path, asdict(plan), sealed=True)
    return plan


def take_look(networks: Networks, seeds: Sequence[SeedResult], repeats: int, plan: LookPlan) -> Look:
    """Look at the declared question after some repeats, at the level that the plan gives this look.

    Args:
        networks: the data, options, arms and metrics of the study.
        seeds: what the fits so far gave.
        repeats: how many repeats these are.
        plan: the planned looks.
    """
    level = plan.level(repeats)
    return _look(assemble(networks, networks.config, seeds, elapsed=0.0, level=level), repeats, plan)


def with_looks(
    result: StudyResult, looks: Sequence[Look], repeats: int, plan: LookPlan, unit: str
) -> StudyResult:
    """Return the result of a study with its looks; an exploratory one says so and answers no question.

    Args:
        result: what the fits gave, at the level of the last look.
        looks: the looks so far; none if the number of repeats is fixed.
        repeats: repeats of the result.
        plan: the planned looks.
        unit: see `LookPlan.why_exploratory`.
    """
    why = plan.why_exploratory(repeats, unit)
    if why and not looks:
        looks = [_look(result, repeats, plan)]
    result = replace(result, looks=tuple(looks))
    if not why:
        return result
    verdict = replace(result.verdict, sentence=f"{result.verdict.sentence} {why}")
    rows = tuple(replace(row, shown=None) for row in result.comparisons)
    return replace(result, verdict=verdict, comparisons=rows)


def answers(result: StudyResult) -> bool:
    """Return whether a result has an interval of the gain; one fit has none, so it is no look at the data."""
    gain = _gain(result)
    return gain is not None and gain.low is not None


def _look(result: StudyResult, repeats: int, plan: LookPlan) -> Look:
    """Return what a result says about the first declared question."""
    gain = _gain(result)
    return Look(
        repeats=repeats,
        fraction=plan.fraction(repeats),
        bound=plan.bound(repeats),
        level=plan.level(repeats),
        difference=math.nan if gain is None else gain.difference,
        low=None if gain is None else gain.low,
        high=None if gain is None else gain.high,
        verdict=result.verdict.verdict,
        exploratory=not plan.includes(repeats),
    )


def _gain(result: StudyResult) -> Comparison | None:
    """Return the comparison that answers the first declared question."""
    return next((row for row in result.comparisons if row.question == 1 and row.b == BASELINE), None)
