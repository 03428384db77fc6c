"""From RAVDESS clips as downloaded to the authors' folder of MFCC arrays, pictures and three csv files."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mfh._checks import choice, require
from mfh._system.files import writable_folder, write_json
from mfh._system.lock import holds
from mfh.data import media
from mfh.data.manifest import Manifest
from mfh.data.preparation import (
    SETTINGS_FILE,
    Note,
    claim,
    decode_into,
    skipped_notes,
    write_csv,
    write_notes,
)
from mfh.data.sources.ravdess.clips import Clip, find_clips
from mfh.data.sources.ravdess.decode import Settings, decode, targets

CSV_FOLDER = "data_file"
CSV_FILES = {"train": "spa_dl.csv", "validation": "spa_val.csv", "test": "spa_test.csv"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareReport:
    """Result of `prepare`.

    Attributes:
        out: the folder.
        clips: number of clips in the csv files.
        decoded: number of clips that this call decoded.
        resumed: number of clips that an earlier call had decoded.
        skipped: damaged clips and files with other names, with reasons; also in `skipped.csv`.
        unpaired: files without a partner; also in `unpaired.csv`.
        splits: number of clips in each of `train`, `validation` and `test`.
        actors: the actors in each of these.
        warning: a problem with the splits, also logged; '' if there is none.
        seconds: wall time.
    """

    out: Path
    clips: int
    decoded: int
    resumed: int
    skipped: tuple[Note, ...] = field(repr=False)
    unpaired: tuple[Note, ...] = field(repr=False)
    splits: Mapping[str, int]
    actors: Mapping[str, tuple[int, ...]]
    warning: str
    seconds: float

    def __str__(self) -> str:
        splits = ", ".join(f"{count} {name}" for name, count in self.splits.items())
        return (
            f"{self.clips} clips ({splits}), {self.resumed} of them from an earlier call; "
            f"{len(self.skipped)} skipped, {len(self.unpaired)} unpaired"
        )


@holds()
def prepare(
    raw: Path | str,
    out: Path | str,
    *,
    speech: bool = True,
    song: bool = False,
    frames: int = 8,
    height: int = 256,
    width: int = 512,
    audio_frames: int = media.AUDIO_FRAMES,
    seconds: float = media.WINDOW_SECONDS,
    split: str = "actor",
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Decode RAVDESS clips into the authors' folder layout under `out/data`.

    Each clip gives an MFCC array (`mfh.data.media.mfcc`) in `aud_features`, named by its audio file, and a
    picture (`mfh.data.media_video.decode_picture`) in `vid_features`, named by its mp4.

    Several processes decode the clips; a script that calls this function therefore needs
    `if __name__ == "__main__":`, or `jobs=0`. A clip that cannot be decoded is skipped, with its reason. Each
    file is written completely or not at all, also after an interruption. The same call then continues: it
    does not decode a clip again whose files exist, and tries damaged clips again.

    Args:
        raw: a folder with the archives as downloaded, unpacked folders, or both; or a single zip.
        out: folder for `data/`, `skipped.csv`, `unpaired.csv` and `prepare.json`.
        speech: whether to take speech clips.
        song: whether to take song clips.
        frames: see `Settings`.
        height: see `Settings`.
        width: see `Settings`.
        audio_frames: see `Settings`.
        seconds: see `Settings`.
        split: `actor` puts all clips of an actor into one split, with 60/20/20% of the clips; `random` splits
            the clips, stratified by emotion, so that the same people are in training and test.
        seed: seed of the split.
        jobs: number of processes; by default one per usable core. With 0, this process decodes, and a clip
            can crash it or block it.
        progress: whether to show a bar on stderr.

    Raises:
        InputError: a setting is wrong, `raw` has no clips or an archive that could do harm, `out` was
            prepared with other settings or cannot be written, or no clip can be decoded.
    """
    start = time.perf_counter()
    choice("split", split, ("actor", "random"))
    require(jobs is None or jobs >= 0, f"`jobs` must be 0 or more. Got {jobs}.")
    settings = Settings(frames=frames, height=height, width=width, audio_frames=audio_frames, seconds=seconds)
    for package in ("av", "librosa", "PIL.Image"):
        media.need(package)
    inventory = find_clips(raw, speech=speech, song=song)
    out = writable_folder(out)
    claim(out, asdict(settings))
    manifest = Manifest(out)
    pending = [clip for clip in inventory.clips if not manifest.are_intact(targets(out, clip))]
    decoder = partial(decode, out=out, settings=settings)
    files = partial(targets, out)
    reasons = decode_into(manifest, pending, decoder, files, jobs=jobs, progress=progress)
    clips = [clip for clip in inventory.clips if not reasons.get(clip)]
    write_notes(out / "unpaired.csv", inventory.unpaired)
    by_file = {str(clip.video): reason for clip, reason in reasons.items()}
    skipped = skipped_notes(out, by_file, inventory.skipped, len(clips))
    parts, warning = _split(clips, split, seed)
    with manifest.rewriting([csv_path(out, name) for name in parts]):
        for name, part in parts.items():
            _write_split(out, name, part)
        chosen = {"settings": asdict(settings), "split": split, "seed": seed}
        write_json(out / SETTINGS_FILE, chosen, sealed=True)
    if warning:
        logger.warning(warning)
    return PrepareReport(
        out=out,
        clips=len(clips),
        decoded=len(pending) - sum(map(bool, reasons.values())),
        resumed=len(inventory.clips) - len(pending),
        skipped=skipped,
        unpaired=inventory.unpaired,
        splits={name: len(part) for name, part in parts.items()},
        actors={name: tuple(sorted({c.video_name.actor for c in part})) for name, part in parts.items()},
        warning=warning,
        seconds=time.perf_counter() - start,
    )


def _split(clips: Sequence[Clip], split: str, seed: int) -> tuple[dict[str, list[Clip]], str]:
    """Return the clips of each split, in the order of their names, and a warning or ''."""
    from mfh.data.splits import SHARES, divide  # imports torch, which the processes that decode do not need

    actors = np.array([clip.video_name.actor for clip in clips])
    labels = np.array([clip.video_name.label for clip in clips])
    count = len(np.unique(actors))
    if split == "actor" and count < len(SHARES):
        warning = (
            f"The clips are of {count} actor{'s' if count > 1 else ''}, but a split by actor needs three. "
            "All clips are training data."
        )
        return {"train": list(clips), "validation": [], "test": []}, warning
    groups = actors if split == "actor" else None
    parts = divide(labels, groups, SHARES, np.random.default_rng([seed, 0x5EED]))
    named = {name: [clips[row] for row in sorted(rows)] for name, rows in zip(CSV_FILES, parts, strict=True)}
    warning = "With a random split, actors are in several splits: accuracies look better than they are."
    return named, warning if split == "random" and count > 1 else ""


def _write_split(out: Path, name: str, clips: Iterable[Clip]) -> None:
    rows = []
    for clip in clips:
        audio, image = targets(out, clip)
        rows.append((audio.name, image.name, clip.video_name.label))
    write_csv(csv_path(out, name), ("audio", "image", "label"), rows)


def csv_path(out: Path, split: str) -> Path:
    """Return the path of the csv that lists the samples of a split."""
    return out / "data" / CSV_FOLDER / CSV_FILES[split]
