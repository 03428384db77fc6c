"""One writer at a time in a folder: a lock that names its holder, and is taken over when that one is gone.

The lock is the file `.lock`: process, host and start of the holder, as JSON. A file, not a lock of the
system, holds on network drives too, and tells whoever is refused by whom. Processes of other machines cannot
be looked up; a lock of theirs stays until it is removed by hand.
"""

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mfh._checks import InputError, parse_json, typed
from mfh._system.atomic import HELD, PARTIAL, opened_file, writable_folder

LOCK = ".lock"
P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger("mfh")
_owners: dict[Path, tuple[int, int, int]] = {}  # folder -> process, thread, how many calls of it hold it


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: process.
        host: its machine.
        since: when it took the lock; ISO 8601, in UTC.
        started: what tells it from a later process of the same number; empty where the system does not say.
    """

    pid: int
    host: str
    since: str
    started: str

    @classmethod
    def me(cls) -> "Holder":
        """This process."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), moment, start_of(os.getpid()))

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: no such process here, or another one by its number."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # it is somebody else's
        return start_of(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def start_of(pid: int) -> str:
    """When a process began, in the system's ticks, with the id of the boot; empty where that is not told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return ""
    return f"{boot} {fields[19]}" if fields[0] != "Z" else "ended"


@contextmanager
def held(folder: Path | str, *, name: str = "out", file: str = "") -> Iterator[None]:
    """Hold a folder while this thread writes into it; it is made if it is absent.

    A thread that holds it may ask again. What killed processes left half-written (`.partial`) is removed. A
    folder that was made for this and stayed empty is removed again.

    Args:
        folder: to hold.
        name: of the argument that names it.
        file: in the folder, to hold in place of the whole of it.

    Raises:
        InputError: another process or thread holds it, or it cannot be written.
    """
    path = Path(folder).absolute()
    lock = path / (f".{file}{LOCK}" if file else LOCK)
    mine = os.getpid(), threading.get_ident()
    owner = _owners.get(lock)
    if owner is not None and owner[0] == mine[0]:
        if owner[1] != mine[1]:
            raise InputError(f"`{name}` {folder} is being written by another thread. Name another folder.")
        _owners[lock] = (*mine, owner[2] + 1)
        try:
            yield
        finally:
            _owners[lock] = owner
        return
    made = not path.exists()
    writable_folder(folder, name)
    holder = _take(lock, f"`{name}` {path / file if file else folder}")
    _owners[lock] = (*mine, 1)
    status = lock.stat()
    HELD[lock] = status.st_ino, status.st_mtime_ns
    try:
        _tidy(path, file)
        yield
    except BaseException:
        _tidy(path, file)  # of workers that were ended
        raise
    finally:
        _owners.pop(lock, None)
        HELD.pop(lock, None)
        with contextlib.suppress(OSError, InputError):
            if _read(lock) == holder:
                lock.unlink()
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()  # which fails unless it is empty


def _tidy(path: Path, file: str) -> None:
    """Remove what was left half-written."""
    for left in path.glob(f".{file}*{PARTIAL}") if file else path.rglob(f".*{PARTIAL}"):
        left.unlink(missing_ok=True)


def holds(parameter: str = "out") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function hold the folder that one of its arguments names; None holds nothing."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        form = signature(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            folder: Any = form.bind_partial(*args, **kwargs).arguments.get(parameter)
            if folder is None or not is_main():
                return function(*args, **kwargs)
            with held(folder, name=parameter):
                return function(*args, **kwargs)

        return call

    return decorate


def holds_out(run: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make a command hold the folder of its option `out` from its first to its last file."""

    @wraps(run)
    def call(options: Any) -> None:
        with held(options.out) if is_main() else contextlib.nullcontext():
            run(options)

    return call


def is_main() -> bool:
    """Whether this process writes: of several that a launcher started, the first does."""
    return os.environ.get("RANK", "0") == "0"


def _take(lock: Path, named: str) -> Holder:
    """Write the lock, unless a living process has done so."""
    holder = Holder.me()
    try:
        with _alone(lock.parent):
            before = _read(lock)
            if before is not None:
                if not before.gone:
                    raise InputError(
                        f"{named} is being written by {before}. Wait for its end, or name another one"
                        + (f"; if it is gone, remove `{lock}`." if before.host != holder.host else ".")
                    )
                _log.warning("The lock of %s was left by %s, which has ended: taken over.", named, before)
                lock.unlink(missing_ok=True)
            _write(lock, holder)
    except OSError as error:
        raise InputError(
            f"{named} must be a folder that can be written: {error.strerror or error}."
        ) from error
    return holder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes of this machine out for a moment, so that two do not take over one stale lock."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError, ImportError):  # a file system, or a system, without locks
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(lock: Path, holder: Holder) -> None:
    """Make the file, whole; an error where somebody else has just made it."""
    draft = lock.with_name(f"{lock.name}.{holder.pid}{PARTIAL}")
    try:
        draft.unlink(missing_ok=True)
        with draft.open("x", encoding="utf-8") as file:  # "x": follows no link
            file.write(json.dumps(asdict(holder)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, lock)  # unlike a rename, never over another one
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with lock.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(holder)))
    finally:
        draft.unlink(missing_ok=True)


def _read(lock: Path) -> Holder | None:
    """Who holds the lock; None where nobody does.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with opened_file(lock) as file:
            return typed(Holder, parse_json(file.read().decode("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InputError(
            f"`{lock}` is damaged: {error}. If no process writes into the folder, remove it."
        ) from error
