"""`mfh` and `python -m mfh`: the command line, with signals heeded from the first moment."""

import atexit
import contextlib
import os
import signal
import sys

from mfh._system.signals import leave


def main() -> int:
    """Run one command; see `mfh.cli.main`. A signal before and after it ends the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, leave)
            # the last of them: from there on the interpreter would end in a way of its own
            atexit.register(signal.signal, number, signal.SIG_IGN)
    # else Python puts the working folder before all packages in every process that a command starts
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    from mfh.cli import main as run

    status = run()
    if status > 128:
        _end(status)
    return status


def _end(status: int) -> None:
    """End the process as its interpreter would, but with this status, and soon.

    Where KeyboardInterrupt has met code that is run from text (a dataclass is), CPython ends by SIGINT
    whatever the status; and it takes a second to clear up what torch has loaded.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
