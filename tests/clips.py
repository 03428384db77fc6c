"""Small generated clips that several tests share."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mfh.data.ravdess_generated import GeneratedClips, encode_mp4, generate_clips
from mfh.data.ravdess_prepare import PrepareReport, prepare

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
    return prepare(raw, out, **{**SMALL, "jobs": 1, "progress": False, **settings})  # type: ignore[arg-type]


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
