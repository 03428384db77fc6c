"""Single files in the folder of an experiment in steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mfh._checks import InputError, require
from mfh._saliency import SaliencyResult
from mfh._system.files import plain, read_json, read_npy
from mfh.experiments._steps.recipe import Recipe, Site

ADOPTED = "adopted.json"


def adopted(out: Path | str, mark: str) -> dict[str, str]:
    """What was handed in to a run; see `Run.adopted`."""
    path = Path(out) / ADOPTED
    try:
        known = read_json(path)
    except FileNotFoundError:
        return {}
    require(known["run"] == mark, f"`{path}` is of another run than the `run.json` beside it.")
    return dict(known["files"])


def saliency_file(out: Path | str, site: Site, suffix: str = ".npz") -> Path:
    """Where a site's saliency stands in a folder."""
    return Path(out) / f"saliency-{site.name}{suffix}"


def read_vector(path: Path | str) -> Float[np.ndarray, " channel"]:
    """A saliency vector from a `.npy`, as the authors', or a `.npz`, as `SaliencyResult.save` writes.

    Raises:
        InputError: the file is absent or damaged, or does not hold finite numbers, one per channel.
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
        f"`{path}` must hold one number per channel. It holds {getattr(values, 'dtype', 'several arrays')}"
        f"{list(getattr(values, 'shape', []))}.",
    )
    require(bool(np.isfinite(values).all()), f"`{path}` must hold finite numbers. It has NaN or infinity.")
    return values.astype(np.float64)


def stored_config(out: Path | str, recipe: Recipe) -> dict[str, Any]:
    """The configuration that a folder belongs to, as far as `run.json` holds it; empty for a new folder."""
    try:
        values = read_json(Path(out) / "run.json")
    except (OSError, InputError):  # opening the folder refuses what is damaged
        return {}
    if values.get("experiment") != recipe.name:
        return {}
    return {name: values[name] for name in recipe.identity if name in values}


def same_settings(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs between the settings of two students, in words."""
    mine, theirs = plain(mine), plain(theirs)
    return [
        f"`{name}` was {theirs[name]}, is {mine[name]}"
        for name in sorted(mine.keys() & theirs.keys())
        if mine[name] != theirs[name]
    ]
