"""The arrays and pictures of the authors' RAVDESS folder, read row by row."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from mfh._checks import InputError, listing, require
from mfh._system.files import read_npy
from mfh.data import media
from mfh.data.array_cache import Rows

Check = Callable[[Path], None]
logger = logging.getLogger(__name__)


def _unchecked(_: Path) -> None:
    """Accept every file, as for a folder without checksums."""


def audio_rows(files: Sequence[Path], check: Check = _unchecked) -> Rows:
    """Return MFCC arrays as float32 rows of shape (1, coefficient, frame).

    Arrays of another length than most are cut, or continued with their last frame; a warning counts them.

    Args:
        files: the arrays.
        check: function that raises `InputError` if a file is not as it was written.

    Raises:
        InputError: a file is damaged, not finite, or no array of numbers; or the arrays differ in the number
            of coefficients.
    """
    shapes = [_read_mfcc(file, mmap_mode="r").shape for file in files]
    heights = Counter(shape[0] for shape in shapes)
    odd = [
        f"{file.name} {shape}" for file, shape in zip(files, shapes, strict=True) if shape[0] != shapes[0][0]
    ]
    require(len(heights) == 1, f"MFCC arrays must have one number of coefficients. Others: {listing(odd)}.")
    (frames, _), *others = Counter(shape[1] for shape in shapes).most_common()
    if others:
        logger.warning(
            "%d of %d MFCC arrays do not have %d frames: they are cut, or continued with their last frame",
            sum(count for _, count in others), len(files), frames,
        )  # fmt: skip
    rows = (_fitted(file, frames, check)[None] for file in files)
    return Rows((len(files), 1, shapes[0][0], frames), np.dtype(np.float32), rows)


def _read_mfcc(file: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    try:
        array = read_npy(file, mmap_mode=mmap_mode)
    except (OSError, ValueError) as error:
        raise InputError(f"`{file}` cannot be read as an array: {error}.") from error
    require(
        array.ndim == 2 and array.dtype.kind in "fiu" and array.shape[1] >= 3,
        f"`{file}` must hold numbers, 40 x T. It holds {array.dtype} of shape {array.shape}.",
    )
    return array


def _fitted(file: Path, frames: int, check: Check) -> Float32[np.ndarray, "coefficient frame"]:
    check(file)
    array = _read_mfcc(file)[:, :frames].astype(np.float32)
    require(bool(np.isfinite(array).all()), f"`{file}` must be finite. It holds NaN or infinity.")
    return np.pad(array, ((0, 0), (0, frames - array.shape[1])), mode="edge")


def image_rows(files: Sequence[Path], check: Check = _unchecked) -> Rows:
    """Return pictures as uint8 rows of shape (3, height, width), red, green and blue.

    Args:
        files: the pictures.
        check: see `audio_rows`.

    Raises:
        InputError: a file is damaged, or the pictures differ in size.
    """
    shape = _read_image(files[0]).shape

    def rows() -> Iterator[UInt8[np.ndarray, "3 height width"]]:
        for file in files:
            check(file)
            image = _read_image(file)
            require(
                image.shape == shape,
                f"Pictures must have one size. `{files[0].name}` has {shape[1]} x {shape[2]}, `{file.name}` "
                f"{image.shape[1]} x {image.shape[2]}.",
            )
            yield image

    return Rows((len(files), *shape), np.dtype(np.uint8), rows())


def _read_image(file: Path) -> UInt8[np.ndarray, "3 height width"]:
    image = media.need("PIL.Image")
    try:
        with image.open(file) as picture:
            return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise InputError(f"`{file}` cannot be read as a picture: {error}.") from error
