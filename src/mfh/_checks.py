"""Check what callers pass in, and write text that is safe to show. Imports nothing of this package."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

Made = TypeVar("Made")

# Control characters except tab and newline, marks that change the direction of text, lone surrogates.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


class InputError(ValueError):
    """Report that something a caller passed in breaks a rule.

    The text names the argument, the rule, the value, and the way out. The command line shows it in one line
    on stderr and exits with status 2.

    Example:
        >>> require(1.5 < 1, "`ratio` must lie in [0, 1). Got 1.5.")
        Traceback (most recent call last):
        mfh._checks.InputError: `ratio` must lie in [0, 1). Got 1.5.
    """


class BrokenRulesError(InputError):
    """Report several broken rules at once.

    Attributes:
        problems: for each its subject (name of a field, or place in a file) and the sentence.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__(" ".join(text for _, text in problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.problems,)


class IncompleteError(RuntimeError):
    """Report that a run has ended and its results are written, but a part of them is missing.

    The text names the part, and how to compute it. The command line shows it on stderr and exits with status
    1.
    """


def fail(message: str) -> NoReturn:
    """Raise `InputError` with `message`; can be used in an expression."""
    raise InputError(message)


def require(condition: bool, message: str) -> None:
    """Raise `InputError` with `message` unless `condition` is true."""
    if not condition:
        raise InputError(message)


def listing(names: Iterable[object], *, limit: int = 12) -> str:
    """Write names as `a`, `b`, `c`; only the first `limit` of them.

    >>> listing(["fou", "zer"])
    '`fou`, `zer`'
    """
    names = list(names)
    shown = ", ".join(f"`{name}`" for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "") if names else "none"


def choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise `InputError` unless `value` is one of `allowed`."""
    require(value in allowed, f"`{name}` must be one of {listing(allowed)}. Got {value!r} instead.")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the text is no JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def typed(kind: type[Made], values: Any) -> Made:
    """Build a dataclass from the values of a file, after checking the type of each value.

    A number may be None, since NaN is written as null.

    Raises:
        TypeError: `values` is no mapping; a field is missing, unknown or of another type.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"a mapping with the fields of {kind.__name__} is needed, not {values!r:.60}")
    for name, hint in _hints(kind).items():  # type: ignore[arg-type]
        if name in values and not _fits(values[name], hint):
            raise TypeError(f"`{name}` of {kind.__name__} cannot be {values[name]!r:.60}")
    return kind(**values)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in inside)
    if origin is Literal:
        return value in inside
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(part, inside[1]) for part in value.values())
    if origin in (tuple, Sequence):
        return isinstance(value, (list, tuple)) and all(_fits(part, inside[0]) for part in value)
    if hint is float:
        return value is None or isinstance(value, (int, float))
    return hint is Any or isinstance(value, origin or hint)


def one_line(error: object) -> str:
    r"""Return a text without line breaks and repeated spaces.

    >>> one_line(ValueError("not\n  this"))
    'not this'
    """
    return " ".join(str(error).split())


def shown(text: str) -> str:
    r"""Replace characters that control a terminal or a browser by escapes.

    These are control characters except tab and newline, marks that change the direction of text, characters
    without width and lone surrogates. Letters of any script stay.

    >>> print(shown("red \x1b[31m, \u202etxt.exe"))
    red \x1b[31m, \u202etxt.exe
    """
    return _UNSEEN.sub(lambda match: ascii(match[0])[1:-1], text)


def shown_values(value: Any) -> Any:
    """Apply `shown` to every text in plain values, keys included."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {shown_values(key): shown_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([shown_values(item) for item in value])
    return value


def cell_text(value: Any) -> Any:
    """Return a value for a csv: text that a spreadsheet would compute gets an apostrophe in front.

    >>> cell_text("=HYPERLINK(1)"), cell_text(-2.5), cell_text("no-kd")
    ("'=HYPERLINK(1)", -2.5, 'no-kd')
    """
    if not isinstance(value, str):
        return value
    return f"'{shown(value)}" if value.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r") else shown(value)
