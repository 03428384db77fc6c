"""Ctrl-C and SIGTERM: they stop a command between two steps, never within one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_depth = 0
_waiting: int | None = None


@contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Make signals raise KeyboardInterrupt, whose argument is the exit status 128 + number.

    Only the main thread can; handlers that somebody else has set are left alone, but for those of Python.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    ours = [n for n, handler in before.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    for number in ours:
        signal.signal(number, _handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def whole() -> Iterator[None]:
    """Finish what is inside before a signal under `stoppable` stops the command; a second does not wait."""
    global _depth, _waiting
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        number = _waiting
        if _depth == 0:
            _waiting = None
    if number is not None and _depth == 0:
        raise KeyboardInterrupt(128 + number)


def _handle(number: int, _frame: FrameType | None) -> None:
    global _waiting
    if _depth and _waiting is None:
        _waiting = number
        return
    raise KeyboardInterrupt(128 + number)
