"""Values of a YAML file by the types of their options: `010` is text for a name, and a number for a count."""

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from mfh._checks import InputError
from mfh._system.import_paths import types_of
from mfh.commands._yaml import File, Place, Scalar, text_of, text_value

Problem = tuple[Place, str]
_NUMBERS, _TEXTS = {int, float}, {str}
_WORDS = dict.fromkeys(("true", "yes", "on"), True) | dict.fromkeys(("false", "no", "off"), False)
_DECIMAL = re.compile(r"[-+]?[0-9]+")
# Numbers are plain decimals, also with zeros in front; 1:30, 0x10 and 1_000 are refused everywhere.
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_ODD = re.compile(r"\d_*[:_xXoObB]")
# All YAML programs read these alike, and write them back as they were.
_CLEAR = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+([eE][-+]?\d+)?|[Tt]rue|[Ff]alse")


def option_types(parser: ArgumentParser) -> dict[str, Any]:
    """Return the type of every option; options that take several values have `list[...]`."""
    found: dict[str, Any] = {}
    for action in parser._actions:
        hint = getattr(action, "_typehint", None) or action.type
        if (hint is None and action.nargs == 0) or type(action).__name__ == "ActionYesNo":
            hint = bool
        several = action.nargs in ("+", "*") or (isinstance(action.nargs, int) and action.nargs > 0)
        found[action.dest] = list[hint] if several else hint  # type: ignore[valid-type]
    return found


def typed_values(file: File, parser: ArgumentParser) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values of a file by the types of a command's options, and values that cannot be understood.

    Options of other commands keep what YAML makes of them.
    """
    hints, classes = option_types(parser), getattr(parser, "class_options", {})
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in file.values.items():
        made = _Typed()
        if name in classes and isinstance(value, Mapping):
            values[name] = made.spec(value, (name,))
        elif classes.get(name):
            values[name] = as_yaml(value)
        elif name in hints:
            hint = hints[name]
            several = get_origin(hint) is list and not isinstance(value, list) and value is not None
            values[name] = made.option([value] if several else value, hint, (name,))
        else:
            values[name] = as_yaml(value)
        problems += made.problems
    return values, problems


def argument_values(path: str, texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a class or function that flags give, by their types; those without are YAML.

    Raises:
        InputError: a text is written unclearly, such as 010 for an argument without a type.
    """
    try:
        hints = types_of(path)
    except InputError:  # reported with the other problems of the class
        hints = {}
    made, values = _Typed(), {}
    for name, text in texts.items():
        hint = hints.get(name, Any)
        read = isinstance(text, str) and str not in _scalar_types(hint)
        values[name] = made.value(text_value(text) if read else text, hint, (name,))
    if made.problems:
        raise InputError(" ".join(words for _, words in made.problems))
    return values


def flag_value(text: str) -> Any:
    """Return the value of a flag: a mapping or a list as YAML has them, with plain decimals as numbers.

    Anything else that YAML takes for a number, a date or a truth value is text, which options of numbers
    refuse: 1:30 would be 90.

    >>> flag_value("1:30"), flag_value("010"), flag_value("{ill: 2.5, well: 0x10}")
    ('1:30', 10, {'ill': 2.5, 'well': '0x10'})
    """
    value = text_value(text)
    alone = isinstance(value, Mapping) and all(item is None for item in value.values())
    return text if alone else _plain(value)  # such as `name:`


