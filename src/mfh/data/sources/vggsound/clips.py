"""VGGSound as it is distributed: the csv of clips, the names of files, and the choice of classes."""

import csv
import difflib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mfh._checks import InputError, listing, require
from mfh.config import SPLITS
from mfh.data.archives import StoredFile, stored_files
from mfh.data.preparation import Note, sort_by_name
from mfh.data.tar_files import TarMember, expand, is_url, tar_members

CLIP_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg")
_DIGITS = 9  # of a start second, at most
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class ClipName:
    """The name of a clip: the video that it is cut from, and the second at which it starts.

    Attributes:
        video: id of the YouTube video; it may contain underscores and dashes.
        start: second, 0 or more.
    """

    video: str
    start: int

    @classmethod
    def parse(cls, name: str) -> "ClipName":
        """Read a name, with or without the suffix of a clip; the start follows the last underscore.

        Raises:
            InputError: the name has no start.

        Example:
            >>> ClipName.parse("a_b-_000030.mp4"), ClipName.parse("x_7")
            (ClipName(video='a_b-', start=30), ClipName(video='x', start=7))
        """
        path = PurePosixPath(name)
        stem = path.stem if path.suffix.lower() in CLIP_SUFFIXES else path.name  # ids may have dots
        match = re.fullmatch(rf"(.+)_(\d{{1,{_DIGITS}}})", stem, flags=re.ASCII)
        if match is None:
            raise InputError("the name must be <id>_<start second>")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.video}_{self.start:06d}"


@dataclass(frozen=True, order=True)
class Entry:
    """A line of the csv.

    Attributes:
        name: of the clip.
        label: name of its class; empty if it has none.
        split: `train`, `validation` or `test`.
    """

    name: ClipName
    label: str
    split: str


def read_entries(path: Path | str) -> tuple[list[Entry], list[Note]]:
    """Read a csv of youtube id, start second, label and split, with or without a header.

    The label of a clip may be empty. Repeated lines count once. A clip that has several labels or splits is
    left out.

    Returns:
        The clips, in order of name, and notes on those that are left out.

    Raises:
        InputError: the file cannot be read, or a line does not have these four fields.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader if any(line)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"`csv` must be a file of clips. `{path}` cannot be read: {error}.") from error
    if lines and len(lines[0][1]) == 4 and not lines[0][1][1].isdecimal():
        lines = lines[1:]  # the header
    require(len(lines) > 0, f"`csv` must contain clips: id, start second, label, split. `{path}` has none.")
    entries = {_entry(line, f"`{path}` line {number}") for number, line in lines}
    if len(entries) < len(lines):
        logger.warning("%d repeated lines of `%s` are left out", len(lines) - len(entries), path)
    times = Counter(entry.name for entry in entries)
    twice = {name for name, count in times.items() if count > 1}
    notes = [
        Note(str(name), f"`{path.name}` gives it {_different(e for e in entries if e.name == name)}")
        for name in sorted(twice)
    ]
    return sorted(entry for entry in entries if entry.name not in twice), notes


def _entry(line: Sequence[str], place: str) -> Entry:
    require(
        len(line) == 4,
        f"{place} must have four fields: id, start second, label, split. It has {len(line)}: quote labels "
        "that contain a comma.",
    )
    video, start, label, split = line
    require(bool(video), f"{place} must name a video. Got {', '.join(line)!r}.")
    require(
        start.isascii() and start.isdecimal() and len(start) <= _DIGITS,
        f"{place} must have a start of 0 or more whole seconds. Got {start!r}.",
    )
    require(split in SPLITS, f"{place} must have a split of {listing(SPLITS)}. Got {split!r}.")
    return Entry(ClipName(video, int(start)), label, split)


def _different(entries: Iterable[Entry]) -> str:
    entries = sorted(entries)
    labels, splits = sorted({e.label for e in entries}), sorted({e.split for e in entries})
    return f"several labels: {listing(labels)}" if len(labels) > 1 else f"several splits: {listing(splits)}"


def choose_classes(entries: Sequence[Entry], classes: int | Path | str | None) -> list[str]:
    """Return the names of the classes that are used, in the order of their codes 0, 1, ....

    Args:
        entries: the clips.
        classes: None takes all, in alphabetical order. A number n takes the n classes with the most clips in
            the csv; of equally frequent ones the first in the alphabet. A file has one name per line, in the
            order wanted.

    Raises:
        InputError: the file cannot be read, repeats a class or names one that the csv does not have; there
            are fewer classes than asked for, or fewer than two.
    """
    count = Counter(entry.label for entry in entries if entry.label)
    if classes is None:
        chosen = sorted(count)
    elif isinstance(classes, int):
        require(
            2 <= classes <= len(count),
            f"`classes` must lie in 2 ... {len(count)}, the classes of the csv. Got {classes}.",
        )
        chosen = sorted(sorted(count, key=lambda label: (-count[label], label))[:classes])
    else:
        chosen = _read_classes(Path(classes), count)
    require(len(chosen) >= 2, f"`classes` must be two or more. Got {listing(chosen)}: add a class.")
    return chosen


def _read_classes(path: Path, known: Iterable[str]) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"`classes` must be a number, or a file of one class per line. `{path}` cannot be read: {error}."
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    known = set(known)
    for name in names:
        require(names.count(name) == 1, f"`{path}` must name each class once. It names {name!r} twice.")
        if name not in known:
            near = difflib.get_close_matches(name, known, 3)
            hint = f" Is it {listing(near)}?" if near else f" The csv has {listing(sorted(known))}."
            raise InputError(f"`{path}` names the class {name!r}, which no clip of the csv has.{hint}")
    return names


def find_clips(clips: Path | str) -> tuple[dict[ClipName, StoredFile | TarMember], list[Note]]:
    """Return the clips in a folder or in tar files, by name, and notes on files that cannot be used.

    Args:
        clips: a folder of clips, at any depth, in zips and tar files too; or tar files, see
            `mfh.data.tar_files.expand`.

    Raises:
        InputError: there is no such folder or file.
    """
    folder = not is_url(clips) and Path(clips).is_dir()
    stored: list[StoredFile | TarMember] = []
    notes: list[Note] = []
    if folder:
        stored += stored_files(clips, CLIP_SUFFIXES, argument="clips")
        packed = sorted(str(path) for path in Path(clips).rglob("*") if path.name.endswith(COMPRESSED))
        notes += [Note(path, "it is compressed: convert it to a plain .tar first") for path in packed]
    archives = [] if folder and not any(Path(clips).rglob("*.tar")) else expand(clips)
    for archive in archives:
        members, problem = tar_members(archive, _is_clip)
        stored += members
        notes += [Note(archive, problem)] if problem else []
    found, other_names = sort_by_name(stored, ClipName.parse, clips)
    return found, notes + other_names


def _is_clip(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in CLIP_SUFFIXES and not path.name.startswith("._")
