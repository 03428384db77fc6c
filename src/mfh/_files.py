"""Files that appear whole or not at all, and folders that say whether they can be written."""

import io
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from mfh._checks import InputError

UNPACKED_LIMIT = 2**28
RATIO_LIMIT = 200


def write_atomic(path: Path | str, write: Callable[[IO[bytes]], object]) -> Path:
    """Write a file so that no reader ever sees half of it.

    `write` gets a temporary file in the same folder, which is flushed to disk and renamed over `path`. If
    `write` raises, `path` is untouched and the temporary file is gone.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise InputError(
            f"`{path}` cannot be written: {error.strerror or error}. Nothing was left."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically; see `write_atomic`."""
    return write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path | str, value: object) -> Path:
    """Write JSON atomically, numbers in full precision; NaN and infinity are written as null."""
    return write_text(path, json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_npy(path: Path | str, array: np.ndarray) -> Path:
    """Write one array atomically as a npy that loads without pickle.

    By way of memory: numpy writes to a file through a buffer of its own and does not notice a full disk.
    """
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return write_atomic(path, lambda file: file.write(content.getbuffer()))


def write_npz(path: Path | str, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays atomically as a compressed npz that loads without pickle."""
    return write_atomic(path, lambda file: np.savez_compressed(file, **dict(arrays)))  # type: ignore[arg-type]


def read_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """Read an npz without pickle.

    Raises:
        InputError: it is absent or damaged, holds objects or anything but arrays, or unpacks to more than 256
            MiB and 200 times its size.
    """
    name = ""
    try:
        with Path(path).open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise InputError(f"`{path}` cannot be read as arrays: it is no npz, or it is damaged.")
            _refuse_bomb(path, file)
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {}
                for name in archive.files:
                    arrays[name] = archive[name]
                    if not isinstance(arrays[name], np.ndarray):
                        raise InputError(f"`{path}` cannot be read as arrays: `{name}` is none.")
                return arrays
    except FileNotFoundError:
        raise InputError(f"`{path}` does not exist.") from None
    except InputError:
        raise
    except ValueError as error:
        if "pickle" not in str(error):
            raise InputError(f"`{path}` cannot be read as arrays: `{name}` is damaged ({error}).") from error
        raise InputError(
            f"`{path}` cannot be read as arrays: `{name}` holds Python objects, which can run code when they "
            "are loaded. Save it as numbers or text: np.asarray(values, dtype=float), or dtype=str."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"`{path}` cannot be read as arrays: {reason}.") from error


def _refuse_bomb(path: Path | str, file: Any) -> None:
    """Refuse a zip that is small and would fill the memory; no value is unpacked for this."""
    file.seek(0)
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        for member in archive.infolist():
            with archive.open(member) as content:
                _require_promise(path, member.filename, content, member.file_size)
    if unpacked > max(UNPACKED_LIMIT, RATIO_LIMIT * size):
        raise InputError(
            f"`{path}` is refused: its {size} bytes unpack to {unpacked}, more than {RATIO_LIMIT} times as "
            "many. If they are yours, save them with np.savez, which does not compress."
        )


def _require_promise(path: Path | str, name: str, content: Any, size: int) -> None:
    """Refuse an array whose header promises more values than there are bytes: numpy would make room first."""
    try:
        promised = npy_size(content)
    except ValueError:
        return  # no array of numbers; numpy says so
    if promised > size:
        raise InputError(
            f"`{path}` cannot be read as arrays: `{name}` promises {promised} bytes and holds {size}."
        )


def npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the order is Fortran's, and type of an npy; reads no value.

    Raises:
        ValueError: it is no npy of version 1 or 2, or one of Python objects, which can run code when they
            are loaded.
    """
    formats = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in formats:
            raise ValueError(f"version {version} of the format is not known")
        shape, fortran, dtype = formats[version](file)
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except Exception as error:  # whatever the text in a header makes of its parser
        raise ValueError(f"its header cannot be read: {type(error).__name__}") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which can run code when they are loaded")
    if any(length < 0 for length in shape):
        raise ValueError(f"its header gives the shape {shape}")
    return shape, fortran, dtype


def npy_size(file: Any) -> int:
    """Bytes that the header of an npy promises, itself among them.

    Raises:
        ValueError: see `npy_header`.
    """
    shape, _, dtype = npy_header(file)
    return file.tell() + math.prod(shape) * dtype.itemsize


def read_npy(source: Path | str | bytes, *, mmap_mode: Literal["r", "c"] | None = None) -> np.ndarray:
    """Read one array without pickle, whatever the file is called.

    Args:
        source: path of the file, or its content.
        mmap_mode: as of `np.load`, of files only.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no npy, is cut short, or holds Python objects.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        promised, size = npy_size(file), file.seek(0, os.SEEK_END)
        if promised > size:
            raise ValueError(f"it is cut short: {size} of {promised} bytes are there")
        if mmap_mode is not None and not isinstance(source, bytes) and size > 0:
            return np.load(source, mmap_mode=mmap_mode, allow_pickle=False)
        file.seek(0)
        return np.load(file, allow_pickle=False)


def plain(value: object) -> Any:
    """Turn numpy scalars, tuples, paths and mappings into what JSON knows.

    >>> plain({"a": (np.float64(1.5), float("nan"))})
    {'a': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, (str, int, bool)) or value is None:
        return value
    return str(value)


def writable_folder(path: Path | str, name: str = "out") -> Path:
    """Make the folder if it is absent, and prove that it can be written.

    Raises:
        InputError: it is a file, or cannot be made or written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"`{name}` must be a folder. `{path}` is a file: name another.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"`{name}` must be a folder that can be written. `{path}`: {error.strerror or error}."
        ) from error
    return path
