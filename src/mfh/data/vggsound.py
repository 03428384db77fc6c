"""VGGSound as `PairedDataset`: the reader of the authors' folder and of what `prepare` writes.

<split>/audio_npy/<name>.npy     waveform, (1, samples), 16 kHz
<split>/video_jpg/<name>.jpg     frames, stacked from top to bottom
label.json                       youtube id -> class 0, 1, ...
clips.csv, classes.txt           written by `prepare`: what is there, with splits; the names of the classes
"""

import csv
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mfh._checks import InputError, require
from mfh.data import media
from mfh.data.array_cache import Rows, cached_array, text_key
from mfh.data.decoded import SampleSource
from mfh.data.paired import PairedDataset
from mfh.data.preparation import SETTINGS_FILE
from mfh.data.vggsound_decode import RATE
from mfh.data.vggsound_inputs import HOP, NormalizeVideo, Spectrogram
from mfh.data.vggsound_prepare import CLASSES_FILE, INDEX_FILE

CACHE_FOLDER = "cache"
_LONGEST = 1.1  # times the median length: what is longer is cut, and no stray clip makes all rows long

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """A prepared clip.

    Attributes:
        name: of its files, without suffix; the id of the sample.
        video: youtube id.
        label: code of its class.
        split: `train`, `validation` or `test`.
        folder: where its files lie, `train` or `test`.
        samples: length of the waveform.
        size: bytes of its picture.
    """

    name: str
    video: str
    label: int
    split: str
    folder: str
    samples: int
    size: int


