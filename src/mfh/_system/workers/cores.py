"""Cores for the workers of one machine: each is pinned to its own, and frees them when it dies.

A worker takes the first group of cores whose file it can lock. The lock ends with the process, however that
ends, so that a worker that takes its place finds the cores free.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

_held: dict[str, IO[bytes] | None] = {}  # of this process: the folder of its group -> the locked file


def usable() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def deal(cores: Sequence[int], workers: int) -> tuple[tuple[int, ...], ...]:
    """One group of neighbouring cores for each worker, of equal size; workers beyond the cores share them.

    >>> deal([0, 1, 2, 3, 4], 2), deal([0, 1], 3)
    (((0, 1), (2, 3)), ((0,), (1,), (0,)))
    """
    size = max(1, len(cores) // workers)
    return tuple(
        tuple(cores[(worker * size + i) % len(cores)] for i in range(size)) for worker in range(workers)
    )


@dataclass(frozen=True)
class Pins:
    """Groups of cores, and the folder whose files say which are taken."""

    folder: str
    groups: tuple[tuple[int, ...], ...]

    def pin(self) -> None:
        """Keep this process on the first group that nobody has; without one it stays where it is."""
        if self.folder in _held or not hasattr(os, "sched_setaffinity"):
            return
        import fcntl  # where there is an affinity there are locks

        for file in _held.values():
            if file is not None:
                file.close()
        _held.clear()
        _held[self.folder] = None
        for number, cores in enumerate(self.groups):
            file = (Path(self.folder) / str(number)).open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            _held[self.folder] = file
            with suppress(OSError):  # a container may have taken a core away
                os.sched_setaffinity(0, cores)
            return


@contextmanager
def pins(workers: int) -> Iterator[Pins]:
    """Cores for some workers, for the length of a block."""
    with TemporaryDirectory(prefix="mfh-cores-", ignore_cleanup_errors=True) as folder:
        yield Pins(folder, deal(usable(), workers))
