"""Data frames: modalities as numbers, and the columns of labels, groups and ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mfh._checks import choice, require
from mfh.data.features import Features, encode
from mfh.data.tables import Columns, columns_by_modality, find_columns, require_columns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Frame:
    """What a data frame contains, as `PairedDataset.from_arrays` takes it.

    Attributes:
        modalities: name -> values, float64 (sample, value), NaN where a number, or the modality, is missing.
        features: name -> what the values mean.
        columns: role (`label`, `group`, ...) -> one value, or row, per sample.
        labels: names of the columns of labels or targets.
    """

    modalities: Mapping[str, np.ndarray]
    features: Mapping[str, Features]
    columns: Mapping[str, Any]
    labels: Sequence[str]

    def filled(self) -> dict[str, np.ndarray]:
        """Return the modalities without gaps: a missing number is the first that its column has."""
        return {name: _filled(values) for name, values in self.modalities.items()}

    def with_gaps(self) -> dict[str, Tensor]:
        """Return the modalities that have gaps, as a data set keeps them."""
        return {
            name: torch.from_numpy(values).float()
            for name, values in self.modalities.items()
            if np.isnan(values).any()
        }


def read_frame(
    table: "pd.DataFrame",
    modalities: Mapping[str, Columns],
    *,
    label: Columns,
    roles: Mapping[str, str | None],
    impute: str | None,
) -> Frame:
    """Return the contents of a data frame; see `PairedDataset.from_frame`.

    Args:
        table: one row for each sample.
        modalities: name -> names or patterns of columns.
        label: name of the column of labels, or names or a pattern of several.
        roles: `group`, `id`, ... -> name of a column, or None.
        impute: None refuses missing values; `median`.
    """
    choice("impute", impute, (None, "median"))
    require(len(table) > 0, "`table` must have a row for each sample. It has none.")
    require_columns(table)
    table = table.set_axis([str(name) for name in table.columns], axis="columns")
    labels = find_columns(table, label, "the label")
    named = {role: find_columns(table, [name], f"the {role}")[0] for role, name in roles.items() if name}
    taken = {"label": labels, **{role: [name] for role, name in named.items()}}
    found = columns_by_modality(table, modalities, taken)
    encoded = {name: encode(table, columns, name, impute) for name, columns in found.items()}
    columns: dict[str, Any] = {role: table[name] for role, name in named.items()}
    columns["label"] = table[labels[0]] if len(labels) == 1 else _several(table, labels)
    return Frame(
        {name: values for name, (values, _) in encoded.items()},
        {name: features for name, (_, features) in encoded.items()},
        columns,
        labels,
    )


def _several(table: "pd.DataFrame", names: Sequence[str]) -> np.ndarray:
    """Return several labels or targets as numbers, (sample, label)."""
    import pandas as pd

    types = pd.api.types
    other = [n for n in names if not (types.is_numeric_dtype(table[n]) or types.is_bool_dtype(table[n]))]
    require(
        not other,
        f"Several columns of labels must hold numbers, or truth values. `{other[0] if other else ''}` does "
        "not: name one column of labels, or turn it into numbers.",
    )
    return table[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)


def _filled(values: np.ndarray) -> np.ndarray:
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    first = values[(~gaps).argmax(axis=0), np.arange(values.shape[1])]
    return np.where(gaps, first, values)
