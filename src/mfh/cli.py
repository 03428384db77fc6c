"""The command line: parse, call, print. Errors of the user are one line on stderr and exit status 2."""

import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace, set_loader

from mfh._checks import BrokenRulesError, IncompleteError, InputError
from mfh._system.import_paths import NO_IMPORTS_VARIABLE
from mfh._system.paths import expanded
from mfh._system.signals import received, stoppable, stoppable_imports
from mfh._version import __version__
from mfh.commands import (
    avmnist,
    data,
    diagnose,
    export,
    fit,
    gaussian,
    layers,
    plan,
    predict,
    ravdess,
    report,
    saliency,
    study,
    vggsound,
)
from mfh.commands._help import HelpAll, format_help, note_needed
from mfh.commands._messages import in_words_of_the_command_line
from mfh.commands._options import NO_IMPORTS, PRINT_CONFIG, expand_paths, merge_parts
from mfh.commands._output import EscapedText, messages_on_stderr, one_escaped_line, write_error
from mfh.commands._sources import plain_spec, without_given
from mfh.commands._values import flag_value, require_plain

COMMANDS: tuple[ModuleType, ...] = (
    study,
    fit,
    diagnose,
    plan,
    layers,
    export,
    predict,
    report,
    saliency,
    data,
    gaussian,
    ravdess,
    vggsound,
    avmnist,
)
SAME_FILES = ("study", "fit", "layers", "export", "diagnose", "plan")  # a config of one serves the others
RESUMES = ("study", "fit", "saliency", "ravdess", "vggsound", "avmnist")
"""Commands that keep what is finished and go on from there; others start again."""
EXIT_INCOMPLETE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
NO_MEMORY = ("memoryerror", "allocate memory", "out of memory", "start new thread", "map segment")
"""Words for a lack of memory in errors of Python, torch, BLAS and the loader of libraries."""


set_loader("mfh", flag_value)


