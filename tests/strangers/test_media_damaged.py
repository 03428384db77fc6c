"""Clips cut short and with flipped bits: decoding returns or skips, in bounded time and memory."""

import contextlib
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clips import encode_clip
from decode_jobs import deadly, decode_any

from mfh import InputError
from mfh.data.media import decode_audio
from mfh.data.media_video import decode_frames
from mfh.data.preparation import decode_all

CODECS = {
    "mp4": ("libx264", "aac"), "mov": ("mpeg4", "aac"), "avi": ("mpeg4", "mp2"),
    "matroska": ("libx264", "aac"),
    "webm": ("libvpx", "libopus"), "mpeg": ("mpeg1video", "mp2"), "mpegts": ("mpeg2video", "mp2"),
    "wav": ("", "pcm_s16le"), "flac": ("", "flac"),
}  # fmt: skip
DAMAGES = int(os.environ.get("MFH_DAMAGES", "100"))  # of each sort, for each kind of clip
MEMORY = 300_000  # KiB, with Python, numpy and FFmpeg themselves


def whole(kind: str) -> bytes:
    """A clip of 12 noisy frames and a second of sound."""
    rng = np.random.default_rng(0)
    video, audio = CODECS[kind]
    pixels = rng.integers(0, 255, (12 if video else 0, 32, 48, 3), dtype=np.uint8)
    sound = (0.3 * np.sin(np.arange(16_000) / 20)).astype(np.float32)[None]
    rate = 48_000 if kind == "webm" else 16_000
    return encode_clip(pixels, sound, container=kind, codecs=(video, audio), rate=rate)


def damaged(content: bytes, count: int) -> dict[str, bytes]:
    """The clip cut at `count` places, and with 1 to 8 bits flipped at `count` more."""
    rng = np.random.default_rng(len(content))
    made = {f"cut{at}": content[:at] for at in np.linspace(0, len(content) - 1, count, dtype=int)}
    for number in range(count):
        values = bytearray(content)
        # every second time in the first part, where the headers are
        for place in rng.integers(0, len(content) if number % 2 else 600, rng.integers(1, 9)):
            values[place] ^= 1 << int(rng.integers(8))
        made[f"flip{number}"] = bytes(values)
    return made


@pytest.mark.parametrize("kind", CODECS)
def test_damaged_clips_decode_or_are_refused(kind: str) -> None:
    content = whole(kind)
    assert len(decode_audio(content)) > 0
    for part in damaged(content, 3).values():
        for decode in (decode_audio, partial(decode_frames, frames=4, height=8, width=8)):
            with contextlib.suppress(InputError):
                decode(part)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CODECS)
def test_two_hundred_damages_of_each_kind(kind: str, tmp_path: Path) -> None:
    parts = damaged(whole(kind), DAMAGES)
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    decode = partial(decode_any, tmp_path, pictures=bool(CODECS[kind][0]))
    found = dict(decode_all(list(parts), decode, jobs=2, seconds=60.0))
    assert found.keys() == parts.keys()
    assert len(parts) == 2 * DAMAGES
    assert not [name for name, reason in found.items() if "longer than" in reason]
    peak = max(int(path.read_text()) for path in tmp_path.glob("memory-*"))
    assert peak < MEMORY
    skipped = sum(bool(reason) for reason in found.values())
    died = sum("dies" in reason for reason in found.values())
    sys.stdout.write(f"{kind}: {len(parts)} clips, {skipped} skipped, {died} killed FFmpeg, {peak} KiB\n")
    assert 0 < skipped < len(parts)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_clip_that_hangs_or_fills_the_memory_is_named(jobs: int, tmp_path: Path) -> None:
    names = ["a", "hang", "b", "fill"]
    found = dict(decode_all(names, partial(deadly, tmp_path), jobs=jobs, seconds=1.5))
    assert found == {
        "a": "", "b": "", "hang": "decoding it takes longer than 1.5 seconds",
        "fill": "it needs more memory than there is",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_play_list_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(whole("wav"))
    listed = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n"
    for name, text in {"x.mp4": listed, "y.mp4": "ffconcat version 1.0\nfile secret.wav\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="FFmpeg cannot decode it"):
            decode_audio(tmp_path / name)
