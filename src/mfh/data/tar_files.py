"""Tar files, local or at any fsspec URL, read member by member; nothing is ever extracted.

The module does not import torch. fsspec is imported on first use: it is installed with torch, and with HTTP
in the extra `av`.
"""

import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from mfh._checks import InputError, require
from mfh.data import media
from mfh.data.archives import MEMBER_LIMIT, name_problem, refusal


@dataclass(frozen=True)
class TarMember:
    """A file in a tar file.

    Attributes:
        archive: path or URL of the tar file.
        member: its name there.
        at: byte of the tar file at which its content begins.
        size: size of its content in bytes.
    """

    archive: str
    member: str
    at: int
    size: int

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.member).name

    def __str__(self) -> str:
        return f"{self.archive}:{self.member}"

    def source(self) -> bytes:
        """Read the content."""
        return read_range(self.archive, self.at, self.size)


def is_url(path: Path | str) -> bool:
    """Whether a path has a protocol, such as `https://` or `memory://`."""
    return "://" in str(path)


@cache
def file_system(protocol: str) -> Any:
    """Return the fsspec file system of a protocol.

    Raises:
        InputError: fsspec does not know the protocol, or a package that it needs is not installed.
    """
    try:
        return media.need("fsspec").filesystem(protocol)
    except (ValueError, ImportError) as error:
        raise InputError(f"URLs of `{protocol}://` cannot be read: {error}.") from error


def _located(path: str) -> tuple[Any, str]:
    protocol = path.partition("://")[0] if is_url(path) else "file"
    return file_system(protocol), path


def read_range(path: str, at: int = 0, size: int | None = None) -> bytes:
    """Read a part of a file, or all of it.

    Args:
        path: path or URL.
        at: first byte.
        size: number of bytes; None reads up to the end.

    Raises:
        InputError: the file cannot be read, or ends before.
    """
    system, path = _located(path)
    try:
        content = system.cat_file(path, start=at or None, end=None if size is None else at + size)
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read: {error or type(error).__name__}.") from error
    if size is not None and len(content) > size:  # a server that ignores the range and sends all
        content = content[at : at + size]
    require(size in (None, len(content)), f"`{path}` is cut short: it ends before byte {at + (size or 0)}.")
    return content


def open_file(path: str) -> Any:
    """Open a file for reading from its start to its end.

    Raises:
        InputError: it cannot be opened.
    """
    system, path = _located(path)
    try:
        return system.open(path, "rb")
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read: {error or type(error).__name__}.") from error


def exists(path: str) -> bool:
    """Whether a file exists."""
    system, path = _located(path)
    try:
        return bool(system.isfile(path))
    except OSError:
        return False


def expand(path: Path | str) -> list[str]:
    """Return the tar files of a folder, or of a path or URL with braces, as `train-{000000..000009}.tar`.

    Raises:
        InputError: there are no tar files, or one of them does not exist.

    Example:
        >>> expand("https://example.org/{train,test}-{00..01}.tar")[:3]
        ['https://example.org/train-00.tar', 'https://example.org/train-01.tar',
        'https://example.org/test-00.tar']
    """
    if not is_url(path) and Path(path).is_dir():
        found = sorted(str(file) for file in Path(path).rglob("*.tar"))
    else:
        found = list(media.need("braceexpand").braceexpand(str(path)))
    absent = [file for file in found if not is_url(file) and not Path(file).is_file()]
    require(not absent, f"`{absent[0] if absent else ''}`, one of {len(found)} tar files, does not exist.")
    require(len(found) > 0, f"`{path}` has no tar files.")
    return found


def tar_members(archive: str, fits: Callable[[str], bool] = lambda _: True) -> tuple[list[TarMember], str]:
    """Return the files in a tar file by its headers, and what is wrong with the file; '' if nothing is.

    If the tar file is cut short, the files before the cut are returned.

    Args:
        archive: path or URL.
        fits: function of a file's name that tells whether the file is wanted.

    Raises:
        InputError: a member could do harm: it has an absolute name or one with `..` or a backslash, is a
            link, a device or sparse, or larger than 512 MiB.
    """
    system, path = _located(archive)
    found: list[TarMember] = []
    try:
        size = system.size(path)
        with system.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                if problem := _problem(info):
                    raise refusal(archive, info.name, problem)
                whole = size is None or info.offset_data + info.size <= size
                if info.isreg() and fits(info.name) and whole:
                    found.append(TarMember(archive, info.name, info.offset_data, info.size))
                if not whole:
                    return found, f"cut short within `{info.name}`"
            if size is not None and tar.offset + tarfile.BLOCKSIZE > size:
                return found, "cut short: the mark of its end is missing"
    except InputError:
        raise
    except (OSError, ValueError, tarfile.TarError, EOFError) as error:
        return found, f"cut short or no tar file: {error or type(error).__name__}"
    return found, ""


def _problem(info: tarfile.TarInfo) -> str:
    kinds = {
        "is a link": info.issym() or info.islnk(),
        "is a device or a pipe": info.isdev(),
        "is sparse, so it could unpack to any size": info.issparse(),
        f"is larger than {MEMBER_LIMIT >> 20} MiB": info.size > MEMBER_LIMIT,
    }
    return name_problem(info.name) or next((text for text, holds in kinds.items() if holds), "")


def write_tar(file: Any, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write files into a tar file; the same contents give the same bytes.

    Names may be longer than the 100 bytes of plain tar files; a header of their own has them then.
    """
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as tar:
        for name, content in contents:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
