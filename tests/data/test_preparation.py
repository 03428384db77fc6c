"""One clip that fails, however it does, is skipped by name; the preparation of the others goes on."""

import csv
from pathlib import Path

import numpy as np
import pytest
from clips import make_clips, make_videos, prepare_small

from mfh import InputError
from mfh.data import media
from mfh.data.preparation import UnusableClipError, part
from mfh.data.sources.avmnist import RATE, read_wav
from mfh.data.sources.vggsound.prepare import prepare


class UnforeseenError(Exception):
    """An error that no code of ours knows."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("no audio track"), "audio: no audio track"),
        (MemoryError(), "audio: it needs more memory than there is"),
        (UnforeseenError("not\n  this"), "audio: UnforeseenError: not this"),
        (ZeroDivisionError("division by zero"), "audio: ZeroDivisionError: division by zero"),
    ],
)
def test_every_exception_of_a_part_is_a_reason(error: Exception, reason: str) -> None:
    with pytest.raises(UnusableClipError) as caught, part("audio"):
        raise error
    assert str(caught.value) == reason


def test_an_interruption_is_no_reason() -> None:
    with pytest.raises(KeyboardInterrupt), part("audio"):
        raise KeyboardInterrupt


def listed(out: Path) -> list[tuple[str, str]]:
    rows = list(csv.reader((out / "skipped.csv").read_text().splitlines()))[1:]
    return [(Path(row[0]).name, row[1]) for row in rows]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, bad: int) -> None:
    """Let a function of `media` fail at its call number `bad`."""
    function, calls = getattr(media, name), []

    def instead(*args: object, **settings: object) -> object:
        calls.append(None)
        if len(calls) == bad:
            raise UnforeseenError("from a library")
        return function(*args, **settings)

    monkeypatch.setattr(media, name, instead)


@pytest.mark.parametrize("function", ["decode_audio", "mfcc"])
def test_one_ravdess_clip_fails(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clips(tmp_path / "raw", actors=1)
    failing(monkeypatch, function, bad=2)
    report = prepare_small(tmp_path / "raw", tmp_path / "out")
    assert report.clips == report.decoded == 7
    name = "01-01-02-01-01-01-01.mp4"
    assert listed(tmp_path / "out") == [(name, "audio: UnforeseenError: from a library")]


@pytest.mark.parametrize("shards", [None, 1.0])
@pytest.mark.parametrize("function", ["decode_audio", "encode_wav"])
def test_one_vggsound_clip_fails(
    function: str, shards: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_videos(tmp_path, ["cat", "dog"] * 3, split=lambda i: "test" if i > 2 else "train")
    failing(monkeypatch, function, bad=2)
    settings = {"frames": 2, "size": 16, "shards": shards, "jobs": 0, "progress": False}
    report = prepare(table, tmp_path / "clips", tmp_path / "out", **settings)  # type: ignore[arg-type]
    if function == "encode_wav" and shards:  # which writes FLAC
        assert report.clips == 6
        return
    assert report.clips == 5
    part_name = "audio" if function == "decode_audio" else "encoding"
    assert [reason for _, reason in listed(tmp_path / "out")] == [
        f"{part_name}: UnforeseenError: from a library"
    ]


def test_a_recording_that_is_cut_short() -> None:
    content = media.encode_wav(np.ones(4000, np.float32) / 2, rate=RATE)
    assert len(read_wav(content)) == 4000
    with pytest.raises(InputError, match="is damaged: wav cut short"):
        read_wav(content[:4000])
