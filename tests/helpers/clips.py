"""Small generated clips that several tests share."""

import csv
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mfh.data.sources.ravdess.generated import GeneratedClips, encode_mp4, generate_clips
from mfh.data.sources.ravdess.prepare import PrepareReport, prepare

SMALL = {"height": 32, "width": 64, "audio_frames": 16, "seconds": 0.75}
"""Settings of `prepare` that suit clips of three quarters of a second."""


def make_clips(folder: Path, *, actors: int = 3, statements: int = 1, **settings: float) -> GeneratedClips:
    """Eight emotions per actor and statement: real mp4 and wav files, small and short."""
    return generate_clips(
        folder,
        actors=actors,
        statements=statements,
        repetitions=1,
        seconds=0.75,
        generator=np.random.default_rng(0),
        **settings,  # type: ignore[arg-type]
    )


def prepare_small(raw: Path, out: Path, **settings: object) -> PrepareReport:
    """`prepare` in this process, into small arrays."""
    return prepare(raw, out, **{**SMALL, "jobs": 0, "progress": False, **settings})  # type: ignore[arg-type]


def make_videos(
    folder: Path,
    labels: Sequence[str],
    *,
    seconds: float = 1.0,
    rate: int = 16_000,
    frames: int = 12,
    split: Callable[[int], str] = lambda i: "test" if i % 3 == 2 else "train",
) -> Path:
    """Clips `video<i>_<i>.mp4` in `folder/clips`, and their csv as vggsound.csv; returns the csv.

    Clip i is a tone of 200 (1 + code) Hz for the code of its label, and grey frames that become brighter.
    """
    (folder / "clips").mkdir(parents=True)
    names = sorted(set(labels))
    time = np.arange(round(seconds * rate)) / rate
    lines = []
    for i, label in enumerate(labels):
        code = names.index(label)
        waveform = (0.4 * np.sin(2 * np.pi * 200 * (1 + code) * time)).astype(np.float32)
        grey = np.linspace(20 * (code + 1), 20 * (code + 1) + 100, frames).astype(np.uint8)
        pixels = np.broadcast_to(grey[:, None, None, None], (frames, 32, 48, 3)).copy()
        clip = encode_mp4(pixels, waveform, fps=round(frames / seconds), rate=rate)
        (folder / "clips" / f"video{i}_{i:06d}.mp4").write_bytes(clip)
        lines.append([f"video{i}", i, label, split(i)])
    path = folder / "clips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


def encode_clip(
    pixels: np.ndarray,
    waveform: np.ndarray | None = None,
    *,
    times: Sequence[int] | None = None,
    rate: int = 16_000,
    layout: str = "mono",
    pix_fmt: str = "yuv420p",
    container: str = "mp4",
    codecs: tuple[str, str] = ("libx264", "aac"),
) -> bytes:
    """A clip in any of the forms that clips come in.

    Args:
        pixels: frames (frame, height, width, 3), uint8; no frames make a clip without a video track.
        waveform: sound (channel, sample), float32, or None.
        times: when each frame is shown, in milliseconds; by default 25 a second.
        rate: of the sound.
        layout: of its channels.
        pix_fmt: of the frames.
        container: format by its suffix.
        codecs: of video and audio.
    """
    path = Path(tempfile.mkdtemp()) / "clip"
    options = {"movflags": "+faststart"} if container == "mp4" else {}
    with av.open(str(path), "w", format=container, options=options) as file:
        video = file.add_stream(codecs[0], rate=25) if len(pixels) else None
        audio = None if waveform is None else file.add_stream(codecs[1], rate=rate, layout=layout)
        if video is not None:
            video.height, video.width, video.pix_fmt = *pixels.shape[1:3], pix_fmt
            video.codec_context.thread_count = 1
            base = Fraction(1, 1000) if times is not None else Fraction(1, 25)
            video.codec_context.time_base = video.time_base = base
            for number, frame in enumerate(pixels):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts, picture.time_base = number if times is None else times[number], base
                file.mux(video.encode(picture))
            file.mux(video.encode())
        if audio is not None and waveform is not None:
            sound = av.AudioFrame.from_ndarray(waveform.astype(np.float32), format="fltp", layout=layout)
            sound.sample_rate = rate
            resampler = av.AudioResampler(format=audio.format, layout=layout, rate=rate)
            for piece in [*resampler.resample(sound), *resampler.resample(None)]:
                file.mux(audio.encode(piece))
            file.mux(audio.encode())
    content = path.read_bytes()
    shutil.rmtree(path.parent)
    return content


def turned(mp4: bytes, quarters: int) -> bytes:
    """An mp4 whose display matrix says: show me turned by so many quarters, clockwise."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters % 4]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    place = mp4.index(b"tkhd") + 4 + 40  # of the first track, the video's, in version 0
    return mp4[:place] + matrix + mp4[place + len(matrix) :]
