"""Let Ctrl-C and SIGTERM stop a command between two steps, never within one."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TOGETHER = 0.5
"""Seconds in which a second signal counts as the first one: a launcher and a terminal may both send it."""
LOKY_TRACKER = "joblib.externals.loky.backend.resource_tracker"
_depth = _nested = 0
_begun = False
_first: int | None = None
_moment = 0.0


@contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Make signals raise KeyboardInterrupt with the exit status 128 + number as its argument.

    This works in the main thread only. Handlers of other code stay, except those of Python and `leave`.
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
    """Stop at the next import if a signal came and its exception was lost, until the work begins.

    A command imports for a second or more, and libraries have `except:` around imports, which takes the
    exception of a signal for a missing package.
    """
    global _begun
    _begun, watch = False, _Watch()
    sys.meta_path.insert(0, watch)
    try:
        yield
    finally:
        sys.meta_path.remove(watch)


class _Watch:
    """A finder of modules that finds nothing; Python asks it before the first import of every module."""

    def find_spec(self, _name: str, _path: object, _target: object = None, /) -> None:
        """Stop the command here if a signal came."""
        if not _begun:
            _stop_if_signalled()


@contextmanager
def defer_signals() -> Iterator[None]:
    """Finish the block before a signal under `stoppable` stops the command; a second signal stops it now."""
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
    """Stop the command here if a signal came and a library has lost its exception.

    Call it where a long command passes often, but not where it cleans up.
    """
    global _begun
    _begun = True
    _stop_if_signalled()


def _stop_if_signalled() -> None:
    main = threading.current_thread() is threading.main_thread()
    if main and _nested and _first is not None and _depth == 0:
        raise KeyboardInterrupt(128 + _first)


@contextmanager
def shield_workers() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, because the process that starts them also ends them.

    Ctrl-C at a terminal goes to all processes of a command, and a worker that is still importing would print
    a traceback. This process gets the signal at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # both kinds of trackers unblock Ctrl-C when they start, so they start here
    for tracker in filter(None, (resource_tracker, sys.modules.get(LOKY_TRACKER))):
        tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def received() -> int | None:
    """Return the signal that came under the latest `stoppable`; None if none came."""
    return _first


def leave(number: int, _frame: FrameType | None) -> None:
    """Handle a signal outside of a command: end the process at once with the status 128 + number."""
    if _again():
        return
    if _first is None:  # else the command has printed it, or will
        os.write(
            2, b"\nmfh: stopped. Nothing was left unfinished: repeat the command if results are missing.\n"
        )
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
    """Return whether a signal is the first one, sent a second time."""
    return _first is not None and time.monotonic() - _moment < TOGETHER
