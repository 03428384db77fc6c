"""Reader of the authors' processed RAVDESS folder, which `prepare` writes too, as a `PairedDataset`.

data/aud_features/*.npy                       MFCC array, 40 x T
data/vid_features/*                           picture, 256 x 512, colour
data/data_file/spa_dl.csv spa_val.csv spa_test.csv    audio file, image file, label 0-7, under a header
"""

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num
from torch import Tensor

from mfh._checks import InputError, listing, require
from mfh._system.files import read_json
from mfh.data import imagenet, media
from mfh.data.array_cache import cached_array, file_key
from mfh.data.manifest import read_manifest, require_listed
from mfh.data.paired import PairedDataset
from mfh.data.preparation import SETTINGS_FILE
from mfh.data.sources.ravdess.arrays import audio_rows, image_rows
from mfh.data.sources.ravdess.clips import EMOTIONS, ClipName
from mfh.data.sources.ravdess.decode import AUDIO_FOLDER, IMAGE_FOLDER
from mfh.data.sources.ravdess.prepare import CSV_FILES, CSV_FOLDER

AUDIO_MEAN, AUDIO_SD = -10.59, 85.66
CACHE_FOLDER = "cache"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NormalizeAudio:
    """The normalisation of MFCC arrays in the released code: (x + 10.59) / 85.66.

    Attributes:
        released_order: whether frames 0 and 2 are exchanged afterwards. The released loader does this by
            mistake, and the released checkpoints were trained with it.
    """

    released_order: bool = False

    def __call__(
        self, values: Num[Tensor, "sample channel coefficient frame"]
    ) -> Float[Tensor, "sample channel coefficient frame"]:
        """Normalise a batch."""
        result = (values.float() - AUDIO_MEAN) / AUDIO_SD
        if self.released_order:
            result[..., [0, 2]] = result[..., [2, 0]]
        return result


@dataclass(frozen=True)
class NormalizeImage:
    """The normalisation of pictures: 0-255 to [0, 1], then by ImageNet's mean and standard deviation."""

    def __call__(
        self, values: Num[Tensor, "sample 3 height width"]
    ) -> Float[Tensor, "sample 3 height width"]:
        """Normalise a batch."""
        return imagenet.normalize(values)


@dataclass(frozen=True)
class _Row:
    """A line of a csv file."""

    audio: Path
    image: Path
    label: int | None
    split: str

    @property
    def actor(self) -> int | None:
        for path in (self.image, self.audio):
            try:
                return ClipName.parse(path.name).actor
            except InputError:
                continue
        return None


def load(folder: Path | str, *, cache: bool = True, released_audio_order: bool = False) -> PairedDataset:
    """Read the authors' processed folder, or one that `mfh.data.sources.ravdess.prepare.prepare` wrote.

    The data have the modalities `audio` (float32, (sample, 1, 40, T)) and `image` (uint8, (sample, 3, 256,
    512)), which `transforms` turn into the networks' inputs. Ids are the names of the pictures, groups are
    the actors if the names contain them, and splits are those of the csv files. If the csv files have no test
    samples, the data have no split, and one is drawn when it is needed.

    Args:
        folder: the folder that contains `data`, or `data` itself.
        cache: whether all samples are decoded once into memory-mapped arrays in `data/cache` (626 MB for the
            1440 speech clips). Without a cache they are decoded on each call and kept in memory.
        released_audio_order: see `NormalizeAudio`; for networks with released weights.

    Raises:
        InputError: a file is missing or damaged, a label is out of range, a sample is in two splits, an actor
            is in two splits of a folder that was split by actor, or the cache cannot be written.
    """
    media.need("PIL.Image")
    data = _data_folder(Path(folder))
    known, home = read_manifest(data.parent), data.parent
    for split in CSV_FILES:
        if (path := data / CSV_FOLDER / CSV_FILES[split]).is_file():
            require_listed(home, path, known)
    rows = _distinct([row for split in CSV_FILES for row in _read_csv(data, split)])
    _check_actors(data, rows)
    files = {"audio": [row.audio for row in rows], "image": [row.image for row in rows]}
    decoders = {"audio": audio_rows, "image": image_rows}
    check = partial(require_listed, home, known=known)
    decode = {modality: partial(decoders[modality], files[modality], check) for modality in files}
    arrays: dict[str, np.ndarray] = {}
    for modality, rows_of in decode.items():
        path = data / CACHE_FOLDER / modality
        key = file_key(files[modality], layout=1)
        arrays[modality] = cached_array(path, key, rows_of) if cache else rows_of().in_memory()
    actors = [row.actor for row in rows]
    has_split = any(row.split == "test" for row in rows)
    if not has_split:
        logger.warning("`%s` has no test samples: a split is drawn when one is needed", data)
    return PairedDataset.from_arrays(
        arrays,
        label=[row.label for row in rows],
        id=_ids(rows),
        group=None if None in actors else actors,
        split=[row.split for row in rows] if has_split else None,
        class_names=EMOTIONS,
        transforms={"audio": NormalizeAudio(released_audio_order), "image": NormalizeImage()},
    )


