"""How many labels a study leaves visible."""

import re
from dataclasses import dataclass

from mfh._checks import require


@dataclass(frozen=True)
class LabelCount:
    """A number of labels: a share of the labelled samples outside the test fold, or a number for each class.

    Attributes:
        share: in (0, 1]; 0 if the number is for each class.
        per_class: 1 or more; 0 if the number is a share.

    Example:
        >>> LabelCount.of("20/class"), LabelCount.of(0.1)
        (LabelCount(share=0.0, per_class=20), LabelCount(share=0.1, per_class=0))
    """

    share: float = 0.0
    per_class: int = 0

    @classmethod
    def of(cls, value: object, name: str = "labelled") -> "LabelCount":
        """Read `0.1` or `20/class`; `name` is the option in messages.

        Raises:
            InputError: the value is neither.
        """
        text = str(value).strip()
        if found := re.fullmatch(r"(\d+)\s*/\s*class", text):
            count = int(found[1])
            require(count >= 1, f"`{name}` must be 1/class or more. Got {text}.")
            return cls(per_class=count)
        plain = re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?%?", text)
        share = float(text.rstrip("%")) / (100 if text.endswith("%") else 1) if plain else 0.0
        require(
            0 < share <= 1,
            f"`{name}` must be a share of the samples in (0, 1], such as 0.1, or a number for each class, "
            f"such as 20/class. Got {text!r}.",
        )
        return cls(share=share)

    def __str__(self) -> str:
        return f"{self.per_class}/class" if self.per_class else f"{self.share:g}"
