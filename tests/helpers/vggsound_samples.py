"""Small generated clips in the shapes of VGGSound, in memory, that several tests share."""

import numpy as np

from mfh import PairedDataset
from mfh.data.sources.vggsound.inputs import NormalizeVideo, Spectrogram
from mfh.experiments.vggsound_config import VggsoundConfig

CONFIG = VggsoundConfig(width=2, epochs=2, batch_size=8, lr=3e-3, device="cpu")


def make_vggsound(seed: int = 0, *, count: int = 42) -> PairedDataset:
    """Tones and grey clips whose label shows in both: 18 training, 7 validation and 17 test samples."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 3
    time = np.arange(4096) / 16_000
    audio = np.sin(2 * np.pi * 300 * (1 + label[:, None]) * time) + 0.3 * rng.normal(size=(count, 4096))
    video = rng.integers(0, 90, size=(count, 6, 16, 20, 3))
    video += 50 * label[:, None, None, None, None]
    split = np.repeat(["train", "validation", "test"], [18, 7, count - 25])
    return PairedDataset.from_arrays(
        {"audio": audio[:, None].astype(np.float32), "video": video.astype(np.uint8)},
        label=label,
        id=[f"clip {row}" for row in range(count)],
        split=split,
        transforms={"audio": Spectrogram(9), "video": NormalizeVideo()},
    )
