"""Write text, JSON and arrays completely or not at all, and verify their checksums when they are read."""

import hashlib
import io
import json
import math
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mfh._checks import InputError, one_line, parse_json
from mfh._system.atomic import Write as Write
from mfh._system.atomic import bytes_writer as bytes_writer
from mfh._system.atomic import checksum as checksum
from mfh._system.atomic import file_checksum as file_checksum
from mfh._system.atomic import opened_file as opened_file
from mfh._system.atomic import writable_folder as writable_folder
from mfh._system.atomic import write_atomic as write_atomic
from mfh._system.atomic import write_together as write_together

CHECKSUM = "checksum"
SEAL, MARK = "mfh_checksum", "mfh_mark"  # arrays of an npz
UNPACKED_LIMIT = 2**28
_MOST_EMPTY = 2**20
RATIO_LIMIT = 200


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically; see `write_atomic`."""
    return write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path | str, value: object, *, sealed: bool = False) -> Path:
    """Write JSON atomically, numbers in full precision; NaN and infinity are written as null.

    If `sealed`, the mapping gets a field `checksum` of all its other fields.
    """
    return write_atomic(path, json_writer(value, sealed=sealed))


def json_writer(value: object, *, sealed: bool = False) -> Write:
    """Return a function that writes what `write_json` writes, for `write_together`."""
    content = plain(value)
    if sealed:
        content |= {CHECKSUM: _json_checksum(content)}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    # a lone surrogate, as in a file name that is no UTF-8, becomes an escape, which JSON has
    return bytes_writer(text.encode("utf-8", "backslashreplace"))


def _json_checksum(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the fields, whatever their order and layout in the file."""
    rest = {name: item for name, item in value.items() if name != CHECKSUM}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return checksum(text.encode())