@dataclass(frozen=True)
class FolderDecoder:
    """Decodes one clip of a folder; see `mfh.data.decoded.SampleSource`.

    Attributes:
        folder: the one that holds the splits.
        clips: the clips, in the order of the rows.
        stored: frames in a picture.
        frames: frames wanted of them, evenly spaced.
        samples: length of a waveform's row.
    """

    folder: Path
    clips: Sequence[Record]
    stored: int
    frames: int
    samples: int

    def __call__(self, row: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read the waveform, the frames, or both."""
        clip = self.clips[row]
        readers = {"audio": self._audio, "video": self._video}
        return {name: readers[name](clip) for name in names}

    def _audio(self, clip: Record) -> Float32[np.ndarray, "1 samples"]:
        return fitted(read_npy(self.folder / clip.folder / "audio_npy" / f"{clip.name}.npy"), self.samples)

    def _video(self, clip: Record) -> UInt8[np.ndarray, "frame height width 3"]:
        picture = read_jpg(self.folder / clip.folder / "video_jpg" / f"{clip.name}.jpg")
        frames = picture.reshape(self.stored, -1, *picture.shape[1:])
        return frames[spread(self.stored, self.frames)]


def load(
    folder: Path | str,
    *,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    audio_frames: int | None = None,
    log: bool = False,
    cache: bool = False,
    workers: int = 4,
) -> PairedDataset:
    """Read a folder that `mfh vggsound prepare` wrote.

    The data have the modalities `audio`, waveforms of float32 (sample, 1, samples), and `video`, frames of
    uint8 (sample, frames, height, width, 3). `transforms` make them the networks' inputs: magnitude
    spectrograms (sample, 1, 513, audio_frames), see `Spectrogram`, and normalised frames (sample, 3, frames,
    height, width), see `NormalizeVideo`. A waveform that is shorter than the rows goes on with NaN, which the
    transform knows to leave out.

    Ids are the names of the clips, groups the videos where several clips are of one, splits those of
    `clips.csv`. Clips are decoded when they are needed, so memory does not grow with their number.

    Args:
        folder: the one that holds `train` and `test`.
        frames: how many of the stored frames, evenly spaced; by default all.
        size: height and width, or one number for both, to which frames are resized on the device; by default
            as they are.
        audio_frames: frames T of a spectrogram; by default those of the median clip, 313 for 10 seconds.
        log: see `Spectrogram`.
        cache: whether everything is decoded once, into memory-mapped arrays in `cache` (6.3 MB for a
            clip of 32 x 256 x 256 and 0.64 MB for its 10 seconds of sound).
        workers: threads that decode a batch side by side.

    Raises:
        InputError: the folder is not as above, a file is damaged, or the cache cannot be written.
    """
    media.need("PIL.Image")
    folder = Path(folder)
    names, clips = read_index(folder)
    first = read_jpg(folder / clips[0].folder / "video_jpg" / f"{clips[0].name}.jpg")
    stored = _stored_frames(folder, first.shape[0])
    frames = stored if frames is None else frames
    require(1 <= frames <= stored, f"`frames` must lie in 1 ... {stored}, those stored. Got {frames}.")
    lengths = np.array([clip.samples for clip in clips])
    median = int(np.sort(lengths)[len(lengths) // 2])
    samples = int(min(lengths.max(), median * _LONGEST))
    if (lengths > samples).any():
        logger.warning(
            "%d clips are longer than %.2f s and are cut", (lengths > samples).sum(), samples / RATE
        )
    decode = FolderDecoder(folder, clips, stored, frames, samples)
    shapes = {"audio": (1, samples), "video": (frames, first.shape[0] // stored, first.shape[1], 3)}
    dtypes: dict[str, np.dtype] = {"audio": np.dtype(np.float32), "video": np.dtype(np.uint8)}
    identity = text_key(str(clips))
    source = SampleSource(len(clips), decode, shapes, dtypes, identity, workers)
    modalities: dict[str, Any] = dict(source.rows())
    if cache:
        for name in shapes:
            rows = partial(_rows, source, name)
            modalities[name] = cached_array(
                folder / CACHE_FOLDER / name, text_key(f"{identity} {name}"), rows
            )
    several = len({clip.video for clip in clips}) < len(clips)
    audio_frames = audio_frames or 1 + median // HOP
    return PairedDataset.from_arrays(
        modalities,
        label=[clip.label for clip in clips],
        id=[clip.name for clip in clips],
        group=[clip.video for clip in clips] if several else None,
        split=[clip.split for clip in clips],
        class_names=names,
        transforms={
            "audio": Spectrogram(audio_frames, log=log),
            "video": NormalizeVideo((size, size) if isinstance(size, int) else size),
        },
    )


def _rows(source: SampleSource, name: str) -> Rows:
    """Every row, decoded a few at a time, for the cache."""

    def rows() -> Iterator[np.ndarray]:
        step = max(1, 2 * source.workers)
        for start in range(0, source.count, step):
            yield from source.read(slice(start, start + step), [name])[name]

    return Rows((source.count, *source.shapes[name]), source.dtypes[name], rows())


def _stored_frames(folder: Path, height: int) -> int:
    """Frames in a picture: as `prepare` noted."""
    try:
        stored = int(json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))["settings"]["frames"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"`{folder / SETTINGS_FILE}` cannot be read: {error}. Prepare it again.") from error
    require(
        height % stored == 0,
        f"Pictures must hold {stored} frames, as `{SETTINGS_FILE}` says. Theirs are {height} pixels high.",
    )
    return stored


def read_index(folder: Path) -> tuple[list[str], list[Record]]:
    """Names of the classes, and the clips of a prepared folder whose files are there."""
    index, classes = folder / INDEX_FILE, folder / CLASSES_FILE
    require(
        index.is_file() and classes.is_file(),
        f"`folder` must hold {INDEX_FILE} and {CLASSES_FILE}, as `mfh vggsound prepare` writes them. "
        f"`{folder}` does not.",
    )
    try:
        names = classes.read_text(encoding="utf-8").splitlines()
        with index.open(encoding="utf-8", newline="") as file:
            clips = [_record(line, names) for line in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"`{index}` is damaged: {error!r}. Prepare the folder again.") from error
    require(len(clips) > 0, f"`{index}` holds no clips. Prepare the folder again.")
    return names, clips


def _record(line: dict[str, str], names: Sequence[str]) -> Record:
    return Record(
        name=line["name"],
        video=line["id"],
        label=names.index(line["label"]),
        split=line["split"],
        folder=line["folder"],
        samples=int(line["samples"]),
        size=int(line["bytes"]),
    )


def read_npy(path: Path) -> Float32[np.ndarray, "1 samples"]:
    """A waveform.

    Raises:
        InputError: the file is damaged, not of shape (1, samples) or (samples,), or holds no sound.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"`{path}` cannot be read as an array: {error}.") from error
    require(
        array.dtype.kind in "fi" and array.size == max(array.shape, default=0) > 0,
        f"`{path}` must hold a waveform of shape (1, samples). It holds {array.dtype} of {array.shape}.",
    )
    waveform = array.reshape(1, -1).astype(np.float32)
    require(bool(np.isfinite(waveform).all()), f"`{path}` must be finite. It holds NaN or infinity.")
    return waveform


def read_jpg(path: Path) -> UInt8[np.ndarray, "rows columns 3"]:
    """A picture of stacked frames.

    Raises:
        InputError: the file is absent or damaged.
    """
    image = media.need("PIL.Image")
    try:
        with image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise InputError(f"`{path}` cannot be read as a picture: {error}.") from error


def fitted(waveform: Float32[np.ndarray, "1 samples"], length: int) -> Float32[np.ndarray, "1 length"]:
    """A waveform cut to a length, or continued with NaN."""
    row = np.full((1, length), np.nan, np.float32)
    row[:, : waveform.shape[1]] = waveform[:, :length]
    return row


def spread(stored: int, wanted: int) -> np.ndarray:
    """Numbers of `wanted` evenly spaced frames of those stored.

    >>> spread(32, 4).tolist()
    [4, 12, 20, 28]
    """
    return ((np.arange(wanted) + 0.5) * stored / wanted).astype(int)
