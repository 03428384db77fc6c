"""Reading prepared VGGSound clips: from files of a folder, or from tar files wherever they lie."""

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
from mfh.data.sources.vggsound.index import Record, joined
from mfh.data.tar_files import read_range


@dataclass(frozen=True)
class ClipDecoder:
    """Decodes one clip; see `mfh.data.decoded.SampleSource`.

    Attributes:
        root: the folder or URL that holds the splits' folders or the tar files.
        clips: the clips, in the order of the rows.
        stored: frames in a picture.
        frames: frames wanted of them, evenly spaced.
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
        """The waveform, the frames, or both."""
        clip = self.clips[row]
        contents = read_clip(self.root, clip, names)
        require_whole(clip, contents)
        found = {}
        if "audio" in names:
            found["audio"] = fitted(waveform_of(contents["audio"], clip.name), self.samples)
        if "video" in names:
            frames = frames_of(contents["video"], self.stored, clip.name)
            found["video"] = frames[spread(self.stored, self.frames, self.span)]
        return found


def read_clip(root: str, clip: Record, names: Sequence[str]) -> dict[str, bytes]:
    """The stored bytes of a clip's `audio`, `video` or both; what lies together is read in one piece.

    Raises:
        InputError: a file is gone or cannot be read.
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


def require_whole(clip: Record, contents: Mapping[str, bytes]) -> None:
    """Refuse what is not as the index says; a wav in place of an array has no checksum there.

    Raises:
        DamagedSampleError: a checksum does not fit.
    """
    for name, content in contents.items():
        wanted = clip.picture_sha256 if name == "video" else clip.audio_sha256
        if wanted and content[:4] != b"RIFF" and checksum(content) != wanted:
            what = "picture" if name == "video" else "sound"
            raise DamagedSampleError(
                f"The {what} of `{clip.name}` is damaged or exchanged: its checksum does not fit."
            )


def read_file(root: str, clip: Record, name: str) -> bytes:
    """A clip's file in the authors' layout; the wav stands in for an array that is not there."""
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
    """A waveform, stored as an array, as FLAC or as wav.

    Raises:
        DamagedSampleError: it is none of these, or has not the shape (1, samples) or (samples,).
    """
    try:
        if content[:6] == b"\x93NUMPY":
            array = read_npy(content)
        else:
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
    """Frames stacked in a JPEG.

    Raises:
        DamagedSampleError: it cannot be decoded, or is not `stored` frames high.
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
    """A waveform cut to a length, or continued with NaN."""
    row = np.full((1, length), np.nan, np.float32)
    row[:, : waveform.shape[1]] = waveform[:, :length]
    return row


def spread(stored: int, wanted: int, span: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Numbers of `wanted` evenly spaced frames of those stored, within a span of the clip.

    >>> spread(32, 4).tolist(), spread(32, 4, (0.5, 1.0)).tolist()
    ([4, 12, 20, 28], [18, 22, 26, 30])
    """
    places = span[0] + (np.arange(wanted) + 0.5) / wanted * (span[1] - span[0])
    return np.floor(np.round(places * stored, 6)).astype(int)
