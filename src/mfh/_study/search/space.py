"""The recipes that a search may try, and how they are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mfh._study.few.budget import is_large, members
from mfh._study.given import recipe_name
from mfh._study.networks import Networks
from mfh.arms import STACK
from mfh.recipe import GIVEN_TEACHER, NONE, Recipe

FIXED = Recipe(teacher=STACK)
"""The taught recipe that is always judged, and that the arm `stack` has."""
TEACHERS = (STACK, STACK, "fused", "joint", "regular", GIVEN_TEACHER, "self")
"""Teachers that are drawn, of those that there are; the stack twice as often as another one."""
LARGE_TEACHERS = (STACK, "fused", GIVEN_TEACHER)
"""The same for large networks."""
FOCUSED_SHARE = 0.5
"""Share of the recipes of a teacher whose channels can be ranked in which some are removed."""
HARD_SHARE = 0.15
"""Share of the taught recipes in which the student learns a class."""
TEMPERATURES = (1.0, 1.0, 2.0, 4.0)
LABEL_WEIGHTS = (0.0, 0.25, 0.5, 0.5, 0.75, 0.9)
SMOOTHINGS = (0.0, 0.1, 0.2, 0.3)
WEIGHT_DECAYS = (0.0, 0.003, 0.01, 0.03)
RATES = (0.5, 1.0, 2.0)
WIDTHS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Space:
    """The values that recipes are drawn from.

    Attributes:
        options: field of a recipe -> values; values that stand there twice are drawn twice as often.
        ratios: shares of channels that a focused teacher may lose.
        source: the teacher whose channels are ranked.
        softens: whether outputs can be softer or harder; they cannot where they are numbers.
    """

    options: Mapping[str, Sequence[Any]]
    ratios: Sequence[float]
    source: str
    softens: bool

    @classmethod
    def of(cls, networks: Networks) -> "Space":
        """Return the space for some networks: smaller for large ones, which are trained one by one."""
        large, kind = is_large(networks), networks.data.kind
        own, config = networks.student is not None, networks.config
        known = (STACK, "self", *(recipe_name(config, name) for name in members(networks)))
        tried = LARGE_TEACHERS if large else TEACHERS
        options = {
            "teacher": tuple(name for name in tried if name in known),
            "temperature": TEMPERATURES if kind.softens else (1.0,),
            "label_weight": LABEL_WEIGHTS,
            "loss": tuple(networks.losses),
            "smoothing": SMOOTHINGS if kind.smooths else (0.0,),
            "weight_decay": (config.weight_decay,) if large else WEIGHT_DECAYS,
            "rate": (1.0,) if large else RATES,
            "width": (1.0,) if own else WIDTHS,
        }
        ratios = () if large or config.teacher_logits else tuple(r for r in config.ratio if r)
        return cls(options, ratios, recipe_name(config, config.teacher_source), kind.softens)

    def draw(self, count: int, rng: np.random.Generator, *, taught: bool) -> list[Recipe]:
        """Return recipes, drawn independently of each other.

        Args:
            count: how many.
            rng: what they are drawn with.
            taught: whether they have teachers.
        """
        return [self._taught(rng) if taught else self._untaught(rng) for _ in range(count)]

    def _untaught(self, rng: np.random.Generator) -> Recipe:
        names = ("smoothing", "weight_decay", "rate", "width")
        return Recipe(teacher=NONE, **{name: self._value(name, rng) for name in names})

    def _taught(self, rng: np.random.Generator) -> Recipe:
        names = ("teacher", "temperature", "label_weight", "loss", "weight_decay", "rate", "width")
        recipe = Recipe(**{name: self._value(name, rng) for name in names})
        if self.softens and rng.random() < HARD_SHARE:
            recipe = replace(recipe, hard=True, temperature=1.0, loss="kl")
        if recipe.teacher == self.source and self.ratios and rng.random() < FOCUSED_SHARE:
            focus = ("general", "important")[int(rng.integers(2))]
            recipe = replace(recipe, focus=focus, ratio=self.ratios[int(rng.integers(len(self.ratios)))])
        return recipe

    def _value(self, name: str, rng: np.random.Generator) -> Any:
        values = self.options[name]
        return values[int(rng.integers(len(values)))]
