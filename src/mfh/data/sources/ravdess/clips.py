"""RAVDESS clips as they are distributed: their names, and which video goes with which audio."""

import logging
import re
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mfh._checks import InputError, listing, require
from mfh.data.archives import StoredFile, stored_files
from mfh.data.preparation import Note

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CHANNELS = {1: "speech", 2: "song"}
_HIGHEST = {
    "modality": 3,
    "channel": 2,
    "emotion": 8,
    "intensity": 2,
    "statement": 2,
    "repetition": 2,
    "actor": 24,
}
_VIDEO_AND_AUDIO, _VIDEO_ONLY, _AUDIO_ONLY = 1, 2, 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class ClipName:
    """The seven fields of a name such as `03-01-05-02-01-01-12`.

    Attributes:
        modality: 1 audio and video, 2 video only, 3 audio only.
        channel: 1 speech, 2 song.
        emotion: 1-8, in the order of `EMOTIONS`.
        intensity: 1 normal, 2 strong.
        statement: 1 or 2.
        repetition: 1 or 2.
        actor: 1-24.
    """

    modality: int
    channel: int
    emotion: int
    intensity: int
    statement: int
    repetition: int
    actor: int

    def __post_init__(self) -> None:
        """Check every field's range."""
        for field in fields(self):
            value, highest = getattr(self, field.name), _HIGHEST[field.name]
            require(1 <= value <= highest, f"{field.name} is {value:02d}, must be 01-{highest:02d}")

    @classmethod
    def parse(cls, name: str) -> "ClipName":
        """Read a name, with or without a suffix.

        Raises:
            InputError: it has not seven two-digit fields, or one is out of range.

        Example:
            >>> clip = ClipName.parse("03-01-05-02-01-01-12.wav")
            >>> clip.actor, clip.label, EMOTIONS[clip.label], clip.recording
            (12, 4, 'angry', '01-05-02-01-01-12')
        """
        match = re.fullmatch(r"\d\d(-\d\d){6}", Path(name).stem, flags=re.ASCII)
        require(match is not None, "the name has not seven two-digit fields")
        return cls(*(int(field) for field in Path(name).stem.split("-")))

    def __str__(self) -> str:
        return "-".join(f"{value:02d}" for value in astuple(self))

    @property
    def label(self) -> int:
        """Class of the emotion, 0-7."""
        return self.emotion - 1

    @property
    def recording(self) -> str:
        """The last six fields: what the files of one recording have in common."""
        return str(self)[3:]


@dataclass(frozen=True)
class Clip:
    """One recording: where its picture comes from and where its sound.

    Attributes:
        video_name, audio_name: the names of the two files. Both are the video's where its own track is used.
        video, audio: the files.
    """

    video_name: ClipName
    audio_name: ClipName
    video: StoredFile
    audio: StoredFile


@dataclass(frozen=True)
class Inventory:
    """What lies in a folder of RAVDESS files.

    Attributes:
        clips: usable pairs, ordered by name.
        unpaired: files without a partner.
        skipped: files whose names are not RAVDESS names.
    """

    clips: tuple[Clip, ...]
    unpaired: tuple[Note, ...]
    skipped: tuple[Note, ...]


def find_clips(raw: Path | str, *, speech: bool = True, song: bool = False) -> Inventory:
    """Pair the files under a folder or in its archives.

    The video of a recording is its `01-` mp4, or else its `02-` mp4. The audio is the `03-` wav with the same
    last six fields, or else the `01-` mp4's own track. A file that lies there twice counts once.

    Args:
        raw: a folder with zips as downloaded, unpacked folders, or both; or a single zip.
        speech: whether to take clips of channel 01.
        song: whether to take clips of channel 02.

    Raises:
        InputError: nothing usable is there, or an archive is damaged or could do harm.
    """
    require(speech or song, "`speech` or `song` must be chosen. Got neither: nothing would be left.")
    channels = {channel for channel, chosen in ((1, speech), (2, song)) if chosen}
    files: dict[ClipName, StoredFile] = {}
    skipped, twice, others = [], 0, set()
    for file in stored_files(raw, (".mp4", ".wav")):
        try:
            name = _checked_name(file.name)
        except InputError as error:
            skipped.append(Note(str(file), str(error)))
            continue
        if name.channel not in channels:
            others.add(CHANNELS[name.channel])
            continue
        twice += name in files
        files.setdefault(name, file)
    if twice:
        logger.warning("%d files lie in `%s` twice; the first of each is taken", twice, raw)
    clips, unpaired = _pair(files)
    if not clips:
        chosen = listing(CHANNELS[channel] for channel in sorted(channels))
        hint = f" It holds {listing(sorted(others))}: choose that." if others else ""
        raise InputError(
            f"`raw` must hold RAVDESS clips of {chosen} (as 01-01-05-01-01-01-12.mp4, in zips or folders). "
            f"`{raw}` holds {len(unpaired)} files without a partner, {len(skipped)} with other names.{hint}"
        )
    return Inventory(tuple(clips), tuple(unpaired), tuple(skipped))


def _checked_name(file: str) -> ClipName:
    name = ClipName.parse(file)
    suffix = ".wav" if name.modality == _AUDIO_ONLY else ".mp4"
    require(
        Path(file).suffix.lower() == suffix, f"modality {name.modality:02d} must be {suffix[1:]}, by its name"
    )
    return name


def _pair(files: dict[ClipName, StoredFile]) -> tuple[list[Clip], list[Note]]:
    recordings: dict[str, dict[int, ClipName]] = {}
    for name in sorted(files):
        recordings.setdefault(name.recording, {})[name.modality] = name
    clips, unpaired = [], []
    for _, names in sorted(recordings.items()):
        video = names.get(_VIDEO_AND_AUDIO, names.get(_VIDEO_ONLY))
        audio = names.get(_AUDIO_ONLY, names.get(_VIDEO_AND_AUDIO))
        if video is not None and audio is not None:
            clips.append(Clip(video, audio, files[video], files[audio]))
        elif video is not None:
            unpaired.append(Note(str(files[video]), "video only, no 03- wav with the same last six fields"))
        elif audio is not None:
            unpaired.append(Note(str(files[audio]), "no mp4 with the same last six fields"))
    return clips, unpaired
