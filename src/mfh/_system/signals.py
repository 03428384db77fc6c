"""Ctrl-C and SIGTERM: they stop a command between two steps, never within one."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TOGETHER = 0.5
"""Seconds within which a second signal is the first one again: launchers and terminals both send it."""
LOKY_TRACKER = "joblib.externals.loky.backend.resource_tracker"
_depth = _nested = 0
_begun = False
_first: int | None = None
_moment = 0.0


@contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Make signals raise KeyboardInterrupt, whose argument is the exit status 128 + number.

    Only the main thread can; handlers that somebody else has set are left alone, but for those of Python and
    `leave`.
    """
    global _first, _nested
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _nested:
        _first = None
    before = {number: signal.getsignal(number) for number in numbers}
    defaults = (signal.SIG_DFL, signal.default_int_handler, leave)
    ours = [number for number, handler in before.items() if handler in defaults]
    _nested += 1
    try:
        for number in ours:
            signal.signal(number, _handle)
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        _nested -= 1


@contextmanager
def stoppable_imports() -> Iterator[None]:
    """Stop at the next import if a signal has come and its exception was lost, until the work has begun.

    A command imports for a second or more, and what it imports has `except:` in places, which takes a signal
    for a missing package.
    """
    global _begun
    _begun, watch = False, _Watch()
    sys.meta_path.insert(0, watch)
    try:
        yield
    finally:
        sys.meta_path.remove(watch)


class _Watch:
    """Finds nothing; it is asked before every first import of a module."""

    def find_spec(self, _name: str, _path: object, _target: object = None, /) -> None:
        """Stop the command here, if it is to be stopped."""
        if not _begun:
            _stop_if_told()


@contextmanager
def defer_signals() -> Iterator[None]:
    """Finish what is inside before a signal under `stoppable` stops the command; a later one stops it now."""
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
    raise_if_stopped()


def raise_if_stopped() -> None:
    """Stop the command here if a signal has come and its exception was lost, as some libraries lose any.

    For places that a long command passes often, and never on its way out.
    """
    global _begun
    _begun = True
    _stop_if_told()


def _stop_if_told() -> None:
    main = threading.current_thread() is threading.main_thread()
    if main and _nested and _first is not None and _depth == 0:
        raise KeyboardInterrupt(128 + _first)


@contextmanager
def shield_workers() -> Iterator[None]:
    """Begin processes that Ctrl-C does not reach: whoever begins them ends them too.

    Ctrl-C at a terminal goes to all processes of a command; a worker that it met while it was importing
    would say so with a traceback. It reaches this process at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # trackers of either kind let Ctrl-C through again when they begin, so they begin here
    for tracker in filter(None, (resource_tracker, sys.modules.get(LOKY_TRACKER))):
        tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def received() -> int | None:
    """The signal that came under the latest `stoppable`; None where none came."""
    return _first


def leave(number: int, _frame: FrameType | None) -> None:
    """Handle a signal where nothing is under way: end the process at once, with the status 128 + number."""
    if _again():
        return
    if _first is None:  # else the command has told it, or is about to
        os.write(2, b"\nmfh: stopped. Nothing was left unfinished: repeat the command to go on.\n")
    os._exit(128 + number)


def _handle(number: int, _frame: FrameType | None) -> None:
    global _first, _moment
    if _again():
        return
    if _first is None:
        _first, _moment = number, time.monotonic()
        if _depth:
            return
    raise KeyboardInterrupt(128 + number)


def _again() -> bool:
    """Whether a signal is the first one, sent twice."""
    return _first is not None and time.monotonic() - _moment < TOGETHER
