"""From VGGSound clips as mirrors distribute them to waveforms and stacked frames, in folders or tar files."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path

from mfh._checks import InputError, require
from mfh._system.files import checksum, read_npy, writable_folder, write_json
from mfh._system.lock import holds
from mfh.config import SPLITS
from mfh.data import media
from mfh.data.archives import StoredFile
from mfh.data.manifest import Manifest
from mfh.data.media_video import Crop
from mfh.data.preparation import SETTINGS_FILE, Note, claim, decode_into, skipped_notes, write_csv
from mfh.data.sources.vggsound.clips import ClipName, Entry, choose_classes, find_clips, read_entries
from mfh.data.sources.vggsound.decode import Job, Settings, decode, targets
from mfh.data.sources.vggsound.index import (
    CLASSES_FILE,
    INDEX_FILE,
    LABEL_FILE,
    UNLABELLED,
    Record,
    codes_of_classes,
    held_out,
    write_index,
    write_labels,
)
from mfh.data.sources.vggsound.pack import discard_parts, flac_samples, located, pack, packed, parts_of
from mfh.data.tar_files import TarMember

Packed = Mapping[str, Mapping[str, TarMember]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareReport:
    """Result of `prepare`.

    Attributes:
        out: the folder.
        clips: number of clips that are ready.
        decoded: number of clips that this call decoded.
        resumed: number of clips that an earlier call had decoded.
        absent: names of the clips of the csv that have no file; also in `absent.csv`.
        skipped: damaged clips, files with other names, contradictions in the csv, with reasons; also in
            `skipped.csv`.
        splits: number of clips in each of `train`, `validation` and `test`.
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


