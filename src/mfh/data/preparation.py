"""Shared steps of preparing clips: decoding by several processes, lists of skipped clips, resuming.

The module does not import torch, because the processes that decode must start quickly.
"""

import csv
import io
import json
import logging
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mfh._checks import InputError, cell_text, one_line, require
from mfh._system.files import bytes_writer, read_json, write_atomic, write_json, write_text
from mfh._system.progress import Bar
from mfh._system.signals import raise_if_stopped, shield_workers
from mfh.data.archives import StoredFile
from mfh.data.manifest import Manifest
from mfh.data.tar_files import TarMember

SETTINGS_FILE = "prepare.json"
SKIPPED_FILE = "skipped.csv"
CLIP_SECONDS = 120.0
"""Time limit for decoding one clip."""
GRACE = 1.0
"""Seconds that are left to finish the clips being decoded when the run is interrupted."""
_WAITING = 4  # clips per process that are submitted ahead, so that no process waits for the next one
_NO_MEMORY = "it needs more memory than there is"
_DEADLY = 16  # clips that may kill their process; more of them mean that the machine is at fault

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Name = TypeVar("Name", bound=Hashable)
File = TypeVar("File", bound=StoredFile | TarMember)


@dataclass(frozen=True)
class Note:
    """A file and the reason why it is listed."""

    file: str
    reason: str


class UnusableClipError(Exception):
    """A clip cannot be used; the text is its reason in the list of skipped clips."""


@contextmanager
def part(name: str) -> Iterator[None]:
    """Turn every exception while a part of a clip is decoded into an `UnusableClipError` that names the part.

    A fault in one clip, even one of a library that no one foresaw, must not end a run of thousands.

    Args:
        name: of the part, such as `audio`.

    Example:
        >>> with part("audio"):
        ...     raise InputError("no audio track")
        Traceback (most recent call last):
        mfh.data.preparation.UnusableClipError: audio: no audio track
    """
    try:
        yield
    except (InputError, OSError) as error:
        raise UnusableClipError(f"{name}: {one_line(error)}") from error
    except MemoryError as error:
        raise UnusableClipError(f"{name}: {_NO_MEMORY}") from error
    except Exception as error:
        raise UnusableClipError(f"{name}: {type(error).__name__}: {one_line(error)}") from error


def sort_by_name(
    files: Iterable[File], parse: Callable[[str], Name], where: Path | str
) -> tuple[dict[Name, File], list[Note]]:
    """Return the clips among files by their names, and notes on files with other names.

    Of several files with one name the first is taken; a warning counts the others.

    Args:
        files: have a `name`.
        parse: makes the name of a clip from that of a file, or raises `InputError`.
        where: the folder, for the warning.
    """
    found: dict[Name, File] = {}
    notes, repeated = [], 0
    for file in files:
        try:
            name = parse(file.name)
        except InputError as error:
            notes.append(Note(str(file), str(error)))
            continue
        repeated += name in found
        found.setdefault(name, file)
    if repeated:
        logger.warning("%d clips in `%s` have the name of another; the first is taken", repeated, where)
    return found, notes


