"""Generated samples that several tests share."""

import numpy as np

from mfh import PairedDataset


def make_paired(
    num_samples: int = 240, *, num_classes: int = 3, num_groups: int | None = None, seed: int = 0
) -> PairedDataset:
    """Two vector modalities that share some label information and hold some of their own."""
    rng = np.random.default_rng(seed)
    label = np.arange(num_samples) % num_classes
    centers = rng.normal(size=(num_classes, 4))
    shared = centers[label] + 0.8 * rng.normal(size=(num_samples, 4))
    own = centers[label] + 0.8 * rng.normal(size=(num_samples, 4))
    return PairedDataset.from_arrays(
        {
            "audio": np.hstack([shared, own, rng.normal(size=(num_samples, 2))]),
            "image": np.hstack([shared, rng.normal(size=(num_samples, 3))]),
        },
        label=label,
        group=None if num_groups is None else [f"actor {i * 7 % num_groups:02d}" for i in range(num_samples)],
    )


def make_clear_and_noisy(
    count: int = 180, classes: int = 3, *, groups: int = 0, seed: int = 0
) -> PairedDataset:
    """Return samples whose modality a shows the class clearly, and b with noise."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % classes
    centres = rng.normal(size=(classes, 6))
    clear = centres[label] + 0.5 * rng.normal(size=(count, 6))
    noisy = centres[label] + 1.5 * rng.normal(size=(count, 6))
    group = rng.permutation(count) % groups if groups else None
    return PairedDataset.from_arrays({"a": clear, "b": noisy}, label=label, group=group)
