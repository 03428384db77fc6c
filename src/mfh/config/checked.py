"""Configurations that check themselves, and report every broken rule at once."""

from dataclasses import dataclass

from mfh._checks import BrokenRulesError


class Problems:
    """Collects broken rules so that all of them are reported at once."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def check(self, holds: bool, name: str, rule: str, value: object, way_out: str = "") -> None:
        """Note a rule that does not hold, with the field, the value and the way out."""
        if not holds:
            told = f"`{name}` must {rule}. Got {value!r} instead{'. ' + way_out if way_out else ''}."
            field_name = name.partition("`")[0].partition(".")[0]
            self.found.append((field_name, told))

    def raise_all(self) -> None:
        """Raise one error with all broken rules, if there are any."""
        if self.found:
            raise BrokenRulesError(self.found)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A configuration that checks itself when it is made; parts of one can be put together."""

    def __post_init__(self) -> None:
        """Check every field; all broken rules are reported together."""
        problems = Problems()
        self._check(problems)
        problems.raise_all()

    def _check(self, problems: Problems) -> None:
        """Note every broken rule, then those of the next class in the order of inheritance."""
