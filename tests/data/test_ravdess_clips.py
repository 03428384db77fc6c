"""Names and pairing."""

import logging
from pathlib import Path

import pytest

from mfh import InputError
from mfh.data.preparation import Note
from mfh.data.sources.ravdess.clips import EMOTIONS, ClipName, find_clips

RECORDING = "01-05-02-01-01-12"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")
    return folder


def test_a_name_has_seven_fields() -> None:
    name = ClipName.parse(f"03-{RECORDING}.wav")
    assert (name.modality, name.channel, name.emotion, name.intensity) == (3, 1, 5, 2)
    assert (name.statement, name.repetition, name.actor) == (1, 1, 12)
    assert (name.label, EMOTIONS[name.label], name.recording) == (4, "angry", RECORDING)
    assert str(name) == f"03-{RECORDING}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("01-01-09-01-01-01-01.mp4", "emotion is 09, must be 01-08"),
        ("01-01-08-01-01-01-25.mp4", "actor is 25, must be 01-24"),
        ("04-01-08-01-01-01-01.mp4", "modality is 04, must be 01-03"),
        ("01-03-08-01-01-01-01.mp4", "channel is 03"),
        ("01-01-08-00-01-01-01.mp4", "intensity is 00"),
        ("01-01-08-01-03-01-01.mp4", "statement is 03"),
        ("01-01-08-01-01-03-01.mp4", "repetition is 03"),
        ("01-01-08-01-01-01.mp4", "does not have seven two-digit fields"),
        ("01-01-08-01-01-01-1.mp4", "does not have seven two-digit fields"),
        ("01-01-08-01-01-01-01 (1).mp4", "does not have seven two-digit fields"),
        ("\u0660\u0661-01-08-01-01-01-01.mp4", "does not have seven two-digit fields"),
    ],
)
def test_other_names_are_skipped_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ClipName.parse(name)
    inventory = find_clips(touch(tmp_path, name, f"01-{RECORDING}.mp4"))
    (note,) = inventory.skipped
    assert Path(note.file).name == name
    assert reason in note.reason
    assert len(inventory.clips) == 1


def test_audio_is_the_wav_or_else_the_own_track(tmp_path: Path) -> None:
    touch(tmp_path, f"video/01-{RECORDING}.mp4", f"audio/03-{RECORDING}.wav", "01-01-01-01-01-01-03.mp4")
    by_actor = {clip.video_name.actor: clip for clip in find_clips(tmp_path).clips}
    assert sorted(by_actor) == [3, 12]
    assert by_actor[12].audio.name == f"03-{RECORDING}.wav"
    assert str(by_actor[12].audio_name) == f"03-{RECORDING}"
    assert by_actor[3].audio == by_actor[3].video
    assert by_actor[3].audio_name == by_actor[3].video_name


def test_video_with_sound_comes_before_video_without(tmp_path: Path) -> None:
    touch(tmp_path, f"01-{RECORDING}.mp4", f"02-{RECORDING}.mp4", f"03-{RECORDING}.wav")
    inventory = find_clips(tmp_path)
    assert [clip.video.name for clip in inventory.clips] == [f"01-{RECORDING}.mp4"]
    assert inventory.unpaired == ()
    (tmp_path / f"01-{RECORDING}.mp4").unlink()
    assert [clip.video.name for clip in find_clips(tmp_path).clips] == [f"02-{RECORDING}.mp4"]


def test_unpaired_files_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, f"01-{RECORDING}.mp4", "02-01-01-01-01-01-01.mp4", "03-01-02-01-01-01-01.wav")
    assert find_clips(tmp_path).unpaired == (
        Note(
            str(tmp_path / "02-01-01-01-01-01-01.mp4"), "video only, no 03- wav with the same last six fields"
        ),
        Note(str(tmp_path / "03-01-02-01-01-01-01.wav"), "no mp4 with the same last six fields"),
    )


def test_a_suffix_that_contradicts_the_name_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path, f"01-{RECORDING}.mp4", f"01-{RECORDING}.wav", f"03-{RECORDING}.mp4")
    inventory = find_clips(tmp_path)
    assert sorted(note.reason for note in inventory.skipped) == [
        "modality 01 must be mp4, by its name",
        "modality 03 must be wav, by its name",
    ]


def test_speech_and_song_are_chosen(tmp_path: Path) -> None:
    song = "02-05-02-01-01-12"
    touch(tmp_path, f"01-{RECORDING}.mp4", f"01-{song}.mp4")
    assert [str(c.video_name) for c in find_clips(tmp_path).clips] == [f"01-{RECORDING}"]
    assert [str(c.video_name) for c in find_clips(tmp_path, speech=False, song=True).clips] == [f"01-{song}"]
    assert len(find_clips(tmp_path, song=True).clips) == 2
    (tmp_path / f"01-{RECORDING}.mp4").unlink()
    with pytest.raises(InputError, match=r"clips of `speech` .* It contains `song`: choose that"):
        find_clips(tmp_path)
    with pytest.raises(InputError, match="`speech` or `song` must be True"):
        find_clips(tmp_path, speech=False)


def test_a_file_that_lies_there_twice_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, f"a/01-{RECORDING}.mp4", f"b/01-{RECORDING}.mp4")
    with caplog.at_level(logging.WARNING):
        assert [clip.video.path.parent.name for clip in find_clips(tmp_path).clips] == ["a"]
    assert "1 clips in" in caplog.text


def test_an_empty_folder_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`raw` must have RAVDESS clips of `speech` \(as 01-01-05"):
        find_clips(tmp_path)
