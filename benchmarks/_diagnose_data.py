"""The data sets on which a diagnosis is compared with a study, as arrays in memory."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mfh import PairedDataset
from mfh.data.sources.mfeat import VIEWS
from mfh.data.sources.vggsound import reader as vggsound
from mfh.data.sources.vggsound.inputs import FFT, HOP, Spectrogram

CROP_SHIFTS = (0, 4, 7, 10, 14)  # columns by which the student's crop of 14 columns is moved
CROP_SAMPLES = 2000
GRID_FRAMES, GRID_SPAN = 6, (0.46, 0.86)  # the part of a clip where the digit falls
GRID_BANDS, GRID_TIMES = 32, 12

SETTINGS: dict[str, dict[str, Any]] = {
    "avmnist": {"lr": 0.01, "label_weight": 0.5, "distill_weight": 0.5},
    "grid": {"lr": 0.01, "label_weight": 1.0, "temperature": 4.0},
}
"""What differs from the defaults, for diagnosis and study alike."""


def pairs(
    *,
    mfeat: str | None = None,
    ravdess: str | None = None,
    mnist: str | None = None,
    avmnist: str | None = None,
    grid: str | None = None,
) -> Iterator[tuple[str, str, str, PairedDataset]]:
    """Data set, teacher, student, samples; only of the files that are given."""
    if ravdess:
        data = PairedDataset.from_npz(
            ravdess, modalities=["au", "mfcc"], label="emotion", group="actor", id="name"
        )
        yield from _both_ways("ravdess", data)
    if mfeat:
        data = PairedDataset.from_npz(mfeat)
        for teacher, student in permutations(VIEWS, 2):
            yield "mfeat", teacher, student, data
    if mnist:
        for shift in CROP_SHIFTS:
            yield f"crops-{shift:02d}", "left", "moved", crops(Path(mnist), shift)
    if avmnist:
        yield from _both_ways("avmnist", PairedDataset.from_npz(avmnist, modalities=["image", "audio"]))
    if grid:
        yield from _both_ways("grid", spoken_digits(Path(grid)))


def _both_ways(name: str, data: PairedDataset) -> Iterator[tuple[str, str, str, PairedDataset]]:
    for teacher, student in permutations(data.modalities, 2):
        yield name, teacher, student, data


def crops(path: Path, shift: int, rows: slice = slice(CROP_SAMPLES)) -> PairedDataset:
    """MNIST images seen through two windows of 14 columns that share 14 - shift of them."""
    with np.load(path) as arrays:
        images, label = arrays["x_train"][rows], arrays["y_train"][rows]
    images = images.astype(np.float32) / 255
    start = 7 - shift // 2
    windows = {"left": images[:, :, start : start + 14], "moved": images[:, :, start + shift :][:, :, :14]}
    return PairedDataset.from_arrays(
        {name: values.reshape(len(values), -1) for name, values in windows.items()}, label=label
    )


def spoken_digits(folder: Path) -> PairedDataset:
    """GRID clips as `mfh vggsound prepare` left them (docs/results.md): six grey mouths, a small spectrogram.

    The spectrogram, log(1 + magnitude), is of the part of the clip where the digit falls, up to 4 kHz,
    averaged over 32 bands and 12 times. Splits are dropped: there is one speaker.
    """
    clips = vggsound.load(folder, frames=GRID_FRAMES, span=GRID_SPAN)
    held = clips.read(["audio", "video"], torch.arange(len(clips)))
    spectrogram = Spectrogram(1 + held["audio"].shape[2] // HOP, log=True)
    audio = spectrogram(held["audio"])[:, 0, : 1 + FFT // 4]
    first, last = (round(share * audio.shape[2]) for share in GRID_SPAN)
    pool = torch.nn.functional.adaptive_avg_pool2d
    small = pool(audio[:, None, :, first:last], (GRID_BANDS, GRID_TIMES))
    grey = held["video"].float().mean(dim=-1) / 255
    arrays = {"audio": small.flatten(1).numpy(), "video": grey.flatten(1).numpy()}
    made = PairedDataset.from_arrays(arrays, label=clips.label.numpy(), id=clips.id)
    return replace(made, class_names=clips.class_names)
