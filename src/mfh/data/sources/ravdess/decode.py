"""Decoding a RAVDESS clip into one MFCC array and one picture. The module does not import torch."""

from dataclasses import dataclass
from pathlib import Path

from mfh._system.files import npy_bytes
from mfh.data import media
from mfh.data.media_video import decode_picture, encode_jpg, layout
from mfh.data.preparation import UnusableClipError, part, write_bytes
from mfh.data.sources.ravdess.clips import Clip

AUDIO_FOLDER, IMAGE_FOLDER = "aud_features", "vid_features"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that change the files of a prepared clip.

    Attributes:
        frames: video frames in a picture; they must divide it into equal tiles.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        audio_frames: frames T of the MFCC array.
        seconds: length of the audio that is used, around the middle of the utterance; 3.5 is long enough for
            speech, songs are longer.
    """

    frames: int = 8
    height: int = 256
    width: int = 512
    audio_frames: int = media.AUDIO_FRAMES
    seconds: float = media.WINDOW_SECONDS

    def __post_init__(self) -> None:
        """Check the settings before any clip is opened."""
        layout(self.frames, self.height, self.width)
        media.hop_length(self.audio_frames, self.seconds)


def targets(out: Path, clip: Clip) -> tuple[Path, Path]:
    """Return the paths of a clip's array, named by its audio file, and of its picture, named by its mp4."""
    data = out / "data"
    return data / AUDIO_FOLDER / f"{clip.audio_name}.npy", data / IMAGE_FOLDER / f"{clip.video_name}.jpg"


def decode(clip: Clip, *, out: Path, settings: Settings) -> str:
    """Write a clip's two files; return why it cannot be decoded, or '' if it can.

    Args:
        clip: the clip.
        out: folder whose `data` gets the files (see `targets`); each is written completely or not at all.
        settings: see `Settings`.

    Raises:
        InputError: a file cannot be written.
    """
    try:
        with part("audio"):
            waveform = media.decode_audio(clip.audio.source())
            coefficients = media.mfcc(waveform, frames=settings.audio_frames, seconds=settings.seconds)
        with part("video"):
            picture = decode_picture(
                clip.video.source(), frames=settings.frames, height=settings.height, width=settings.width
            )
            image = encode_jpg(picture)
    except UnusableClipError as error:
        return str(error)
    array_file, image_file = targets(out, clip)
    write_bytes(array_file, npy_bytes(coefficients))
    write_bytes(image_file, image)
    return ""
