"""Options in a YAML file: read with line numbers, checked all at once, written out with comments.

The file is checked before the command line is parsed, and becomes the defaults of its options: a flag wins
over the file.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import yaml
from jsonargparse import ArgumentParser, Namespace
from yaml.constructor import ConstructorError

from mfh._checks import BrokenRulesError, InputError, listing
from mfh._system.import_paths import ClassSpec, arguments_of, shape_problems, signature_doc, tidy

Place = tuple[str, ...]
CONFIG_FLAG, PRINT_FLAG = "--config", "--print_config"
_MOST_VALUES, _DEEPEST, _MOST_BYTES = 10_000, 100, 2**22
NOT_IN_FILES = ("help", "config", "print_config", "print_shtab", "version", "no_imports")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text; people mean a number. Whole ones must fit into 64 bits."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number."""
        value: int = super().construct_yaml_int(node)
        if not -(2**63) <= value < 2**63:
            raise ConstructorError(None, None, "a whole number has more than 64 bits", node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


@dataclass(frozen=True)
class File:
    """A YAML file.

    Attributes:
        path: of the file.
        values: its content.
        lines: place of every key, as keys from the top, -> line, counted from 1.
        repeated: sentences about keys that stand there twice.
    """

    path: str
    values: dict[str, Any]
    lines: Mapping[Place, int]
    repeated: Sequence[tuple[Place, str]] = field(default=())

    def line(self, place: Place) -> int:
        """Line of a place, or of the nearest one above it that the file holds."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read(path: str) -> File:
    """Read a file.

    Raises:
        InputError: it is absent, no YAML (with the line), no mapping of options, or larger than options are.
    """
    places: list[tuple[Place, int]] = []
    try:
        with Path(path).open("rb") as file:  # a pipe may be read
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"It is larger than {_MOST_BYTES >> 20} MiB")
        text = content.decode("utf-8")
        _require_shallow(text)
        root = yaml.compose(text, Loader=_Loader)
        if isinstance(root, yaml.MappingNode):
            places = list(islice(_places(root, ()), _MOST_VALUES + 1))
        if len(places) > _MOST_VALUES:  # a few lines of aliases of aliases can stand for any number
            raise ValueError(f"It holds more than {_MOST_VALUES} values")
        values = yaml.load(text, Loader=_Loader) if places else {}  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`config` {path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(
            f"{path}, line {line}: this is no YAML. {error.problem or error.context}."
        ) from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # characters, dates and numbers that cannot be; and nesting without end
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: this is no YAML that options can be read from. {reason}.") from error
    if root is None:
        return File(path, {}, {})
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"`config` {path} must hold options, such as `data: FILE.npz`, one per line.")
    lines: dict[Place, int] = {}
    repeated: list[tuple[Place, str]] = []
    for place, line in places:
        if place in lines:
            repeated.append((place, f"`{place[-1]}` stands here again; it was given in line {lines[place]}."))
        lines[place] = line
    return File(path, values, lines, repeated)


def _require_shallow(text: str) -> None:
    """Refuse, with a ValueError, brackets nested by the hundred, over which the parser takes its time."""
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


def check(
    file: File, parser: ArgumentParser, *, given: set[str], known: Sequence[ArgumentParser] = ()
) -> None:
    """Check a file against the options of a command.

    Args:
        file: as read.
        parser: of the command.
        given: options that the command line gives besides.
        known: parsers of other commands, whose options the file may hold too.

    Raises:
        InputError: one rule is broken, with its line; `BrokenRulesError` where there are several.
    """
    problems = list(file.repeated)
    actions = _actions(parser)
    for key, value in file.values.items():
        name = str(key)
        if name in actions:
            problems += _value_problems(parser, name, value)
        elif not any(name in _actions(other) for other in known):
            names = [other for one in (parser, *known) for other in _actions(one)]
            problems.append(((name,), _unknown(name, list(dict.fromkeys(names)))))
    absent = [n for n, action in actions.items() if action.required and n not in {*given, *file.values}]
    problems += [((), f"`{n}` must be given, here or as --{n.replace('_', '-')}.") for n in absent]
    broken = {place[0] for place, _ in problems if place}
    problems += _rule_problems(parser, {k: v for k, v in file.values.items() if k not in broken})
    found = sorted((file.line(place) if place else 0, text) for place, text in problems)
    told = [(f"{file.path}, line {line}" if line else file.path, text) for line, text in found]
    if len(told) == 1:
        raise InputError(": ".join(told[0]))
    if told:
        raise BrokenRulesError([(place, f"{place}: {text}") for place, text in told])


def _actions(parser: ArgumentParser) -> dict[str, Any]:
    return {a.dest: a for a in parser._actions if a.dest not in NOT_IN_FILES}


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    return f"`{name}` is no option. " + (
        f"Did you mean `{near[0]}`?" if near else f"There are {listing(known)}."
    )


def _value_problems(parser: ArgumentParser, name: str, value: Any) -> list[tuple[Place, str]]:
    """What is wrong with one value."""
    bases: Mapping[str, str | None] = getattr(parser, "class_options", {})
    if value is None:
        return []
    if name in bases and (isinstance(value, Mapping) or bases[name]):
        found = shape_problems(value)
        if not found:
            found = ClassSpec.parse(value).problems(bases[name])
        return [((name, *place), f"`{name}` {text}" if not place else text) for place, text in found]
    value = adapted(parser, name, value)
    several = isinstance(value, list) and _actions(parser)[name].nargs is not None
    parts: list[tuple[Place, Any]] = [((name,), value)]
    if several:
        parts = [((name, str(number)), item) for number, item in enumerate(value)]
    wrong: list[tuple[Place, str]] = []
    for place, part in parts:
        try:
            parser.validate(Namespace(**{name: [part] if several else part}), skip_required=True)
        except (TypeError, KeyError, ValueError) as error:
            wrong.append((place, f"`{name}` {tidy(str(error), part)}"))
    return wrong


def adapted(parser: ArgumentParser, name: str, value: Any) -> Any:
    """A value as its option takes it: a list where it takes several, a float where it takes floats."""
    action = _actions(parser)[name]
    if action.nargs in ("+", "*"):
        values = value if isinstance(value, list) else [value]
        return [_as_float(action, item) for item in values]
    return _as_float(action, value)


def _as_float(action: Any, value: Any) -> Any:
    hint = getattr(action, "_typehint", None)
    kinds = (hint, *get_args(hint))
    return float(value) if type(value) is int and float in kinds and int not in kinds else value


def _rule_problems(parser: ArgumentParser, values: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Rules between and on values, by the config classes that the options come from."""
    found: dict[tuple[Place, str], None] = {}
    for config in getattr(parser, "configs", ()):
        names = {spec.name for spec in fields(config)} & set(_actions(parser))
        given = {k: adapted(parser, k, v) for k, v in values.items() if k in names and v is not None}
        try:
            config(**given)
        except BrokenRulesError as error:
            found |= {((name,), text): None for name, text in error.problems if name in given}
        except InputError as error:
            found[(), str(error)] = None
    return list(found)


def defaults_from(file: File, parser: ArgumentParser) -> dict[str, Any]:
    """The file's values for the options that this command has."""
    actions = _actions(parser)
    return {
        name: adapted(parser, name, value)
        for name, value in file.values.items()
        if name in actions and value is not None
    }


def dump(parser: ArgumentParser) -> str:
    """Every option as YAML with what it means and its present default, ready to be edited."""
    blocks = []
    for name, action in _actions(parser).items():
        if action.dest == "quiet":
            continue
        words = " ".join((action.help or "").split())
        choices = getattr(getattr(action, "_typehint", None), "__args__", None)
        if choices and all(isinstance(choice, str) for choice in choices):
            words += f" ({', '.join(choices)})"
        words += " (required)" if action.required else ""
        value = action.default
        if isinstance(value, str) and getattr(parser, "class_options", {}).get(name):
            value = ClassSpec(value).to_dict()
        blocks.append("\n".join([*_comment(words), *_entry(name, value)]))
    return "\n\n".join(blocks) + "\n"


def _entry(name: str, value: Any, indent: str = "") -> list[str]:
    if isinstance(value, Mapping) and "class_path" in value:
        return [f"{indent}{name}:", *_spec_lines(value, indent + "  ")]
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump([value], default_flow_style=True, width=10_000, allow_unicode=True).strip()
    return [f"{indent}{name}: {text[1:-1]}"]


def _spec_lines(value: Mapping[str, Any], indent: str) -> list[str]:
    """A class with all its arguments, those not given at their defaults, and what they mean."""
    spec = ClassSpec.parse(value)
    lines = [*_comment(signature_doc(spec.class_path), indent), f"{indent}class_path: {spec.class_path}"]
    arguments = arguments_of(spec.class_path)
    lines += [f"{indent}init_args:"] if arguments else []
    for name, (words, default, required) in arguments.items():
        lines += _comment(" ".join(words.split()) + (" (required)" if required else ""), indent + "  ")
        shown = spec.init_args.get(name, default)
        plain = isinstance(shown, (str, int, float, bool, list, dict, type(None)))
        lines += _entry(name, shown if plain else str(shown), indent + "  ")
    return lines


def _comment(words: str, indent: str = "") -> list[str]:
    lines, line = [], ""
    for word in words.split():
        if len(line) + len(word) > 90:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    return [f"{indent}# {text}" for text in (*lines, line) if text]
