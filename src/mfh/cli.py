"""The command line: parse, call, print. Errors of the user are one line on stderr and exit status 2."""

import argparse
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import NoReturn

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import InputError
from mfh._version import __version__
from mfh.commands import data, diagnose, gaussian, ravdess, report, saliency, study, vggsound

COMMANDS: tuple[ModuleType, ...] = (
    study,
    diagnose,
    report,
    saliency,
    data,
    gaussian,
    ravdess,
    vggsound,
)
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


class _Parser(ArgumentParser):
    """Errors become exceptions, so that they can be shown in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(str(message).split())
        prog = self.prog.replace(" [options]", "")
        raise InputError(f"{text.rstrip('.')}. See `{prog} --help`.") from ex


def build_parser() -> ArgumentParser:
    """The parser with all subcommands."""
    parser = _Parser(
        prog="mfh",
        description="Which part of a teacher of one modality can a student of another modality learn from?",
        epilog="example:\n  mfh data mfeat --out mfeat.npz\n"
        "  mfh study --data mfeat.npz --teacher pix --student zer --out out/pix-zer",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mfh {__version__}")
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for command in COMMANDS:
        sub = _Parser(description=command.description, formatter_class=HelpFormatter)
        commands.add_subcommand(command.name, sub, help=command.help)
        command.add_options(sub)  # afterwards: a command's own steps must come below it
    return parser


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, options with their defaults."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        default = action.default
        if default in (None, argparse.SUPPRESS, "==SUPPRESS==") or not action.option_strings:
            return text
        shown = " ".join(str(d) for d in default) if isinstance(default, (list, tuple)) else str(default)
        return f"{text} (default: {shown.replace('%', '%%')})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 2 after an error of the user; 130 or 143 after an interrupt, with everything finished so far kept.
    """
    try:
        options = build_parser().parse_args(list(arguments) if arguments is not None else None)
        command = next(c for c in COMMANDS if c.name == options.command)
        chosen = options[options.command]
        with _messages_on_stderr(quiet=_is_quiet(chosen)), _stopped_by_sigterm():
            command.run(chosen)
    except InputError as error:
        sys.stderr.write(f"mfh: {' '.join(str(error).split())}\n")
        return EXIT_USAGE
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("\nmfh: stopped. What was finished is kept: repeat the command to go on.\n")
        return int(interrupt.args[0]) if interrupt.args else EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_USAGE
    return 0


@contextmanager
def _messages_on_stderr(*, quiet: bool) -> Iterator[None]:
    """Our messages and all warnings, a line each; whoever calls `main` finds logging as it was."""
    logger, handler = logging.getLogger("mfh"), logging.StreamHandler(sys.stderr)
    root, level, form = logging.getLogger(), logger.level, warnings.formatwarning
    root.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, *_, **__: str(message)
    try:
        yield
    finally:
        warnings.formatwarning = form
        logging.captureWarnings(False)
        logger.setLevel(level)
        root.removeHandler(handler)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does. Only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_quiet(options: Namespace) -> bool:
    """The flag of a command, or of the step of it that was chosen."""
    return bool(options.get("quiet", "step" in options and options[options.step].quiet))


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(128 + number)
