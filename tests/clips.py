"""Small generated RAVDESS clips that several tests share."""

from pathlib import Path

import numpy as np

from mfh.data.ravdess_generated import GeneratedClips, generate_clips
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
