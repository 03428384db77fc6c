"""Decoding a VGGSound clip into one waveform and one picture of stacked frames. Free of torch."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from mfh._checks import InputError, require
from mfh.data import media
from mfh.data.archives import StoredFile
from mfh.data.media_video import Crop, decode_frames
from mfh.data.preparation import write_bytes
from mfh.data.sources.vggsound.clips import ClipName
from mfh.data.tar_files import TarMember

RATE = 16_000
PARTS_FOLDER = "parts"
JPEG_LIMIT = 65_500  # pixels: no JPEG is higher
_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a prepared clip depends on.

    Attributes:
        frames: number of frames, evenly spaced in time.
        size: height and width of a frame, in pixels.
        crop: top, bottom, left, right of the part of the clip's frames to take; None takes all.
    """

    frames: int = 32
    size: tuple[int, int] = (256, 256)
    crop: Crop | None = None

    def __post_init__(self) -> None:
        """Check what can be checked before any clip is opened."""
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
    """A clip to decode: where it lies, its name, and the folder of its split, `train` or `test`."""

    stored: StoredFile | TarMember
    name: ClipName
    split: str


def targets(out: Path, name: ClipName, split: str, *, sharded: bool) -> dict[str, Path]:
    """The files that a clip becomes, by their kind.

    In the authors' layout `npy`, `jpg` and, of test clips, `wav`; else `flac` and `jpg` in `parts`, where
    they wait for being packed.
    """
    if sharded:
        return {kind: out / PARTS_FOLDER / f"{name}.{kind}" for kind in ("flac", "jpg")}
    folders = {"npy": "audio_npy", "jpg": "video_jpg"} | ({"wav": "audio"} if split == "test" else {})
    return {kind: out / split / folder / f"{name}.{kind}" for kind, folder in folders.items()}


def decode(job: Job, *, out: Path, settings: Settings, sharded: bool) -> str:
    """Write a clip's files; returns why it cannot be decoded, empty if it can.

    Raises:
        InputError: a file cannot be written.
    """
    part, (height, width) = "file", settings.size
    try:
        source = job.stored.source()
        part = "audio"
        waveform = media.decode_audio(source, RATE)
        part = "video"
        frames = decode_frames(
            source,
            frames=settings.frames,
            height=height,
            width=width,
            crop=settings.crop,
            repeat=True,
        )
    except (InputError, OSError) as error:
        return f"{part}: {error}"
    encoders: dict[str, Callable[[], bytes]] = {
        "npy": lambda: encode_npy(waveform),
        "wav": lambda: media.encode_wav(waveform, rate=RATE),
        "flac": lambda: encode_flac(waveform),
        "jpg": lambda: encode_jpg(frames),
    }
    for kind, path in targets(out, job.name, job.split, sharded=sharded).items():
        write_bytes(path, encoders[kind]())
    return ""


def encode_npy(waveform: Float32[np.ndarray, " sample"]) -> bytes:
    """A waveform as an array of shape (1, samples)."""
    content = io.BytesIO()
    np.save(content, waveform[None], allow_pickle=False)
    return content.getvalue()


def encode_flac(waveform: Float32[np.ndarray, " sample"]) -> bytes:
    """A waveform, 16 bits, scaled so that its largest absolute value is 1: networks see it so in any case."""
    content = io.BytesIO()
    scaled = waveform / np.abs(waveform).max()
    media.need("soundfile").write(content, scaled, RATE, format="FLAC", subtype="PCM_16")
    return content.getvalue()


def encode_jpg(frames: UInt8[np.ndarray, "frame height width 3"]) -> bytes:
    """Frames stacked from top to bottom in one picture; colour at full resolution."""
    content = io.BytesIO()
    picture = media.need("PIL.Image").fromarray(frames.reshape(-1, *frames.shape[2:]))
    picture.save(content, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return content.getvalue()
