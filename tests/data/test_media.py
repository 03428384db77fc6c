"""Decoding, MFCCs against a plain computation, and the picture's layout."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.fft
from numpy.testing import assert_allclose

from mfh import InputError
from mfh.data import media
from mfh.data.media_video import decode_picture, layout
from mfh.data.sources.ravdess.generated import RATE, encode_mp4

encode_wav = partial(media.encode_wav, rate=RATE)


def tone(frequency: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def numbered_frames(count: int, height: int = 32, width: int = 64) -> np.ndarray:
    """Frame i has the grey 10 + 8 i, with a white square in its centre."""
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = (10 + 8 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    frames[:, height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 255
    return frames


def stereo_wav(left: np.ndarray, right: np.ndarray, path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        values = np.round(np.stack([left, right], axis=1) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(values, format="s16", layout="stereo")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


# --- sound


def test_a_wav_decodes_to_its_samples_and_in_memory_alike(tmp_path: Path) -> None:
    data = encode_wav(tone(440))
    (tmp_path / "a.wav").write_bytes(data)
    waveform = media.decode_audio(tmp_path / "a.wav", RATE)
    assert_allclose(waveform, tone(440), atol=1 / 32000)
    assert np.array_equal(media.decode_audio(data, RATE), waveform)


def test_resampling_keeps_pitch_and_length() -> None:
    waveform = media.decode_audio(encode_wav(tone(440)), 22050)
    assert abs(len(waveform) - 22050) <= 2
    spectrum = np.abs(np.fft.rfft(waveform))
    assert abs(np.argmax(spectrum) * 22050 / len(waveform) - 440) < 1.5


def test_channels_are_averaged_so_that_mono_and_stereo_are_equally_loud(tmp_path: Path) -> None:
    same = media.decode_audio(stereo_wav(tone(440), tone(440), tmp_path / "same.wav"), RATE)
    assert_allclose(same, tone(440), atol=1 / 32000)
    half = media.decode_audio(stereo_wav(tone(440), 0 * tone(440), tmp_path / "half.wav"), RATE)
    assert_allclose(half, tone(440) / 2, atol=1 / 32000)


def test_mfcc_agrees_with_a_plain_computation() -> None:
    """Framing, power, mel bands and the dB floor by hand; only the mel matrix is librosa's."""
    import librosa.filters

    frames, seconds, rate = 20, 0.5, 22050
    hop = media.hop_length(frames, seconds, rate)
    waveform = tone(600, hop * (frames - 1) / rate + 1e-9, rate) + tone(
        3000, hop * (frames - 1) / rate + 1e-9, rate
    )
    assert len(waveform) == hop * (frames - 1)
    padded = np.pad(waveform, 1024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    pieces = np.stack([padded[i * hop : i * hop + 2048] * window for i in range(frames)], axis=1)
    power = np.abs(np.fft.rfft(pieces, axis=0)) ** 2
    db = 10 * np.log10(np.maximum(librosa.filters.mel(sr=rate, n_fft=2048) @ power, 1e-10))
    expected = scipy.fft.dct(np.maximum(db, db.max() - 80), axis=0, norm="ortho")[:40]
    result = media.mfcc(waveform, rate, frames=frames, seconds=seconds)
    assert_allclose(result, expected, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("silence", [(0.0, 0.0), (2.0, 0.5), (0.2, 3.0)])
def test_mfcc_has_its_frames_and_follows_the_utterance(silence: tuple[float, float]) -> None:
    before, after = (np.zeros(round(s * 22050), np.float32) for s in silence)
    sound = np.random.default_rng(0).normal(0, 0.1, 22050).astype(np.float32)
    result = media.mfcc(np.concatenate([before, sound, after]), frames=64, seconds=1.5)
    assert result.shape == (40, 64)
    assert result.dtype == np.float32
    loud = np.flatnonzero(result[0] > (result[0].min() + result[0].max()) / 2)
    assert abs((loud[0] + loud[-1]) / 2 - 31.5) < 3
    assert 36 <= len(loud) <= 52


def test_the_default_hop_makes_256_frames_of_an_utterance() -> None:
    assert media.hop_length(media.AUDIO_FRAMES, media.WINDOW_SECONDS) == 301
    with pytest.raises(InputError, match=r"`seconds` must be longer than 0\.09"):
        media.hop_length(256, 0.05)
    with pytest.raises(InputError, match="`audio_frames` must be 2 or more"):
        media.hop_length(1, 3.5)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"", "the file is empty"),
        (lambda: encode_wav(tone(440)[:0]), "the audio has length zero"),
        (lambda: encode_wav(0 * tone(440)), "the audio is silent"),
        (lambda: encode_wav(tone(440))[:9000], "wav cut short: 9000 of"),
        (lambda: b"no sound at all, in any format", "FFmpeg cannot decode it"),
        (lambda: encode_mp4(numbered_frames(9), None), "no audio track"),
    ],
)
def test_what_holds_no_sound_says_so(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        media.decode_audio(make())


def test_endless_sound_is_refused_before_it_fills_the_memory() -> None:
    data = bytearray(encode_wav(tone(440)))
    data[24:28] = (8).to_bytes(4, "little")  # 24,000 samples at 8 per second: fifty minutes
    with pytest.raises(InputError, match="longer than 600 seconds"):
        media.decode_audio(bytes(data))


# --- pictures


def test_frames_are_evenly_spaced_and_laid_out_row_by_row() -> None:
    picture = decode_picture(encode_mp4(numbered_frames(24), None), frames=8, height=32, width=64)
    assert picture.shape == (32, 64, 3)
    corners = picture[::16, ::16].astype(int)
    expected = [10 + 8 * int((i + 0.5) * 24 / 8) for i in range(8)]
    assert np.abs(corners[..., 0].ravel() - expected).max() <= 4
    assert np.abs(corners - corners[..., :1]).max() <= 4


def test_a_tile_is_the_centre_of_a_frame_undistorted() -> None:
    picture = decode_picture(encode_mp4(numbered_frames(8, 64, 128), None), frames=2, height=64, width=128)
    white = picture[:, :64, 0] > 150
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    assert (rows[0], rows[-1]) == pytest.approx((30, 33), abs=1)
    assert (columns[0], columns[-1]) == pytest.approx((30, 33), abs=1)


def test_colours_stay_red_green_blue() -> None:
    frames = np.zeros((8, 32, 32, 3), np.uint8)
    frames[:] = (200, 90, 30)
    picture = decode_picture(encode_mp4(frames, None), frames=1, height=32, width=32)
    assert np.abs(picture.astype(int) - [200, 90, 30]).max() <= 8


@pytest.mark.parametrize(
    ("frames", "height", "width", "grid"),
    [
        (8, 256, 512, (2, 4)),
        (2, 256, 512, (1, 2)),
        (32, 256, 512, (4, 8)),
        (4, 64, 64, (2, 2)),
        (3, 30, 90, (1, 3)),
    ],
)
def test_tiles_are_as_square_as_can_be(frames: int, height: int, width: int, grid: tuple[int, int]) -> None:
    assert layout(frames, height, width) == grid


def test_frames_that_do_not_divide_the_picture_are_refused() -> None:
    with pytest.raises(InputError, match=r"Got 7: `1`, `2`, `4`, `8` would"):
        layout(7, 256, 512)
    with pytest.raises(InputError, match="`frames` must be 1 or more"):
        layout(0, 256, 512)


def test_a_cut_off_video_is_noticed() -> None:
    rng = np.random.default_rng(0)
    data = encode_mp4(rng.integers(0, 255, (30, 64, 64, 3), dtype=np.uint8), None)
    with pytest.raises(InputError, match=r"video cut short: .* of 30 frames|FFmpeg cannot decode"):
        decode_picture(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"video cut short: .* of 30 frames|FFmpeg cannot decode"):
        decode_picture(data[: -len(data) // 8], frames=1)
    with pytest.raises(InputError, match="the video has 5 frames, 8 are needed"):
        decode_picture(encode_mp4(numbered_frames(5), None))
    with pytest.raises(InputError, match="no video track"):
        decode_picture(encode_wav(tone(440)))


def test_damage_never_raises_anything_else() -> None:
    rng = np.random.default_rng(0)
    mp4, wav = encode_mp4(numbered_frames(12), tone(440)), encode_wav(tone(440, 0.2))
    refused = 0
    for trial in range(120):
        data = bytearray(wav if trial % 3 == 0 else mp4)
        for _ in range(rng.integers(1, 30)):
            data[rng.integers(min(len(data), 3000))] = rng.integers(256)
        try:
            media.decode_audio(bytes(data)) if trial % 3 < 2 else decode_picture(bytes(data))
        except InputError:
            refused += 1
    assert 20 < refused < 120


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"`av` is needed here .* pip install 'mfh\[av\]'"):
        media.decode_audio(b"RIFF")


# --- real recordings


def test_real_recordings(data_folder: Path) -> None:
    folder = data_folder / "ravdess_raw"
    picture = decode_picture(folder / "01-01-01-01-01-01-01.mp4")
    assert picture.shape == (256, 512, 3)
    tiles = picture.reshape(2, 128, 4, 128, 3).swapaxes(1, 2).reshape(8, 128, 128, 3).astype(float)
    assert tiles[:, :20, :20].min() > 200  # a white wall behind the actor
    assert tiles[:, 120:].mean() < 60  # a black shirt below the face
    assert (tiles[:, 50:70, 50:78, 0] - tiles[:, 50:70, 50:78, 2]).mean() > 20  # skin is redder than blue
    for name in ("03-01-02-01-01-01-01.wav", "03-01-05-02-01-01-01.wav", "01-01-01-01-01-01-01.mp4"):
        coefficients = media.mfcc(media.decode_audio(folder / name))
        assert coefficients.shape == (40, 256)
        # the released data have mean -10.59 and standard deviation 85.66 over all actors
        assert -25 < coefficients.mean() < -5
        assert 50 < coefficients.std() < 130
