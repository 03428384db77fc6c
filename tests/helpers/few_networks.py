"""Convolutional networks of a user's, and paired signals and pictures of which few have labels."""

from dataclasses import replace

import numpy as np
from torch import nn

import mfh

CLASSES = 3
FEW = mfh.StudyConfig(
    teacher="sound", student="image", repeats=1, folds=2, labelled=("0.4",), ratio=(0.5,), random_draws=1,
    epochs=4, batch_size=32, device="cpu",
)  # fmt: skip
ONE_FIT = replace(FEW, seeds=1, repeats=None, resampling="splits", engine="loop", retries=0)


def make_signals(num_samples: int = 90, seed: int = 0) -> mfh.PairedDataset:
    """Signals that show the class clearly, and pictures that show it less clearly."""
    rng = np.random.default_rng(seed)
    label = np.arange(num_samples) % CLASSES
    sound, image = rng.normal(size=(CLASSES, 1, 12)), rng.normal(size=(CLASSES, 1, 6, 6))
    values = {
        "sound": sound[label] + 0.4 * rng.normal(size=(num_samples, 1, 12)),
        "image": image[label] + 1.0 * rng.normal(size=(num_samples, 1, 6, 6)),
    }
    return mfh.PairedDataset.from_arrays({k: v.astype("f4") for k, v in values.items()}, label=label)


def teacher() -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, CLASSES))


def student() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES))
