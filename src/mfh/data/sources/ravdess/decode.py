"""Decoding a RAVDESS clip into one MFCC array and one picture. Free of torch."""

import io
from dataclasses import dataclass
from pathlib import Path

from mfh._checks import InputError
from mfh._system.files import write_npy
from mfh.data import media
from mfh.data.media_video import decode_picture, layout
from mfh.data.preparation import write_bytes
from mfh.data.sources.ravdess.clips import Clip

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
        layout(self.frames, self.height, self.width)
        media.hop_length(self.audio_frames, self.seconds)


def targets(out: Path, clip: Clip) -> tuple[Path, Path]:
    """Where a clip's array goes, named by the file its sound is from, and its picture, named by its mp4."""
    data = out / "data"
    return data / AUDIO_FOLDER / f"{clip.audio_name}.npy", data / IMAGE_FOLDER / f"{clip.video_name}.jpg"


def decode(clip: Clip, *, out: Path, settings: Settings) -> str:
    """Write a clip's two files; returns why it cannot be decoded, empty if it can.

    Args:
        clip: what to decode.
        out: the folder whose `data` gets the files (see `targets`); they appear whole or not at all.
        settings: see `Settings`.

    Raises:
        InputError: a file cannot be written.
    """
    part = "audio"
    try:
        waveform = media.decode_audio(clip.audio.source())
        coefficients = media.mfcc(waveform, frames=settings.audio_frames, seconds=settings.seconds)
        part = "video"
        picture = decode_picture(
            clip.video.source(), frames=settings.frames, height=settings.height, width=settings.width
        )
    except InputError as error:
        return f"{part}: {error}"
    array_file, image_file = targets(out, clip)
    image, jpeg = io.BytesIO(), {"quality": _JPEG_QUALITY, "subsampling": 0}
    media.need("PIL.Image").fromarray(picture).save(image, "JPEG", **jpeg)
    write_npy(array_file, coefficients)
    write_bytes(image_file, image.getvalue())
    return ""
