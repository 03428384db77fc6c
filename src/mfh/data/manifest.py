"""Checksums of the files of a prepared folder, so that a damaged or exchanged one is found."""

import csv
import io
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mfh._checks import InputError
from mfh._system.atomic import bytes_writer, checksum, file_checksum, write_atomic

MANIFEST = "checksums.csv"
_HEADER = ("file", "sha256")
_EVERY = 2.0  # seconds between two writes, the decoding that a kill can cost
_SHARE = 20  # at most one part of so many of the time is spent on writing

logger = logging.getLogger(__name__)


class Manifest:
    """The file `checksums.csv` of a folder: name of a file there -> its SHA-256.

    A line that is damaged, or whose file is not there, counts as absent, and a file without a line as not
    written: it is made again.

    Args:
        folder: that holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read = read_manifest(folder)
        self.known = {name: known for name, known in read.items() if (folder / name).exists()}
        self._changed = len(self.known) < len(read)
        self._saved, self._cost = time.monotonic(), 0.0

    def name(self, path: Path) -> str:
        """What a file is called here."""
        return path.relative_to(self.folder).as_posix()

    def fits(self, path: Path) -> bool:
        """Whether a file is there as it was written."""
        return path.exists() and file_checksum(path) == self.known.get(self.name(path))

    def holds(self, paths: Iterable[Path]) -> bool:
        """Whether files are there as they were written; the log names those that are to be made again."""
        for path in paths:
            if self.name(path) not in self.known or not path.exists():
                return False
            if not self.fits(path):
                logger.warning("`%s` is damaged or exchanged: its checksum does not fit. Made again.", path)
                return False
        return True

    def add(self, paths: Iterable[Path]) -> None:
        """Note files that have just been written, and write the list from time to time."""
        for path in paths:
            self.known[self.name(path)] = file_checksum(path)
            self._changed = True
        if time.monotonic() - self._saved > max(_EVERY, _SHARE * self._cost):
            self.save()

    def drop(self, paths: Iterable[Path]) -> None:
        """Forget files that are removed."""
        for path in paths:
            self._changed |= self.known.pop(self.name(path), None) is not None

    def save(self) -> None:
        """Write the list, if it has changed."""
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
    def kept(self) -> Iterator[None]:
        """Write the list at the end, however it comes."""
        try:
            yield
        finally:
            self.save()


def read_manifest(folder: Path) -> dict[str, str]:
    """The checksums of a folder's files; empty where there are none."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    known: dict[str, str] = {}
    with suppress(csv.Error):  # a field without end: what follows counts as absent
        for line in csv.reader(io.StringIO(text, newline="")):
            if len(line) == 2 and len(line[1]) == 64:
                known[line[0]] = line[1]
    return known


def require_listed(folder: Path, path: Path, known: dict[str, str], content: bytes | None = None) -> None:
    """Refuse a file that is not as `checksums.csv` of its folder says; one that is not listed passes.

    Args:
        folder: that holds `checksums.csv`.
        path: the file.
        known: the checksums.
        content: of the file, where it has been read.

    Raises:
        InputError: it differs.
    """
    wanted = known.get(path.relative_to(folder).as_posix())
    found = wanted and (file_checksum(path) if content is None else checksum(content))
    if found != wanted:
        raise InputError(
            f"`{path}` is damaged or exchanged: its checksum does not fit. Prepare the folder again; if you "
            f"changed the file yourself, remove its line from `{folder / MANIFEST}`."
        )
