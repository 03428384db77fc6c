"""Give each worker of one machine cores of its own, which are free again when it dies.

A worker takes the first group of cores whose file it can lock. The lock ends with the process, however the
process ends, so that the worker that replaces it finds the cores free.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

_locked: dict[str, IO[bytes] | None] = {}  # folder of the groups -> the file that this process has locked


def usable() -> list[int]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def split_cores(cores: Sequence[int], workers: int) -> tuple[tuple[int, ...], ...]:
    """Return one group of neighbouring cores for each worker, all of one size.

    If there are more workers than cores, several workers get the same core.

    >>> split_cores([0, 1, 2, 3, 4], 2), split_cores([0, 1], 3)
    (((0, 1), (2, 3)), ((0,), (1,), (0,)))
    """
    size = max(1, len(cores) // workers)
    return tuple(
        tuple(cores[(worker * size + i) % len(cores)] for i in range(size)) for worker in range(workers)
    )


@dataclass(frozen=True)
class CoreGroups:
    """Groups of cores that workers take.

    Attributes:
        folder: folder with one file for each group; a worker locks the file of its group.
        groups: the cores of each group.
    """

    folder: str
    groups: tuple[tuple[int, ...], ...]

    def take(self) -> None:
        """Pin this process to the first group that is free; if there is none, leave the process as it is."""
        if self.folder in _locked or not hasattr(os, "sched_setaffinity"):
            return
        import fcntl  # systems with an affinity have locks

        for file in _locked.values():
            if file is not None:
                file.close()
        _locked.clear()
        _locked[self.folder] = None
        for number, cores in enumerate(self.groups):
            file = (Path(self.folder) / str(number)).open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            _locked[self.folder] = file
            with suppress(OSError):  # a container may have lost a core since
                os.sched_setaffinity(0, cores)
            return


@contextmanager
def core_groups(workers: int) -> Iterator[CoreGroups]:
    """Provide groups of cores for some workers within a block."""
    with TemporaryDirectory(prefix="mfh-cores-", ignore_cleanup_errors=True) as folder:
        yield CoreGroups(folder, split_cores(usable(), workers))
