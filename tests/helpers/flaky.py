"""Tasks that fail when they are told to; importable by workers, and free of torch to be quick there."""

import os
import signal
import time
from pathlib import Path

from mfh import InputError
from mfh._system.atomic import OutputError


def work(number: int, folder: str, trouble: str = "") -> tuple[int, int, tuple[int, ...]]:
    """The number, the process and its cores; `trouble` names what happens, once if a mark is absent."""
    mark = Path(folder) / f"{trouble}-{number}"
    first = not mark.exists()
    mark.write_text(str(os.getpid()))
    if trouble == "killed" or (trouble == "killed once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "raises" or (trouble == "raises once" and first):
        raise RuntimeError(f"no {number}")
    if trouble == "raises by turns":
        tries = 1 + len(list(Path(folder).glob(f"try-{number}-*")))
        (Path(folder) / f"try-{number}-{tries}").touch()
        raise RuntimeError(f"no {number} at try {tries}")
    if trouble == "mistyped":
        number + folder  # type: ignore[operator]
    if trouble == "unreachable":
        raise ConnectionError("no route to host")
    if trouble == "sleeps":
        time.sleep(600)
    if trouble == "refused":
        raise InputError("`number` must be another one.")
    if trouble == "full":
        raise OutputError("`a.json` cannot be written: No space left on device. No part of it is left.")
    if trouble == "meets":  # nobody goes on before all have come, so each has a worker of its own
        deadline = time.monotonic() + 60
        while len(list(Path(folder).glob("meets-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
    return number, os.getpid(), cores
