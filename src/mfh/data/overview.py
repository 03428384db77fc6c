"""What a data set contains, in a few lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from mfh.config import SPLITS
from mfh.tasks import UNLABELLED

if TYPE_CHECKING:
    from mfh.data.paired import PairedDataset

MOST_NAMES = 12
"""Classes, or targets, that are written out."""


def overview(data: "PairedDataset") -> list[str]:
    """Return the lines of `repr`: samples, modalities, labels, groups and splits, with counts."""
    known = int(data.labelled.sum())
    lines = [
        f"PairedDataset of {len(data):,} samples"
        + (f", {known:,} labelled and {len(data) - known:,} unlabelled" if known < len(data) else ""),
        "modalities: "
        + ", ".join(f"{name} {_shape(data.shape(name))}{_share(data, name)}" for name in data.modalities),
        labels_line(data),
    ]
    if data.group is not None:
        sizes = np.bincount(data.group, minlength=len(data.group_names))
        sizes = sizes[sizes > 0]
        lines.append(f"groups: {len(sizes):,}, of {_span(sizes)} samples")
    if data.split is not None:
        lines.append("split: " + ", ".join(f"{name} {(data.split == name).sum():,}" for name in SPLITS))
    if data.fold is not None:
        sizes = np.bincount(data.fold)
        lines.append(f"folds: {len(sizes):,}, of {_span(sizes)} samples")
    if data.weight is not None:
        lines.append(f"weights of samples: {weights_line(data.weight)}")
    return lines


def weights_line(weight: Tensor) -> str:
    """Return the smallest and the largest weight in words."""
    return f"{float(weight.min()):g} to {float(weight.max()):g}"


def labels_line(data: "PairedDataset") -> str:
    """Return the task and its classes, labels or targets; classes and labels with the samples of each."""
    head = f"{data.task}, {data.num_classes:,} {data.kind.names}: "
    if data.task == "regression":
        return head + listed(data.class_names)
    counts = label_counts(data)
    total = int((data.label != UNLABELLED).sum())
    texts = [
        f"{name} ({count / total:.1%})" if data.task == "dense" else f"{name} ({count:,})"
        for name, count in zip(data.class_names, counts, strict=True)
    ]
    return head + listed(texts)


def label_counts(data: "PairedDataset") -> np.ndarray:
    """Return the number of samples with each class or label; for dense labels of positions."""
    label = data.label.numpy()
    if data.task == "multi-label":
        return np.asarray((label == 1).sum(axis=0))
    return np.bincount(label[label != UNLABELLED], minlength=data.num_classes)


def listed(texts: Sequence[str]) -> str:
    """Write texts in one line, the first `MOST_NAMES` of them.

    >>> listed(["a", "b"])
    'a, b'
    """
    rest = len(texts) - MOST_NAMES
    return ", ".join(texts[:MOST_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")


def _share(data: "PairedDataset", modality: str) -> str:
    """Return how many samples have a modality, where some do not."""
    count = int(data.present(modality).sum())
    return "" if count == len(data) else f" ({count:,} samples)"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _span(sizes: np.ndarray) -> str:
    low, high = int(sizes.min()), int(sizes.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
