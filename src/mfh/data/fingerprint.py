"""A short text that changes with the values of a data set."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from mfh.data.decoded import DecodedRows, Values


def fingerprint(
    modalities: Mapping[str, Values], columns: Mapping[str, Any], sources: Mapping[str, str]
) -> str:
    """Return 16 hex digits that change with any value and name.

    Args:
        modalities: see `PairedDataset`. Rows that are decoded on demand are not decoded: their identity
            stands for them.
        columns: name -> array, or None.
        sources: modality -> text that stands for its values.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, part in {**modalities, **columns}.items():
        if part is None:
            continue
        array = part.numpy() if isinstance(part, Tensor) else part
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        source = array.identity if isinstance(array, DecodedRows) else sources.get(name)
        if source is not None:
            digest.update(source.encode())
            continue
        step = max(1, 2**26 // max(1, array[:1].nbytes))
        for start in range(0, len(array), step):
            digest.update(np.ascontiguousarray(array[start : start + step]).tobytes())
    return digest.hexdigest()
