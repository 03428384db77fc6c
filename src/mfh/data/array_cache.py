"""Decoded samples as one memory-mapped array beside the data; each is decoded once."""

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
"""Bytes up to which the checksum of a cache is verified whenever it is opened, which takes a few seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """An array whose rows are made one after the other.

    Attributes:
        shape: of the array.
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
        """Return all rows as one array."""
        array = np.empty(self.shape, self.dtype)
        for i, row in enumerate(self.rows):
            array[i] = row
        return array

    def write(self, file: IO[bytes]) -> None:
        """Write the rows in the format of `.npy`."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        for row in self.rows:
            file.write(np.ascontiguousarray(row, self.dtype).tobytes())


def file_key(files: Sequence[Path], **parameters: object) -> str:
    """Return 16 hex digits that change with names, order, sizes or times of files, and with parameters."""
    digest = hashlib.blake2b(json.dumps(parameters, sort_keys=True).encode(), digest_size=8)
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def text_key(text: str) -> str:
    """Return 16 hex digits that change with a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def cached_array(path: Path, key: str, decode: Callable[[], Rows]) -> np.memmap:
    """Return the array of `decode`, memory-mapped from `<path>-<key>.npy`; write that file if it is absent.

    The file is renamed into place when it is complete, so a half-written one is never used; then files of
    other keys are removed. Its checksum is in `<path>-<key>.json`. If the checksum differs, a warning is
    logged and the samples are decoded again. For an array beyond `VERIFIED` bytes the checksum is computed
    only if the time or the size of the file has changed.

    Args:
        path: folder and name of the file, without key and suffix.
        key: changes with everything that the values depend on, see `file_key`.
        decode: makes the rows; called only if nothing is cached.

    Raises:
        InputError: the folder cannot be written or the disk is full; the text tells how to work without a
            cache.
    """
    target = path.with_name(f"{path.name}-{key}.npy")
    found = _mapped(target)
    if found is not None:
        return found
    rows = decode()
    size = f"{rows.num_bytes / 1e6:.1f} MB"
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    way_out = "Make room, or use no cache (`cache=False`, --no-cache): all samples are then kept in memory."
    if free < rows.num_bytes + _ROOM_LEFT:
        raise InputError(f"The cache `{target}` needs {size}, but {free / 1e6:.1f} MB are free. {way_out}")
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
    noted = {"sha256": file_checksum(path), "bytes": status.st_size, "time": status.st_mtime_ns}
    write_json(path.with_suffix(".json"), noted, sealed=True)


def _mapped(path: Path) -> np.memmap | None:
    """Return the file memory-mapped; None if it is absent, or damaged, which a warning tells."""
    try:
        known = read_json(path.with_suffix(".json"))
        status = path.stat()
        same = (status.st_size, status.st_mtime_ns) == (known["bytes"], known["time"])
        if not (same and status.st_size > VERIFIED):
            require(file_checksum(path) == known["sha256"], f"`{path}` is damaged: its checksum differs.")
        return _open(path)
    except FileNotFoundError:
        return None
    except (EOFError, ValueError, KeyError) as error:
        logger.warning("%s It is decoded again.", error)
        return None


def _open(path: Path) -> np.memmap:
    # copy-on-write: the file never changes, and torch takes its rows without a copy or a warning
    array = read_npy(path, mmap_mode="c")
    assert isinstance(array, np.memmap)  # noqa: S101 - mapping returns it
    return array
