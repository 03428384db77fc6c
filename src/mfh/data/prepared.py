"""Inputs that depend on the training split: standardised, filled in, without unseen categories."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mfh.data.paired import PairedDataset
from mfh.data.standardize import Standardize


def fit_inputs(data: PairedDataset, train: Tensor, standardized: Collection[str]) -> dict[str, Standardize]:
    """Return what prepares the inputs of a modality, for those that need it, fitted on training rows.

    Args:
        data: the samples.
        train: the training rows; those that lack a modality do not count for it. A modality that all lack
            has no statistics.
        standardized: modalities whose inputs are standardised. Those of a table are prepared too: missing
            values become the median of the training rows, and categories that no training row has become 0.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> data = PairedDataset.from_arrays({"a": np.eye(4), "b": np.eye(4)}, label=[0, 1, 0, 1])
        >>> list(fit_inputs(data, torch.arange(2), ["b"]))
        ['b']
    """
    fits = {}
    for name in data.modalities:
        features, rows = data.features.get(name), train[torch.from_numpy(data.present(name))[train]]
        if name in standardized and len(rows):
            gaps = features is not None and features.gaps
            fits[name] = Standardize.fit(data.inputs(name, rows), gaps=gaps)
        elif features is not None and features.is_prepared and len(rows):
            fits[name] = Standardize.fill_only(data.inputs(name, rows), features)
    return fits


def prepare_inputs(data: PairedDataset, fits: Mapping[str, Standardize]) -> PairedDataset:
    """Return the data as networks see them, after `fit_inputs`."""
    values = {name: fit(data.inputs(name, slice(None))) for name, fit in fits.items()}
    transforms = {name: transform for name, transform in data.transforms.items() if name not in fits}
    return replace(data, modalities={**data.modalities, **values}, transforms=transforms)


def prepared_when_read(data: PairedDataset, fits: Mapping[str, Standardize]) -> PairedDataset:
    """Return the data as networks see them, after `fit_inputs`; values are prepared when they are read."""
    given = data.transforms
    return data.with_transforms(
        {name: Sequence(given[name], fit) if name in given else fit for name, fit in fits.items()}
    )


@dataclass(frozen=True)
class Sequence:
    """Two transforms, applied one after the other."""

    first: Callable[[Tensor], Tensor]
    second: Callable[[Tensor], Tensor]

    def __call__(self, values: Tensor) -> Tensor:
        """Apply both transforms to a batch."""
        return self.second(self.first(values))
