"""A recipe: all that a search chooses about a student. Free of torch, so that reports can read it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

NONE = "none"
"""Name of the teacher of a student that learns from labels alone."""
GIVEN_TEACHER = "given"
"""Name of a teacher that exists, of which nothing is trained."""
RANKED = {"general": "by saliency", "important": "by importance"}
"""How the channels of a focused teacher are ranked: the arm of a study that does the same, and its words."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a student learns from, and how.

    Attributes:
        teacher: `none`, `given` (a teacher that exists), or a name of `mfh.arms.TEACHERS`.
        focus: `general` or `important`: how the channels of the teacher are ranked before the lowest are
            removed; empty where nothing is removed.
        ratio: share of channels that are removed, in [0, 1).
        hard: whether the student learns the teacher's class in place of its probabilities.
        temperature: of the soft labels, above 0.
        label_weight: share of the label in the target of a labelled sample, in [0, 1]; the rest is the
            teacher's output.
        loss: the distillation loss.
        smoothing: label smoothing, in [0, 1), without a teacher.
        weight_decay: 0 or more.
        rate: factor of the learning rate, above 0.
        width: factor of the widths of hidden layers, above 0.

    Example:
        >>> print(Recipe(teacher="stack", temperature=2.0, rate=0.5))
        stack, temperature 2, learning rate x 0.5
        >>> print(Recipe(smoothing=0.1))
        no teacher, smoothing 0.1
    """

    teacher: str = NONE
    focus: str = ""
    ratio: float = 0.0
    hard: bool = False
    temperature: float = 1.0
    label_weight: float = 0.5
    loss: str = "kl"
    smoothing: float = 0.0
    weight_decay: float = 0.0
    rate: float = 1.0
    width: float = 1.0

    @property
    def taught(self) -> bool:
        """Whether there is a teacher."""
        return self.teacher != NONE

    @property
    def source(self) -> str:
        """The name of the teacher, with what is removed from it: `joint`, `joint, general 0.5`."""
        return f"{self.teacher}, {self.focus} {self.ratio:g}" if self.focus else self.teacher

    def __str__(self) -> str:
        """Return the recipe in words; what is as usual is left out."""
        parts = [self.source if self.taught else "no teacher"]
        parts += ["its class"] if self.hard else []
        shown = [
            ("temperature", self.temperature, 1.0),
            ("label weight", self.label_weight, 0.5),
            ("smoothing", self.smoothing, 0.0),
            ("weight decay", self.weight_decay, 0.0),
        ]
        parts += [f"{name} {value:g}" for name, value, usual in shown if value != usual]
        parts += [f"loss {self.loss}"] if self.loss != "kl" else []
        factors = [("learning rate", self.rate), ("width", self.width)]
        return ", ".join(parts + [f"{name} x {value:g}" for name, value in factors if value != 1])

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """The inverse of `to_dict`; other entries are left out."""
        names = {spec.name for spec in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})
