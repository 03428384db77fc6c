"""Read an npy file some rows at a time. Unlike with a memory map, the rows do not stay in memory."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mfh._checks import InputError, require
from mfh._system.files import npy_header


@dataclass(frozen=True)
class RowFile:
    """An npy file of floating-point numbers in C order, (row, column).

    Attributes:
        path: the file.
        dtype: type of its numbers.
        shape: number of rows and columns.
        offset: number of bytes before the first number.
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, int]
    offset: int

    @classmethod
    def open(cls, path: Path | str) -> "RowFile":
        """Read a file's header.

        Raises:
            InputError: the file is missing, not an npy file, shorter than its header requires, not in C
                order, or does not contain rows of floating-point numbers.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                shape, fortran, dtype = npy_header(file)
                offset = file.tell()
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"`{path}` cannot be read as an npy file: {reason}.") from error
        fits = len(shape) == 2 and dtype.kind == "f" and shape[0] > 0 and shape[1] > 0
        require(fits, f"`{path}` must contain floats of shape (sample, column). Got {dtype}, {shape}.")
        require(not fortran, f"`{path}` must be in C order: save np.ascontiguousarray(x) instead.")
        expected = offset + math.prod(shape) * dtype.itemsize
        require(
            size >= expected, f"`{path}` is incomplete: it has {size} of {expected} bytes. Write it again."
        )
        return cls(path, dtype, (shape[0], shape[1]), offset)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from `start` up to `stop` as a new array."""
        width = self.shape[1]
        count = (stop - start) * width
        with self.path.open("rb") as file:
            file.seek(self.offset + start * width * self.dtype.itemsize)
            values = np.fromfile(file, dtype=self.dtype, count=count)
        require(len(values) == count, f"`{self.path}` became shorter during reading. Write it again.")
        return values.reshape(-1, width).astype(self.dtype.newbyteorder("="), copy=False)
