"""VGGSound as `PairedDataset`: the reader of what `prepare` writes, and of the authors' folder.

<split>/audio_npy/<name>.npy     waveform, (1, samples), 16 kHz
<split>/audio/<name>.wav         the same, of test clips
<split>/video_jpg/<name>.jpg     frames, stacked from top to bottom
label.json                       youtube id -> class 0, 1, ...
clips.csv, classes.txt           written by `prepare`: what is there, with splits; the names of the classes
<split>-<number>.tar             in place of the above: <name>.json, <name>.jpg, <name>.flac
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mfh._checks import InputError, require
from mfh.data import media
from mfh.data.array_cache import Rows, cached_array, text_key
from mfh.data.decoded import DamagedSampleError, SampleSource, Tolerant
from mfh.data.paired import PairedDataset
from mfh.data.sources.vggsound.authors import FRAMES, scan
from mfh.data.sources.vggsound.decode import RATE
from mfh.data.sources.vggsound.index import (
    INDEX_FILE,
    LABEL_FILE,
    UNLABELLED,
    Record,
    has_index,
    held_out,
    read_index,
    read_settings,
)
from mfh.data.sources.vggsound.inputs import HOP, NormalizeVideo, Spectrogram
from mfh.data.sources.vggsound.pack import index_of
from mfh.data.sources.vggsound.read import ClipDecoder, fitted, frames_of, read_clip
from mfh.data.tar_files import expand, is_url

CACHE_FOLDER = "cache"
_LONGEST = 1.1  # times the median length, so that one long clip does not make all rows long
_GREY = (124, 116, 104)  # ImageNet's mean, which normalises to 0

logger = logging.getLogger(__name__)


def load(
    source: Path | str,
    *,
    frames: int | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    size: int | tuple[int, int] | None = None,
    audio_frames: int | None = None,
    log: bool = False,
    cache: bool | Path | str = False,
    workers: int = 4,
    seed: int = 0,
) -> PairedDataset:
    """Read what `mfh vggsound prepare` wrote, as a folder or as tar files, or the authors' folder.

    The data have the modalities `audio`, waveforms of float32 (sample, 1, samples), and `video`, frames of
    uint8 (sample, frames, height, width, 3). `transforms` make them the networks' inputs: magnitude
    spectrograms (sample, 1, 513, audio_frames), see `Spectrogram`, and normalised frames (sample, 3, frames,
    height, width), see `NormalizeVideo`. A waveform that is shorter than the rows ends with NaN, which the
    transform leaves out; a waveform longer than 1.1 times the median clip is cut.

    Ids are the names of the clips, and groups are the videos if there are several clips of a video. Splits
    are those of `clips.csv`; in the authors' folder, which has none, 10% of the training clips are held out
    for validation (stratified, by video). Clips are decoded when they are needed, so memory does not grow
    with their number. They are read by row, so their order does not depend on the number of processes. A
    damaged clip is replaced by a blank one, with a warning (`mfh.data.decoded.Tolerant`); more than 1% of
    damaged clips are an error.

    Args:
        source: the folder, or the URL of a folder that was prepared as tar files (any protocol of fsspec); or
            tar files without their index, as `https://host/train-{000000..000009}.tar`, whose headers are
            then read first.
        frames: number of the stored frames to take, evenly spaced; by default all.
        span: part of the clip that they are taken from, as shares of its length, such as (0.5, 1.0) for the
            second half.
        size: height and width, or one number for both, to which frames are resized on the device; by default
            they keep their size.
        audio_frames: frames T of a spectrogram; by default those of the median clip, 313 for 10 seconds.
        log: see `Spectrogram`.
        cache: folder for memory-mapped arrays into which all clips are decoded once (6.3 MB for a clip of
            32 x 256 x 256 and 0.64 MB for its 10 seconds of sound); True takes `cache` in the data's folder.
        workers: number of threads that decode a batch.
        seed: seed of the choice of validation clips, if the data have none.

    Raises:
        InputError: the source has no such data, its index is damaged, or the cache cannot be written.
    """
    for package in ("PIL.Image", "soundfile"):
        media.need(package)
    found = find(source, seed=seed)
    clips, stored = found.clips, found.stored
    height, width = _frame_size(found)
    frames = _num_frames(frames, stored, span)
    samples, median = row_length(clips)
    shapes = {"audio": (1, samples), "video": (frames, height, width, 3)}
    dtypes: dict[str, np.dtype] = {"audio": np.dtype(np.float32), "video": np.dtype(np.uint8)}
    blank = {
        "audio": fitted(np.zeros((1, median), np.float32), samples),
        "video": np.full(shapes["video"], _GREY, np.uint8),
    }
    decode = Tolerant(
        ClipDecoder(found.root, clips, stored, frames, span, samples), blank, [clip.name for clip in clips]
    )
    key = text_key(f"{clips} {stored} {frames} {span}")
    rows = SampleSource(len(clips), decode, shapes, dtypes, key, workers)
    several = len({clip.video for clip in clips}) < len(clips)
    decoded = rows.rows()
    data = PairedDataset.from_arrays(
        _cached(rows, _cache_folder(found.root, cache)) if cache else decoded,
        label=[None if clip.label == UNLABELLED else clip.label for clip in clips],
        id=[clip.name for clip in clips],
        group=[clip.video for clip in clips] if several else None,
        split=[clip.split for clip in clips],
        class_names=found.names,
        transforms={
            "audio": Spectrogram(audio_frames or 1 + median // HOP, log=log),
            "video": NormalizeVideo((size, size) if isinstance(size, int) else size),
        },
    )
    return replace(data, sources={name: values.identity for name, values in decoded.items()})


@dataclass(frozen=True)
class Found:
    """The clips of a source.

    Attributes:
        root: folder or URL.
        names: names of the classes.
        clips: see `Record`.
        stored: number of frames in a picture.
    """

    root: str
    names: Sequence[str]
    clips: Sequence[Record]
    stored: int


def find(source: Path | str, *, seed: int = 0) -> Found:
    """Find the prepared clips of a source; see `load`."""
    root = str(source)
    if "{" in root or root.endswith(".tar"):
        return _without_index(root)
    if has_index(root):
        names, clips = read_index(root)
        return Found(root, names, clips, int(read_settings(root)["frames"]))
    folder = Path(root)
    if not is_url(root) and (folder / LABEL_FILE).is_file():
        names, clips = scan(folder)
        columns = [c.split for c in clips], [c.label for c in clips], [c.video for c in clips]
        splits = held_out(*columns, seed=seed)
        clips = [replace(clip, split=split) for clip, split in zip(clips, splits, strict=True)]
        return Found(root, names, clips, FRAMES)
    if not is_url(root) and any(folder.glob("*.tar")):
        return _without_index(root)
    raise InputError(
        f"`data` must have {INDEX_FILE}, as `mfh vggsound prepare` writes it, tar files that it wrote, or "
        f"{LABEL_FILE} and the authors' folders. `{root}` does not."
    )


def _without_index(pattern: str) -> Found:
    archives = expand(pattern)
    root, *others = sorted({archive.rpartition("/")[0] for archive in archives})
    require(not others, f"Tar files must be in one folder. `{pattern}` names {1 + len(others)}.")
    names, clips, stored = index_of(archives)
    return Found(root, names, clips, stored)


def _num_frames(wanted: int | None, stored: int, span: tuple[float, float]) -> int:
    """Return the number of frames to take; by default all that are stored in the span."""
    start, stop = span
    require(
        0 <= start < stop <= 1,
        f"`span` must be two shares of a clip's length, 0 <= from < to <= 1. Got {start:g}, {stop:g}.",
    )
    held = max(1, int(round((stop - start) * stored, 6)))
    wanted = held if wanted is None else wanted
    meaning = "those stored" if held == stored else f"those stored in `span` {start:g} to {stop:g}"
    require(1 <= wanted <= held, f"`frames` must lie in 1 ... {held}, {meaning}. Got {wanted}.")
    return wanted


def _frame_size(found: Found) -> tuple[int, int]:
    """Return height and width of a frame, by the first picture that can be decoded."""
    for clip in found.clips:
        try:
            content = read_clip(found.root, clip, ["video"])["video"]
            return frames_of(content, found.stored, clip.name).shape[1:3]
        except DamagedSampleError as error:
            reason = error
    raise InputError(f"None of {len(found.clips)} pictures can be decoded. The last: {reason}")


def row_length(clips: Sequence[Record]) -> tuple[int, int]:
    """Return the length of the rows of waveforms and of the median clip, in samples."""
    lengths = np.sort([clip.samples for clip in clips])
    median = int(lengths[len(lengths) // 2])
    longest = int(min(lengths[-1], median * _LONGEST))
    cut = int((lengths > longest).sum())
    if cut:
        logger.warning("%d clips are longer than %.2f s and are cut", cut, longest / RATE)
    return longest, median


def _cache_folder(root: str, cache: bool | Path | str) -> Path:
    require(
        cache is not True or not is_url(root),
        f"`cache` must name a folder if the data are at a URL. Got {cache} for `{root}`.",
    )
    return Path(root) / CACHE_FOLDER if cache is True else Path(str(cache))


def _cached(source: SampleSource, folder: Path) -> dict[str, np.memmap]:
    """Return every modality, decoded once; see `mfh.data.array_cache`."""
    return {
        name: cached_array(
            folder / name, text_key(f"{source.identity} {source.shapes[name]}"), partial(_rows, source, name)
        )
        for name in source.shapes
    }


def _rows(source: SampleSource, name: str) -> Rows:
    """Return all rows for the cache; a few are decoded at a time."""

    def rows() -> Iterator[np.ndarray]:
        step = max(1, 2 * source.workers)
        for start in range(0, source.count, step):
            yield from source.read(slice(start, start + step), [name])[name]

    return Rows((source.count, *source.shapes[name]), source.dtypes[name], rows())
