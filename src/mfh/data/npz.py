"""One npz file with the arrays of a data set."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mfh._checks import require
from mfh.results import read_arrays


@dataclass(frozen=True)
class Taken:
    """Arrays of a file, as `PairedDataset.from_arrays` takes them.

    Attributes:
        modalities: name -> values.
        columns: role (`label`, `group`, ...) -> one value, or row, per sample.
    """

    modalities: Mapping[str, Any]
    columns: Mapping[str, Any]


def read_npz(
    path: Path | str,
    modalities: Sequence[str] | None,
    *,
    label: str,
    optional: Mapping[str, str | None],
    named: Mapping[str, str | None],
) -> Taken:
    """Read the arrays of a data set from an npz.

    Args:
        path: the file. It is read without pickle, so it cannot have arrays of objects.
        modalities: names of the arrays to take; None takes every other numeric array of two dimensions or
            more.
        label: name of the array of labels.
        optional: role -> name of its array; for None the array that is named like the role, if there is one;
            `none` takes none.
        named: role -> name of its array, or None. If one is given, a split must be named to be taken.

    Raises:
        InputError: there is no such file or array; the text lists the arrays.
    """
    arrays = {name: array for name, array in read_arrays(path).items() if array.dtype != object}
    chosen = {
        role: None if name == "none" else (name or (role if role in arrays else None))
        for role, name in optional.items()
    }
    if any(named.values()):
        chosen["split"] = optional.get("split")
    chosen |= named
    if optional.get("weight") is None and "weight" in (label, *(modalities or ()), *named.values()):
        chosen["weight"] = None  # a quantity of that name
    elif optional.get("weight") is None and chosen.get("weight") and arrays["weight"].ndim > 1:
        chosen["weight"] = None  # a modality
    taken = {label, *filter(None, chosen.values())}
    if modalities is None:
        modalities = [
            n for n, a in arrays.items() if a.ndim >= 2 and a.dtype.kind in "fiub" and n not in taken
        ]
    wanted = [("modality", name) for name in modalities]
    wanted += [(role, name) for role, name in {"label": label, **chosen}.items() if name]
    for role, name in wanted:
        stack = " The stack of teachers is an arm: name the teacher's modality, and give --labelled 1."
        require(
            name in arrays,
            f"`{path}` holds no {role} `{name}`. It holds {_described(arrays)}: name one of these."
            + stack * (name == "stack"),
        )
    columns = {role: np.atleast_1d(arrays[name]) for role, name in chosen.items() if name}
    return Taken({n: arrays[n] for n in modalities}, {"label": arrays[label], **columns})


def array_names(path: Path | str) -> list[str]:
    """Return the names of the arrays in an npz; none if it cannot be read."""
    try:
        with np.load(path) as file:
            return list(file.files)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, TypeError):
        return []


def _described(arrays: Mapping[str, np.ndarray]) -> str:
    return (
        ", ".join(f"`{name}` {array.dtype}{list(array.shape)}" for name, array in arrays.items()) or "nothing"
    )
