"""Decoding a VGGSound clip into one waveform and one picture of stacked frames, without torch."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mfh._checks import require
from mfh._system.files import npy_bytes
from mfh.data import media
from mfh.data.archives import StoredFile
from mfh.data.media_video import Crop, decode_frames, encode_jpg
from mfh.data.preparation import UnusableClipError, part, write_bytes
from mfh.data.sources.vggsound.clips import ClipName
from mfh.data.tar_files import TarMember

RATE = 16_000
PARTS_FOLDER = "parts"
JPEG_LIMIT = 65_500  # pixels: no JPEG is higher


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that change the files of a prepared clip.

    Attributes:
        frames: number of frames, evenly spaced in time.
        size: height and width of a frame, in pixels.
        crop: top, bottom, left and right of the part of the frames to take; None takes all. See
            `mfh.data.media_video.decode_frames`.
    """

    frames: int = 32
    size: tuple[int, int] = (256, 256)
    crop: Crop | None = None

    def __post_init__(self) -> None:
        """Check the settings before any clip is opened."""
        height, width = self.size
        for name, value in (("frames", self.frames), ("size", height), ("size", width)):
            require(value >= 1, f"`{name}` must be 1 or more. Got {value}.")
        require(
            self.frames * height <= JPEG_LIMIT and width <= JPEG_LIMIT,
            f"`frames` x `size` must not exceed {JPEG_LIMIT} pixels, the most a JPEG has. "
            f"Got {self.frames} x {height}.",
        )
        if self.crop is not None:
            top, bottom, left, right = self.crop
            require(
                0 <= top < bottom and 0 <= left < right,
                "`crop` must be top, bottom, left and right in pixels, with top < bottom and left < right. "
                f"Got {top} {bottom} {left} {right}.",
            )


@dataclass(frozen=True)
class Job:
    """A clip to decode.

    Attributes:
        stored: its file.
        name: its name.
        split: the folder of its split, `train` or `test`.
    """

    stored: StoredFile | TarMember
    name: ClipName
    split: str


def targets(out: Path, name: ClipName, split: str, *, sharded: bool) -> dict[str, Path]:
    """Return the paths of a clip's files, by their kind.

    In the authors' layout the kinds are `npy`, `jpg` and, for test clips, `wav`. With `sharded` they are
    `flac` and `jpg`, in the folder `parts` until they are packed into a tar file.
    """
    if sharded:
        return {kind: out / PARTS_FOLDER / f"{name}.{kind}" for kind in ("flac", "jpg")}
    folders = {"npy": "audio_npy", "jpg": "video_jpg"} | ({"wav": "audio"} if split == "test" else {})
    return {kind: out / split / folder / f"{name}.{kind}" for kind, folder in folders.items()}


def decode(job: Job, *, out: Path, settings: Settings, sharded: bool) -> str:
    """Write a clip's files; return why it cannot be decoded, or '' if it can.

    Args:
        job: the clip.
        out: the prepared folder.
        settings: see `Settings`.
        sharded: see `targets`.

    Raises:
        InputError: a file cannot be written.
    """
    height, width = settings.size
    encoders: dict[str, Callable[[], bytes]] = {
        "npy": lambda: npy_bytes(waveform[None]),
        "wav": lambda: media.encode_wav(waveform, rate=RATE),
        "flac": lambda: encode_flac(waveform),
        "jpg": lambda: encode_jpg(frames.reshape(-1, *frames.shape[2:])),  # stacked from top to bottom
    }
    paths = targets(out, job.name, job.split, sharded=sharded)
    try:
        with part("file"):
            source = job.stored.source()
        with part("audio"):
            waveform = media.decode_audio(source, RATE)
        with part("video"):
            frames = decode_frames(
                source, frames=settings.frames, height=height, width=width, crop=settings.crop, repeat=True
            )
        with part("encoding"):
            contents = {kind: encoders[kind]() for kind in paths}
    except UnusableClipError as error:
        return str(error)
    for kind, path in paths.items():
        write_bytes(path, contents[kind])
    return ""


def encode_flac(waveform: Float32[np.ndarray, " sample"]) -> bytes:
    """Return a waveform as FLAC of 16 bits, scaled so that its largest absolute value is 1.

    The networks' inputs are scaled in the same way in any case.
    """
    content = io.BytesIO()
    scaled = waveform / np.abs(waveform).max()
    media.need("soundfile").write(content, scaled, RATE, format="FLAC", subtype="PCM_16")
    return content.getvalue()
