"""Files that appear whole or not at all, and folders that say whether they can be written. Free of numpy."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO

from mfh._checks import InputError

PARTIAL = ".partial"
Write = Callable[[IO[bytes]], object]
HELD: dict[Path, tuple[int, int]] = {}
"""Locks under which this process writes (see `mfh._system.lock`) -> their inode and time."""


class OutputError(InputError):
    """A folder takes no more files: the disk is full, or the folder was removed under a running command.

    What is written later would fail too, so a command ends at the first of these.
    """


def write_atomic(path: Path | str, write: Write) -> Path:
    """Write a file so that no reader ever sees half of it, and no power cut leaves half of it.

    `write` gets a temporary file in the same folder, which is flushed to disk and renamed over `path`; then
    the folder is flushed. If `write` raises, `path` is untouched and the temporary file is gone.

    Raises:
        OutputError: the folder cannot be written or was removed under a running command, or the disk is full.
    """
    write_together({Path(path): write})
    return Path(path)


def write_together(files: Mapping[Path, Write]) -> None:
    """Write files that belong together: all are on disk under temporary names before the first is renamed.

    A full disk therefore leaves all of them as they were. They are renamed in the order given, so the one
    that vouches for the others comes last.

    Raises:
        OutputError: as `write_atomic`.
    """
    staged: dict[Path, Path] = {}
    path = Path()
    try:
        for path, write in files.items():
            _require_there(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
            with draft.open("xb") as file:  # "x": follows no link, and has the rights that umask leaves
                staged[path] = draft
                write(file)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            staged[path].replace(path)
            del staged[path]
        for folder in {path.parent for path in files}:
            _flush_folder(folder)
    except OSError as error:
        _require_there(path)
        raise OutputError(
            f"`{path}` cannot be written: {error.strerror or error}. Nothing was left."
        ) from error
    finally:
        for temporary in staged.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush names of files to disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _require_there(path: Path) -> None:
    """Refuse to write into a folder that somebody removed: what is written next would lack the rest."""
    for lock, known in HELD.items():
        if lock.parent in path.absolute().parents:
            try:
                status = lock.stat()
            except OSError:
                status = None
            if status is None or (status.st_ino, status.st_mtime_ns) != known:
                raise OutputError(
                    f"`out` {lock.parent} was removed or replaced while the command wrote into it. "
                    "Repeat the command."
                )


def bytes_writer(content: bytes | memoryview) -> Write:
    """A writer of bytes in memory, for `write_together`."""
    return partial(_put, content)


def _put(content: bytes | memoryview, file: IO[bytes]) -> None:
    file.write(content)


def opened_file(path: Path | str) -> BufferedReader:
    """A file open for reading, for what must not hang or never end: a pipe or a device is none.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no file, but a folder, a pipe or a device", str(path))


def file_checksum(path: Path | str) -> str:
    """SHA-256 of a file; empty where it cannot be read.

    >>> file_checksum("nowhere")
    ''
    """
    try:
        with opened_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # a name with a NUL is a ValueError
        return ""


def checksum(content: bytes) -> str:
    """SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def writable_folder(path: Path | str, name: str = "out") -> Path:
    """Make the folder if it is absent, and prove that it can be written.

    Raises:
        InputError: it is a file, or cannot be made or written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"`{name}` must be a folder. `{path}` is a file: name another.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"`{name}` must be a folder that can be written. `{path}`: {error.strerror or error}."
        ) from error
    return path
