"""Check a YAML file against the options of a command, all at once, and make its values their defaults.

The file is checked before the command line is parsed: a flag wins over the file.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import BrokenRulesError, InputError, listing
from mfh._system.import_paths import ClassSpec, is_own_only, path_arguments, shape_problems, tidy
from mfh._system.paths import expanded, is_inside
from mfh.commands._options import path_options
from mfh.commands._sources import without_given
from mfh.commands._values import Problem, typed_values
from mfh.commands._yaml import File
from mfh.loss_options import moved

NOT_IN_FILES = ("help", "help_all", "config", "print_config", "print_shtab", "version", "no_imports")


def options_from(
    file: File,
    parser: ArgumentParser,
    *,
    given: set[str],
    flags: set[str] = frozenset(),  # type: ignore[assignment]
    known: Sequence[ArgumentParser] = (),
) -> dict[str, Any]:
    """Check a file against the options of a command, and return its values for them.

    Args:
        file: as read.
        parser: parser of the command.
        given: options that need not be in the file.
        flags: options that the command line gives; they replace those of the file.
        known: parsers of other commands, whose options the file may contain too.

    Raises:
        InputError: one rule is broken, with its line; `BrokenRulesError` if several are.
    """
    values, problems = typed_values(file, parser)
    mistyped = {place[0] for place, _ in problems}
    problems += file.problems
    actions = options(parser)
    for name, value in values.items():
        if name in mistyped:
            continue
        if name in actions:
            problems += _value_problems(parser, name, value)
        elif not any(name in options(other) for other in known):
            names = [other for one in (parser, *known) for other in options(one)]
            problems.append(((name,), _unknown(name, list(dict.fromkeys(names)))))
    absent = [n for n, action in actions.items() if action.required and n not in {*given, *file.values}]
    problems += [((), f"`{n}` must be given, here or as --{n.replace('_', '-')}.") for n in absent]
    used = {name: value for name, value in values.items() if name in actions and value is not None}
    if is_own_only():
        problems += _reaching_out(file, parser, {n: v for n, v in used.items() if n not in flags})
    broken = {place[0] for place, _ in problems if place}
    problems += _rule_problems(parser, {n: v for n, v in used.items() if n not in broken})
    _raise_all(file, problems)
    return used


def options(parser: ArgumentParser) -> dict[str, Any]:
    """Return the options of a command that a file may contain, with their actions."""
    return {a.dest: a for a in parser._actions if a.dest not in NOT_IN_FILES}


def _raise_all(file: File, problems: Sequence[Problem]) -> None:
    found = sorted((file.line(place) if place else 0, text) for place, text in problems)
    lines = [(f"{file.path}, line {line}" if line else file.path, text) for line, text in found]
    if len(lines) == 1:
        raise InputError(": ".join(lines[0]))
    if lines:
        raise BrokenRulesError([(place, f"{place}: {text}") for place, text in lines])


def _unknown(name: str, known: Sequence[str]) -> str:
    if spelling := moved(name):
        return f"`{name}` is an option of its loss now: write `{spelling}`."
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    return f"`{name}` is no option. " + (
        f"Did you mean `{near[0]}`?" if near else f"There are {listing(known)}."
    )


def _value_problems(parser: ArgumentParser, name: str, value: Any) -> list[Problem]:
    """Return what is wrong with one value: its type, its class and arguments, its path."""
    bases: Mapping[str, str | None] = getattr(parser, "class_options", {})
    if value is None:
        return []
    if name in bases and (isinstance(value, Mapping) or bases[name]):
        value, given = without_given(value, name)
        found = [*_given_problems(given), *shape_problems(value)]
        if not found:
            found = ClassSpec.parse(value).problems(bases[name])
        return [((name, *place), f"`{name}` {text}" if not place else text) for place, text in found]
    several = isinstance(value, list) and options(parser)[name].nargs is not None
    parts: list[tuple[tuple[str, ...], Any]] = [((name,), value)]
    if several:
        parts = [((name, str(number)), item) for number, item in enumerate(value)]
    wrong: list[Problem] = []
    for place, part in parts:
        try:
            parser.validate(Namespace(**{name: [part] if several else part}), skip_required=True)
            if name in path_options(parser) and isinstance(part, str):
                expanded(part, name)
        except InputError as error:
            wrong.append((place, str(error)))
        except (TypeError, KeyError, ValueError) as error:
            wrong.append((place, f"`{name}` {tidy(str(error), part)}"))
    return wrong


def _given_problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the file of weights of a network, and with whether they stay."""
    checkpoint, frozen = given.get("checkpoint"), given.get("frozen")
    if checkpoint is not None and not isinstance(checkpoint, str):
        yield ("checkpoint",), f"`checkpoint` must be the path of a file of weights. Got {checkpoint!r}."
    if frozen is not None and not isinstance(frozen, bool):
        yield ("frozen",), f"`frozen` must be true or false. Got {frozen!r}."


def _reaching_out(file: File, parser: ArgumentParser, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the values of a file of somebody else that reach for more than the folder of the file.

    `--no-imports` refuses them in a file, and takes them on the command line.
    """
    harmless: tuple[Any, ...] = (None, "", "loky", "none", [], ["none"])
    found = [name for name in ("address", "backend", "tracker") if values.get(name) not in harmless]
    if found:
        yield (
            (found[0],),
            f"{listing(found)}: refused in a file (--no-imports), since it reaches the network. If you want "
            f"it, give {' '.join(f'--{name}' for name in found)} on the command line.",
        )
    for place, path in _paths(parser, values):
        if not is_inside(path, Path(file.path).parent):
            flag = "--" + place[0].replace("_", "-")
            yield (
                place,
                f"`{place[-1]}` is refused in a file (--no-imports): {path} is outside the folder of the "
                f"file. If you want it, give {flag} on the command line.",
            )


def _paths(parser: ArgumentParser, values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the paths among values, as the command will use them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            value, given = without_given(value, name)
            if isinstance(given.get("checkpoint"), str):
                yield (name, "checkpoint"), _expanded(given["checkpoint"])
            if not shape_problems(value):
                yield from (((name, *place), path) for place, path in spec_paths(ClassSpec.parse(value)))
        elif name in path_options(parser):
            for item in value if isinstance(value, list) else [value]:
                yield (name,), _expanded(str(item))


def spec_paths(spec: ClassSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the paths among the arguments of a class or function, each with its place."""
    try:
        names = path_arguments(spec.class_path) & spec.init_args.keys()
    except InputError:  # refused for another reason
        return
    for name in sorted(names):
        if isinstance(spec.init_args[name], str):
            yield ("init_args", name), _expanded(spec.init_args[name])


def _expanded(path: str) -> str:
    try:
        return expanded(path, "")
    except InputError:  # reported with the value
        return path


def _rule_problems(parser: ArgumentParser, values: Mapping[str, Any]) -> list[Problem]:
    """Return the rules that are broken by one value or several together, by the config classes."""
    found: dict[Problem, None] = {}
    for config in getattr(parser, "configs", ()):
        names = {spec.name for spec in fields(config)} & set(options(parser))
        given = {name: value for name, value in values.items() if name in names}
        try:
            config(**given)
        except BrokenRulesError as error:
            found |= {((name,), text): None for name, text in error.problems if name in given}
        except InputError as error:
            found[(), str(error)] = None
    return list(found)
