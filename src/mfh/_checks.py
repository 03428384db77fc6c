"""Validation of what callers pass in. Imports nothing of ours."""

from collections.abc import Iterable, Sequence
from typing import NoReturn


class InputError(ValueError):
    """Something a caller passed in breaks a rule.

    The text names the argument, the rule, what came, and the way out. The command line shows it in one line
    on stderr and exits with status 2.

    Example:
        >>> require(1.5 < 1, "`ratio` must lie in [0, 1). Got 1.5.")
        Traceback (most recent call last):
        mfh._checks.InputError: `ratio` must lie in [0, 1). Got 1.5.
    """


class BrokenRulesError(InputError):
    """Several broken rules at once.

    Attributes:
        problems: for each what it is about (a field's name, or a place in a file) and the sentence.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__(" ".join(text for _, text in problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.problems,)


def fail(message: str) -> NoReturn:
    """Raise `InputError` with `message`; usable inside expressions."""
    raise InputError(message)


def require(condition: bool, message: str) -> None:
    """Raise `InputError` with `message` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def listing(names: Iterable[object], *, limit: int = 12) -> str:
    """Write names as `a`, `b`, `c`, shortened after `limit` of them.

    >>> listing(["fou", "zer"])
    '`fou`, `zer`'
    """
    names = list(names)
    shown = ", ".join(f"`{name}`" for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "") if names else "none"


def choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise `InputError` unless `value` is one of `allowed`."""
    require(value in allowed, f"`{name}` must be one of {listing(allowed)}. Got {value!r} instead.")
