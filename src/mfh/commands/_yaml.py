"""Read a YAML file of options: with the line of every key, and the text of every value without quotes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from mfh._checks import InputError

Place = tuple[str, ...]
"""A position in a file: the keys from the top down, list positions as numbers."""
_MOST_VALUES, _DEEPEST, _MOST_BYTES = 10_000, 100, 2**22
# Longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@dataclass(frozen=True)
class Scalar:
    """A number, truth value or date without quotes.

    Attributes:
        value: what YAML 1.1 makes of it, such as 8 of 010, True of yes.
        text: as it is written.
    """

    value: Any
    text: str


class _Loader(yaml.SafeLoader):
    """Read 1e-3 as a number, and keep the text of all values that YAML does not read as text."""

    def construct_scalar_with_text(self, node: yaml.ScalarNode) -> Scalar | None:
        """Make a `Scalar`; whole numbers must fit into 64 bits."""
        kind = node.tag.rpartition(":")[2]
        try:
            value = getattr(super(), f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError):  # a date such as 2024-13-45
            return Scalar(node.value, node.value)
        if kind == "int" and not -(2**63) <= value < 2**63:
            raise ConstructorError(None, None, "a whole number has more than 64 bits", node.start_mark)
        return Scalar(value, node.value)


for _kind in ("int", "float", "bool", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_scalar_with_text)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


@dataclass(frozen=True)
class File:
    """A YAML file.

    Attributes:
        path: path of the file.
        values: its content; keys at the top are text.
        lines: place of every key -> line, counted from 1.
        problems: places and what is wrong there, such as a key that is given twice.
    """

    path: str
    values: dict[str, Any]
    lines: Mapping[Place, int]
    problems: Sequence[tuple[Place, str]] = field(default=())

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest place above it that has one."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read(path: str) -> File:
    """Read a file.

    Raises:
        InputError: the file is absent, in another encoding than UTF-8, no YAML (with the line), no mapping of
            options, or larger than options are.
    """
    places: list[tuple[Place, int]] = []
    try:
        with Path(path).open("rb") as file:  # a pipe may be read
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"It is larger than {_MOST_BYTES >> 20} MiB")
        text = _decoded(path, content)
        _require_shallow(text)
        root = yaml.compose(text, Loader=_Loader)
        if isinstance(root, yaml.MappingNode):
            places = list(islice(_places(root, ()), _MOST_VALUES + 1))
        if len(places) > _MOST_VALUES:  # a few lines of aliases of aliases can stand for any number
            raise ValueError(f"It has more than {_MOST_VALUES} values")
        values = yaml.load(text, Loader=_Loader) if places else {}  # noqa: S506
    except OSError as error:
        raise InputError(f"`config` {path} cannot be read: {error.strerror or error}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: {_reason(error)}") from error
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # characters and numbers that cannot be; and nesting without end
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: this is no YAML that options can be read from. {reason}.") from error
    if root is None:
        return File(path, {}, {})
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"`config` {path} must contain options, such as `data: FILE.npz`, one per line.")
    lines: dict[Place, int] = {}
    repeated: list[tuple[Place, str]] = []
    for place, line in places:
        if place in lines:
            repeated.append((place, f"`{place[-1]}` is given twice, first in line {lines[place]}."))
        lines[place] = line
    return File(path, {text_of(key): value for key, value in values.items()}, lines, repeated)


def _reason(error: yaml.MarkedYAMLError) -> str:
    if "single document" in str(error.context):
        return (
            "`config` must contain one YAML document. A second one begins here, after `---`: put it into a "
            "file of its own."
        )
    return f"this is no YAML. {error.problem or error.context}."


def text_of(key: Any) -> str:
    """Return a key as it is written: `on` is a name, not True."""
    return key.text if isinstance(key, Scalar) else str(key)


def text_value(text: str) -> Any:
    """Return what YAML makes of a text, with `Scalar` as in a file; the text itself if it is no YAML."""
    try:
        _require_shallow(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _decoded(path: str, content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Raises:
        InputError: the content is in another encoding; the text names it.
    """
    way_out = "Save it as UTF-8."
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            raise InputError(f"`config` {path} must be UTF-8. It is {encoding}. {way_out}")
    if b"\0" in content[:64]:  # ASCII in UTF-16 has a zero in every second byte
        encoding = "UTF-32" if b"\0\0\0" in content[:64] else "UTF-16"
        raise InputError(f"`config` {path} must be UTF-8. It seems to be {encoding}. {way_out}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start : error.start + 1]
        guess = byte.decode("cp1252", "replace")
        raise InputError(
            f"{path}, line {line}: `config` must be UTF-8. Byte 0x{byte.hex().upper()} is none of it: in "
            f"Latin-1 (Windows-1252) it is `{guess}`. {way_out}"
        ) from error


def _require_shallow(text: str) -> None:
    """Refuse brackets nested by the hundred, for which the parser takes minutes.

    Raises:
        ValueError: they are nested too deeply.
    """
    depth = 0
    for mark in re.findall(r"[\[\]{}]", text):
        depth = max(0, depth + (1 if mark in "[{" else -1))
        if depth > _DEEPEST:
            raise ValueError(f"It is nested more than {_DEEPEST} deep")


def _places(node: yaml.Node, above: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*above, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _places(value, place)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*above, str(number)), value.start_mark.line + 1
            yield from _places(value, (*above, str(number)))