def read_json(path: Path | str, *, sealed: bool = True) -> dict[str, Any]:
    """Read a mapping that `write_json` sealed, without its checksum.

    Args:
        path: the file.
        sealed: whether a file without a checksum is refused. A checksum that is there is always verified.

    Raises:
        FileNotFoundError: the file is absent.
        InputError: the file cannot be read, or its checksum is wrong.
    """
    try:
        with opened_file(path) as file:
            value = parse_json(file.read().decode("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` is damaged: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"`{path}` is damaged: it contains no fields.")
    if CHECKSUM in value and value[CHECKSUM] != _json_checksum(value):
        raise InputError(f"`{path}` is damaged: its checksum does not fit its content.")
    if sealed and CHECKSUM not in value:
        raise InputError(f"`{path}` is damaged: its checksum is missing.")
    return {name: item for name, item in value.items() if name != CHECKSUM}


def identity_mark(identity: Mapping[str, Any]) -> str:
    """Return the mark of a run in its files: the checksum that `run.json` has for this identity."""
    return _json_checksum(plain(identity))


def run_mark(folder: Path | str) -> str:
    """Return the mark of the run in a folder, from `run.json`; empty if there is no such file.

    Raises:
        InputError: `run.json` is damaged.
    """
    try:
        return identity_mark(read_json(Path(folder) / "run.json", sealed=False))
    except (FileNotFoundError, NotADirectoryError):
        return ""


def require_files(
    folder: Path, checksums: Mapping[str, str], by: Path | str, *, absent: bool = False
) -> None:
    """Refuse files whose checksums differ from those in the file `by`.

    Args:
        folder: folder of the files.
        checksums: name of each file -> its checksum.
        by: path of the file with the checksums.
        absent: whether files may be missing.

    Raises:
        InputError: a file differs (the text names it).
    """
    for name, wanted in checksums.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"`{Path(by).name}` is damaged: `{name}` is no name of a file in its folder.")
        path = folder / name
        if absent and not path.exists():
            continue
        if file_checksum(path) != wanted:
            what = "is damaged, or of another run" if path.exists() else "is missing"
            raise InputError(f"`{path}` {what}: its checksum is not the one in `{Path(by).name}`.")


def read_results(path: Path) -> dict[str, Any]:
    """Read a `results.json`, after checking it and the files beside it.

    Raises:
        InputError: the file is absent or damaged, a file beside it was not written together with it, or it is
            of another run than the `run.json` beside it.
    """
    try:
        values = read_json(path, sealed=False)
        require_files(path.parent, dict(values.get("files", {})), path, absent=True)
        mark = run_mark(path.parent) if "run" in values else ""
        if mark and mark != values["run"]:
            raise InputError(f"`{path}` is of another run than the `run.json` beside it.")
    except FileNotFoundError:
        raise InputError(f"`{path}` does not exist. Name the folder that a run wrote with --out.") from None
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{error} Repeat the command that wrote it.") from error
    return values


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array as the content of a npy that loads without pickle.

    The content is made in memory, since numpy does not notice a full disk when it writes to a file.
    """
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def npz_bytes(arrays: Mapping[str, np.ndarray], *, mark: str = "") -> bytes:
    """Return arrays as the content of a compressed npz that loads without pickle; see `write_npz`."""
    content = io.BytesIO()
    written = {name: np.asarray(array) for name, array in arrays.items()}
    written |= {MARK: np.asarray(mark)} if mark else {}
    np.savez_compressed(content, **written, **{SEAL: np.asarray(_arrays_checksum(written))})  # type: ignore[arg-type]
    return content.getvalue()


def write_npz(path: Path | str, arrays: Mapping[str, np.ndarray], *, mark: str = "") -> Path:
    """Write arrays atomically as a compressed npz that loads without pickle, with a checksum of all of them.

    Args:
        path: the file.
        arrays: its content.
        mark: mark of the run that the arrays belong to; `read_arrays` compares it.
    """
    return write_atomic(path, bytes_writer(npz_bytes(arrays, mark=mark)))


def _arrays_checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, types, shapes and values."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def read_arrays(path: Path | str, *, sealed: bool = False, mark: str = "") -> dict[str, np.ndarray]:
    """Read an npz without pickle.

    Args:
        path: the file.
        sealed: whether a file without the checksum of `write_npz` is refused. A checksum that is there is
            always verified.
        mark: mark that the file must have; empty accepts any.

    Raises:
        InputError: the file is absent or damaged, contains objects or anything but arrays, unpacks to more
            than 256 MiB and 200 times its size, or has another mark.
    """
    arrays = _read_npz(path)
    seal = arrays.pop(SEAL, None)
    if sealed and seal is None:
        raise InputError(f"`{path}` is damaged: its checksum is missing.")
    if seal is not None and str(seal) != _arrays_checksum(arrays):
        raise InputError(f"`{path}` is damaged: its checksum does not fit its content.")
    found = str(arrays.pop(MARK, ""))
    if mark and found != mark:
        raise InputError(f"`{path}` belongs to another run.")
    return arrays


def _read_npz(path: Path | str) -> dict[str, np.ndarray]:
    name = ""
    try:
        with opened_file(path) as file:
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
                    _require_text(path, name, arrays[name])
                return arrays
    except FileNotFoundError:
        raise InputError(f"`{path}` does not exist.") from None
    except InputError:
        raise
    except ValueError as error:
        if "pickle" not in str(error):
            raise InputError(f"`{path}` cannot be read as arrays: `{name}` is damaged ({error}).") from error
        raise InputError(
            f"`{path}` cannot be read as arrays: `{name}` contains Python objects, which can run code when "
            "they are loaded. Save it as numbers or text: np.asarray(values, dtype=float), or dtype=str."
        ) from error
    except Exception as error:
        reason = one_line(error).rstrip(".") or type(error).__name__
        raise InputError(f"`{path}` cannot be read as arrays: {reason}.") from error


def _refuse_bomb(path: Path | str, file: Any) -> None:
    """Refuse a small zip that would fill the memory; no value is unpacked for this check."""
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
    """Refuse an array whose header promises more values than there are; numpy would allocate them first."""
    try:
        promised = npy_size(content)
    except ValueError:
        return  # no array of numbers; numpy reports it
    if promised > size:
        raise InputError(
            f"`{path}` cannot be read as arrays: `{name}` promises {promised} bytes and has {size}."
        )


def _require_text(path: Path | str, name: str, array: np.ndarray) -> None:
    """Refuse text with numbers that are no characters: every reader of the text would fail."""
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        codes = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise InputError(f"`{path}` cannot be read as arrays: `{name}` is damaged (it is no text).")


def npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an npy: shape, whether the order is Fortran's, and type.

    Raises:
        ValueError: the file is no npy of version 1 or 2, or contains Python objects, which can run code when
            they are loaded.
    """
    formats = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in formats:
            raise ValueError(f"version {version} of the format is not known")
        shape, fortran, dtype = formats[version](file)
    except ValueError as error:
        raise ValueError(one_line(error)) from error
    except Exception as error:  # any error of the parser of the header
        raise ValueError(f"its header cannot be read: {type(error).__name__}") from error
    if dtype.hasobject:
        raise ValueError("it contains Python objects, which can run code when they are loaded")
    if any(length < 0 for length in shape):
        raise ValueError(f"its header gives the shape {shape}")
    return shape, fortran, dtype


def npy_size(file: Any) -> int:
    """Return the size in bytes that the header of an npy promises, header included.

    Values without bytes, which a header can promise in any number, count one byte each beyond a million.

    Raises:
        ValueError: see `npy_header`.
    """
    shape, _, dtype = npy_header(file)
    longest = max(shape, default=0)
    return file.tell() + max(math.prod(shape) * dtype.itemsize, longest if longest > _MOST_EMPTY else 0)


def read_npy(source: Path | str | bytes, *, mmap_mode: Literal["r", "c"] | None = None) -> np.ndarray:
    """Read an npy without pickle, whatever the name of the file.

    Args:
        source: path of the file, or its content.
        mmap_mode: as in `np.load`, for files only.

    Raises:
        OSError: the file cannot be read.
        ValueError: the content is no npy, is cut short, or contains Python objects.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else opened_file(source) as file:
        promised, size = npy_size(file), file.seek(0, os.SEEK_END)
        if promised > size:
            raise ValueError(f"it is cut short: {size} of {promised} bytes are there")
        if mmap_mode is not None and not isinstance(source, bytes) and size > 0:
            return np.load(source, mmap_mode=mmap_mode, allow_pickle=False)
        file.seek(0)
        return np.load(file, allow_pickle=False)


def plain(value: object) -> Any:
    """Turn numpy scalars, tuples, paths and mappings into values that JSON has.

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
