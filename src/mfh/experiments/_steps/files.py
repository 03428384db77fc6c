"""Single files in the folder of an experiment that is run step by step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mfh._checks import InputError, require
from mfh._saliency import SaliencyResult
from mfh._system.files import plain, read_json, read_npy
from mfh.experiments._steps.recipe import RankedLayer, Recipe

ADOPTED = "adopted.json"


def adopted(out: Path | str, mark: str) -> dict[str, str]:
    """Return the files that the user supplied in place of a step; see `PartialStudy.adopted`."""
    path = Path(out) / ADOPTED
    try:
        known = read_json(path)
    except FileNotFoundError:
        return {}
    require(known["run"] == mark, f"`{path}` belongs to another run than the `run.json` beside it.")
    return dict(known["files"])


def saliency_file(out: Path | str, layer: RankedLayer, suffix: str = ".npz") -> Path:
    """Return the path of a layer's saliency in a folder."""
    return Path(out) / f"saliency-{layer.name}{suffix}"


def read_vector(path: Path | str) -> Float[np.ndarray, " channel"]:
    """Read a saliency vector from a `.npy`, like the authors', or a `.npz` that `SaliencyResult.save` wrote.

    Raises:
        InputError: the file is missing or damaged, or is not a vector of finite numbers.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return SaliencyResult.load(path).values
    try:
        values = read_npy(path)
    except FileNotFoundError:
        raise InputError(f"`{path}` does not exist: `saliency` must be a .npy or .npz file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read as a saliency vector: {error}.") from error
    require(
        isinstance(values, np.ndarray)
        and values.dtype.kind in "fiu"
        and values.ndim == 1
        and values.size > 0,
        f"`{path}` must contain one number per channel. It contains "
        f"{getattr(values, 'dtype', 'several arrays')}{list(getattr(values, 'shape', []))}.",
    )
    require(bool(np.isfinite(values).all()), f"`{path}` must contain finite numbers. It has NaN or infinity.")
    return values.astype(np.float64)


def stored_config(out: Path | str, recipe: Recipe) -> dict[str, Any]:
    """Return the configuration that `run.json` of a folder records; empty for a new folder."""
    try:
        values = read_json(Path(out) / "run.json")
    except (OSError, InputError):  # a damaged file is refused later, when the folder is opened
        return {}
    if values.get("experiment") != recipe.name:
        return {}
    return {name: values[name] for name in recipe.identity if name in values}


def describe_changes(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between the settings of two students."""
    mine, theirs = plain(mine), plain(theirs)
    return [
        f"`{name}` was {theirs[name]}, is {mine[name]}"
        for name in sorted(mine.keys() & theirs.keys())
        if mine[name] != theirs[name]
    ]