def write_notes(path: Path, notes: Iterable[Note]) -> None:
    """Write notes as a csv with a header."""
    write_csv(path, ("file", "reason"), [(cell_text(note.file), cell_text(note.reason)) for note in notes])


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a csv with a header, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    The content comes from memory: numpy, when it writes to a file itself, does not notice a full disk.
    """
    write_atomic(path, bytes_writer(content))


def claim(out: Path, settings: Mapping[str, object]) -> None:
    """Write the settings into a new folder; refuse a folder whose clips have other settings.

    Raises:
        InputError: the settings in the folder differ, or cannot be read.
    """
    path = out / SETTINGS_FILE
    if not path.exists():
        write_json(path, {"settings": settings}, sealed=True)
        return
    wanted = json.loads(json.dumps(settings))  # tuples as they come back
    try:
        found = read_json(path, sealed=False)["settings"]
        different = [f"`{key}` {found[key]} (now {v})" for key, v in wanted.items() if found[key] != v]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"`{path}` cannot be read: {str(error).rstrip('.')}. Name another `out`.") from error
    require(
        not different,
        f"`out` must be new or prepared with the same settings. `{out}` has {', '.join(different)}: "
        "name another folder.",
    )


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(
    clips: Sequence[Item],
    decode: Callable[[Item], str],
    *,
    jobs: int | None = None,
    progress: bool = False,
    seconds: float = CLIP_SECONDS,
) -> Generator[tuple[Item, str], None, None]:
    """Decode every clip; yield each clip and the reason why it cannot be used, or '' if it can.

    A clip may crash FFmpeg, exceed the memory or never end. Its process then ends, the clip gets that as its
    reason, and the clips that were decoded at the same time are decoded again.

    Args:
        clips: what to decode.
        decode: writes the files of a clip, complete or not at all, and returns the reason. With several jobs
            it is pickled: a function of a module, or a `functools.partial` of one.
        jobs: number of processes; by default one per usable core. With 0, this process decodes, and a clip
            can crash it or block it.
        progress: whether to show a bar on stderr.
        seconds: time limit for one clip. After that the operating system ends its process, and the clip is
            tried once more alone.

    Raises:
        InputError: a file cannot be written, or process after process dies. All files that were written
            until then are complete.
    """
    apart, jobs = jobs != 0, min(jobs or num_cores(), len(clips))
    with Bar("decoding", len(clips), unit="clips", show=progress) as bar:
        limited = partial(_limited, decode=decode, seconds=seconds)
        pairs = (
            _side_by_side(clips, limited, jobs, seconds)
            if apart
            else ((clip, decode(clip)) for clip in clips)
        )
        for pair in pairs:
            raise_if_stopped()
            bar.advance()
            yield pair


def decode_into(
    manifest: Manifest,
    clips: Sequence[Item],
    decode: Callable[[Item], str],
    files: Callable[[Item], Iterable[Path]],
    *,
    jobs: int | None = None,
    progress: bool = False,
) -> dict[Item, str]:
    """Decode clips and note their files in the manifest; return the reason for every clip, see `decode_all`.

    Files of these clips that exist already are damaged or not noted, and are removed first. So every file
    that exists after the decoding, or after an interruption, is complete.
    """
    reasons = {}
    for clip in clips:
        for path in files(clip):
            path.unlink(missing_ok=True)
    with manifest.saved(), closing(decode_all(clips, decode, jobs=jobs, progress=progress)) as decoded:
        try:
            for clip, reason in decoded:
                reasons[clip] = reason
                if not reason:
                    manifest.add(files(clip))
        except BaseException:
            decoded.close()  # waits for the clips that are being decoded
            manifest.add(path for clip in clips for path in files(clip) if path.exists())
            raise
    return reasons


def skipped_notes(
    out: Path, reasons: Mapping[str, str], others: Iterable[Note], left: int
) -> tuple[Note, ...]:
    """Write `skipped.csv` and return its notes.

    Args:
        out: the folder.
        reasons: file of every clip that was decoded -> its reason, or '' if it can be used.
        others: notes on files that were not decoded.
        left: number of clips that can be used.

    Raises:
        InputError: no clip is left.
    """
    damaged = [Note(file, reason) for file, reason in reasons.items() if reason]
    notes = (*others, *damaged)
    write_notes(out / SKIPPED_FILE, notes)
    if left == 0:
        raise InputError(
            f"None of {len(reasons)} clips can be decoded; `{out / SKIPPED_FILE}` lists the reasons. "
            f"The first: {damaged[0].reason}."
        )
    return notes


def _limited(clip: Item, *, decode: Callable[[Item], str], seconds: float) -> str:
    """Decode within a time limit. The alarm then ends this process, because nothing else stops FFmpeg."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return decode(clip)
    except MemoryError:
        return _NO_MEMORY
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _side_by_side(
    clips: Sequence[Item], decode: Callable[[Item], str], jobs: int, seconds: float
) -> Iterator[tuple[Item, str]]:
    left, deadly = deque(clips), 0
    while left:
        suspects: list[Item] = []
        yield from _until_one_dies(left, decode, jobs, suspects)
        for clip in suspects:  # each alone, to find the one that killed the process
            alone: list[Item] = []
            start = time.monotonic()
            yield from _until_one_dies(deque([clip]), decode, 1, alone)
            if alone and time.monotonic() - start >= seconds:
                yield clip, f"decoding it takes longer than {seconds:g} seconds"
            elif alone:
                deadly += 1
                yield clip, "the process that decodes it dies"
            if deadly > _DEADLY:
                raise InputError(
                    f"{deadly} decoding processes died, perhaps because memory is short. Repeat the command "
                    "with fewer `jobs`: the clips that are decoded are kept."
                )


def _until_one_dies(
    left: deque[Item], decode: Callable[[Item], str], jobs: int, suspects: list[Item]
) -> Iterator[tuple[Item, str]]:
    """Decode from the front of `left`; when a process dies, move the clips being decoded to `suspects`."""
    # In processes, so that a damaged clip that crashes FFmpeg does not crash us; forking is not safe.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context)
    running: dict[Future[str], Item] = {}
    try:
        while left or running:
            while left and len(running) < _WAITING * jobs:
                with shield_workers():
                    running[pool.submit(decode, left[0])] = left[0]
                left.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                reason = future.result()
                yield running.pop(future), reason
    except BrokenProcessPool:
        suspects += running.values()
    except BaseException:
        _end(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end(pool: ProcessPoolExecutor) -> None:
    """Give processes a second to finish their clips, then end them."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
