"""`mfh` and `python -m mfh`: run the command line, with handlers for signals from the first moment."""

import atexit
import contextlib
import os
import signal
import sys

from mfh._system.signals import leave


def main() -> int:
    """Run one command; see `mfh.cli.main`. A signal before or after it ends the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, leave)
            # the last exit function: after it, a signal would make the interpreter end differently
            atexit.register(signal.signal, number, signal.SIG_IGN)
    # otherwise Python searches the working folder first in every process that a command starts
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    from mfh.cli import main as run

    status = run()
    if status > 128:
        _end(status)
    return status


def _end(status: int) -> None:
    """End the process as its interpreter would, but with this status, and quickly.

    If a KeyboardInterrupt was raised in code that Python had compiled from text, as for a dataclass, CPython
    ends by SIGINT whatever the status. And the interpreter takes a second to clean up after torch.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
