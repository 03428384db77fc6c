"""How the threshold between two classes is chosen."""

import re
from dataclasses import dataclass

from mfh._checks import require

RULE = (
    "be `cost:A:B` (what a false positive and a false negative cost), `precision:P` or `recall:R` with a "
    "share in (0, 1], such as cost:1:10 or precision:0.9"
)


@dataclass(frozen=True)
class ThresholdRule:
    """What the probability from which on a sample counts as positive is chosen for.

    Attributes:
        kind: `cost`, `precision` or `recall`.
        target: the wanted precision or recall, in (0, 1]; 0 for costs.
        false_positive, false_negative: what each mistake costs, 0 or more; 1 each by default.

    Example:
        >>> ThresholdRule.of("cost:1:10").false_negative
        10.0
    """

    kind: str
    target: float = 0.0
    false_positive: float = 1.0
    false_negative: float = 1.0

    @classmethod
    def of(cls, text: object) -> "ThresholdRule":
        """Read a rule.

        Raises:
            InputError: the text is no rule.
        """
        number = r"(\d+(?:\.\d*)?|\.\d+)"
        found = re.fullmatch(rf"cost:{number}:{number}", str(text))
        if found and (float(found[1]) > 0 or float(found[2]) > 0):
            return cls("cost", false_positive=float(found[1]), false_negative=float(found[2]))
        found = re.fullmatch(rf"(precision|recall):{number}", str(text))
        require(
            found is not None and 0 < float(found[2]) <= 1, f"`threshold` must {RULE}. Got {text!r} instead."
        )
        assert found is not None  # noqa: S101 - was just required
        return cls(found[1], target=float(found[2]))

    def __str__(self) -> str:
        if self.kind == "cost":
            return f"cost:{self.false_positive:g}:{self.false_negative:g}"
        return f"{self.kind}:{self.target:g}"
