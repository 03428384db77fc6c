"""Generated clips show their bits of the label and no others, so that the teacher's share holds."""

import re
from pathlib import Path

import numpy as np
import pytest
from clips import make_clips

from mfh import InputError
from mfh.data import media
from mfh.data.media_video import decode_picture
from mfh.data.sources.ravdess.clips import ClipName
from mfh.data.sources.ravdess.generated import RATE, generate_clips

TONES = ((320, 480), (960, 1440), (2880, 4320))


def heard(path: Path) -> np.ndarray:
    """For each band, the loudness of the upper tone minus that of the lower, with 4% of play in the pitch."""
    waveform = media.decode_audio(path, RATE)
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) / len(waveform)
    frequency = np.fft.rfftfreq(len(waveform), 1 / RATE)

    def level(tone: int) -> float:
        return spectrum[np.abs(frequency / tone - 1) < 0.04].max()

    return np.array([level(high) - level(low) for low, high in TONES])


def seen(path: Path) -> np.ndarray:
    """For each third of the frame, the brightness of the right half minus that of the left."""
    picture = decode_picture(path, frames=1, height=60, width=60).mean(axis=2)
    return np.array([part[:, 30:].mean() - part[:, :30].mean() for part in np.split(picture, 3)])


def bits(label: int) -> np.ndarray:
    return np.array([(label >> place) & 1 for place in range(3)])


@pytest.mark.parametrize(("shared", "audio_only"), [(1, 1), (1, 2), (0, 1)])
def test_tone_and_picture_show_their_bits_and_no_others(tmp_path: Path, shared: int, audio_only: int) -> None:
    made = make_clips(tmp_path, actors=1, shared=shared, audio_only=audio_only)
    audible = np.arange(3) < shared + audio_only
    visible = (np.arange(3) < shared) | ~audible
    assert made.clips == 8
    labels, tones, discs = [], [], []
    for wav in sorted(tmp_path.rglob("*.wav")):
        mp4 = wav.with_name(f"01{wav.stem[2:]}.mp4")
        labels.append(bits(ClipName.parse(wav.name).label))
        tones.append(heard(wav))
        discs.append(seen(mp4))
        np.testing.assert_allclose(heard(mp4), tones[-1], atol=0.2 * np.abs(tones[-1]).max())
    expected = 2 * np.array(labels) - 1
    assert (np.sign(tones) == expected)[:, audible].all()
    assert (np.sign(discs) == expected)[:, visible].all()
    loud = np.abs(tones)[:, audible].min()
    assert np.abs(tones)[:, ~audible].max(initial=0) < 0.3 * loud
    bright = np.abs(discs)[:, visible].min()
    assert np.abs(discs)[:, ~visible].max(initial=0) < 0.3 * bright


@pytest.mark.parametrize(("shared", "audio_only", "share"), [(1, 1, 1 / 2), (2, 1, 2 / 3)])
def test_the_teachers_share_is_what_a_picture_predicts_of_a_teacher_of_the_tone(
    tmp_path: Path, shared: int, audio_only: int, share: float
) -> None:
    """gamma_hat by hand: teacher logits linear in what is heard, predicted from what is seen."""
    made = make_clips(tmp_path, actors=1, shared=shared, audio_only=audio_only, noise=0.1)
    tones = np.array([heard(path) for path in sorted(tmp_path.rglob("03-*.wav"))])
    discs = np.array([seen(path) for path in sorted(tmp_path.rglob("01-*.mp4"))])
    tones[:, shared + audio_only :] = 0
    directions = 2 * np.array([bits(label) for label in range(8)]) - 1
    z = np.sign(tones) @ directions.T
    looks = np.column_stack([np.sign(discs) * (np.abs(discs) > np.abs(discs).max() / 3), np.ones(len(discs))])
    s = looks @ np.linalg.lstsq(looks, z, rcond=None)[0]
    z, s = z - z.mean(axis=0), s - s.mean(axis=0)
    assert made.teacher_share == pytest.approx(share)
    assert (s * z).sum() / (z * z).sum() == pytest.approx(share, abs=0.02)


def test_numbers_that_follow_from_the_bits(tmp_path: Path) -> None:
    made = make_clips(tmp_path, actors=1)
    assert (made.teacher_share, made.best_audio, made.best_image) == (0.5, 50.0, 50.0)
    assert made.gamma == pytest.approx(1 / 3)


def test_the_same_generator_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        generator = np.random.default_rng(seed)
        generate_clips(
            tmp_path / name, actors=1, statements=1, repetitions=1, seconds=0.5, generator=generator
        )
    first, same, other = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))} for name in "abc"
    )
    assert first == same
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize(
    ("setting", "value", "rule"),
    [
        ("actors", 25, "`actors` must lie in 1 ... 24. Got 25"),
        ("shared", 4, "`shared` must lie in 0 ... 3. Got 4"),
        ("audio_only", 3, "`shared + audio_only` must lie in 1 ... 3. Got 4"),
        ("statements", 3, "`statements` must lie in 1 ... 2"),
        ("noise", -1.0, "`noise` must lie in 0 ... 10"),
        ("seconds", 0.1, "`seconds` must lie in 0.5 ... 10"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, setting: str, value: float, rule: str) -> None:
    with pytest.raises(InputError, match=re.escape(rule)):
        generate_clips(tmp_path / "x", generator=np.random.default_rng(0), **{setting: value})
    assert not (tmp_path / "x").exists()
