"""Write the reference of the commands and their options, from their parsers."""

import argparse
import re
from collections.abc import Iterator

from mfh.cli import build_parser
from mfh.commands._help import HelpFormatter

_HIDDEN = ("help", "help_all", "version", "print_config")


def write() -> str:
    """Return Markdown of all commands: for each a heading, a description, examples and the options."""
    return "\n".join(_command(*entry) for entry in _parsers(build_parser()))


def _parsers(
    parser: argparse.ArgumentParser, level: int = 2
) -> Iterator[tuple[argparse.ArgumentParser, list[str], int]]:
    """Yield the parser of each subcommand with all its names and its heading level, depth first."""
    found: dict[int, tuple[argparse.ArgumentParser, list[str]]] = {}
    for action in parser._actions:
        for name, sub in (getattr(action, "_name_parser_map", None) or {}).items():
            found.setdefault(id(sub), (sub, []))[1].append(name)
    for sub, names in found.values():
        yield sub, names, level
        yield from _parsers(sub, level + 1)


def _command(parser: argparse.ArgumentParser, names: list[str], level: int) -> str:
    title = re.sub(r" \[options\]|\bmfh \[.*?\] ", " ", parser.prog).strip()
    title = " ".join(title.split())
    title = title if title.startswith("mfh") else f"mfh {title}"
    anchor = title.replace(" ", "-")
    also = f"\nAlso accepted: `{', '.join(names[1:])}`.\n" if len(names) > 1 else ""
    parts = [f"({anchor})=\n{'#' * level} {title}\n", _description(parser.description or ""), also]
    positional = [a for a in parser._actions if not a.option_strings and not hasattr(a, "_name_parser_map")]
    positional = [a for a in positional if a.dest not in _HIDDEN]
    options = [a for a in parser._actions if a.option_strings and a.dest not in _HIDDEN]
    required = [a for a in options if a.required]
    optional = [a for a in options if not a.required]
    for heading, actions in (("Arguments", positional), ("Required", required), ("Options", optional)):
        if actions:
            parts.append(f"**{heading}**\n\n{''.join(_option(parser, action) for action in actions)}")
    return "\n".join(part for part in parts if part)


def _description(text: str) -> str:
    """Return a help text as Markdown: indented lines become text blocks, examples console blocks."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.splitlines()
        if re.match(r"examples?:$", lines[0].strip()) and len(lines) > 1:
            lines = [re.sub(r"^ *(?=mfh )", "$ ", _wrap(line)) for line in lines[1:]]
            parts.append("```console\n" + "\n".join(lines) + "\n```\n")
        elif lines[0].startswith("  "):
            parts.append("```text\n" + "\n".join(line[2:] for line in lines) + "\n```\n")
        else:
            parts.append(plain(" ".join(line.strip() for line in lines)) + "\n")
    return "\n".join(parts)


def _wrap(line: str, width: int = 80) -> str:
    """Break a long command before its options, with a backslash at the end of each line."""
    lines = [""]
    for piece in re.split(r" (?=--)", line.strip()):
        if lines[-1] and len(lines[-1]) + 1 + len(piece) > width:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {piece}" if lines[-1] else piece
    return " \\\n".join(lines)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    names = [name for name in action.option_strings if "_" not in name] or [action.dest]
    value = _value(action)
    name = " ".join(filter(None, (", ".join(names), value)))
    text = HelpFormatter(parser.prog)._expand_help(action) if action.help else ""
    return f"`{name}`\n: {plain(text) or 'see above'}\n\n"


def _value(action: argparse.Action) -> str:
    if action.choices is not None:
        return "{" + ",".join(str(choice) for choice in action.choices) + "}"
    if not action.option_strings or action.nargs == 0:
        return ""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"{metavar} ..." if action.nargs == "+" else metavar


def plain(text: str) -> str:
    """Return a help text as Markdown: options become code, characters of markup are escaped."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if i % 2 else _prose(part) for i, part in enumerate(parts))


def _prose(text: str) -> str:
    parts = re.split(r"(?<![\w-])(--[a-z][\w-]*)", text)
    return "".join(
        f"`{part}`" if i % 2 else re.sub(r"([*_<>\[\]{}$#|])", r"\\\1", part) for i, part in enumerate(parts)
    )
