"""Reading of prepared VGGSound clips, from files of a folder or from local or remote tar files."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from mfh._checks import InputError
from mfh._system.files import checksum, read_npy
from mfh.data import media
from mfh.data.decoded import DamagedSampleError
from mfh.data.riff import require_whole
from mfh.data.sources.vggsound.index import Record, joined
from mfh.data.tar_files import read_range


@dataclass(frozen=True)
class ClipDecoder:
    """Function that decodes one clip; see `mfh.data.decoded.SampleSource`.

    Attributes:
        root: the folder or URL of the splits' folders or of the tar files.
        clips: the clips, in the order of the rows.
        stored: number of frames in a picture.
        frames: number of frames to take of them, evenly spaced.
        span: part of the clip that they are taken from, as shares of its length.
        samples: length of a waveform's row.
    """

    root: str
    clips: Sequence[Record]
    stored: int
    frames: int
    span: tuple[float, float]
    samples: int

    def __call__(self, row: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Decode the waveform, the frames, or both."""
        clip = self.clips[row]
        contents = read_clip(self.root, clip, names)
        require_unchanged(clip, contents)
        found = {}
        if "audio" in names:
            found["audio"] = fitted(waveform_of(contents["audio"], clip.name), self.samples)
        if "video" in names:
            frames = frames_of(contents["video"], self.stored, clip.name)
            found["video"] = frames[spread(self.stored, self.frames, self.span)]
        return found


def read_clip(root: str, clip: Record, names: Sequence[str]) -> dict[str, bytes]:
    """Return the stored bytes of a clip's `audio`, `video` or both; from a tar file both are read at once.

    Raises:
        InputError: a file does not exist or cannot be read.
    """
    if not clip.place.endswith(".tar"):
        return {name: read_file(root, clip, name) for name in names}
    places = {
        "audio": (clip.audio_at, clip.audio_at + clip.audio_bytes),
        "video": (clip.picture_at, clip.picture_at + clip.picture_bytes),
    }
    first, last = min(places[n][0] for n in names), max(places[n][1] for n in names)
    content = read_range(joined(root, clip.place), first, last - first)
    return {name: content[places[name][0] - first : places[name][1] - first] for name in names}


def require_unchanged(clip: Record, contents: Mapping[str, bytes]) -> None:
    """Compare a clip's checksums with those in the index, which has none for a wav in place of an array.

    Raises:
        DamagedSampleError: a checksum differs.
    """
    for name, content in contents.items():
        wanted = clip.picture_sha256 if name == "video" else clip.audio_sha256
        if wanted and content[:4] != b"RIFF" and checksum(content) != wanted:
            what = "picture" if name == "video" else "sound"
            raise DamagedSampleError(
                f"The {what} of `{clip.name}` is damaged or exchanged: its checksum differs."
            )


def read_file(root: str, clip: Record, name: str) -> bytes:
    """Return the content of a clip's file in the authors' layout; without an array that of the wav."""
    if name == "video":
        return read_range(joined(root, f"{clip.place}/video_jpg/{clip.name}.jpg"))
    path = Path(joined(root, f"{clip.place}/audio_npy/{clip.name}.npy"))
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return read_range(joined(root, f"{clip.place}/audio/{clip.name}.wav"))
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read: {error}.") from error


def waveform_of(content: bytes, name: str) -> Float32[np.ndarray, "1 samples"]:
    """Decode a waveform that is stored as an array, as FLAC or as wav.

    Args:
        content: of the file.
        name: of the clip, for errors.

    Raises:
        DamagedSampleError: it is none of these, or not finite, or not of shape (1, samples) or (samples,).
    """
    try:
        if content[:6] == b"\x93NUMPY":
            array = read_npy(content)
        else:
            require_whole(content)
            array, _ = media.need("soundfile").read(io.BytesIO(content), dtype="float32")
            array = array if array.ndim == 1 else array.mean(axis=1)
    except (OSError, ValueError, EOFError, RuntimeError) as error:  # soundfile's own are RuntimeErrors
        raise DamagedSampleError(f"The sound of `{name}` is damaged: {error}.") from error
    if array.dtype.kind not in "fi" or not array.size == max(array.shape, default=0) > 0:
        raise DamagedSampleError(
            f"The sound of `{name}` must have shape (1, samples). It is {array.dtype} {array.shape}."
        )
    waveform = array.reshape(1, -1).astype(np.float32)
    if not np.isfinite(waveform).all():
        raise DamagedSampleError(f"The sound of `{name}` must be finite. It holds NaN or infinity.")
    return waveform


def frames_of(content: bytes, stored: int, name: str) -> UInt8[np.ndarray, "frame height width 3"]:
    """Decode the frames that are stacked in a JPEG.

    Args:
        content: of the file.
        stored: number of frames.
        name: of the clip, for errors.

    Raises:
        DamagedSampleError: it cannot be decoded, or its height is not that of `stored` frames.
    """
    image = media.need("PIL.Image")
    try:
        with image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise DamagedSampleError(f"The picture of `{name}` is damaged: {error}.") from error
    if len(pixels) % stored:
        raise DamagedSampleError(
            f"The picture of `{name}` must hold {stored} frames. It is {len(pixels)} pixels high."
        )
    return pixels.reshape(stored, -1, *pixels.shape[1:])


def fitted(waveform: Float32[np.ndarray, "1 samples"], length: int) -> Float32[np.ndarray, "1 length"]:
    """Return a waveform cut to a length, or continued with NaN."""
    row = np.full((1, length), np.nan, np.float32)
    row[:, : waveform.shape[1]] = waveform[:, :length]
    return row


def spread(stored: int, wanted: int, span: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Return the numbers of `wanted` evenly spaced frames of those stored, within a span of the clip.

    >>> spread(32, 4).tolist(), spread(32, 4, (0.5, 1.0)).tolist()
    ([4, 12, 20, 28], [18, 22, 26, 30])
    """
    places = span[0] + (np.arange(wanted) + 0.5) / wanted * (span[1] - span[0])
    return np.floor(np.round(places * stored, 6)).astype(int)
