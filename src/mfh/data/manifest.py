"""Checksums of the files of a prepared folder, to find a damaged or exchanged file."""

import csv
import io
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mfh._checks import InputError
from mfh._system.atomic import bytes_writer, checksum, file_checksum, write_atomic

MANIFEST = "checksums.csv"
_HEADER = ("file", "sha256")
_EVERY = 2.0  # seconds between two writes: a killed run loses at most the decoding since the last one
_SHARE = 20  # writing takes at most one part in 20 of the time

logger = logging.getLogger(__name__)


class Manifest:
    """The file `checksums.csv` of a folder: name of a file in it -> its SHA-256.

    A damaged line and a line whose file does not exist are ignored. A file without a line counts as not
    written: it is made again.

    Args:
        folder: the folder.

    Attributes:
        known: name of a file -> its SHA-256.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read = read_manifest(folder)
        self.known = {name: known for name, known in read.items() if (folder / name).exists()}
        self._changed = len(self.known) < len(read)
        self._saved, self._cost = time.monotonic(), 0.0

    def name(self, path: Path) -> str:
        """Return the name of a file in the manifest: its path from the folder on."""
        return path.relative_to(self.folder).as_posix()

    def is_intact(self, path: Path) -> bool:
        """Whether a file exists and is as it was written."""
        return path.exists() and file_checksum(path) == self.known.get(self.name(path))

    def are_intact(self, paths: Iterable[Path]) -> bool:
        """Whether all files exist and are as they were written; a warning names a damaged one."""
        for path in paths:
            if self.name(path) not in self.known or not path.exists():
                return False
            if not self.is_intact(path):
                logger.warning("`%s` is damaged or exchanged: its checksum differs. It is made again.", path)
                return False
        return True

    def add(self, paths: Iterable[Path]) -> None:
        """Note files that have just been written, and save the manifest from time to time."""
        for path in paths:
            self.known[self.name(path)] = file_checksum(path)
            self._changed = True
        if time.monotonic() - self._saved > max(_EVERY, _SHARE * self._cost):
            self.save()

    def drop(self, paths: Iterable[Path]) -> None:
        """Forget files that were removed."""
        for path in paths:
            self._changed |= self.known.pop(self.name(path), None) is not None

    def save(self) -> None:
        """Write `checksums.csv` if it has changed."""
        if not self._changed:
            return
        start = time.monotonic()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(sorted(self.known.items()))
        write_atomic(self.folder / MANIFEST, bytes_writer(text.getvalue().encode()))
        self._changed, self._saved = False, time.monotonic()
        self._cost = self._saved - start

    @contextmanager
    def saved(self) -> Iterator[None]:
        """Save the manifest at the end, also after an error."""
        try:
            yield
        finally:
            self.save()

    @contextmanager
    def rewriting(self, paths: Sequence[Path]) -> Iterator[None]:
        """Forget files while they are written again, so that a kill leaves them as absent, not as damaged."""
        self.drop(paths)
        self.save()
        yield
        with self.saved():
            self.add(paths)


def read_manifest(folder: Path) -> dict[str, str]:
    """Return the checksums of a folder's files; none if the folder has no `checksums.csv`."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    known: dict[str, str] = {}
    with suppress(csv.Error):  # a field without end: the lines after it are ignored
        for line in csv.reader(io.StringIO(text, newline="")):
            if len(line) == 2 and len(line[1]) == 64:
                known[line[0]] = line[1]
    return known


def require_listed(folder: Path, path: Path, known: dict[str, str], content: bytes | None = None) -> None:
    """Raise `InputError` if the checksum of a file differs from that in `checksums.csv` of its folder.

    A file that is not listed there passes.

    Args:
        folder: the folder that contains `checksums.csv`.
        path: the file.
        known: the checksums, see `read_manifest`.
        content: content of the file, if it has been read already.
    """
    wanted = known.get(path.relative_to(folder).as_posix())
    found = wanted and (file_checksum(path) if content is None else checksum(content))
    if found != wanted:
        raise InputError(
            f"`{path}` is damaged or exchanged: its checksum differs. Prepare the folder again; if you "
            f"changed the file yourself, remove its line from `{folder / MANIFEST}`."
        )
