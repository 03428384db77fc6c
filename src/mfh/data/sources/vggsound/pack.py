"""Packing of prepared VGGSound clips into tar files, as webdataset reads them, without torch."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from mfh._checks import InputError, listing, parse_json, require
from mfh._system.files import checksum, write_atomic
from mfh.data import media
from mfh.data.manifest import Manifest
from mfh.data.sources.vggsound.decode import PARTS_FOLDER
from mfh.data.sources.vggsound.index import MOST_CLASSES, UNLABELLED, Record, class_name
from mfh.data.tar_files import TarMember, tar_members, write_tar

MEGABYTE = 10**6


def pack(
    out: Path,
    names: Sequence[str],
    clips: Sequence[Record],
    manifest: Manifest,
    *,
    frames: int,
    megabytes: float,
    seed: int,
) -> None:
    """Move the clips in `out/parts` into new `<split>-<number>.tar` files.

    Each clip has three members: `<name>.json` (id, class, split, samples, frames), `.jpg` and `.flac`. The
    clips of a split are shuffled, so that neighbours in a file are unrelated; the order does not depend on
    which clips are packed already. A tar file is written completely or not at all and noted in the manifest;
    then its parts are removed.

    Args:
        out: the prepared folder.
        names: names of the classes.
        clips: the clips in `parts`.
        manifest: manifest of the folder.
        frames: number of frames in a picture.
        megabytes: size at which a tar file is closed.
        seed: seed of the shuffling.
    """
    for split in sorted({clip.split for clip in clips}):
        chosen = [clip for clip in clips if clip.split == split]
        chosen.sort(key=lambda clip: checksum(f"{seed} {clip.name}".encode()))
        for group in _groups(out, chosen, megabytes * MEGABYTE):
            path = write_atomic(_next(out, split), partial(_write, out, names, frames, group))
            manifest.add([path])
            manifest.drop(part for clip in group for part in parts_of(out, clip.name).values())
            manifest.save()
            discard_parts(out, [clip.name for clip in group])
    parts = out / PARTS_FOLDER
    if parts.is_dir() and not any(parts.iterdir()):
        parts.rmdir()


def discard_parts(out: Path, names: Iterable[str]) -> None:
    """Remove the parts of clips that are packed."""
    for name in names:
        for path in parts_of(out, name).values():
            path.unlink(missing_ok=True)


def parts_of(out: Path, name: str) -> dict[str, Path]:
    """Return the paths of a clip's files before they are packed."""
    return {kind: out / PARTS_FOLDER / f"{name}.{kind}" for kind in ("jpg", "flac")}


def _groups(out: Path, clips: Sequence[Record], most: float) -> Iterator[list[Record]]:
    group: list[Record] = []
    size = 0.0
    for clip in clips:
        group.append(clip)
        size += sum(path.stat().st_size for path in parts_of(out, clip.name).values())
        if size >= most:
            yield group
            group, size = [], 0.0
    if group:
        yield group


def _next(out: Path, split: str) -> Path:
    numbers = [int(path.stem.rpartition("-")[2]) for path in out.glob(f"{split}-*.tar")]
    return out / f"{split}-{max(numbers, default=-1) + 1:06d}.tar"


def _write(out: Path, names: Sequence[str], frames: int, clips: Sequence[Record], file: IO[bytes]) -> None:
    def contents() -> Iterator[tuple[str, bytes]]:
        for clip in clips:
            known = {
                "id": clip.video,
                "label": clip.label,
                "class": class_name(clip, names),
                "split": clip.split,
                "samples": clip.samples,
                "frames": frames,
            }
            yield f"{clip.name}.json", json.dumps(known, ensure_ascii=False).encode()
            for kind, path in parts_of(out, clip.name).items():
                yield f"{clip.name}.{kind}", path.read_bytes()

    write_tar(file, contents())


def flac_samples(source: Path | bytes) -> int:
    """Return the length of a FLAC file's waveform, by its header."""
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    return int(media.need("soundfile").info(file).frames)


def packed(archives: Sequence[str]) -> tuple[dict[str, dict[str, TarMember]], list[str]]:
    """Return the clips in tar files, name -> kind -> member, and what is wrong with the files.

    A clip counts if its picture and its sound are there.
    """
    found: dict[str, dict[str, TarMember]] = {}
    problems = []
    for archive in archives:
        members, problem = tar_members(archive)
        problems += [f"`{archive}` is {problem}"] if problem else []
        here: dict[str, dict[str, TarMember]] = {}
        for member in members:
            stem, _, kind = member.name.rpartition(".")
            here.setdefault(stem, {})[kind] = member
        found |= {name: kinds for name, kinds in here.items() if {"jpg", "flac"} <= set(kinds)}
    return found, problems


def located(clip: Record, kinds: Mapping[str, TarMember], place: str) -> Record:
    """Return a clip with the places of its picture and its sound in a tar file."""
    picture, audio = kinds["jpg"], kinds["flac"]
    return replace(
        clip,
        place=place,
        picture_at=picture.at,
        picture_bytes=picture.size,
        audio_at=audio.at,
        audio_bytes=audio.size,
    )


def index_of(archives: Sequence[str]) -> tuple[list[str], list[Record], int]:
    """Return names of classes, clips and frames per picture of tar files that `pack` wrote.

    Their index is not needed: every header is read, and the JSON of each clip, but no picture and no sound.

    Raises:
        InputError: a tar file is damaged, or `pack` did not write it.
    """
    found, problems = packed(archives)
    require(not problems, f"{'; '.join(problems)}. Download it again.")
    clips, stored = [], 0
    names: dict[int, str] = {}
    for name, kinds in sorted(found.items()):
        try:
            known = parse_json(kinds["json"].source())
            label = int(known["label"])
            if not UNLABELLED <= label < MOST_CLASSES:
                raise ValueError(f"the label {label}")
            names |= {} if label == UNLABELLED else {label: str(known["class"])}
            stored = int(known["frames"])
            if stored < 1:
                raise ValueError(f"the frames {stored}")
            record = Record(
                name, str(known["id"]), label, str(known["split"]), "", int(known["samples"]),
                0, 0, 0, 0,
            )  # fmt: skip
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise InputError(
                f"`{kinds['jpg']}` is not a clip that `mfh vggsound prepare --shards` packed: {error!r}."
            ) from error
        clips.append(located(record, kinds, PurePosixPath(kinds["jpg"].archive).name))
    require(len(clips) > 0, f"{listing(archives, limit=3)} have no clips.")
    require(len(names) > 0, f"{listing(archives, limit=3)} have no clip with a label.")
    return [names.get(code, str(code)) for code in range(1 + max(names))], clips, stored
