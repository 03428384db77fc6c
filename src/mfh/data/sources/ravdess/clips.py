"""RAVDESS clips as they are distributed: their names, and pairs of video and audio files."""

import re
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mfh._checks import InputError, listing, require
from mfh.data.archives import StoredFile, stored_files
from mfh.data.preparation import Note, sort_by_name

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
            InputError: it does not have seven two-digit fields, or one is out of range.

        Example:
            >>> clip = ClipName.parse("03-01-05-02-01-01-12.wav")
            >>> clip.actor, clip.label, EMOTIONS[clip.label], clip.recording
            (12, 4, 'angry', '01-05-02-01-01-12')
        """
        match = re.fullmatch(r"\d\d(-\d\d){6}", Path(name).stem, flags=re.ASCII)
        require(match is not None, "the name does not have seven two-digit fields")
        return cls(*(int(field) for field in Path(name).stem.split("-")))

    def __str__(self) -> str:
        return "-".join(f"{value:02d}" for value in astuple(self))

    @property
    def label(self) -> int:
        """The class of the emotion, 0-7."""
        return self.emotion - 1

    @property
    def recording(self) -> str:
        """The last six fields, which all files of one recording share."""
        return str(self)[3:]


@dataclass(frozen=True)
class Clip:
    """One recording: the file of its picture and the file of its sound.

    Attributes:
        video_name: name of the video file.
        audio_name: name of the audio file; that of the video if the video's own audio track is used.
        video: the video file.
        audio: the audio file.
    """

    video_name: ClipName
    audio_name: ClipName
    video: StoredFile
    audio: StoredFile


@dataclass(frozen=True)
class Inventory:
    """The contents of a folder of RAVDESS files.

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
    last six fields, or else the `01-` mp4's own track. Of several files with one name the first is used.

    Args:
        raw: a folder with zips as downloaded, unpacked folders, or both; or a single zip.
        speech: whether to take clips of channel 01.
        song: whether to take clips of channel 02.

    Raises:
        InputError: there is no usable pair, or an archive is damaged or could do harm.
    """
    require(speech or song, "`speech` or `song` must be True. Got False for both: no clip would be left.")
    channels = {channel for channel, chosen in ((1, speech), (2, song)) if chosen}
    files, skipped = sort_by_name(stored_files(raw, (".mp4", ".wav")), _checked_name, raw)
    others = {CHANNELS[name.channel] for name in files if name.channel not in channels}
    clips, unpaired = _pair({name: file for name, file in files.items() if name.channel in channels})
    if not clips:
        chosen = listing(CHANNELS[channel] for channel in sorted(channels))
        hint = f" It contains {listing(sorted(others))}: choose that." if others else ""
        raise InputError(
            f"`raw` must have RAVDESS clips of {chosen} (as 01-01-05-01-01-01-12.mp4, in zips or folders). "
            f"`{raw}` has {len(unpaired)} files without a partner, {len(skipped)} with other names.{hint}"
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
