"""The index of a prepared VGGSound folder: the clips and the places of their files. Without torch."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mfh._checks import InputError, listing, parse_json, require
from mfh._system.files import write_json, write_text
from mfh.config import SPLITS
from mfh.data.archives import name_problem
from mfh.data.manifest import read_manifest, require_listed
from mfh.data.preparation import SETTINGS_FILE, write_csv
from mfh.data.sources.vggsound.clips import ClipName
from mfh.data.tar_files import exists, is_url, read_range

INDEX_FILE, CLASSES_FILE, LABEL_FILE = "clips.csv", "classes.txt", "label.json"
UNLABELLED = -1
"""Class of a clip without a label."""
_LONGEST = 2**28  # samples, more than four hours
MOST_CLASSES = 100_000
"""Limit of a class's number, because a list of so many names is made."""
_HEADER = (
    *("name", "id", "start", "label", "split", "place", "samples"),
    *("picture_at", "picture_bytes", "audio_at", "audio_bytes"),
    *("picture_sha256", "audio_sha256"),
)
_NUMBERS = _HEADER[6:11]


@dataclass(frozen=True)
class Record:
    """A prepared clip.

    Attributes:
        name: name of its files, without suffix; the id of the sample.
        video: youtube id.
        label: code of its class; `UNLABELLED` if it has none.
        split: `train`, `validation` or `test`.
        place: the folder of its files, `train` or `test`, or the tar file that contains them.
        samples: length of the waveform.
        picture_at: byte of the tar file at which the picture begins; 0 in a folder.
        picture_bytes: size of the picture.
        audio_at: byte of the tar file at which the sound begins; 0 in a folder.
        audio_bytes: size of the sound.
        picture_sha256: checksum of the picture; '' if it is unknown.
        audio_sha256: checksum of the sound; '' if it is unknown.
    """

    name: str
    video: str
    label: int
    split: str
    place: str
    samples: int
    picture_at: int
    picture_bytes: int
    audio_at: int
    audio_bytes: int
    picture_sha256: str = ""
    audio_sha256: str = ""

    def __post_init__(self) -> None:
        """Raise `ValueError` for numbers that no clip can have."""
        numbers = (self.samples, self.picture_at, self.picture_bytes, self.audio_at, self.audio_bytes)
        if not (min(numbers) >= 0 and max(numbers) < 2**63 and self.samples <= _LONGEST):
            raise ValueError(f"the numbers {listing(numbers)}")


def joined(root: str, name: str) -> str:
    """Return the path or URL of a file in a folder."""
    return f"{root.rstrip('/')}/{name}" if is_url(root) else str(Path(root) / name)


def write_index(out: Path, names: Sequence[str], clips: Iterable[Record]) -> None:
    """Write the index and the classes' names."""
    rows = []
    for clip in clips:
        start = ClipName.parse(clip.name).start
        sizes = (clip.picture_at, clip.picture_bytes, clip.audio_at, clip.audio_bytes)
        known = (clip.name, clip.video, start, class_name(clip, names), clip.split, clip.place, clip.samples)
        rows.append((*known, *sizes, clip.picture_sha256, clip.audio_sha256))
    write_text(out / CLASSES_FILE, "".join(f"{name}\n" for name in names))
    write_csv(out / INDEX_FILE, _HEADER, rows)


def class_name(clip: Record, names: Sequence[str]) -> str:
    """Return the name of a clip's class; empty if it has no label."""
    return "" if clip.label == UNLABELLED else names[clip.label]


def codes_of_classes(names: Sequence[str]) -> dict[str, int]:
    """Return name -> code of the classes; the empty name is that of clips without a label."""
    return {"": UNLABELLED} | {name: code for code, name in enumerate(names)}


def has_index(root: str) -> bool:
    """Whether a folder or URL has an index."""
    return exists(joined(root, INDEX_FILE))


