"""What goes wrong with VGGSound's clips, csv and class files: listed and counted, or one clear error."""

import csv
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import encode_clip, make_videos, turned
from decode_jobs import deadly

from mfh import InputError
from mfh.data.preparation import decode_all
from mfh.data.sources.vggsound.clips import ClipName, Entry, choose_classes, read_entries
from mfh.data.sources.vggsound.prepare import prepare
from mfh.data.sources.vggsound.reader import load

SMALL: dict[str, Any] = {"frames": 2, "size": 16, "jobs": 0, "progress": False}
PIXELS = np.full((10, 32, 48, 3), 90, np.uint8)
PIXELS[5:] = 200
TONE = 0.4 * np.sin(np.arange(16_000) / 8)[None]


def write_csv(path: Path, lines: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


def test_one_bad_clip_never_loses_the_others(tmp_path: Path) -> None:
    whole = encode_clip(PIXELS, TONE)
    good = {
        "mono8k": encode_clip(PIXELS, TONE[:, :8_000], rate=8_000),
        "stereo_44k": encode_clip(PIXELS, np.repeat(TONE, 2, 0), rate=44_100, layout="stereo"),
        "uneven": encode_clip(PIXELS, TONE, times=[0, 5, 10, 200, 210, 500, 510, 600, 800, 990]),
        "turned": turned(whole, 1),
        "odd": encode_clip(PIXELS[:, :31, :47], TONE, pix_fmt="yuv444p"),
        "_under__score-": whole,
        "matroska": encode_clip(PIXELS, TONE, container="matroska"),
    }
    bad = {
        "cut": (whole[: len(whole) * 2 // 3], "cut short|cannot decode"),
        "headless": (whole[:60], "cannot decode|no audio track"),
        "empty": (b"", "the file is empty"),
        "text": (b"<html>removed</html>" * 50, "cannot decode"),
        "silent": (encode_clip(PIXELS, 0 * TONE), "the audio is silent"),
        "mute": (encode_clip(PIXELS), "no audio track"),
        "blind": (encode_clip(PIXELS[:0], TONE), "no video track"),
    }
    clips = tmp_path / "clips"
    clips.mkdir()
    for name, content in {**good, **{name: content for name, (content, _) in bad.items()}}.items():
        (clips / f"{name}_000010.mp4").write_bytes(content)
    lines = [[name, 10, ["a", "b"][i % 2], ["train", "test"][i // 2 % 2]] for i, name in enumerate(good)]
    lines += [[name, 10, "a", "train"] for name in bad]
    for layout, settings in (("folder", SMALL), ("tars", {**SMALL, "shards": 1.0})):
        report = prepare(write_csv(tmp_path / "c.csv", lines), clips, tmp_path / layout, **settings)
        assert (report.clips, report.decoded) == (len(good), len(good))
        reasons = {Path(note.file).stem[:-7]: note.reason for note in report.skipped}
        assert set(reasons) == set(bad)
        for name, (_, text) in bad.items():
            assert any(part in reasons[name] for part in text.split("|")), (name, reasons[name])
        data = load(tmp_path / layout)
        assert set(data.id) == {f"{name}_000010" for name in good}
        frames = data.read(["video"], slice(None))["video"].float().mean(dim=(2, 3, 4))
        assert (frames[:, 1] - frames[:, 0] > 80).all()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_clip_that_kills_its_process_is_skipped(jobs: int, tmp_path: Path) -> None:
    names = [f"{'kill' if i in (3, 9) else 'clip'} {i}" for i in range(12)]
    found = dict(decode_all(names, partial(deadly, tmp_path), jobs=jobs))
    assert set(found) == set(names)
    reasons = {name: reason for name, reason in found.items() if reason}
    assert reasons == dict.fromkeys(["kill 3", "kill 9"], "the process that decodes it dies")
    assert {path.name for path in tmp_path.iterdir()} == set(names) - set(reasons)


# --- the csv


def entries(tmp_path: Path, text: str) -> tuple[list[Entry], list[tuple[str, str]]]:
    path = tmp_path / "clips.csv"
    path.write_text(text, encoding="utf-8")
    found, notes = read_entries(path)
    return found, [(note.file, note.reason) for note in notes]


def test_quotes_commas_and_headers(tmp_path: Path) -> None:
    text = '-a_b,30,"dog, ""big""",train\nc,7, cat ,test\n'
    expected = [
        Entry(ClipName("-a_b", 30), 'dog, "big"', "train"),
        Entry(ClipName("c", 7), "cat", "test"),
    ]
    for header in ("", "youtube_id,start_seconds,label,split\n", "\ufeff# YouTube ID, start,label,split\n"):
        assert entries(tmp_path, header + text) == (expected, [])
    assert str(expected[0].name) == "-a_b_000030"


def test_repeated_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "a,1,x,train\nb,1,x,train\nb,1,y,train\na,1,x,train\nc,1,x,test\nc,1,x,train\na,2,y,train\n"
    with caplog.at_level(logging.WARNING):
        found, notes = entries(tmp_path, text)
    assert [str(entry.name) for entry in found] == ["a_000001", "a_000002"]
    assert "1 repeated lines" in caplog.text
    assert notes == [
        ("b_000001", "`clips.csv` gives it several labels: `x`, `y`"),
        ("c_000001", "`clips.csv` gives it several splits: `test`, `train`"),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has none"),
        ("a,1,dog, big,train\n", "line 1 must have four fields.* quote labels that contain a comma"),
        ("a,1,x,train\nb,soon,x,train\n", "line 2 must have a start of 0 or more whole seconds. Got 'soon'"),
        ("a,1,x,train\nb,-3,x,train\n", "line 2 must have a start"),
        ("a,1,x,train\nb,1,x,dev\n", "line 2 must have a split of `train`, `validation`, `test`. Got 'dev'"),
        ("a,1,x,train\n,1,x,train\n", "line 2 must name a video"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(InputError, match=error):
        entries(tmp_path, text)
    with pytest.raises(InputError, match=r"cannot be read"):
        read_entries(tmp_path / "absent.csv")


def test_classes(tmp_path: Path) -> None:
    counts = {"wind": 3, "dog": 5, "cat": 3, "bird": 1}
    found = [
        Entry(ClipName(f"{label}{i}", 0), label, "train") for label in counts for i in range(counts[label])
    ]
    assert choose_classes(found, None) == ["bird", "cat", "dog", "wind"]
    assert choose_classes(found, 2) == ["cat", "dog"]
    path = tmp_path / "classes.txt"
    path.write_text("wind\n\ndog\n")
    assert choose_classes(found, path) == ["wind", "dog"]
    for text, error in (
        ("wind\ndogs\n", "names the class 'dogs', which no clip of the csv has. Is it `dog`?"),
        ("wind\nzzz\n", "The csv has `bird`, `cat`, `dog`, `wind`"),
        ("wind\nwind\n", "It names 'wind' twice"),
        ("wind\n", "two or more"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=error):
            choose_classes(found, path)
    for count in (1, 5):
        with pytest.raises(InputError, match=r"`classes` must lie in 2 \.\.\. 4"):
            choose_classes(found, count)
    with pytest.raises(InputError, match="a number, or a file"):
        choose_classes(found, tmp_path / "none.txt")


def test_clips_of_other_names_or_nowhere(tmp_path: Path) -> None:
    path = make_videos(tmp_path, ["a", "b"])
    for wrong, text in ((tmp_path / "none", "does not exist"), (tmp_path, "")):
        if text:
            with pytest.raises(InputError, match=text):
                prepare(path, wrong, tmp_path / "out", **SMALL)
    other = tmp_path / "other"
    other.mkdir()
    (other / "something_000001.mp4").write_bytes(b"")
    (other / "mirror_00.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"has none of 2, and 1 others\. .*mirror_00.tar.gz.*compressed"):
        prepare(path, other, tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"`frames` x `size` must not exceed 65500"):
        prepare(path, other, tmp_path / "out", frames=300, size=256)
