"""From VGGSound clips as mirrors ship them to the authors' folder of waveforms and stacked frames."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mfh._checks import InputError, require
from mfh._files import writable_folder, write_json, write_text
from mfh.config import SPLITS
from mfh.data import media
from mfh.data.media_video import Crop
from mfh.data.preparation import SETTINGS_FILE, Note, claim, decode_all, write_csv, write_notes
from mfh.data.vggsound_clips import Entry, choose_classes, find_clips, read_entries
from mfh.data.vggsound_decode import Job, Settings, decode, targets

INDEX_FILE, CLASSES_FILE, LABEL_FILE = "clips.csv", "classes.txt", "label.json"
INDEX_HEADER = ("name", "id", "start", "label", "split", "folder", "samples", "bytes")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did.

    Attributes:
        out: the folder.
        clips: clips that are ready: `decoded` now and `resumed` from an earlier call.
        absent: names of clips of the csv that are not there; also in `absent.csv`.
        skipped: damaged clips, files with other names, contradictions in the csv, with reasons; also in
            `skipped.csv`.
        splits: clips in each of `train`, `validation` and `test`.
        classes: number of classes.
        seconds: wall time.
    """

    out: Path
    clips: int
    decoded: int
    resumed: int
    absent: tuple[str, ...] = field(repr=False)
    skipped: tuple[Note, ...] = field(repr=False)
    splits: Mapping[str, int]
    classes: int
    seconds: float

    def __str__(self) -> str:
        splits = ", ".join(f"{count} {name}" for name, count in self.splits.items())
        return (
            f"{self.clips} clips ({splits}) of {self.classes} classes, {self.resumed} of them from an "
            f"earlier call; {len(self.absent)} absent, {len(self.skipped)} skipped"
        )


