"""What a command writes: text that a terminal only shows, messages on stderr, one line for an error."""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mfh._checks import InputError, shown
from mfh._system.lock import is_main

logger = logging.getLogger("mfh")


class EscapedText(io.TextIOBase):
    """Standard output in which names from files cannot control the terminal.

    `write` and `flush` raise InputError if the output cannot be written, because its disk is full, and
    BrokenPipeError if its reader has ended.

    Args:
        out: the output below; None if it was closed, as after `>&-`.
    """

    def __init__(self, out: Any) -> None:
        self.out = out

    def write(self, text: str) -> int:
        """Write text, with control characters as escapes."""
        if self.out is None:
            return len(text)
        encoding = getattr(self.out, "encoding", None) or "utf-8"
        with self._errors():
            self.out.write(shown(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the output below."""
        if self.out is not None:
            with self._errors():
                self.out.flush()

    def isatty(self) -> bool:
        """Return whether the output below is a terminal."""
        return self.out is not None and bool(self.out.isatty())

    def fileno(self) -> int:
        """Return the descriptor of the output below."""
        if self.out is None:
            raise OSError("standard output is closed")
        return int(self.out.fileno())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _abandon(self.out)
            if isinstance(error, BrokenPipeError):
                raise
            raise InputError(
                f"Standard output cannot be written: {error.strerror or error}. Files that the command has "
                "written are complete."
            ) from error


def _abandon(out: Any) -> None:
    """Discard what was not written: Python would try, and fail, again at its exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)


def write_error(text: str) -> None:
    """Write to stderr, if it can be written."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()


def one_escaped_line(text: str) -> str:
    """Return a text in one line, indented as it was, with control characters as escapes."""
    return text[: len(text) - len(text.lstrip(" "))] + shown(" ".join(text.split()))


def announce(text: str, path: Path | str) -> None:
    """Name a file that a command wrote: as a message, or on stdout if messages are off (`--quiet`)."""
    if not is_main():
        return
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s %s", text, path)
    else:
        print(path)  # noqa: T201


class _EscapedLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


@contextmanager
def messages_on_stderr(*, quiet: bool) -> Iterator[None]:
    """Write our messages and all warnings to stderr, a line each; afterwards logging is as it was before."""
    handler = logging.StreamHandler(sys.stderr)
    root, level, form = logging.getLogger(), logger.level, warnings.formatwarning
    handler.setFormatter(_EscapedLines())
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
