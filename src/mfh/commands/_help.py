"""What `--help` shows: options in groups, with their defaults; `--help-all` shows the rare ones too."""

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mfh.config import DistillConfig, TrainConfig

GROUPS = ("commands", "options", "data", "design", "training", "losses", "where it runs", "help")
"""Titles, in their order."""
_RUNNING = (
    "out", "device", "precision", "jobs", "backend", "address", "retries", "engine", "micro_batch",
    "channels_last", "tracker", "quiet", "no_imports",
)  # fmt: skip
_HELP = ("help", "help_all", "version", "config", "print_config")
_OWN = {
    "data": ("teacher", "student", "teacher_logits", "frozen_teacher", "task"),
    "design": ("metric", "effect"),
    "training": ("class_weight",),
    "losses": ("losses",),
    "where it runs": _RUNNING,
    "help": _HELP,
}
_OF_NAME: Mapping[str, str] = {name: title for title, names in _OWN.items() for name in names}
RARE = (
    "modalities", "split", "id", "fold_column", "split_by_time", "delimiter", "decimal", "ignore_index",
    "layer", "channel_dim", "student_layer", "interval", "margin", "max_repeats", "teacher_source",
    "saliency_split", "score", "num_permutations", "saliency_precision", "teacher_outputs",
    "cross_fit_folds", "smoothing", "random_draws", "fix_split",
    "momentum", "weight_decay", "schedule", "step_epochs", "warmup",
    "distill_weight", "loss_options",
    "backend", "address", "retries", "engine", "micro_batch", "channels_last", "tracker", "no_imports",
)  # fmt: skip
"""Options of configs, of data and of where a command runs that only `--help-all` shows."""


_SAID = re.compile(r"\bby default\b|\(default", re.IGNORECASE)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, options with their defaults."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help or "", action.default
        unsaid = default in (None, argparse.SUPPRESS, [], {}, ()) or isinstance(default, bool)
        if unsaid or not action.option_strings or _SAID.search(text):
            return text
        several = default if isinstance(default, (list, tuple)) else [default]
        shown = " ".join(str(value) for value in several)
        return f"{text} (default: {shown.replace('%', '%%')})"


class HelpAll(argparse.Action):
    """Print the help with the rare options, and end the command."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser._print_message(format_help(parser, rare=True), sys.stdout)
        parser.exit()


def format_help(parser: argparse.ArgumentParser, *, rare: bool = False) -> str:
    """Return the help of a command.

    Args:
        parser: the parser of the command.
        rare: whether to show the rare options too.
    """
    hidden = [] if rare else [action for action in parser._actions if _is_rare(parser, action)]
    shown = [action for action in parser._actions if action not in hidden and _has_help(action)]
    formatter = HelpFormatter(program(parser))
    formatter.add_usage(_usage(parser), parser._actions, parser._mutually_exclusive_groups)
    formatter.add_text(parser.description)
    for title in GROUPS:
        actions = [action for action in shown if group_of(parser, action) == title]
        if not hidden and not rare:
            actions = [action for action in actions if not isinstance(action, HelpAll)]
        formatter.start_section(title)
        formatter.add_arguments(actions)
        formatter.end_section()
    formatter.add_text(parser.epilog)
    if hidden:
        formatter.add_text(f"{len(hidden)} rare options are not shown: {program(parser)} --help-all")
    return formatter.format_help()


def group_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the group of an option: by its name, or by the config class that it is a field of."""
    if _is_subcommand(action):
        return GROUPS[0]
    many = hasattr(parser, "configs") or hasattr(parser, "class_options")
    if action.dest in (_OF_NAME if many else _HELP) and action.option_strings:
        return _OF_NAME[action.dest]
    if any(_is_field(config, action.dest) for config in getattr(parser, "configs", ())):
        known = ((TrainConfig, "training"), (DistillConfig, "losses"))
        return next((title for config, title in known if _is_field(config, action.dest)), "design")
    of_data = hasattr(parser, "configs") and hasattr(parser, "class_options") and action.option_strings
    return "data" if of_data else "options"


def program(parser: argparse.ArgumentParser) -> str:
    """Return the command as it is typed."""
    return str(parser.prog).replace(" [options]", "")


def _is_subcommand(action: argparse.Action) -> bool:
    return hasattr(action, "_name_parser_map")


def _has_help(action: argparse.Action) -> bool:
    return _is_subcommand(action) or action.help not in (None, argparse.SUPPRESS)


def _is_field(config: type, name: str) -> bool:
    return name in {spec.name for spec in fields(config)}


def _is_rare(parser: argparse.ArgumentParser, action: argparse.Action) -> bool:
    own = hasattr(parser, "configs") and group_of(parser, action) not in ("commands", "options")
    return own and action.dest in RARE and action.dest not in _needed(parser)


def note_needed(parser: argparse.ArgumentParser) -> None:
    """Note which options a command and its steps need: during parsing, their actions do not say so."""
    parser.needed = {action.dest for action in parser._actions if action.required}  # type: ignore[attr-defined]
    for action in parser._actions:
        for sub in (getattr(action, "_name_parser_map", None) or {}).values():
            note_needed(sub)


def _needed(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options that must be given."""
    return getattr(parser, "needed", set())


def _usage(parser: argparse.ArgumentParser) -> str:
    """Return the command, what it needs, and that it has options."""
    words = [program(parser)]
    for action in parser._actions:
        value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        if _is_subcommand(action):
            return f"{program(parser)} {value} ..."
        if not action.option_strings:
            words.append(f"{value} [{value} ...]" if action.nargs == "+" else value)
        elif action.dest in _needed(parser):
            words.append(f"{max(action.option_strings, key=len)} {value}")
    return " ".join([*words, "[options]"])
