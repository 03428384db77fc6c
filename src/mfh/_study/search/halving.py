"""Successive halving over folds: many recipes are judged on one fold, the better half on the next, and so on.

A recipe that is judged on all folds costs as many students as there are folds; most recipes cost one or two.
Jamieson and Talwalkar (2016) describe successive halving; here the resource is the number of folds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mfh._study.search.clock import Clock
from mfh.recipe import Recipe

KEPT = 2
"""One in this number of recipes goes on to the next fold."""
ROUND = 16
"""Recipes that a round begins with, if the budget allows."""
Merit = tuple[float, float]
"""The metric, larger is better, then minus the label loss."""
Draw = Callable[[int], Sequence[Recipe]]
"""Returns this number of recipes to try."""


@dataclass(eq=False)
class Tried:
    """A recipe and what is known of it.

    Attributes:
        recipe: the recipe.
        fixed: whether it was tried by design, not drawn.
        merits: by fold, in their order.
        outputs: by fold, the outputs of its student for the held-out samples.
    """

    recipe: Recipe
    fixed: bool = False
    merits: list[Merit] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    @property
    def merit(self) -> Merit:
        """The mean over the folds so far."""
        count = len(self.merits)
        return sum(m for m, _ in self.merits) / count, sum(loss for _, loss in self.merits) / count


Judge = Callable[[Sequence[Recipe], int], Sequence[tuple[Merit, Tensor]]]
"""Trains a student of each recipe without a fold; returns merit and outputs on that fold."""


def search(
    draw: Draw,
    judge: Judge,
    *,
    fixed: Sequence[Recipe],
    folds: int,
    budget: int | None,
    clock: Clock | None = None,
    kept: int = KEPT,
    learn: Callable[[Tried], None] = lambda _: None,
) -> list[Tried]:
    """Judge recipes until the budget is spent; return all, those of the fixed list first.

    Args:
        draw: gives the recipes of a round.
        judge: trains and judges.
        fixed: recipes that are judged on all folds, whatever the budget.
        folds: number of folds.
        budget: most students to train, those of the fixed recipes included; None for no such number.
        clock: says how many students the time still allows; None for no limit. No round begins after the time
            is over, and a round is no larger than the time allows, but for its smallest size.
        kept: one in this number of recipes goes on to the next fold; 1 judges all recipes on all folds.
        learn: is told of each drawn recipe when its round is over.
    """
    tried = [Tried(recipe, fixed=True) for recipe in fixed]
    for fold in range(folds if tried else 0):
        _judge(tried, judge, fold)
    clock = clock or Clock(None)
    assert budget is not None or clock.until is not None  # noqa: S101 - else it would never end
    spent = folds * len(tried)
    while (left := math.inf if budget is None else budget - spent) >= folds:
        if not (in_time := clock.allows(spent)):
            break
        most = min(left, max(in_time, folds))
        size = next(n for n in range(ROUND, 0, -1) if round_cost(n, folds, kept) <= most)
        found = [Tried(recipe) for recipe in draw(size)]
        going = found
        for fold in range(folds):
            _judge(going, judge, fold)
            spent += len(going)
            going = sorted(going, key=lambda one: one.merit, reverse=True)[: go_on(len(going), kept)]
        for one in found:
            learn(one)
        tried += found
    return tried


def go_on(count: int, kept: int = KEPT) -> int:
    """Return how many of some recipes go on to the next fold: one at least."""
    return max(1, count // kept)


def round_cost(count: int, folds: int, kept: int = KEPT) -> int:
    """Return the students of a round that begins with this number of recipes.

    >>> round_cost(16, 4)
    30
    """
    cost = 0
    for _ in range(folds):
        cost += count
        count = go_on(count, kept)
    return cost


def _judge(tried: Sequence[Tried], judge: Judge, fold: int) -> None:
    for one, (merit, outputs) in zip(tried, judge([t.recipe for t in tried], fold), strict=True):
        one.merits.append(merit)
        one.outputs.append(outputs)
