"""The command line: parse, call, print. Errors of the user are one line on stderr and exit status 2."""

import argparse
import errno
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import BrokenRulesError, IncompleteError, InputError, shown
from mfh._system.import_paths import NO_IMPORTS_VARIABLE
from mfh._system.signals import received, stoppable, stoppable_imports
from mfh._version import __version__
from mfh.commands import (
    avmnist,
    data,
    diagnose,
    export,
    gaussian,
    layers,
    plan,
    ravdess,
    report,
    saliency,
    study,
    vggsound,
)
from mfh.commands._messages import in_words_of_the_command_line
from mfh.commands._options import NO_IMPORTS

COMMANDS: tuple[ModuleType, ...] = (
    study,
    diagnose,
    plan,
    layers,
    export,
    report,
    saliency,
    data,
    gaussian,
    ravdess,
    vggsound,
    avmnist,
)
SAME_FILES = ("study", "layers", "export", "diagnose", "plan")  # a file of one serves the others
EXIT_INCOMPLETE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


class _Parser(ArgumentParser):
    """Errors become exceptions, so that they can be shown in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(str(message).split()).rstrip(".")
        raise InputError(in_words_of_the_command_line(self, text)) from ex


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


def read_configs(parser: ArgumentParser, words: Sequence[str]) -> str | None:
    """Check the files of --config, and make them the defaults of the command's options.

    Returns:
        All options as YAML where the words ask for that; else None.

    Raises:
        InputError: a file breaks rules; see `mfh.commands._yaml.check`.
    """
    if {"-h", "--help"} & set(words):
        return None
    command, others = _chosen(parser, words)
    flags = {word.partition("=")[0][2:].replace("-", "_") for word in words if word.startswith("--")}
    paths = [
        word.partition("=")[2] or (words[at + 1] if at + 1 < len(words) else "")
        for at, word in enumerate(words)
        if word.partition("=")[0] == "--config"
    ]
    for path in paths if "config" in {action.dest for action in command._actions} else ():
        from mfh.commands import _yaml  # PyYAML, where it is needed

        file = _yaml.read(path)
        asked = flags | ({a.dest for a in command._actions} if "print_config" in flags else set())
        _yaml.check(file, command, given=asked, known=others)
        command.set_defaults(_yaml.defaults_from(file, command))
    if "print_config" not in flags:
        return None
    from mfh.commands import _yaml

    return _yaml.dump(command)


def _chosen(parser: ArgumentParser, words: Sequence[str]) -> tuple[ArgumentParser, list[ArgumentParser]]:
    """The parser of the command or step that the words begin with, and those that read the same files."""
    others: list[ArgumentParser] = []
    for word in words:
        steps = getattr(parser, "_subcommands_action", None)
        if steps is None or word not in steps.choices:
            break
        same = set(SAME_FILES) & set(steps.choices) - {word} if word in SAME_FILES else set()
        others = [steps.choices[name] for name in sorted(same)]
        parser = steps.choices[word]
    return parser, others


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
        0; 1 when a part of a run failed; 2 after an error of the user; 130 or 143 after an interrupt, with
        everything finished so far kept.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    with _restricted(words), redirect_stdout(_ShownText(sys.stdout)):
        return _run(words)


@contextmanager
def _restricted(words: Sequence[str]) -> Iterator[None]:
    """Import nothing of others where --no-imports stands, however shortened, in further processes too."""
    on, before = any(word.startswith(NO_IMPORTS[:6]) for word in words), os.environ.get(NO_IMPORTS_VARIABLE)
    if not on:
        yield
        return
    os.environ[NO_IMPORTS_VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(NO_IMPORTS_VARIABLE)
        os.environ.update({} if before is None else {NO_IMPORTS_VARIABLE: before})


def _run(words: Sequence[str]) -> int:
    try:
        with stoppable(signal.SIGINT, signal.SIGTERM), stoppable_imports():
            parser = build_parser()
            if (printed := read_configs(parser, words)) is not None:
                sys.stdout.write(printed)
                return 0
            options = parser.parse_args(words)
            command = next(c for c in COMMANDS if c.name == options.command)
            chosen = options[options.command]
            with _messages_on_stderr(quiet=_is_quiet(chosen)):
                command.run(chosen)
                _leave_processes()
    except KeyboardInterrupt as interrupt:
        return _stopped(int(interrupt.args[0]) if interrupt.args else EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - raised again, unless it is the user's
        number = received()  # what a signal breaks may fail in a way of its own
        return _told(error) if number is None else _stopped(128 + number)
    return 0


def _stopped(status: int) -> int:
    sys.stderr.write("\nmfh: stopped. What was finished is kept: repeat the command to go on.\n")
    return status


def _told(error: Exception) -> int:
    """Tell an error of the user in one line; returns the exit status. All others are raised."""
    if isinstance(error, BrokenPipeError):
        return EXIT_USAGE
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        error = InputError(f"`{str(error.filename)[:60]}...` is too long for a file's name.")
    if not isinstance(error, (InputError, IncompleteError)):
        raise error
    texts = [str(error)]
    if isinstance(error, BrokenRulesError):
        texts = [text for _, text in error.problems]
        texts = texts if len(texts) == 1 else [f"{len(texts)} errors", *(f"  {text}" for text in texts)]
    sys.stderr.write(f"mfh{_process()}: " + "\n".join(map(_line, texts)) + "\n")
    return EXIT_INCOMPLETE if isinstance(error, IncompleteError) else EXIT_USAGE


class _ShownText(io.TextIOBase):
    """Standard output on which names from files cannot steer the terminal."""

    def __init__(self, out: Any) -> None:
        self.out = out

    def write(self, text: str) -> int:
        """Write text, what a terminal would obey written out."""
        encoding = getattr(self.out, "encoding", None) or "utf-8"
        return int(self.out.write(shown(text).encode(encoding, "backslashreplace").decode(encoding)))

    def flush(self) -> None:
        """Flush the output below."""
        self.out.flush()

    def isatty(self) -> bool:
        """Whether the output below is a terminal."""
        return bool(self.out.isatty())

    def fileno(self) -> int:
        """That of the output below."""
        return int(self.out.fileno())


class _ShownLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _line(text: str) -> str:
    """A text in one line, indented as it was, that a terminal only shows."""
    return text[: len(text) - len(text.lstrip(" "))] + shown(" ".join(text.split()))


@contextmanager
def _messages_on_stderr(*, quiet: bool) -> Iterator[None]:
    """Our messages and all warnings, a line each; whoever calls `main` finds logging as it was."""
    logger, handler = logging.getLogger("mfh"), logging.StreamHandler(sys.stderr)
    root, level, form = logging.getLogger(), logger.level, warnings.formatwarning
    handler.setFormatter(_ShownLines())
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


def _process() -> str:
    """Which process of a distributed run this is, but for the main one."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"


def _leave_processes() -> None:
    """End what joins the processes of a distributed run, in each of them."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _is_quiet(options: Namespace) -> bool:
    """The flag of a command, or of the step of it that was chosen."""
    if _process():
        return True
    return bool(options.get("quiet", "step" in options and options[options.step].quiet))
