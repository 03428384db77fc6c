"""Decoded samples as one memory-mapped array beside the data: decoded once, whole or not there at all."""

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from mfh._checks import InputError, require
from mfh._system.files import file_checksum, read_json, read_npy, write_atomic, write_json

_ROOM_LEFT = 2**20
VERIFIED = 4 * 2**30
"""Bytes up to which a cache is verified whole whenever it is opened, a few seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """An array whose rows are made one after the other.

    Attributes:
        shape: of the whole array.
        dtype: of its values.
        rows: `shape[0]` arrays of shape `shape[1:]`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Iterable[np.ndarray]

    @property
    def num_bytes(self) -> int:
        """Size of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def in_memory(self) -> np.ndarray:
        """All rows at once."""
        array = np.empty(self.shape, self.dtype)
        for i, row in enumerate(self.rows):
            array[i] = row
        return array

    def write(self, file: IO[bytes]) -> None:
        """Write them in the format of `.npy`."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        for row in self.rows:
            file.write(np.ascontiguousarray(row, self.dtype).tobytes())


def file_key(files: Sequence[Path], **parameters: object) -> str:
    """16 hex digits that change with names, order, sizes or times of the files, and with the parameters."""
    digest = hashlib.blake2b(json.dumps(parameters, sort_keys=True).encode(), digest_size=8)
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def text_key(text: str) -> str:
    """16 hex digits that change with a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def cached_array(path: Path, key: str, decode: Callable[[], Rows]) -> np.memmap:
    """The array of `decode`, memory-mapped from `<path>-<key>.npy`, which is written if it is not there.

    The file is renamed into place when it is complete, so a half-written one is never used; files of other
    keys are removed then. Beside it stands its checksum, in `<path>-<key>.json`: what does not fit, which the
    log says, is decoded again. An array beyond `VERIFIED` bytes is read whole for that only where its time or
    size is not the one that was noted.

    Args:
        path: folder and name of the file, without key and suffix.
        key: of what the values depend on, see `file_key`.
        decode: called only when nothing is cached.

    Raises:
        InputError: the folder cannot be written or the disk is full; the text says how to go without.
    """
    target = path.with_name(f"{path.name}-{key}.npy")
    found = _mapped(target)
    if found is not None:
        return found
    rows = decode()
    size = f"{rows.num_bytes / 1e6:.1f} MB"
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    way_out = "Make room, or go without the cache (`cache=False`, --no-cache): all is then held in memory."
    if free < rows.num_bytes + _ROOM_LEFT:
        raise InputError(f"The cache `{target}` takes {size}, and {free / 1e6:.1f} MB are free. {way_out}")
    logger.info("Decoding %d samples once into `%s` (%s)", rows.shape[0], target, size)
    try:
        write_atomic(target, rows.write)
        _note(target)
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise InputError(f"{error} {way_out}") from error
        raise
    for other in path.parent.glob(f"{path.name}-{'[0-9a-f]' * 16}.npy"):
        if other != target:
            for file in (other, other.with_suffix(".json")):
                file.unlink(missing_ok=True)
    return _open(target)


def _note(path: Path) -> None:
    """Write the checksum, size and time of a file beside it."""
    status = path.stat()
    told = {"sha256": file_checksum(path), "bytes": status.st_size, "time": status.st_mtime_ns}
    write_json(path.with_suffix(".json"), told, sealed=True)


def _mapped(path: Path) -> np.memmap | None:
    """The file memory-mapped; None if it is absent, or not what was written, which the log says."""
    try:
        known = read_json(path.with_suffix(".json"))
        status = path.stat()
        same = (status.st_size, status.st_mtime_ns) == (known["bytes"], known["time"])
        if not (same and status.st_size > VERIFIED):
            require(
                file_checksum(path) == known["sha256"], f"`{path}` is damaged: its checksum does not fit."
            )
        return _open(path)
    except FileNotFoundError:
        return None
    except (EOFError, ValueError, KeyError) as error:
        logger.warning("%s It is decoded again.", error)
        return None


def _open(path: Path) -> np.memmap:
    # copy-on-write: the file is never changed, and torch takes its rows without a copy or a warning
    array = read_npy(path, mmap_mode="c")
    assert isinstance(array, np.memmap)  # noqa: S101 - what mapping gives
    return array
