"""Let one process at a time write into a folder; the lock of a process that has ended is taken over.

The lock is the file `.lock` with process, host and start of its holder, as JSON. A file also works on network
drives, unlike a lock of the operating system, and it tells other processes who has the folder. Whether a
process of another machine has ended is not known: its lock stays until it is removed by hand.
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
_owners: dict[Path, tuple[int, int, int]] = {}  # lock -> process, thread, number of nested calls


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: number of the process.
        host: its machine.
        since: when it took the lock; ISO 8601, in UTC.
        started: when it began, to tell it from a later process with the same number; '' if unavailable.
    """

    pid: int
    host: str
    since: str
    started: str

    @classmethod
    def me(cls) -> "Holder":
        """Describe this process."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), moment, start_of(os.getpid()))

    @property
    def gone(self) -> bool:
        """Whether the process has ended: there is none with its number, or another one."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # it belongs to another user
        return start_of(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def start_of(pid: int) -> str:
    """Return when a process began, in the system's ticks, with the id of the boot; '' if unavailable."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return ""
    return f"{boot} {fields[19]}" if fields[0] != "Z" else "ended"


@contextmanager
def held(folder: Path | str, *, name: str = "out", file: str = "") -> Iterator[None]:
    """Lock a folder while this thread writes into it; make it if it is absent.

    Blocks of one thread may be nested. Partial files (`.partial`) of killed processes are removed. A folder
    that was made here and stayed empty is removed again.

    Args:
        folder: the folder to lock.
        name: name of the argument that names it, for messages.
        file: name of a file in the folder, to lock that file only.

    Raises:
        InputError: another process or thread has the lock, or the folder cannot be written.
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
        _tidy(path, file)  # files of workers that were ended
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
    """Remove partial files."""
    for left in path.glob(f".{file}*{PARTIAL}") if file else path.rglob(f".*{PARTIAL}"):
        left.unlink(missing_ok=True)


def holds(parameter: str = "out") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function lock the folder that one of its arguments names; None locks nothing."""

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
    """Make a command lock the folder of its option `out` while it runs."""

    @wraps(run)
    def call(options: Any) -> None:
        with held(options.out) if is_main() else contextlib.nullcontext():
            run(options)

    return call


def is_main() -> bool:
    """Return whether this process writes files: the first of those that a launcher started does."""
    return os.environ.get("RANK", "0") == "0"


def _take(lock: Path, named: str) -> Holder:
    """Write the lock, unless a living process has it."""
    holder = Holder.me()
    try:
        with _alone(lock.parent):
            before = _read(lock)
            if before is not None:
                if not before.gone:
                    raise InputError(
                        f"{named} is being written by {before}. Wait for its end, or name another one"
                        + (f"; if it has ended, remove `{lock}`." if before.host != holder.host else ".")
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
    """Exclude other processes of this machine, so that two do not take over one old lock."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError, ImportError):  # a system or file system without locks
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(lock: Path, holder: Holder) -> None:
    """Make the lock file completely; raise FileExistsError if another process has just made it."""
    draft = lock.with_name(f"{lock.name}.{holder.pid}{PARTIAL}")
    try:
        draft.unlink(missing_ok=True)
        with draft.open("x", encoding="utf-8") as file:  # "x" follows no link
            file.write(json.dumps(asdict(holder)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, lock)  # never replaces a file, unlike a rename
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with lock.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(holder)))
    finally:
        draft.unlink(missing_ok=True)


def _read(lock: Path) -> Holder | None:
    """Return the holder of a lock; None if nobody has it.

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
