"""What turning clips into data sets has in common: many decoders side by side, lists of skips, resuming.

Free of torch, as the decoding processes are.
"""

import csv
import io
import json
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mfh._checks import InputError, cell_text, require
from mfh._system.files import bytes_writer, read_json, write_atomic, write_json, write_text
from mfh._system.progress import Bar
from mfh._system.signals import raise_if_stopped, shield_workers
from mfh.data.manifest import Manifest

SETTINGS_FILE = "prepare.json"
CLIP_SECONDS = 120.0
"""How long one clip may be decoded."""
GRACE = 1.0
"""Seconds that clips in hand have to be finished when decoding is interrupted."""
_WAITING = 4  # clips a process that have been handed out, so that none ever waits for the next
_DEADLY = 16  # clips that may kill their process before it is the machine's fault

Item = TypeVar("Item")


@dataclass(frozen=True)
class Note:
    """A file and what is to be said about it."""

    file: str
    reason: str


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

    By way of memory, because numpy writes to a file through a buffer of its own and does not notice that the
    disk is full.
    """
    write_atomic(path, bytes_writer(content))


def claim(out: Path, settings: Mapping[str, object]) -> None:
    """Note the settings in a new folder; refuse one that holds clips of other settings.

    Raises:
        InputError: the settings noted there differ, or cannot be read.
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
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(
    clips: Sequence[Item],
    decode: Callable[[Item], str],
    *,
    jobs: int | None = None,
    progress: bool = False,
    seconds: float = CLIP_SECONDS,
) -> Generator[tuple[Item, str], None, None]:
    """Decode every clip; yields each and the reason why it cannot be used, empty if it can.

    A clip that kills its process (a fault in FFmpeg, memory) or holds it up is given that as its reason: what
    was decoded beside it is done again.

    Args:
        clips: what to decode.
        decode: writes what a clip becomes, whole or not at all, and returns the reason. With several jobs it
            is pickled: a function of a module, or a `functools.partial` of one.
        jobs: processes; by default one per usable core. With 0, all is done in this process, which a clip
            can then end or hold up.
        progress: whether to show a bar on stderr.
        seconds: how long a clip may take. Its process is then ended by the operating system, whatever FFmpeg
            does, and the clip is tried once more alone.

    Raises:
        InputError: a file cannot be written, or one process after the other dies. What was written by then is
            whole.
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
    """What `decode_all` gives, once the files of every clip are noted in the manifest.

    Files of these clips that are there already, damaged or not noted, are removed first. So what is there
    when decoding ends, or is interrupted, is whole.
    """
    reasons = {}
    for clip in clips:
        for path in files(clip):
            path.unlink(missing_ok=True)
    with manifest.kept(), closing(decode_all(clips, decode, jobs=jobs, progress=progress)) as decoded:
        try:
            for clip, reason in decoded:
                reasons[clip] = reason
                if not reason:
                    manifest.add(files(clip))
        except BaseException:
            decoded.close()  # waits for the clips in hand
            manifest.add(path for clip in clips for path in files(clip) if path.exists())
            raise
    return reasons


def _limited(clip: Item, *, decode: Callable[[Item], str], seconds: float) -> str:
    """Decode within a limit of time, after which the alarm ends this process: FFmpeg heeds nothing less."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return decode(clip)
    except MemoryError:
        return "it needs more memory than there is"
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
        for clip in suspects:  # each alone, to learn which it was
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
                    f"Decoding processes keep dying, {deadly} by now, perhaps for lack of memory. What is "
                    "done is kept: repeat the command with fewer `jobs`."
                )


def _until_one_dies(
    left: deque[Item], decode: Callable[[Item], str], jobs: int, suspects: list[Item]
) -> Iterator[tuple[Item, str]]:
    """Decode from the front of `left`; when a process dies, what was in hand goes to `suspects`."""
    # Processes, so that a crash of FFmpeg on a damaged clip is not ours; forking is not safe.
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
    """Let processes finish the clips in hand, within a second; then end them."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
