"""Decoding many RAVDESS clips side by side, each into one MFCC array and one picture. Free of torch."""

import io
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from mfh._checks import InputError
from mfh._files import write_atomic
from mfh.data import media
from mfh.data.ravdess_clips import Clip

AUDIO_FOLDER, IMAGE_FOLDER = "aud_features", "vid_features"
_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a prepared clip depends on.

    Attributes:
        frames: video frames in a picture; they must divide it into equal tiles.
        height, width: of the picture, in pixels.
        audio_frames: frames T of the MFCC array.
        seconds: of audio around the middle of the utterance; 3.5 covers speech, songs are longer.
    """

    frames: int = 8
    height: int = 256
    width: int = 512
    audio_frames: int = media.AUDIO_FRAMES
    seconds: float = media.WINDOW_SECONDS

    def __post_init__(self) -> None:
        """Check what can be checked before any clip is opened."""
        media.layout(self.frames, self.height, self.width)
        media.hop_length(self.audio_frames, self.seconds)


def targets(out: Path, clip: Clip) -> tuple[Path, Path]:
    """Where a clip's array goes, named by the file its sound is from, and its picture, named by its mp4."""
    data = out / "data"
    return data / AUDIO_FOLDER / f"{clip.audio_name}.npy", data / IMAGE_FOLDER / f"{clip.video_name}.jpg"


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(
    clips: Sequence[Clip], out: Path, settings: Settings, *, jobs: int | None = None, progress: bool = False
) -> Iterator[tuple[Clip, str]]:
    """Write the two files of every clip; yields each and the reason why it cannot be used, empty if it can.

    Args:
        clips: what to decode.
        out: the folder whose `data` gets the files (see `targets`); they appear whole or not at all.
        settings: see `Settings`.
        jobs: processes; by default one per usable core. With one, all is done in this process.
        progress: whether to show a bar on stderr.

    Raises:
        InputError: a file cannot be written, or a process died. What was written by then is whole.
    """
    jobs = jobs or num_cores()
    with tqdm(total=len(clips), desc="clips", unit="clip", disable=not progress) as bar:
        for pair in _decoded(clips, out, settings, min(jobs, len(clips))):
            bar.update()
            yield pair


def _decoded(clips: Sequence[Clip], out: Path, settings: Settings, jobs: int) -> Iterator[tuple[Clip, str]]:
    if jobs <= 1:
        for clip in clips:
            yield clip, _decode(clip, out, settings)
        return
    # Processes, so that a crash of FFmpeg on a damaged clip ends in an error message; forking is not safe.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts) as pool:
        futures = {pool.submit(_decode, clip, out, settings): clip for clip in clips}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "A decoding process died, perhaps for lack of memory. What is done is kept: repeat the "
                "command with fewer `jobs`."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process; the workers finish their clip and the parent stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _decode(clip: Clip, out: Path, settings: Settings) -> str:
    """Write a clip's two files; returns why it cannot be decoded. A failure to write is raised instead."""
    part = "audio"
    try:
        waveform = media.decode_audio(clip.audio.source())
        coefficients = media.mfcc(waveform, frames=settings.audio_frames, seconds=settings.seconds)
        part = "video"
        picture = media.decode_picture(
            clip.video.source(), frames=settings.frames, height=settings.height, width=settings.width
        )
    except InputError as error:
        return f"{part}: {error}"
    # By way of memory: numpy writes to a file through a buffer of its own and does not notice a full disk.
    array, image = io.BytesIO(), io.BytesIO()
    np.save(array, coefficients, allow_pickle=False)
    jpeg = {"quality": _JPEG_QUALITY, "subsampling": 0}
    media.need("PIL.Image").fromarray(picture).save(image, "JPEG", **jpeg)
    for path, content in zip(targets(out, clip), (array.getvalue(), image.getvalue()), strict=True):
        write_atomic(path, partial(_put, content))
    return ""


def _put(content: bytes, file: IO[bytes]) -> None:
    file.write(content)
