"""Files that the user supplies in place of a step: networks and saliency vectors.

They are copied into the folder of the partial study; `supplied.json` lists them. If one of them is damaged,
it cannot be made again by a step: the user must supply it again.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from mfh._checks import InputError, require
from mfh._saliency import SaliencyResult
from mfh._system.files import read_json, read_npy, write_json

if TYPE_CHECKING:
    from mfh.experiments._steps.partial_study import PartialStudy

FILE = "supplied.json"
logger = logging.getLogger(__name__)


def supplied_files(out: Path | str, mark: str) -> dict[str, str]:
    """Return the supplied files by name; the values are checksums, empty for files that contain their own.

    Args:
        out: the folder.
        mark: what identifies the run.

    Raises:
        InputError: the list is damaged, or belongs to another run.
    """
    path = Path(out) / FILE
    try:
        known = read_json(path)
    except FileNotFoundError:
        return {}
    require(known["run"] == mark, f"`{path}` belongs to another run than the `run.json` beside it.")
    return dict(known["files"])


def supply_network(partial: "PartialStudy", name: str, path: Path | str | None) -> None:
    """Copy a checkpoint that the user supplies as a network of `Recipe.remedies`; None does nothing.

    Raises:
        InputError: it does not fit the network, or the folder contains another one already.
    """
    if path is None:
        return
    network = partial.network(name.split("-", maxsplit=1)[0], name)
    partial.recipe.load_weights(network, path)
    try:
        there = partial.is_intact(name)
    except InputError as error:
        logger.warning("%s It is written again.", error)
        there = False
    if there:
        known = partial.trained(name).cpu().state_dict()
        same = all(torch.equal(known[key], value) for key, value in network.state_dict().items())
        require(same, f"`{partial.out}` contains another {name} than `{path}`. Name another `out`.")
    partial.claim()
    list_supplied(partial, partial.checkpoint(name).name)
    partial.save_weights(name, network)


def list_supplied(partial: "PartialStudy", file: str, content: str = "") -> None:
    """Add a file to the list of supplied files; `content` is its checksum, if it contains none itself."""
    if partial.processes.main:
        files = supplied_files(partial.out, partial.mark) | {file: content}
        write_json(partial.out / FILE, {"run": partial.mark, "files": files}, sealed=True)


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
