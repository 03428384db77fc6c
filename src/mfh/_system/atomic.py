"""Write files completely or not at all, and check that folders can be written. Free of numpy."""

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
"""Locks that this process holds (see `mfh._system.lock`) -> their inode and time."""


class OutputError(InputError):
    """Report that a folder cannot be written any more: the disk is full, or the folder was removed.

    Later files would fail too, so a command ends at the first of these errors.
    """


def write_atomic(path: Path | str, write: Write) -> Path:
    """Write a file so that no reader sees a part of it, and no power cut leaves a part of it.

    `write` gets a temporary file in the same folder, which is flushed to disk and renamed to `path`; then the
    folder is flushed. If `write` raises, `path` is unchanged and the temporary file is removed.

    Raises:
        OutputError: the folder cannot be written, was removed while the command ran, or the disk is full.
    """
    write_together({Path(path): write})
    return Path(path)


def write_together(files: Mapping[Path, Write]) -> None:
    """Write files that belong together: all are on disk under temporary names before the first is renamed.

    If the disk is full, all of them therefore stay as they were. They are renamed in the order given: pass
    the file with the checksums of the others last.

    Raises:
        OutputError: as `write_atomic`.
    """
    staged: dict[Path, Path] = {}
    path = Path()
    try:
        for path, write in files.items():
            _require_lock_in_place(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
            with draft.open("xb") as file:  # "x" follows no link, and sets the permissions of umask
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
        _require_lock_in_place(path)
        raise OutputError(
            f"`{path}` cannot be written: {error.strerror or error}. No part of it is left."
        ) from error
    finally:
        for temporary in staged.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, on systems that can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _require_lock_in_place(path: Path) -> None:
    """Refuse to write into a folder that was removed: the new file would lack the files beside it."""
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
    """Return a function that writes bytes, for `write_together`."""
    return partial(_put, content)


def _put(content: bytes | memoryview, file: IO[bytes]) -> None:
    file.write(content)


def opened_file(path: Path | str) -> BufferedReader:
    """Open a regular file for reading; reading a pipe or a device could hang or never end.

    Raises:
        OSError: the file cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no file, but a folder, a pipe or a device", str(path))


def file_checksum(path: Path | str) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read.

    >>> file_checksum("nowhere")
    ''
    """
    try:
        with opened_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # a name with a NUL is a ValueError
        return ""


def checksum(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def writable_folder(path: Path | str, name: str = "out") -> Path:
    """Make a folder if it is absent, and check that it can be written.

    Raises:
        InputError: the path is a file, or the folder cannot be made or written.
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
