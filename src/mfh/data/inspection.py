"""What to know about data before networks are trained: missing values, duplicates, constants, classes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mfh.data.equal import MOST_VALUES, row_codes
from mfh.data.features import kind_of
from mfh.data.overview import label_counts, listed
from mfh.data.paired import PairedDataset

if TYPE_CHECKING:
    import pandas as pd

MAJORITY = 0.8
"""Share of the largest class above which accuracy says little."""


def inspect_columns(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return one row for each column of a table: `column`, `kind`, `missing`, `different` and an `example`.

    Example:
        >>> import pandas
        >>> inspect_columns(pandas.DataFrame({"crp": [1.5, None]}))
        [{'column': 'crp', 'kind': 'number', 'missing': 1, 'different': 1, 'example': '1.5'}]
    """
    rows = []
    for name in table.columns:
        known = table[name].dropna()
        kind, example = kind_of(table[name]), f"{known.iloc[0]!s:.30}" if len(known) else "-"
        counts = {"missing": len(table) - len(known), "different": int(known.astype(str).nunique())}
        rows.append({"column": str(name), "kind": kind, **counts, "example": example})
    return rows


def inspect_samples(data: PairedDataset) -> list[str]:
    """Return a line for each thing to know: missing values, constants, duplicates, rare and large classes."""
    return [*_missing(data), *_constant(data), *_duplicates(data), *_classes(data)]


def _missing(data: PairedDataset) -> Iterator[str]:
    for name, features in data.features.items():
        values = data.modalities[name]
        if not isinstance(values, Tensor):
            continue
        texts = [
            f"{column.removesuffix(' missing')} ({int(values[:, place].sum()):,})"
            for place, column in enumerate(features.names)
            if column.endswith(" missing")
        ]
        if texts:
            yield f"missing values in `{name}`: {listed(texts)}. A study needs `--impute median`."


def _constant(data: PairedDataset) -> Iterator[str]:
    for name, values in data.modalities.items():
        if isinstance(values, Tensor) and values.numel() <= MOST_VALUES:
            flat = values.flatten(1)
            count = f"{int((flat == flat[:1]).all(dim=0).sum()):,}"
            if count != "0":
                every = f"{flat.shape[1]:,}"
                yield f"constant values in `{name}`: {count} of {every} are the same for all samples."


def _duplicates(data: PairedDataset) -> Iterator[str]:
    """Yield a line on samples that are equal in every modality."""
    arrays = list(data.modalities.values())
    if not all(isinstance(array, Tensor) and array.numel() <= MOST_VALUES for array in arrays):
        yield "duplicates: not looked for, since the modalities are not in memory."
        return
    codes = row_codes(np.stack([row_codes(np.asarray(array)) for array in arrays], axis=1))
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    extra = int((counts - 1).sum())
    if not extra:
        return
    rows = np.flatnonzero(codes == codes[first[counts.argmax()]])
    names = listed([f"`{name}`" for name in data.id[rows][:3]])
    yield (
        f"duplicates: {extra:,} samples equal an earlier one in every modality, such as {names}. Leave them "
        "out, or give equal samples the same group."
    )


def _classes(data: PairedDataset) -> Iterator[str]:
    if data.task != "single-label":
        return
    counts = label_counts(data)
    share = counts.max() / counts.sum()
    if share > MAJORITY:
        largest = data.class_names[int(counts.argmax())]
        yield (
            f"the class {largest} has {share:.1%} of the labels: choose a metric such as "
            "`--metric balanced-accuracy` or `--metric auroc`."
        )
