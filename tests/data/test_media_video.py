"""Frames of clips as they come: uneven rates, turned, odd sizes, few frames, MPEG-1."""

from pathlib import Path

import numpy as np
import pytest
from clips import encode_clip, turned

from mfh import InputError
from mfh.data import media
from mfh.data.media_video import decode_frames

TONE = 0.5 * np.sin(np.arange(16_000) / 10)[None]


def grey(values: list[int], height: int = 32, width: int = 48) -> np.ndarray:
    """Frames of one grey each."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), height, width, 3))


def seen(clip: bytes, count: int, **settings: object) -> list[int]:
    frames = decode_frames(clip, frames=count, height=16, width=24, **settings)  # type: ignore[arg-type]
    return frames.mean(axis=(1, 2, 3)).round().astype(int).tolist()


def test_frames_of_an_uneven_rate_are_those_that_a_viewer_sees() -> None:
    # four frames in the first 80 ms, the last of them for a second, then one until the end
    clip = encode_clip(grey([40, 80, 120, 160, 200]), times=[0, 20, 40, 60, 1060])
    assert seen(clip, 5, repeat=True) == pytest.approx([160, 160, 160, 160, 160], abs=3)
    # until 400, 500 and 540 ms
    clip = encode_clip(grey([40, 200, 120]), times=[0, 400, 500])
    assert seen(clip, 9, repeat=True) == pytest.approx([*[40] * 7, 200, 120], abs=3)


def test_an_even_rate_gives_evenly_spaced_frames() -> None:
    values = list(range(10, 250, 5))  # 48 frames
    for count in (1, 5, 7, 48):
        expected = [values[int((i + 0.5) * 48 / count)] for i in range(count)]
        assert seen(encode_clip(grey(values)), count) == pytest.approx(expected, abs=3)


def test_few_frames_are_repeated_only_where_wanted() -> None:
    clip = encode_clip(grey([50, 200]))
    assert seen(clip, 4, repeat=True) == pytest.approx([50, 50, 200, 200], abs=3)
    with pytest.raises(InputError, match="has 2 frames, 4 are needed"):
        seen(clip, 4)


@pytest.mark.parametrize("quarters", range(4))
def test_turned_clips_are_shown_upright(quarters: int) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:8] = (250, 0, 0)  # red above, blue on the left
    upright[8:, :12] = (0, 0, 250)
    stored = np.rot90(upright, quarters)  # against the clock; the player turns it back
    clip = turned(encode_clip(np.stack([stored] * 5)), quarters)
    frame = decode_frames(clip, frames=1, height=32, width=48)[0].astype(int)
    assert np.abs(frame - upright).mean() < 12


@pytest.mark.parametrize(("height", "width"), [(33, 47), (31, 32), (240, 17)])
def test_odd_sizes(height: int, width: int) -> None:
    clip = encode_clip(grey([30, 90, 150], height, width), pix_fmt="yuv444p")
    assert seen(clip, 3) == pytest.approx([30, 90, 150], abs=3)


def test_a_crop_is_taken_from_the_upright_frame() -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[4:12, 40:48] = 240
    clip = turned(encode_clip(np.stack([np.rot90(picture)] * 3)), 1)
    inside = decode_frames(clip, frames=1, height=8, width=8, crop=(4, 12, 40, 48))
    assert inside[0].min() > 180
    outside = decode_frames(clip, frames=1, height=8, width=8, crop=(20, 28, 0, 8))
    assert outside[0].max() < 40
    with pytest.raises(InputError, match=r"beyond its frames of 32 x 48"):
        decode_frames(clip, frames=1, height=8, width=8, crop=(4, 33, 40, 48))


def test_mpeg1_loses_no_frame() -> None:
    values = list(range(20, 220, 4))
    sound = np.sin(np.arange(88_200) / 20)[None] / 2
    codecs = ("mpeg1video", "mp2")
    clip = encode_clip(grey(values), sound, rate=44_100, container="mpeg", codecs=codecs)
    assert seen(clip, 10) == pytest.approx([values[5 * i + 2] for i in range(10)], abs=4)
    assert len(media.decode_audio(clip, 16_000)) == pytest.approx(32_000, abs=1_000)


SOUNDS = [(rate, layout) for rate in (8_000, 22_050, 44_100, 48_000) for layout in ("mono", "stereo")]


@pytest.mark.parametrize(("rate", "layout"), [*SOUNDS, (48_000, "5.1")])
def test_sound_at_any_rate_and_of_any_channels(rate: int, layout: str) -> None:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    tone = np.repeat(0.4 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)[None], channels, axis=0)
    clip = encode_clip(grey([30, 60]), tone, rate=rate, layout=layout)
    waveform = media.decode_audio(clip, 16_000)
    assert len(waveform) == pytest.approx(16_000, abs=2_500)
    spectrum = np.abs(np.fft.rfft(waveform[2_000:10_000]))
    assert spectrum.argmax() * 2 == pytest.approx(500, abs=4)
    if layout != "5.1":  # whose fourth channel carries low notes only
        assert waveform[2_000:10_000].std() == pytest.approx(0.4 / 2**0.5, rel=0.1)


def test_real_mpeg1_clips(data_folder: Path) -> None:
    files = sorted((data_folder / "grid" / "raw_mpg").glob("*.mpg"))
    assert len(files) == 8
    for file in files:
        frames = decode_frames(file, frames=75, height=72, width=90)
        assert np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3)).min() > 0.05  # none twice
        assert frames[0, :10].mean(axis=(0, 1)).argmax() == 2  # a blue wall
        waveform = media.decode_audio(file, 16_000)
        assert 2.9 < len(waveform) / 16_000 < 3.1
