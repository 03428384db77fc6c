"""Clips that are unusual but complete are decoded as players play them; what is incomplete is refused."""

import io
import struct
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import encode_clip

from mfh import InputError
from mfh.data.media import decode_audio, encode_wav
from mfh.data.media_video import decode_frames

RATE = 16_000
BLACK = np.zeros((0, 32, 48, 3), np.uint8)


def tone(seconds: float, rate: int = RATE, pitch: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def wav(samples: np.ndarray, channels: int = 1) -> bytes:
    """A wav of 32-bit floats; channels alternate."""
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<IHHIIHH", 16, 3, channels, RATE, 4 * channels * RATE, 4 * channels, 32)
    body = b"WAVEfmt " + head + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def packets(kind: str, codec: str, rate: int, *, layout: str = "mono", pause: float = 0.0) -> bytes:
    """Two seconds of sound, or two with a pause without packets between them."""
    content = io.BytesIO()
    with av.open(content, "w", format=kind) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        waveform = tone(2, rate)
        for start in range(0, len(waveform) // size * size, size):
            values = np.tile(waveform[start : start + size], (len(stream.layout.channels), 1))
            frame = av.AudioFrame.from_ndarray(values, format="fltp", layout=layout)
            frame.sample_rate = rate
            for piece in resampler.resample(frame):
                piece.pts = start + round(pause * rate) * (start >= len(waveform) // 2)
                piece.time_base = Fraction(1, rate)
                file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return content.getvalue()


def pitches(waveform: np.ndarray) -> list[int]:
    parts = [waveform[i : i + 8000] * np.hanning(8000) for i in range(0, len(waveform) - 8000, 8000)]
    return [int(abs(np.fft.rfft(part)).argmax() * 2) for part in parts]


# --- decoded values


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_that_is_not_finite_is_refused(value: float, channels: int) -> None:
    samples = np.repeat(tone(1), channels)
    samples[8000 * channels] = value
    with pytest.raises(InputError, match=r"the audio is not finite.* at 0\.50 seconds"):
        decode_audio(wav(samples, channels), RATE)


# --- what changes midway


@pytest.mark.parametrize(
    ("first", "second"),
    [((16_000, "mono"), (44_100, "stereo")), ((48_000, "stereo"), (8_000, "mono")), ((48_000, "5.1"),) * 2],
)
def test_sound_whose_rate_or_channels_change(first: tuple[int, str], second: tuple[int, str]) -> None:
    joined = b"".join(packets("adts", "aac", rate, layout=layout) for rate, layout in (first, second))
    waveform = decode_audio(joined, RATE)
    assert 4.0 <= len(waveform) / RATE <= 4.3
    assert pitches(waveform) == pytest.approx([440] * len(pitches(waveform)), abs=4)


def test_joined_mp3_files_with_their_tags() -> None:
    one = packets("mp3", "libmp3lame", 44_100), packets("mp3", "libmp3lame", 16_000)
    assert one[1].startswith(b"ID3")
    waveform = decode_audio(b"".join(one), RATE)
    assert 4.0 <= len(waveform) / RATE <= 4.3
    assert set(pitches(waveform)) <= {438, 440, 442}


def corners(picture: np.ndarray) -> str:
    colours = {"R": (250, 0, 0), "G": (0, 250, 0), "B": (0, 0, 250), "W": (250, 250, 250)}
    rows, columns = picture.shape[0] // 6, picture.shape[1] // 6
    places = ((rows, columns), (rows, -columns), (-rows, columns), (-rows, -columns))
    return "".join(
        min(colours, key=lambda c: np.abs(np.subtract(picture[p].astype(int), colours[c])).sum())
        for p in places
    )


def coloured(height: int = 64, width: int = 96, **settings: object) -> bytes:
    """Four frames with red, green, blue and white corners."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (250, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 250, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 250)
    picture[height // 2 :, width // 2 :] = (250, 250, 250)
    return encode_clip(np.stack([picture] * 12), **settings)  # type: ignore[arg-type]


def seen(clip: bytes, height: int = 32, width: int = 48, frames: int = 1, **settings: object) -> list[str]:
    shown = decode_frames(clip, frames=frames, height=height, width=width, **settings)  # type: ignore[arg-type]
    return [corners(frame) for frame in shown]


def test_pictures_whose_size_changes_are_cropped_alike() -> None:
    codecs = ("mpeg2video", "mp2")
    parts = [coloured(*size, container="mpegts", codecs=codecs) for size in ((64, 96), (128, 192))]
    joined = b"".join(parts)
    assert seen(joined, frames=4) == ["RGBW"] * 4
    assert seen(joined, 64, 48, frames=4, crop=(0, 64, 0, 48)) == ["RRBB"] * 4


# --- as players show it

MATRICES = {  # a, b, c and d of the display matrix -> corners shown
    "identity": ((1, 0, 0, 1), "RGBW"),
    "mirrored": ((-1, 0, 0, 1), "GRWB"),
    "upside down": ((1, 0, 0, -1), "BWRG"),
    "half turn": ((-1, 0, 0, -1), "WBGR"),
    "quarter turn": ((0, 1, -1, 0), "BRWG"),
    "transposed": ((0, 1, 1, 0), "RBGW"),
    "transposed and turned": ((0, -1, -1, 0), "WGBR"),
    "damaged": ((0, 0, 0, 0), "RGBW"),
}


def with_matrix(mp4: bytes, a: float, b: float, c: float, d: float) -> bytes:
    values = [round(value * 65536) for value in (a, b, 0, c, d, 0, 0, 0)]
    place = mp4.index(b"tkhd") + 44
    return mp4[:place] + struct.pack(">9i", *values, 1 << 30) + mp4[place + 36 :]


@pytest.mark.parametrize("name", MATRICES)
def test_display_matrices(name: str) -> None:
    matrix, shown = MATRICES[name]
    size = (48, 32) if any(matrix[1:3]) else (32, 48)
    assert seen(with_matrix(coloured(), *matrix), *size) == [shown]


def with_aperture(mov: bytes, width: int, height: int, right: int, down: int) -> bytes:
    """A mov that shows only a part of each frame; `right` and `down` move it from the centre."""
    values = (width, 1, height, 1, right, 1, down, 1)
    box = struct.pack(">I4s8i", 40, b"clap", *values)
    start, end, places = 0, len(mov), []
    for kind, head in zip(
        (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"), (8, 8, 8, 8, 8, 16, 86), strict=True
    ):
        while mov[start + 4 : start + 8] != kind:
            start += int.from_bytes(mov[start : start + 4], "big")
        places.append(start)
        end, start = start + int.from_bytes(mov[start : start + 4], "big"), start + head
    content = bytearray(mov[:end] + box + mov[end:])
    for place in places:
        size = int.from_bytes(content[place : place + 4], "big") + len(box)
        content[place : place + 4] = size.to_bytes(4, "big")
    return bytes(content)


def test_what_the_container_crops_is_not_shown() -> None:
    left = with_aperture(coloured(container="mov"), 48, 64, -24, 0)
    assert seen(left, 64, 48) == ["RRBB"]
    assert seen(left, 32, 48, crop=(32, 64, 0, 48)) == ["BBBB"]
    with pytest.raises(InputError, match="beyond its frames of 64 x 48"):
        seen(left, crop=(0, 64, 0, 49))


@pytest.mark.parametrize(("width", "aspect"), [(96, 1), (48, 2), (192, Fraction(1, 2))])
@pytest.mark.parametrize("crop", [None, (0, 64, 48, 96)])
def test_pixels_that_are_not_square(width: int, aspect: Fraction, crop: tuple[int, ...] | None) -> None:
    """All are shown as 96 x 64: no row is lost, and a crop counts shown pixels."""
    content = io.BytesIO()
    with av.open(content, "w", format="matroska") as file:
        stream = file.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = width, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        rows = np.repeat(4 * np.arange(64, dtype=np.uint8)[:, None], width, axis=1)
        rows[:, width // 2 :] = 255 - rows[:, width // 2 :]
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.repeat(rows[..., None], 3, axis=2), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    size = {"height": 64, "width": 96 if crop is None else 48}
    shown = decode_frames(content.getvalue(), frames=1, crop=crop, **size)[0]  # type: ignore[arg-type]
    first, last = int(shown[0, 4, 0]), int(shown[-1, 4, 0])
    assert (first, last) == pytest.approx((0, 252) if crop is None else (255, 3), abs=8)


# --- complete or not


def sized(riff: int, data: int) -> bytes:
    content = encode_wav(tone(1), rate=RATE)
    place = content.index(b"data") + 4
    return (
        content[:4]
        + struct.pack("<I", riff)
        + content[8:place]
        + struct.pack("<I", data)
        + content[place + 4 :]
    )


@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0x7FFFF024, 0x7FFFF000), (0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (36, 0), (0x80000024, 0x80000000),
        (32_044, 32_000), (32_037, 32_001), (0xFFFFFFFF, 32_000),
    ],
)  # fmt: skip
def test_sizes_that_a_pipe_or_a_careless_writer_left(riff: int, data: int) -> None:
    assert len(decode_audio(sized(riff, data), RATE)) == RATE


@pytest.mark.parametrize(("riff", "data"), [(32_036, 32_000), (0xFFFFFFFF, 32_000), (0, 32_000)])
def test_a_wav_that_is_cut_short_is_told_by_its_samples(riff: int, data: int) -> None:
    content = sized(riff, data)
    for share in (0.5, 0.99):
        with pytest.raises(InputError, match=r"wav cut short: \d+ of 32044 bytes"):
            decode_audio(content[: int(share * len(content))], RATE)


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [
        ("w64", "pcm_s16le", RATE), ("aiff", "pcm_s16be", RATE), ("flac", "flac", RATE),
        ("mp3", "libmp3lame", RATE), ("matroska", "aac", RATE), ("mp4", "aac", RATE),
        ("avi", "libmp3lame", 44_100), ("flv", "aac", 44_100),
    ],
)  # fmt: skip
def test_half_of_a_file_is_refused(kind: str, codec: str, rate: int) -> None:
    content = encode_clip(BLACK, tone(2, rate)[None], rate=rate, container=kind, codecs=("", codec))
    assert len(decode_audio(content, RATE)) >= 2 * RATE
    with pytest.raises(InputError, match=r"cut short|FFmpeg cannot decode"):
        decode_audio(content[: len(content) // 2], RATE)


CONTAINERS = [
    ("matroska", "aac", RATE), ("mp4", "aac", RATE), ("ogg", "libopus", 48_000), ("mpegts", "mp2", 48_000),
    ("mpeg", "mp2", 48_000), ("flv", "libmp3lame", 44_100), ("avi", "libmp3lame", 44_100),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "codec", "rate"), CONTAINERS)
def test_a_pause_without_packets_is_silence(kind: str, codec: str, rate: int) -> None:
    without, with_pause = (decode_audio(packets(kind, codec, rate, pause=p), RATE) for p in (0.0, 1.5))
    assert len(with_pause) - len(without) == pytest.approx(1.5 * RATE, abs=0.07 * RATE)
    assert abs(without).reshape(-1)[RATE // 2 : RATE].max() > 0.4
    silent = np.flatnonzero(abs(with_pause) < 0.01)
    middle = with_pause[round(1.2 * RATE) : round(2.3 * RATE)]
    assert abs(middle).max() < 0.01
    assert len(silent) > 1.2 * RATE
    assert abs(with_pause[-8000:-3000]).max() > 0.4


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
@pytest.mark.parametrize("dropped", [lambda i: i % 4 == 3, lambda i: 20 <= i < 40])
def test_frames_that_an_avi_leaves_out(codec: str, dropped: Callable[[int], bool]) -> None:
    content = io.BytesIO()
    with av.open(content, "w", format="avi") as file:
        stream = file.add_stream(codec, rate=30, options={"qscale": "1"})
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
        for i in range(60):
            if not dropped(i):
                frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 4 * i, np.uint8), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 30)
                file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    clip = content.getvalue()
    shown = [i for i in range(60) if not dropped(i)]
    span = shown[-1] + 1 - shown[0]
    wanted = [4 * max(i for i in shown if i <= shown[0] + (k + 0.5) * span / 4) for k in range(4)]
    got = decode_frames(clip, frames=4, height=16, width=24)[:, 0, 0, 0].astype(int).tolist()
    assert got == pytest.approx(wanted, abs=10)
    with pytest.raises(InputError, match="AVI cut short"):
        decode_frames(clip[: len(clip) // 2], frames=4, height=16, width=24)


# --- which track, which channel


def two_tracks(first: float, second: float, default: int | None) -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="matroska") as file:
        streams = [file.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition(number == default)
        for stream, pitch in zip(streams, (first, second), strict=True):
            frame = av.AudioFrame.from_ndarray(tone(1, pitch=pitch)[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return content.getvalue()


def test_the_default_track_is_heard() -> None:
    assert pitches(decode_audio(two_tracks(0, 440, 1), RATE)) == [440] * 2
    assert pitches(decode_audio(two_tracks(1000, 440, 0), RATE)) == [1000] * 2
    assert pitches(decode_audio(two_tracks(1000, 440, None), RATE)) == [1000] * 2
    with pytest.raises(InputError, match="the audio track 2 of 2 is silent"):
        decode_audio(two_tracks(440, 0, 1), RATE)


@pytest.mark.parametrize("right", [-1.0, -0.9])
def test_opposite_channels_are_not_silent(right: float) -> None:
    left = tone(1)
    waveform = decode_audio(wav(np.stack([left, right * left], axis=1).ravel(), 2), RATE)
    np.testing.assert_allclose(waveform, left, atol=1e-6)
    half = decode_audio(wav(np.stack([left, 0 * left], axis=1).ravel(), 2), RATE)
    np.testing.assert_allclose(half, left / 2, atol=1e-6)
    with pytest.raises(InputError, match="the audio is silent: every sample is 0"):
        decode_audio(wav(np.zeros(2 * RATE), 2), RATE)