def _data_folder(folder: Path) -> Path:
    for candidate in (folder / "data", folder):
        if (candidate / CSV_FOLDER / CSV_FILES["train"]).is_file():
            return candidate
    raise InputError(
        f"`folder` must have data/{CSV_FOLDER}/{CSV_FILES['train']}, as `mfh ravdess prepare` writes it. "
        f"`{folder}` does not."
    )


def _read_csv(data: Path, split: str) -> Iterator[_Row]:
    path = data / CSV_FOLDER / CSV_FILES[split]
    if not path.is_file():
        return
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"`{path}` cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and not _is_file(_file(data / AUDIO_FOLDER, line[0]))):
            continue  # the header
        place = f"`{path}` line {number}"
        require(len(line) == 3, f"{place} must have three columns: audio, image, label. It has {len(line)}.")
        label = line[2].strip()
        require(
            re.fullmatch(f"(0*[0-{len(EMOTIONS) - 1}])?", label) is not None,
            f"{place} must have a label 0 ... {len(EMOTIONS) - 1}, or none. Got {label!r}.",
        )
        audio, image = _file(data / AUDIO_FOLDER, line[0]), _file(data / IMAGE_FOLDER, line[1])
        for file in (audio, image):
            require(
                _is_file(file),
                f"{place} names `{file.name}`, which is not in `{file.parent}`: remove the line.",
            )
        yield _Row(audio, image, int(label[-1]) if label else None, split)


def _file(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder; folders in `name` are those of another machine and ignored."""
    return folder / Path(name.strip().replace("\\", "/")).name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _distinct(rows: Sequence[_Row]) -> list[_Row]:
    """Return the rows without repetitions, which are allowed within a split but not between splits."""
    seen: dict[tuple[Path, Path], _Row] = {}
    for row in rows:
        first = seen.setdefault((row.audio, row.image), row)
        require(
            (first.split, first.label) == (row.split, row.label),
            f"Each sample must be in one split with one label. `{row.audio.name}` with `{row.image.name}` "
            f"is in {first.split} with label {first.label} and in {row.split} with label {row.label}.",
        )
    require(len(seen) > 0, "The csv files have no samples.")
    if len(seen) < len(rows):
        logger.warning("%d repeated lines of the csv files are left out", len(rows) - len(seen))
    return list(seen.values())


def _check_actors(data: Path, rows: Sequence[_Row]) -> None:
    splits: dict[int, set[str]] = {}
    for row in rows:
        if row.actor is not None:
            splits.setdefault(row.actor, set()).add(row.split)
    shared = [f"{actor:02d}" for actor, names in sorted(splits.items()) if len(names) > 1]
    if not shared:
        return
    try:
        prepared = read_json(data.parent / SETTINGS_FILE, sealed=False)
    except FileNotFoundError:
        prepared = {}
    by_actor = isinstance(prepared, dict) and prepared.get("split") == "actor"
    require(
        not by_actor,
        f"`{data}` was split by actor, but actor {listing(shared)} is in two splits. Prepare it again.",
    )
    logger.warning("Actor %s is in two splits: accuracies look better than they are", listing(shared))


def _ids(rows: Sequence[_Row]) -> list[str]:
    """Return the names of the pictures; if a picture is used twice, with the names of the audio."""
    names = [row.image.stem for row in rows]
    if len(set(names)) == len(names):
        return names
    return [f"{row.audio.stem}+{row.image.stem}" for row in rows]