@holds()
def prepare(
    csv: Path | str,
    clips: Path | str,
    out: Path | str,
    *,
    classes: int | Path | str | None = None,
    frames: int = 32,
    size: int | tuple[int, int] = 256,
    crop: Crop | None = None,
    shards: float | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Decode VGGSound clips into the authors' folder layout, or into tar files.

    In the authors' layout each clip gives its waveform (16 kHz, channels averaged, shape (1, samples),
    float32) in `<split>/audio_npy`, a test clip the same as wav in `<split>/audio`, and its frames (see
    `mfh.data.media_video.decode_frames`), stacked from top to bottom in one JPEG, in `<split>/video_jpg`.
    `<split>` is that of the csv; `clips.csv` tells which training clips are held out for validation.
    In `<split>-<number>.tar` files it gives the same JPEG, the waveform as FLAC and its class as JSON; such
    files are small and few, and can be read from anywhere (`mfh.data.sources.vggsound.pack`).

    Several processes decode the clips; a script that calls this function therefore needs
    `if __name__ == "__main__":`, or `jobs=0`. A clip that cannot be decoded is skipped, with its reason. Each
    file is written completely or not at all, also after an interruption. The same call then continues: it
    does not decode a clip again whose files exist, and tries damaged clips again. Clips of the csv without a
    file are listed and counted; they are no error.

    Args:
        csv: youtube id, start second, label, split (`vggsound.csv`), with or without a header. The label may
            be empty; such clips are prepared whatever `classes` says.
        clips: folder of clips, at any depth, in tar files or zips too, or tar files as
            `mirror/shard-{000000..000009}.tar`. A clip is named `<id>_<start>.mp4`, the start with zeros
            before it or not.
        out: folder for the folders and `label.json`, or the tar files; and `clips.csv`, `classes.txt`,
            `absent.csv`, `skipped.csv` and `prepare.json`.
        classes: see `mfh.data.sources.vggsound.clips.choose_classes`.
        frames: see `Settings`.
        size: height and width of a frame, or one number for both.
        crop: see `Settings`.
        shards: megabytes of a tar file; None gives the authors' layout.
        seed: seed of the choice of 10% of the training clips for validation (stratified, by video), if the
            csv has no validation clips.
        jobs: number of processes; by default one per usable core. With 0, this process decodes, and a clip
            can crash it or block it.
        progress: whether to show a bar on stderr.

    Raises:
        InputError: a setting or the csv is wrong, none of its clips has a file or can be decoded, `out` was
            prepared with other settings or cannot be written.
    """
    start = time.perf_counter()
    require(jobs is None or jobs >= 0, f"`jobs` must be 0 or more. Got {jobs}.")
    require(shards is None or shards > 0, f"`shards` must be a size above 0 megabytes. Got {shards}.")
    sharded = shards is not None
    settings = Settings(frames=frames, size=(size, size) if isinstance(size, int) else size, crop=crop)
    for package in ("av", "PIL.Image", *(["soundfile"] if sharded else [])):
        media.need(package)
    found = _find(csv, clips, classes)
    out = writable_folder(out)
    claim(out, asdict(settings) | {"sharded": sharded})
    manifest = Manifest(out)
    there = _in_tars(out, manifest) if sharded else {}
    work = {entry: Job(found.files[entry.name], entry.name, _folder(entry)) for entry in found.present}
    files = partial(_files, out, sharded)
    ready = {e for e, job in work.items() if str(e.name) in there or manifest.are_intact(files(job))}
    pending = [job for entry, job in work.items() if entry not in ready]
    decoder = partial(decode, out=out, settings=settings, sharded=sharded)
    reasons = decode_into(manifest, pending, decoder, files, jobs=jobs, progress=progress)
    usable = [entry for entry in found.present if not reasons.get(work[entry])]
    write_csv(out / "absent.csv", ("name",), [(name,) for name in found.absent])
    by_file = {str(job.stored): reason for job, reason in reasons.items()}
    skipped = skipped_notes(out, by_file, found.notes, len(usable))
    records = _records(out, found.names, usable, there, sharded, seed, manifest)
    if shards is not None:
        fresh = [record for record in records if record.name not in there]
        discard_parts(out, there)
        pack(out, found.names, fresh, manifest, frames=frames, megabytes=shards, seed=seed)
        tars = _in_tars(out, manifest)
        records = [located(r, tars[r.name], Path(tars[r.name]["jpg"].archive).name) for r in records]
    lists = [out / name for name in (INDEX_FILE, CLASSES_FILE, *([] if sharded else [LABEL_FILE]))]
    with manifest.rewriting(lists):
        if not sharded:
            write_labels(out, records)
        records.sort(key=attrgetter("name"))
        write_index(out, found.names, records)
        chosen = {"settings": asdict(settings) | {"sharded": sharded}, "seed": seed}
        write_json(out / SETTINGS_FILE, chosen, sealed=True)
    _warn(found, records)
    return PrepareReport(
        out=out,
        clips=len(usable),
        decoded=len(pending) - sum(map(bool, reasons.values())),
        resumed=len(ready),
        absent=found.absent,
        skipped=skipped,
        splits={name: sum(record.split == name for record in records) for name in SPLITS},
        classes=len(found.names),
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class _Found:
    """The clips of the csv: those with a file (`present`) and those without one (`absent`)."""

    names: list[str]
    present: list[Entry]
    absent: tuple[str, ...]
    files: Mapping[ClipName, StoredFile | TarMember]
    notes: list[Note]


def _find(csv: Path | str, clips: Path | str, classes: int | Path | str | None) -> _Found:
    entries, notes = read_entries(csv)
    names = choose_classes(entries, classes)
    wanted = [entry for entry in entries if entry.label in {*names, ""}]  # those without a label, too
    files, unusable = find_clips(clips)
    present = [entry for entry in wanted if entry.name in files]
    if not present:
        first = [f" `{note.file}` cannot be used: {note.reason}." for note in unusable[:1]]
        raise InputError(
            f"`clips` must contain clips of the csv, named as `{wanted[0].name}.mp4`. `{clips}` has none of "
            f"{len(wanted)}, and {len(files)} others.{''.join(first)}"
        )
    absent = tuple(str(entry.name) for entry in wanted if entry.name not in files)
    return _Found(names, present, absent, files, notes + unusable)


def _folder(entry: Entry) -> str:
    """Return the folder of a clip: the authors' layout has two, and validation clips are in `train`."""
    return "test" if entry.split == "test" else "train"


