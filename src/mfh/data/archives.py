"""Files in folders and in zip archives: archives are read member by member and never extracted.

An archive with a member that could do harm is refused before any of it is unpacked.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mfh._checks import InputError, require

MEMBER_LIMIT = 2**29
RATIO_LIMIT = 100
_SMALL = 2**20


@dataclass(frozen=True)
class StoredFile:
    """A file in a folder, or a member of a zip.

    Attributes:
        path: the file, or the archive.
        member: name inside the archive; None for a file in a folder.
    """

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The last part of its path, such as `01-01-01-01-01-01-01.mp4`."""
        return PurePosixPath(self.member).name if self.member is not None else self.path.name

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member is not None else str(self.path)

    def source(self) -> Path | bytes:
        """Return the path of a file, or the content of a member after a check of its CRC.

        Raises:
            InputError: the archive or the member is damaged.
        """
        if self.member is None:
            return self.path
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(self.member)
        except (
            OSError,
            LookupError,
            EOFError,
            ValueError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise InputError(f"damaged in its archive: {error}") from error


def stored_files(root: Path | str, suffixes: tuple[str, ...], *, argument: str = "raw") -> list[StoredFile]:
    """Return all files with one of the suffixes in a folder and in its zips, sorted.

    Files in folders come before members of archives. The files that macOS adds (`__MACOSX`, `._name`) are
    left out.

    Args:
        root: a folder, or a single zip.
        suffixes: in lower case, for instance `(".mp4", ".wav")`.
        argument: name of `root` in errors.

    Raises:
        InputError: `root` does not exist, or an archive is damaged or could do harm (see `require_safe`).
    """
    root = Path(root)
    require(root.exists(), f"`{argument}` must be a folder or a zip. `{root}` does not exist.")
    paths = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    found = [StoredFile(path) for path in paths if _fits(path, suffixes)]
    for path in paths:
        if path.suffix.lower() == ".zip" and not path.name.startswith("._"):
            members = [PurePosixPath(name) for name in _member_names(path)]
            found += [StoredFile(path, str(member)) for member in members if _fits(member, suffixes)]
    return found


def require_safe(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise `InputError` if an archive could do harm.

    Raises:
        InputError: a member has an absolute name, one with `..`, a backslash or a drive, is a link, a
            device or encrypted, is larger than 512 MiB or more than 100 times its compressed size; or all
            of them together are more than 100 times the size of the archive, as with overlapping members.
    """
    total = 0
    for info in archive.infolist():
        total += info.file_size
        problem = _problem(info)
        if problem:
            raise refusal(path, info.orig_filename, problem)
    if total > max(_SMALL, RATIO_LIMIT * path.stat().st_size):
        raise InputError(
            f"`{path}` is refused: its members unpack to {total} bytes, more than {RATIO_LIMIT} times its "
            "size. Nothing was unpacked."
        )


def refusal(path: Path | str, member: str, problem: str) -> InputError:
    """Return the error for an archive with a member that could do harm."""
    return InputError(
        f"`{path}` is refused: its member {member!r} {problem}. "
        "Nothing was unpacked; get the archive from its source again."
    )


def name_problem(name: str) -> str:
    """Return why a member's name is unsafe, as the end of a sentence; '' if it is safe.

    >>> name_problem("a/../../b"), name_problem("a/b.wav")
    ('has `..` in its name', '')
    """
    checks = {
        "has an absolute name": name.startswith("/") or name[1:2] == ":",
        "has a backslash in its name": "\\" in name,
        "has `..` in its name": ".." in PurePosixPath(name).parts,
        "has a NUL in its name": "\0" in name,
    }
    return next((text for text, holds in checks.items() if holds), "")


def _problem(info: zipfile.ZipInfo) -> str:
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    checks = {
        name_problem(name): bool(name_problem(name)),
        "is a link": kind == stat.S_IFLNK,
        "is a device or a pipe": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": bool(info.flag_bits & 1),
        f"is larger than {MEMBER_LIMIT >> 20} MiB": info.file_size > MEMBER_LIMIT,
        f"unpacks to more than {RATIO_LIMIT} times its size": (
            info.file_size > max(_SMALL, RATIO_LIMIT * info.compress_size)
        ),
    }
    return next((text for text, holds in checks.items() if holds), "")


def _member_names(path: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            require_safe(path, archive)
            yield from sorted(info.filename for info in archive.infolist() if not info.is_dir())
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"`{path}` cannot be read as a zip: {error}. Download it again.") from error


def _fits(path: Path | PurePosixPath, suffixes: tuple[str, ...]) -> bool:
    hidden = path.name.startswith("._") or "__MACOSX" in path.parts
    return path.suffix.lower() in suffixes and not hidden
