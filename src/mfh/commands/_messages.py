"""Rewrite the errors of the parser in the words in which a command is typed."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import Any

from jsonargparse import ArgumentParser

from mfh.loss_options import moved

WRONG_TYPE = r'Parser key "(\w+)"(?: element \d+)?: Expected an? (\S.*?)\. Got value: (.*)'
WRONG_TYPES = (
    r'Parser key "(\w+)"(?: element \d+)?: Does not validate against any of the Union subtypes '
    r"Subtypes: \[(.*?)\] Errors: .* Given value: (.*)"
)
UNION_PART = r"<class '[\w.]+'>|typing\.Literal\[[^\]]*\]|collections\.abc\.Mapping"
TYPES = {
    "collections.abc.Mapping": "numbers by name, such as {ill: 10}",
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'str'>": "text",
    "<class 'collections.abc.Mapping'>": "a mapping, such as {dkd: {beta: 4}}",
}


def in_words_of_the_command_line(parser: ArgumentParser, message: str) -> str:
    """Rewrite an error that names arguments in the form of jsonargparse, such as `study.data`.

    Args:
        parser: the parser that raised the error.
        message: one line, without its full stop.

    Returns:
        What is wrong, and the `--help` that explains it.
    """
    sentence, whose = message, parser
    if found := re.fullmatch(r"the following arguments are required: (.+)", message):
        paths = [name.split(".") for name in found[1].split(", ")]
        whose = _parser_at(parser, paths[0][:-1])
        *first, last = [_needed(whose, path[-1]) for path in paths]
        sentence = f"`{_program(whose)}` needs {', '.join(first) + ' and ' if first else ''}{last}"
    elif found := re.match(r'expected "([\w.]+)" to be one of \{.*\}, but it was not provided', message):
        whose = _parser_at(parser, found[1].split(".")[:-1])
        steps = _steps(whose)
        sentence = f"`{_program(whose)}` needs {steps.metavar}, one of {', '.join(steps.choices)}"
    elif found := re.match(WRONG_TYPE, message):
        sentence = f"`{_name(whose, found[1])}` must be {_kind(found[2])}. Got {found[3]} instead"
        sentence += _in_digits(found[3])
    elif found := re.fullmatch(WRONG_TYPES, message):
        kinds = [_kind(kind) for kind in re.findall(UNION_PART, found[2]) if "NoneType" not in kind]
        sentence = f"`{_name(whose, found[1])}` must be {' or '.join(kinds)}. Got {found[3]} instead"
        sentence += _in_digits(found[3])
    elif spelling := _moved(message):
        sentence = spelling
    elif found := re.match(r"argument (\S+): invalid choice: '?(.+?)'? \(choose from", message):
        sentence = _no_choice(whose, found[1], found[2])
    elif found := re.match(r"unrecognized arguments: (--[^\s=]+)", message, re.IGNORECASE):
        flags = [flag for action in whose._actions for flag in action.option_strings]
        sentence = f"`{_program(whose)}` has no option {found[1]}{_near(found[1], flags)}"
    end = "" if sentence.endswith("?") else "."
    return f"{sentence}{end} See `{_program(whose)} --help`."


def _no_choice(parser: ArgumentParser, name: str, word: str) -> str:
    """Return what is wrong with a word that is none of the choices of a command, a step or an argument."""
    steps = getattr(parser, "_subcommands_action", None)
    if steps is not None and name == steps.metavar:
        end = _near(word, steps.choices) or f". There are {', '.join(steps.choices)}"
        return f"`{_program(parser)}` has no {name.lower()} {word}{end}"
    action = _action(parser, name)
    choices = ", ".join(map(str, action.choices)) if action is not None and action.choices else "its choices"
    return f"`{name}` must be one of {choices}. Got {word} instead"


def _near(word: str, known: Iterable[str]) -> str:
    """Return a question whether a similar word was meant, as the end of a sentence; empty if none is."""
    near = difflib.get_close_matches(word.replace("_", "-").lower(), list(known), n=1)
    return f": did you mean {near[0]}?" if near else ""


def _moved(message: str) -> str | None:
    """Return how an option of a loss is set now if the message is about its flag of earlier versions."""
    found = re.match(r"[Uu]nrecognized arguments: (--(?:no-)?([a-z0-9-]+))", message)
    spelling = moved(found[2]) if found else None
    if found is None or spelling is None:
        return None
    return f"`{found[1]}` is now `--loss-options '{spelling.removeprefix('loss_options: ')}'`"


def _parser_at(parser: ArgumentParser, commands: list[str]) -> ArgumentParser:
    for command in commands:
        parser = _steps(parser).choices[command]
    return parser


def _steps(parser: ArgumentParser) -> Any:
    """Return the action with the subcommands of a parser."""
    return parser._subcommands_action


def _program(parser: ArgumentParser) -> str:
    return str(parser.prog).replace(" [options]", "")


def _action(parser: ArgumentParser, dest: str) -> argparse.Action | None:
    return next((action for action in parser._actions if action.dest == dest), None)


def _name(parser: ArgumentParser, dest: str) -> str:
    """Return an argument as it is typed: `--data`, or `DIR` if it has no flag."""
    action = _action(parser, dest)
    if action is None:
        return dest
    if action.option_strings:
        return max(action.option_strings, key=len)
    return str(action.metavar or dest.upper())


def _needed(parser: ArgumentParser, dest: str) -> str:
    action, name = _action(parser, dest), _name(parser, dest)
    if action is None:
        return name
    if action.option_strings:
        return f"{name} {action.metavar}" if isinstance(action.metavar, str) else name
    meaning = f"one of {', '.join(map(str, action.choices))}" if action.choices else action.help
    return f"{name} ({meaning})" if meaning else name


def _in_digits(value: str) -> str:
    """Return the way out for a number that is not written in plain digits, as the end of a sentence."""
    return ": write numbers in plain digits, such as 90 or 1.5" if re.match(r"[-+]?[0-9]", value) else ""


def _kind(expected: str) -> str:
    if literal := re.fullmatch(r"typing\.Literal\[(.*)\]", expected):
        words = literal[1].replace(chr(39), "")
        return f"one of {words}" if "," in words else words
    return TYPES.get(expected, expected)
