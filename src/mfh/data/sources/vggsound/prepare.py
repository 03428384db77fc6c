"""From VGGSound clips as mirrors ship them to waveforms and stacked frames, in folders or tar files."""

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
from mfh.data.preparation import SETTINGS_FILE, Note, claim, decode_into, write_csv, write_notes
from mfh.data.sources.vggsound.clips import ClipName, Entry, choose_classes, find_clips, read_entries
from mfh.data.sources.vggsound.decode import Job, Settings, decode, targets
from mfh.data.sources.vggsound.index import (
    CLASSES_FILE,
    INDEX_FILE,
    LABEL_FILE,
    Record,
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
    `<split>` is that of the csv; which training clips are held out for validation stands in `clips.csv`.
    In `<split>-<number>.tar` files it gives the same JPEG, the waveform as FLAC and its class as JSON; such
    files are small and few, and can be read from anywhere (`mfh.data.sources.vggsound.pack`).

    Clips are decoded by several processes; a script that calls this therefore needs
    `if __name__ == "__main__":`, or `jobs=0`. Files appear whole or not at all, also when it is interrupted,
    and the same call goes on where it was left: clips that are there are not decoded again, damaged ones are
    tried again. Clips of the csv that are not there are listed and counted, never an error.

    Args:
        csv: youtube id, start second, label, split (`vggsound.csv`), with or without a header.
        clips: folder of clips, at any depth, in tar files or zips too, or tar files as
            `mirror/shard-{000000..000009}.tar`. A clip is named `<id>_<start>.mp4`, the start with zeros
            before it or not.
        out: gets the folders and `label.json`, or the tar files; and `clips.csv`, `classes.txt`,
            `absent.csv`, `skipped.csv` and `prepare.json`.
        classes: see `mfh.data.sources.vggsound.clips.choose_classes`.
        frames: see `Settings`.
        size: height and width of a frame, or one number for both.
        crop: see `Settings`.
        shards: megabytes of a tar file; None gives the authors' layout.
        seed: of the choice of 10% of the training clips for validation (stratified, by video), where the csv
            has none.
        jobs: processes; by default one per usable core. 0 decodes in this process, which a clip can then end
            or hold up.
        progress: whether to show a bar on stderr.

    Raises:
        InputError: a setting or the csv is wrong, none of its clips is there or can be decoded, `out` was
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
    ready = {e for e, job in work.items() if str(e.name) in there or manifest.holds(files(job))}
    pending = [job for entry, job in work.items() if entry not in ready]
    decoder = partial(decode, out=out, settings=settings, sharded=sharded)
    reasons = decode_into(manifest, pending, decoder, files, jobs=jobs, progress=progress)
    damaged = tuple(Note(str(job.stored), reasons[job]) for job in pending if reasons[job])
    write_notes(out / "skipped.csv", (*found.notes, *damaged))
    write_csv(out / "absent.csv", ("name",), [(name,) for name in found.absent])
    usable = [entry for entry in found.present if not reasons.get(work[entry])]
    if not usable:
        raise InputError(
            f"None of {len(pending)} clips can be decoded; `{out / 'skipped.csv'}` says why. "
            f"The first: {damaged[0].reason}."
        )
    records = _records(out, found.names, usable, there, sharded, seed, manifest)
    if shards is not None:
        fresh = [record for record in records if record.name not in there]
        discard_parts(out, there)
        pack(out, found.names, fresh, manifest, frames=frames, megabytes=shards, seed=seed)
        tars = _in_tars(out, manifest)
        records = [located(r, tars[r.name], Path(tars[r.name]["jpg"].archive).name) for r in records]
    lists = [out / name for name in (INDEX_FILE, CLASSES_FILE, *([] if sharded else [LABEL_FILE]))]
    manifest.drop(lists)  # else a kill would leave them as damaged ones
    manifest.save()
    if not sharded:
        write_labels(out, records)
    records.sort(key=attrgetter("name"))
    write_index(out, found.names, records)
    told = {"settings": asdict(settings) | {"sharded": sharded}, "seed": seed}
    write_json(out / SETTINGS_FILE, told, sealed=True)
    with manifest.kept():
        manifest.add(lists)
    _warn(found, records)
    return PrepareReport(
        out=out,
        clips=len(usable),
        decoded=len(pending) - len(damaged),
        resumed=len(ready),
        absent=found.absent,
        skipped=(*found.notes, *damaged),
        splits={name: sum(record.split == name for record in records) for name in SPLITS},
        classes=len(found.names),
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class _Found:
    """What the csv wants and what is there."""

    names: list[str]
    present: list[Entry]
    absent: tuple[str, ...]
    files: Mapping[ClipName, StoredFile | TarMember]
    notes: list[Note]


def _find(csv: Path | str, clips: Path | str, classes: int | Path | str | None) -> _Found:
    entries, notes = read_entries(csv)
    names = choose_classes(entries, classes)
    wanted = [entry for entry in entries if entry.label in set(names)]
    files, unusable = find_clips(clips)
    present = [entry for entry in wanted if entry.name in files]
    if not present:
        first = [f" `{note.file}` cannot be used: {note.reason}." for note in unusable[:1]]
        raise InputError(
            f"`clips` must hold clips of the csv, named as `{wanted[0].name}.mp4`. `{clips}` holds none of "
            f"{len(wanted)}, and {len(files)} others.{''.join(first)}"
        )
    absent = tuple(str(entry.name) for entry in wanted if entry.name not in files)
    return _Found(names, present, absent, files, notes + unusable)


def _folder(entry: Entry) -> str:
    """The authors' layout knows two splits; what is held out for validation is training data there."""
    return "test" if entry.split == "test" else "train"


def _in_tars(out: Path, manifest: Manifest) -> Packed:
    """What earlier calls have packed."""
    archives = sorted(out.glob("*.tar"))
    for path in archives:
        if manifest.name(path) not in manifest.known:
            _adopt_tar(out, path, manifest)
    archives = [path for path in archives if path.exists()]
    found, problems = packed([str(path) for path in archives])
    problems += [f"`{path}` is damaged or exchanged" for path in archives if not manifest.fits(path)]
    require(not problems, f"{'; '.join(problems)}: remove it, and its clips are decoded again.")
    return found


def _adopt_tar(out: Path, path: Path, manifest: Manifest) -> None:
    """A tar file that is not noted: packed again where its parts are still there, else taken as it is."""
    held, _ = packed([str(path)])
    if all(part.exists() for name in held for part in parts_of(out, name).values()):
        path.unlink()  # a kill came before it was noted
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
    """What the index says of each clip. One that lies in a tar file keeps the split it was packed with.

    Clips are held out among all of them, so that a call that goes on decides as one that was not stopped.
    """
    codes = {name: code for code, name in enumerate(names)}
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
        logger.info("%d of %d clips of the csv are not there: see absent.csv", *count)
    train = Counter(record.label for record in records if record.split == "train")
    few = [f"{name} ({train[code]})" for code, name in enumerate(found.names) if train[code] < 2]
    if few:
        logger.warning("Classes with fewer than two training clips: %s", ", ".join(few))
