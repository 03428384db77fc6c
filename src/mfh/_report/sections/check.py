"""What a check of a study is, and how modules collect theirs."""

from collections.abc import Callable
from dataclasses import dataclass

from mfh._report.section import Summary

Found = tuple[str, str] | None
Look = Callable[[Summary], Found]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        code: its name in documentation and tools.
        name: what it looks for.
        why: why that matters, whatever the numbers.
        look: what it found in a study's summary, as a title and a text; None where all is well.
    """

    code: str
    name: str
    why: str
    look: Look


def collect(checks: list[Check]) -> Callable[[str, str, str], Callable[[Look], Look]]:
    """Return a decorator of a code, a name and a reason, which adds the function below it to `checks`."""

    def check(code: str, name: str, why: str) -> Callable[[Look], Look]:
        def add(look: Look) -> Look:
            checks.append(Check(code, name, why, look))
            return look

        return add

    return check