def prepare(
    csv: Path | str,
    clips: Path | str,
    out: Path | str,
    *,
    classes: int | Path | str | None = None,
    frames: int = 32,
    size: int | tuple[int, int] = 256,
    crop: Crop | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Decode VGGSound clips into the authors' folder layout.

    Each clip gives its waveform (16 kHz, channels averaged, shape (1, samples), float32) in
    `<split>/audio_npy`, a test clip the same as wav in `<split>/audio`, and its frames (see
    `mfh.data.media_video.decode_frames`), stacked from top to bottom in one JPEG, in `<split>/video_jpg`.
    `<split>` is that of the csv; which training clips are held out for validation stands in `clips.csv`.

    Clips are decoded by several processes; a script that calls this therefore needs
    `if __name__ == "__main__":`, or `jobs=1`. Files appear whole or not at all, also when it is interrupted,
    and the same call goes on where it was left: clips that are there are not decoded again, damaged ones are
    tried again. Clips of the csv that are not there are listed and counted, never an error.

    Args:
        csv: youtube id, start second, label, split (`vggsound.csv`), with or without a header.
        clips: folder of clips, at any depth, named `<id>_<start>.mp4`, the start with zeros before it or not.
        out: gets the folders, `label.json`, `clips.csv`, `classes.txt`, `absent.csv`, `skipped.csv` and
            `prepare.json`.
        classes: see `mfh.data.vggsound_clips.choose_classes`.
        frames: see `Settings`.
        size: height and width of a frame, or one number for both.
        crop: see `Settings`.
        seed: of the choice of 10% of the training clips for validation (stratified, by video), where the csv
            has none.
        jobs: processes; by default one per usable core.
        progress: whether to show a bar on stderr.

    Raises:
        InputError: a setting or the csv is wrong, none of its clips is there or can be decoded, `out` was
            prepared with other settings or cannot be written.
    """
    start = time.perf_counter()
    require(jobs is None or jobs >= 1, f"`jobs` must be 1 or more. Got {jobs}.")
    settings = Settings(frames=frames, size=(size, size) if isinstance(size, int) else size, crop=crop)
    for package in ("av", "PIL.Image"):
        media.need(package)
    entries, contradictions = read_entries(csv)
    names = choose_classes(entries, classes)
    wanted = [entry for entry in entries if entry.label in set(names)]
    files, misnamed = find_clips(clips)
    present = [entry for entry in wanted if entry.name in files]
    absent = tuple(str(entry.name) for entry in wanted if entry.name not in files)
    if not present:
        raise InputError(
            f"`clips` must hold clips of the csv, named as `{wanted[0].name}.mp4`. `{clips}` holds none of "
            f"{len(wanted)}, and {len(files)} others."
        )
    out = writable_folder(out)
    claim(out, asdict(settings))
    work = {entry: Job(files[entry.name], entry.name, _folder(entry)) for entry in present}
    pending = [job for job in work.values() if not all(path.exists() for path in targets(out, job).values())]
    decoder = partial(decode, out=out, settings=settings)
    reasons = dict(decode_all(pending, decoder, jobs=jobs, progress=progress))
    damaged = tuple(Note(str(job.source), reasons[job]) for job in pending if reasons[job])
    skipped = (*contradictions, *misnamed, *damaged)
    write_notes(out / "skipped.csv", skipped)
    write_csv(out / "absent.csv", ("name",), [(name,) for name in absent])
    usable = [entry for entry in present if not reasons.get(work[entry])]
    if not usable:
        raise InputError(
            f"None of {len(pending)} clips can be decoded; `{out / 'skipped.csv'}` says why. "
            f"The first: {damaged[0].reason}."
        )
    splits = held_out(usable, seed)
    _write_index(out, names, usable, splits, {entry: targets(out, work[entry]) for entry in usable})
    write_json(out / SETTINGS_FILE, {"settings": asdict(settings), "seed": seed})
    if absent:
        logger.info("%d of %d clips of the csv are not there: see absent.csv", len(absent), len(wanted))
    return PrepareReport(
        out=out,
        clips=len(usable),
        decoded=len(pending) - len(damaged),
        resumed=len(present) - len(pending),
        absent=absent,
        skipped=skipped,
        splits={name: splits.count(name) for name in SPLITS},
        classes=len(names),
        seconds=time.perf_counter() - start,
    )


def _folder(entry: Entry) -> str:
    """The authors' layout knows two splits; what is held out for validation is training data there."""
    return "test" if entry.split == "test" else "train"


def held_out(entries: Sequence[Entry], seed: int) -> list[str]:
    """The split of each clip: that of the csv, with 10% of the training clips held out for validation.

    They are stratified by label, and clips of one video stay together. A csv with validation clips keeps its
    own; fewer than ten training clips are kept whole.
    """
    from mfh.data.splits import VALIDATION_OF_TRAIN, divide  # loads torch, which decoding need not

    splits = [entry.split for entry in entries]
    train = [row for row, split in enumerate(splits) if split == "train"]
    if "validation" in splits or len(train) < 1 / VALIDATION_OF_TRAIN:
        return splits
    labels = np.array([entries[row].label for row in train])
    videos = np.array([entries[row].name.video for row in train])
    groups = videos if len(set(videos)) < len(videos) else None
    shares = (1 - VALIDATION_OF_TRAIN, VALIDATION_OF_TRAIN)
    for place in divide(labels, groups, shares, np.random.default_rng([seed, 0x5EED]))[1]:
        splits[train[place]] = "validation"
    return splits


def _write_index(
    out: Path,
    names: Sequence[str],
    entries: Sequence[Entry],
    splits: Sequence[str],
    files: Mapping[Entry, Mapping[str, Path]],
) -> None:
    """Write what the reader needs, and the authors' `label.json`."""
    rows = []
    for entry, split in zip(entries, splits, strict=True):
        paths = files[entry]
        samples = np.load(paths["audio_npy"], mmap_mode="r").shape[-1]
        name, size = entry.name, paths["video_jpg"].stat().st_size
        rows.append((name, name.video, name.start, entry.label, split, _folder(entry), samples, size))
    write_csv(out / INDEX_FILE, INDEX_HEADER, rows)
    write_text(out / CLASSES_FILE, "".join(f"{name}\n" for name in names))
    codes = {name: code for code, name in enumerate(names)}
    labels: dict[str, set[int]] = {}
    for entry in entries:
        labels.setdefault(entry.name.video, set()).add(codes[entry.label])
    table = {video: min(found) for video, found in labels.items() if len(found) == 1}
    # a video with clips of several labels cannot be told by its id: its clips stand there by name
    several = {video for video, found in labels.items() if len(found) > 1}
    table |= {str(e.name): codes[e.label] for e in entries if e.name.video in several}
    write_json(out / LABEL_FILE, table)
    few = [f"{name} ({count})" for name, count in _training(entries, splits, names).items() if count < 2]
    if few:
        logger.warning("Classes with fewer than two training clips: %s", ", ".join(few))


def _training(entries: Sequence[Entry], splits: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    count = Counter(e.label for e, split in zip(entries, splits, strict=True) if split == "train")
    return {name: count[name] for name in names}