def read_index(root: str) -> tuple[list[str], list[Record]]:
    """Return the names of the classes, and the clips.

    Raises:
        InputError: a file is absent or damaged.
    """
    path = joined(root, INDEX_FILE)
    if not is_url(root):
        known = read_manifest(Path(root))
        for name in (INDEX_FILE, CLASSES_FILE):
            require_listed(Path(root), Path(root) / name, known)
    names = read_range(joined(root, CLASSES_FILE)).decode("utf-8", "replace").splitlines()
    text = read_range(path).decode("utf-8", "replace")
    codes = codes_of_classes(names)
    try:
        clips = [_record(line, codes) for line in csv.DictReader(io.StringIO(text, newline=""))]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"`{path}` is damaged: {error!r}. Prepare the folder again.") from error
    require(len(clips) > 0, f"`{path}` has no clips. Prepare the folder again.")
    return names, clips


def _record(line: Mapping[str, str], codes: Mapping[str, int]) -> Record:
    numbers: list[Any] = [int(line[name]) for name in _NUMBERS]
    sums = [line.get(name) or "" for name in _HEADER[11:]]
    if line["split"] not in SPLITS:
        raise ValueError(f"the split {line['split']!r}")
    for name in ("name", "place"):
        if problem := name_problem(line[name]):
            raise ValueError(f"the {name} {line[name]!r}, which {problem}")
    known = line["name"], line["id"], codes[line["label"]], line["split"], line["place"]
    return Record(*known, *numbers, *sums)


def read_settings(root: str) -> dict[str, Any]:
    """Return the settings with which a folder was prepared; `frames` is a number above 0.

    Raises:
        InputError: the file is absent or damaged.
    """
    path = joined(root, SETTINGS_FILE)
    try:
        settings = dict(parse_json(read_range(path))["settings"])
        if not (isinstance(settings["frames"], int) and settings["frames"] > 0):
            raise ValueError(f"the frames {settings['frames']!r}")
        return settings
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"`{path}` is damaged: {error!r}. Prepare the folder again.") from error


def write_labels(out: Path, clips: Sequence[Record]) -> None:
    """Write the authors' `label.json`: youtube id -> class, of the clips that have a label.

    For a video with clips of several classes the keys are the names of its clips.
    """
    found: dict[str, set[int]] = {}
    known = [clip for clip in clips if clip.label != UNLABELLED]
    for clip in known:
        found.setdefault(clip.video, set()).add(clip.label)
    table = {c.video if len(found[c.video]) == 1 else c.name: c.label for c in known}
    write_json(out / LABEL_FILE, table)


def held_out(
    splits: Sequence[str], labels: Sequence[object], videos: Sequence[str], *, seed: int
) -> list[str]:
    """Return the split of each clip, with 10% of the training clips held out for validation.

    They are labelled clips, stratified by label. Clips of one video stay together, those without a label
    too. Nothing is held out if there are validation clips already, or fewer than ten labelled training clips.

    Args:
        splits: split of each clip.
        labels: class of each clip, or its name; `UNLABELLED` or '' if it has none.
        videos: video of each clip.
        seed: of the choice.
    """
    from mfh.data.splits import VALIDATION_OF_TRAIN, divide  # imports torch, which decoding does not need

    result = list(splits)
    train = [row for row, split in enumerate(splits) if split == "train"]
    known = [row for row in train if labels[row] not in (UNLABELLED, "")]
    if "validation" in splits or len(known) < 1 / VALIDATION_OF_TRAIN:
        return result
    names = np.array([videos[row] for row in known])
    groups = names if len(set(names)) < len(names) else None
    shares = (1 - VALIDATION_OF_TRAIN, VALIDATION_OF_TRAIN)
    generator = np.random.default_rng([seed, 0x5EED])
    held = set(names[divide(np.array([labels[row] for row in known]), groups, shares, generator)[1]])
    for row in train:
        if videos[row] in held:
            result[row] = "validation"
    return result
