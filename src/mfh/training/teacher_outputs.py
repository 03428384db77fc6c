"""Outputs of a fixed teacher, computed once per sample and kept on disk by the samples' ids."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._focus.inventory import find
from mfh._focus.splitting import Trunk
from mfh._system.files import write_npz
from mfh.data.paired import PairedDataset
from mfh.results import read_arrays
from mfh.training.device import Processes
from mfh.training.evaluate import predict
from mfh.training.fingerprint import network_fingerprint, short

_log = logging.getLogger("mfh")


def teacher_logits(
    model: nn.Module,
    data: PairedDataset,
    modality: str,
    *,
    folder: Path | str | None = None,
    name: str = "teacher",
    rows: Tensor | None = None,
) -> Float[Tensor, "sample output"]:
    """Return a teacher's logits for every sample of a data set, as `Distill` expects them.

    The teacher runs once per sample, in evaluation mode and without gradients; its modes are restored.

    With a folder the logits are kept in `<name>-<modality>-logits.npz`, which the next call for the same
    teacher and data reads. The file has the samples' ids and a fingerprint of the teacher's weights, buffers
    (they include the removed channels and the fill of a `FocusedTeacher`) and structure, of the data, and of
    the modality's transform. If the file is damaged, or belongs to another teacher or other data, all logits
    are computed again and the log says so. Samples that are not in the file are computed and added.

    Args:
        model: the teacher, on the device it runs on. It returns a tensor, or an object with `.logits`.
        data: the samples.
        modality: what the teacher sees, one modality or several such as `lidar+camera`.
        folder: where logits are kept; None keeps nothing.
        name: part of the file's name, for several teachers in one folder.
        rows: the samples that are needed, int64; by default all. The logits of others are NaN.

    Returns:
        One row per sample of `data`, on the CPU.

    Raises:
        InputError: there is no such modality; the folder cannot be written; a needed logit is not finite (the
            text names the sample).

    Example:
        >>> x = torch.tensor([[-1.0], [1.0]])
        >>> data = PairedDataset.from_arrays({"a": x, "b": x}, label=[0, 1], id=["left", "right"])
        >>> teacher = nn.Linear(1, 2)
        >>> torch.equal(teacher_logits(teacher, data, "a"), teacher(x))
        True
    """
    path = None if folder is None else Path(folder) / f"{name}-{modality}-logits.npz"
    return _outputs(model, data, modality, path, rows)


def layer_features(
    model: nn.Module,
    layer: str,
    data: PairedDataset,
    modality: str,
    *,
    folder: Path | str | None = None,
    name: str = "teacher",
    rows: Tensor | None = None,
) -> Float[Tensor, "sample ..."]:
    """Return the output of a teacher's layer for every sample; otherwise like `teacher_logits`.

    The file is `<name>-<modality>-<layer>.npz`.

    Args:
        model: the teacher, on the device it runs on.
        layer: name of the layer; see `mfh.layers`.
        data: the samples.
        modality: what the teacher sees.
        folder: where features are kept; None keeps nothing.
        name: part of the file's name, for several teachers in one folder.
        rows: the samples that are needed, int64; by default all. The features of others are NaN.

    Raises:
        InputError: as `teacher_logits`; or there is no such layer, a forward pass does not call it, or it
            does not return a tensor.
    """
    find(model, layer, "layer_features")
    trunk = Trunk(model, layer)
    trunk.training = model.training
    path = None if folder is None else Path(folder) / f"{name}-{modality}-{layer}.npz"
    return _outputs(trunk, data, modality, path, rows)


def _outputs(
    model: nn.Module, data: PairedDataset, modality: str, path: Path | None, rows: Tensor | None
) -> Tensor:
    """Return a network's outputs for the needed samples; those in the file are not computed."""
    parts = data.parts(modality)
    rows = torch.arange(len(data)) if rows is None else rows
    require(len(rows) > 0, "`rows` must name one sample or more. Got none.")
    mark, known_rows, known = "", rows[:0], None
    if path is not None:
        mark = f"{network_fingerprint(model)} {data.fingerprint} {modality} {_transforms(data, parts)}"
        known_rows, known = _read(path, mark, data)
    missing = rows[~torch.isin(rows, known_rows)].unique()
    processes = Processes.on(next((p.device for p in model.parameters()), torch.device("cpu")))
    require(
        len(missing) == processes.from_main(float(len(missing))),
        f"`folder` {path} must be one that every process of a distributed run can read.",
    )
    if known is None or len(missing):
        fresh = predict(model, data, modality, missing, shared=True)
        _require_finite(fresh, missing, data)
        known_rows = torch.cat([known_rows, missing])
        known = fresh if known is None else torch.cat([known, fresh])
        if path is not None and processes.main:
            ids = data.id[known_rows.numpy()]
            write_npz(path, {"id": ids, "outputs": known.numpy(), "fingerprint": np.asarray(mark)})
    table = torch.full((len(data), *known.shape[1:]), torch.nan)
    table[known_rows] = known
    return table


def _read(path: Path, mark: str, data: PairedDataset) -> tuple[Tensor, Tensor | None]:
    """Return the samples in a file, as rows of the data, and their outputs; none if the file does not fit."""
    nothing = torch.empty(0, dtype=torch.int64)
    if not path.exists():
        return nothing, None
    try:
        arrays = read_arrays(path, sealed=True)
        ids, outputs, found = arrays["id"], arrays["outputs"], str(arrays["fingerprint"])
    except (InputError, KeyError) as error:
        _log.warning("The teacher's outputs in `%s` are damaged and computed again: %s", path, error)
        return nothing, None
    if found != mark:
        _log.info("The outputs in `%s` belong to another teacher or other data: computed again.", path)
        return nothing, None
    order = data.id.argsort()
    rows = order[np.searchsorted(data.id, ids, sorter=order)]
    return torch.from_numpy(rows), torch.from_numpy(outputs)


def _transforms(data: PairedDataset, parts: Sequence[str]) -> str:
    return " ".join(short(data.transforms.get(name)) for name in parts)


def _require_finite(outputs: Tensor, rows: Tensor, data: PairedDataset) -> None:
    bad = (~outputs.isfinite()).flatten(1).any(dim=1)
    if bad.any():
        first = int(rows[bad][0])
        raise InputError(
            f"A teacher's outputs must be finite. Those of {int(bad.sum())} samples are not, the first is "
            f"`{data.id[first]}`: look at these samples, or train the teacher with a lower `lr`."
        )