def _plain(value: Any) -> Any:
    if isinstance(value, Scalar):
        words = {"true": True, "false": False}
        if value.text.lower() in words:
            return words[value.text.lower()]
        if _DECIMAL.fullmatch(value.text):
            return int(value.text)
        return value.value if _PLAIN.fullmatch(value.text) else value.text
    if isinstance(value, Mapping):
        return {text_of(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def require_plain(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Check that the numbers that flags give are plain decimals.

    Args:
        parser: of the command.
        words: the command line.

    Raises:
        InputError: one is written as 1:30, 0x10 or 1_000, which YAML reads as 90, 16 and 1000.
    """
    hints = option_types(parser)
    flags = {flag: action.dest for action in parser._actions for flag in action.option_strings}
    flag = ""
    for word in words:
        text = word
        if word.startswith("--"):
            flag, _, text = word.partition("=")
        name = flags.get(flag.partition(".")[0], "")
        if not name or not _ODD.search(text):
            continue
        made, hint = _Typed(), hints[name]
        made.option(text_value(text), _inner(hint, (list,), 0) if get_origin(hint) is list else hint, (name,))
        if made.unclear:
            raise InputError(
                f"`{flag}` must be written in plain digits, such as 90 or 1.5. Got {made.unclear[0]}."
            )


def as_yaml(value: Any) -> Any:
    """Return a value as YAML 1.1 reads it."""
    if isinstance(value, Scalar):
        return value.value
    if isinstance(value, Mapping):
        return {as_yaml(key): as_yaml(item) for key, item in value.items()}
    return type(value)(map(as_yaml, value)) if isinstance(value, (list, tuple, set)) else value


class _Typed:
    """Type values, and collect those that are written unclearly."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unclear: list[str] = []  # texts that programs read in different ways

    def option(self, value: Any, hint: Any, place: Place) -> Any:
        """Return the value of an option by its type; a number may be written as text, in quotes."""
        made = self.value(value, hint, place)
        if isinstance(made, list):
            inner = _inner(hint, (list,), 0)
            return [self._unquoted(item, inner, (*place, str(number))) for number, item in enumerate(made)]
        return self._unquoted(made, hint, place)

    def _unquoted(self, value: Any, hint: Any, place: Place) -> Any:
        kinds = set(_scalar_types(hint, words=False)) - {type(None)}
        if not isinstance(value, str) or not kinds or not kinds <= {int, float, bool}:
            return value
        if bool in kinds and value.lower() in _WORDS:
            return _WORDS[value.lower()]
        for kind in (int, float) if _PLAIN.fullmatch(value) else ():
            if kind in kinds:
                with suppress(ValueError):
                    return kind(value)
        if str in _scalar_types(hint):  # one of several words, such as auto, which is checked elsewhere
            return value
        wanted = " or ".join(sorted(kind.__name__ for kind in kinds))
        self.problems.append((place, f"`{place[0]}` must be {wanted}. Got {value!r} instead."))
        return value

    def spec(self, value: Mapping[Any, Any], place: Place) -> dict[str, Any]:
        """Return a class with its arguments, by the types that the class gives them."""
        value = {text_of(key): item for key, item in value.items()}
        path, given = as_yaml(value.get("class_path")), value.get("init_args")
        if not isinstance(path, str) or not isinstance(given, Mapping):
            return {name: as_yaml(item) for name, item in value.items()}
        try:
            hints = types_of(path)
        except InputError:  # reported with the other problems of the class
            hints = {}
        given = {text_of(key): item for key, item in given.items()}
        arguments = {
            name: self.value(item, hints.get(name, Any), (*place, "init_args", name))
            for name, item in given.items()
        }
        others = {name: as_yaml(item) for name, item in value.items() if name != "init_args"}
        return others | {"init_args": arguments}

    def value(self, value: Any, hint: Any, place: Place) -> Any:
        """Return a value by its type."""
        if isinstance(value, Scalar):
            return self._scalar(value, set(_scalar_types(hint)), place)
        if isinstance(value, Mapping):
            if "class_path" in value:
                return self.spec(value, place)
            inner = _inner(hint, (dict, Mapping), 1)
            return {
                text_of(key): self.value(item, inner, (*place, text_of(key))) for key, item in value.items()
            }
        if isinstance(value, list):
            inner = _inner(hint, (list, tuple, set, Sequence), 0)
            return [self.value(item, inner, (*place, str(number))) for number, item in enumerate(value)]
        return as_yaml(value)

    def _scalar(self, scalar: Scalar, kinds: set[Any], place: Place) -> Any:
        value, text = scalar.value, scalar.text
        if isinstance(value, bool):
            if bool in kinds or (kinds.isdisjoint(_TEXTS | _NUMBERS) and _CLEAR.fullmatch(text)):
                return value
        elif isinstance(value, (int, float)) and not kinds.isdisjoint(_NUMBERS):
            return self._number(scalar, kinds, place)
        if str in kinds or not kinds.isdisjoint(_NUMBERS):
            return text
        if not _CLEAR.fullmatch(text):
            self._note_unclear(place, text)
        return value

    def _number(self, scalar: Scalar, kinds: set[Any], place: Place) -> int | float:
        value, text = scalar.value, scalar.text
        if _DECIMAL.fullmatch(text):
            value = int(text)  # 010 is 10, as in YAML 1.2 and for the flags
        if not (_CLEAR if str in kinds else _PLAIN).fullmatch(text):
            self._note_unclear(place, text)
        return float(value) if float in kinds and int not in kinds else value

    def _note_unclear(self, place: Place, text: str) -> None:
        name = next(part for part in reversed(place) if not part.isdigit())  # not the number in a list
        words = (
            f"`{name}` is written as {text}, which programs read in different ways. Put it in quotes if it "
            f"is text, '{text}'; write a number in plain digits, a truth value as true or false."
        )
        self.problems.append((place, words))
        self.unclear.append(text)


def _scalar_types(hint: Any, *, words: bool = True) -> Iterator[Any]:
    """Yield the types of single values that a type allows: str for paths and choices of text, too.

    Args:
        hint: the type.
        words: whether choices of text count.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _scalar_types(part, words=words)
    elif origin is Literal and words:
        yield from {type(value) for value in get_args(hint)}
    elif isinstance(hint, type):
        yield str if hasattr(hint, "__fspath__") else hint


def _inner(hint: Any, origins: tuple[type, ...], position: int) -> Any:
    """Return the type of what a list or a mapping contains; Any if the type does not tell."""
    for part in (hint, *get_args(hint)):
        origin, inner = get_origin(part), get_args(part)
        mixed = origin is tuple and inner[1:] not in ((), (...,))
        if isinstance(origin, type) and issubclass(origin, origins) and inner and not mixed:
            return inner[position]
    return Any