def _in_tars(out: Path, manifest: Manifest) -> Packed:
    """Return the clips that earlier calls have packed into tar files."""
    archives = sorted(out.glob("*.tar"))
    for path in archives:
        if manifest.name(path) not in manifest.known:
            _adopt_tar(out, path, manifest)
    archives = [path for path in archives if path.exists()]
    found, problems = packed([str(path) for path in archives])
    problems += [f"`{path}` is damaged or exchanged" for path in archives if not manifest.is_intact(path)]
    require(not problems, f"{'; '.join(problems)}: remove it, then its clips are decoded again.")
    return found


def _adopt_tar(out: Path, path: Path, manifest: Manifest) -> None:
    """Take a tar file that is not in the manifest as it is, or remove it if its parts still exist."""
    held, _ = packed([str(path)])
    if all(part.exists() for name in held for part in parts_of(out, name).values()):
        path.unlink()  # the run was killed before it noted the file; the parts are packed again
    else:
        manifest.add([path])
        manifest.save()


def _files(out: Path, sharded: bool, job: Job) -> list[Path]:
    return list(targets(out, job.name, job.split, sharded=sharded).values())


def _records(
    out: Path,
    names: Sequence[str],
    entries: Sequence[Entry],
    there: Packed,
    sharded: bool,
    seed: int,
    manifest: Manifest,
) -> list[Record]:
    """Return the line of the index for each clip. A clip in a tar file keeps the split of that file.

    The clips for validation are chosen among all clips, so that a call that continues an interrupted one
    chooses the same clips.
    """
    codes = codes_of_classes(names)
    columns = [[e.split for e in entries], [e.label for e in entries], [e.name.video for e in entries]]
    splits = dict(zip(entries, held_out(*columns, seed=seed), strict=True))
    records = []
    for entry in entries:
        name, folder = str(entry.name), _folder(entry)
        known = (name, entry.name.video, codes[entry.label])
        if name in there:
            audio, picture = there[name]["flac"], there[name]["jpg"]
            place, sound = Path(audio.archive).name, audio.source()
            sums = checksum(picture.source()), checksum(sound)
            split = place.rpartition("-")[0]
            record = Record(*known, split, place, flac_samples(sound), 0, 0, 0, 0, *sums)
            records.append(located(record, there[name], place))
            continue
        files = targets(out, entry.name, folder, sharded=sharded)
        audio_file = files["flac" if sharded else "npy"]
        samples = flac_samples(audio_file) if sharded else read_npy(audio_file, mmap_mode="r").shape[-1]
        sizes = (0, files["jpg"].stat().st_size, 0, audio_file.stat().st_size)
        sums = manifest.known[manifest.name(files["jpg"])], manifest.known[manifest.name(audio_file)]
        records.append(Record(*known, splits[entry], folder, samples, *sizes, *sums))
    return records


def _warn(found: _Found, records: Sequence[Record]) -> None:
    if found.absent:
        count = len(found.absent), len(found.absent) + len(found.present)
        logger.info("%d of %d clips of the csv have no file: see absent.csv", *count)
    unlabelled = sum(record.label == UNLABELLED for record in records)
    if unlabelled:
        logger.info("%d of %d clips have no label", unlabelled, len(records))
    train = Counter(record.label for record in records if record.split == "train")
    few = [f"{name} ({train[code]})" for code, name in enumerate(found.names) if train[code] < 2]
    if few:
        logger.warning("Classes with fewer than two training clips: %s", ", ".join(few))