class _Parser(ArgumentParser):
    """Raise errors as exceptions, so that they can be shown in one line; show options in groups."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"parser_mode": "mfh", **options})
        self.add_argument("--help-all", action=HelpAll, help="show the rare options too, and exit")

    def format_help(self, formatter: object = None) -> str:  # noqa: ARG002 - of the class above
        """Return the text of `--help`; the formatter is that of `mfh.commands._help`."""
        return format_help(self)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(str(message).split()).rstrip(".")
        raise InputError(in_words_of_the_command_line(self, text)) from ex


def build_parser() -> ArgumentParser:
    """Return the parser with all commands."""
    parser = _Parser(
        prog="mfh",
        description="Which part of a teacher of one modality can a student of another modality learn from?",
        epilog="example:\n  mfh data mfeat --out mfeat.npz\n"
        "  mfh study --data mfeat.npz --teacher pix --student zer --out out/pix-zer",
    )
    parser.add_argument("--version", action="version", version=f"mfh {__version__}")
    commands = parser.add_subcommands(required=True, dest="command", metavar="COMMAND")
    for command in COMMANDS:
        sub = _Parser(description=command.description)
        commands.add_subcommand(command.name, sub, help=command.help)
        command.add_options(sub)  # afterwards: a command's own steps must come below it
    note_needed(parser)
    return parser


def read_configs(parser: ArgumentParser, words: Sequence[str]) -> str | None:
    """Check the files of --config, and make their values the defaults of the command's options.

    Returns:
        All options as YAML if the words ask for that; else None.

    Raises:
        InputError: a file breaks rules; see `mfh.commands._config.options_from`.
    """
    if {"-h", "--help", "--help-all"} & set(words):
        return None
    command, others = _chosen(parser, words)
    flags = {word.partition("=")[0][2:].replace("-", "_") for word in words if word.startswith("--")}
    paths = [
        word.partition("=")[2] or (words[at + 1] if at + 1 < len(words) else "")
        for at, word in enumerate(words)
        if word.partition("=")[0] == "--config"
    ]
    for path in paths if "config" in {action.dest for action in command._actions} else ():
        from mfh.commands import _config, _yaml  # PyYAML, only if it is needed

        file = _yaml.read(expanded(path, "config"))
        given = flags | ({a.dest for a in command._actions} if "print_config" in flags else set())
        values = _config.options_from(file, command, given=given, flags=flags, known=others)
        # a class on the command line replaces that of the file, with its arguments
        replaced = flags & set(getattr(command, "class_options", ()))
        command.set_defaults({name: value for name, value in values.items() if name not in replaced})
    if "print_config" not in flags:
        return None
    from mfh.commands import _print_config

    command.set_defaults(_values_of_flags(command, words))
    return _print_config.dump(command)


def _values_of_flags(command: ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    """Return what the words give for the options of a command; an option that it needs may be left out."""
    for action in command._actions:
        action.required = False
    first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    parsed = command.parse_args([word for word in words[first:] if word not in PRINT_CONFIG])
    named = {word.partition("=")[0].lstrip("-").partition(".")[0] for word in words if word.startswith("--")}
    given = {name.replace("-", "_") for name in named} - {"config", "print_config"}
    merge_parts(command, parsed, words)
    classes = getattr(command, "class_options", ())
    values = {name: value for name, value in parsed.as_dict().items() if name in given}
    return {name: _plain(name, value) if name in classes else value for name, value in values.items()}


def _plain(name: str, value: Any) -> Any:
    """Return a class with its arguments as plain values, with what it may have beside them."""
    value, given = without_given(value, name)
    return {**plain_spec(value), **given} if given else plain_spec(value)


def _chosen(parser: ArgumentParser, words: Sequence[str]) -> tuple[ArgumentParser, list[ArgumentParser]]:
    """Return the parser of the command or step that the words begin with, and those that read its configs."""
    others: list[ArgumentParser] = []
    for word in words:
        steps = getattr(parser, "_subcommands_action", None)
        if steps is None or word not in steps.choices:
            break
        same = set(SAME_FILES) & set(steps.choices) - {word} if word in SAME_FILES else set()
        others = [steps.choices[name] for name in sorted(same)]
        parser = steps.choices[word]
    return parser, others


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 if a part of a run failed; 2 after an error of the user, or if memory or the place of the output
        is used up; 130 or 143 after an interrupt, with everything that was finished kept.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    with _imports_off_if_asked(words), redirect_stdout(EscapedText(sys.stdout)):
        return _run(words)


@contextmanager
def _imports_off_if_asked(words: Sequence[str]) -> Iterator[None]:
    """Set MFH_NO_IMPORTS, which further processes see too, if --no-imports or an abbreviation is given."""
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
            require_plain(_chosen(parser, words)[0], words)
            if (printed := read_configs(parser, words)) is not None:
                sys.stdout.write(printed)
                sys.stdout.flush()
                return 0
            options = parser.parse_args(words)
            command = next(c for c in COMMANDS if c.name == options.command)
            chosen = options[options.command]
            merge_parts(_chosen(parser, words)[0], _innermost(chosen), words)
            expand_paths(_chosen(parser, words)[0], _innermost(chosen))
            with messages_on_stderr(quiet=_is_quiet(chosen)):
                command.run(chosen)
                sys.stdout.flush()
                _leave_processes()
    except KeyboardInterrupt as interrupt:
        return _stopped(words, int(interrupt.args[0]) if interrupt.args else EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - raised again, unless it is the user's
        number = received()  # what a signal breaks may fail with another error
        return _report_error(error, words) if number is None else _stopped(words, 128 + number)
    return 0


def _stopped(words: Sequence[str], status: int) -> int:
    write_error(f"\nmfh: stopped. {_how_to_go_on(words)}\n")
    return status


def _how_to_go_on(words: Sequence[str]) -> str:
    """Return what is left of a command that was stopped, and what it does if it is repeated."""
    if words and words[0] in RESUMES:
        return "What was finished is kept: repeat the command to go on."
    return "This command keeps no unfinished work: repeat the command to start again."


def _report_error(error: Exception, words: Sequence[str]) -> int:
    """Write an error of the user in one line and return the exit status; raise all other errors."""
    if isinstance(error, BrokenPipeError):
        return EXIT_USAGE
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        error = InputError(f"`{str(error.filename)[:60]}...` is too long for a file's name.")
    if _is_lack_of_memory(error):
        error = InputError(
            f"The memory is used up ({_short(error)}). Free some, raise the limit (`ulimit -v`), or use "
            f"fewer --jobs, smaller data or networks. {_how_to_go_on(words)}"
        )
    if not isinstance(error, (InputError, IncompleteError)):
        raise error
    texts = [str(error)]
    if isinstance(error, BrokenRulesError):
        texts = [text for _, text in error.problems]
        texts = texts if len(texts) == 1 else [f"{len(texts)} errors", *(f"  {text}" for text in texts)]
    write_error(f"mfh{_process()}: " + "\n".join(map(one_escaped_line, texts)) + "\n")
    return EXIT_INCOMPLETE if isinstance(error, IncompleteError) else EXIT_USAGE


def _is_lack_of_memory(error: Exception) -> bool:
    if isinstance(error, (InputError, IncompleteError)):
        return False
    text = f"{type(error).__name__}: {error}".lower()
    words = (*NO_MEMORY, "shared object") if _memory_is_limited() else NO_MEMORY
    kinds = (MemoryError, RuntimeError, ImportError, OSError)
    return isinstance(error, kinds) and any(word in text for word in words)


def _memory_is_limited() -> bool:
    """Return whether `ulimit -v` is set: libraries that do not fit then seem to be missing."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def _process() -> str:
    """Return which process of a distributed run this is; empty for the main one."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"


def _leave_processes() -> None:
    """Let this process leave the group of a distributed run."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _innermost(options: Namespace) -> Namespace:
    """Return the options of the step that was chosen, or of the command if it has no steps."""
    return options[options.step] if "step" in options else options


def _is_quiet(options: Namespace) -> bool:
    return bool(_process()) or bool(_innermost(options).get("quiet", False))
