"""The authors' processed VGGSound folder, which has no index but only files and `label.json`."""

import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from pathlib import Path

from mfh._checks import InputError, listing, parse_json, require
from mfh._system.files import read_npy
from mfh.data import media
from mfh.data.riff import require_whole
from mfh.data.sources.vggsound.index import LABEL_FILE, MOST_CLASSES, UNLABELLED, Record

FRAMES = 32
_THREADS = 8

logger = logging.getLogger(__name__)


def scan(root: Path) -> tuple[list[str], list[Record]]:
    """Return the names of the classes, which are their numbers, and the clips, ordered by name.

    A clip that `label.json` does not name has no label. Clips without sound, cut short or of another name are
    left out; a warning counts them and names the first.

    Raises:
        InputError: there is no `label.json` or no clip, or `label.json` is damaged or names no clip.
    """
    labels = _read_labels(root / LABEL_FILE)
    clips: list[Record] = []
    left_out: list[str] = []
    for split in ("train", "validation", "test"):
        pictures = sorted((root / split / "video_jpg").glob("*.jpg"))
        with ThreadPoolExecutor(_THREADS) as pool:
            for found in pool.map(partial(_clip, root / split, labels), pictures):
                if isinstance(found, Record):
                    clips.append(found)
                else:
                    left_out.append(found)
    if left_out:
        logger.warning("%d clips of `%s` are left out: %s", len(left_out), root, listing(left_out, limit=3))
    require(
        len(clips) > 0,
        f"`{root}` must have <split>/video_jpg/<name>.jpg and <split>/audio_npy/<name>.npy. It has no such "
        f"clip; {len(left_out)} cannot be used{': ' + listing(left_out, limit=1) if left_out else ''}.",
    )
    require(
        any(clip.label != UNLABELLED for clip in clips),
        f"`{root / LABEL_FILE}` must have the class of a clip or more. It names none of {len(clips)} clips.",
    )
    clips.sort(key=attrgetter("name"))
    return [str(code) for code in range(1 + max(labels.values()))], clips


def _read_labels(path: Path) -> dict[str, int]:
    try:
        labels = parse_json(path.read_text(encoding="utf-8"))
        table = {str(key): int(code) for key, code in labels.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"`{path}` must map youtube ids to classes. It cannot be read: {error}.") from error
    require(bool(table) and min(table.values()) >= 0, f"`{path}` must have classes 0, 1, and so on.")
    require(
        max(table.values()) < MOST_CLASSES,
        f"`{path}` must have classes below {MOST_CLASSES}. Got {max(table.values())}.",
    )
    return table


def label_of(name: str, labels: Mapping[str, int]) -> int | None:
    """Return the class of a clip, by the part of its name before the last underscore.

    If that is not in `labels`, the class is looked up by the name, and then as the released code does it: by
    the second field from the end, if the name is split at underscores. This is another id if the id contains
    an underscore, but a file that was written with such keys can be read too.

    >>> label_of("a_b_000030", {"a_b": 1, "b": 2}), label_of("a_b_000030", {"b": 2})
    (1, 2)
    """
    video = name.rpartition("_")[0]
    for key in (video, name, video.rpartition("_")[2]):
        if key in labels:
            return labels[key]
    return None


def _clip(folder: Path, labels: Mapping[str, int], picture: Path) -> Record | str:
    """Return a clip, or why it cannot be used; its files are not decoded."""
    name = picture.stem
    if re.fullmatch(r".+_\d+", name) is None:
        return f"{name}: the name must be <id>_<start second>"
    known = label_of(name, labels)
    label = UNLABELLED if known is None else known
    array, wav = folder / "audio_npy" / f"{name}.npy", folder / "audio" / f"{name}.wav"
    sound = array if array.exists() else wav
    try:
        samples = _samples(sound)
        with picture.open("rb") as file:
            file.seek(-2, 2)
            whole = file.read() == b"\xff\xd9"
        sizes = (0, picture.stat().st_size, 0, sound.stat().st_size)
        clip = Record(name, name.rpartition("_")[0], label, folder.name, folder.name, samples, *sizes)
    except (OSError, ValueError, EOFError, RuntimeError) as error:  # soundfile's own are RuntimeErrors
        return f"{name}: {error}"
    return clip if whole else f"{name}: the picture is cut short"


def _samples(path: Path) -> int:
    if path.suffix == ".npy":
        return int(read_npy(path, mmap_mode="r").size)
    require_whole(path)
    return int(media.need("soundfile").info(str(path)).frames)
