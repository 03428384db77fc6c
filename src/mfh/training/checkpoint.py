"""Checkpoints: the state of a training on disk, from which it resumes exactly where it stopped.

A checkpoint is one safetensors file: weights, the best epoch's weights and the optimiser's state as tensors,
everything else as JSON in its header, and a checksum. It is written atomically and contains no code. A folder
of checkpoints has

- `last.safetensors`, the newest state;
- `previous.safetensors`, the state before it, in case the newest is damaged; it is removed at the end;
- `best.safetensors`, the best epoch's weights by themselves, under the names of the network's state dict;
- `logs`, the files of trackers.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from mfh._checks import InputError, parse_json, require
from mfh._system.files import bytes_writer, plain, writable_folder, write_atomic
from mfh.models.weights import digest, read_state, require_sealed, sealed_weights

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"
FORMAT = "mfh-checkpoint-1"
State = dict[str, Any]
_log = logging.getLogger("mfh")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of one checkpoint.

    Attributes:
        values: numbers, texts and lists, as JSON has them; NaN is allowed.
        groups: tensors by name, for each of the groups `model`, `best` and `optimizer`.
    """

    values: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Tensor]]


class CheckpointFolder:
    """The checkpoints of one training in one folder.

    Args:
        folder: the folder; it is made if it does not exist.
        identity: what fixes the result of the training; checkpoints of another identity are refused.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path | str, identity: Mapping[str, Any]) -> None:
        self.folder = writable_folder(folder, "checkpoint")
        self.identity = json.loads(json.dumps(plain(identity)))
        self._good = False  # whether the newest file is known to be intact, and so is worth keeping

    @property
    def last(self) -> Path:
        """The file of the newest state."""
        return self.folder / LAST

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the newest state, and keep the one before it."""
        blob = _pack(checkpoint, self.identity)
        if self._good:
            self.last.replace(self.folder / PREVIOUS)
        write_atomic(self.last, lambda file: file.write(blob))
        self._good = True

    def save_best(self, weights: Mapping[str, Tensor], **notes: object) -> None:
        """Write the best epoch's weights into their own file, with a checksum and `notes` in its header.

        The file is left as it is if it has this content already.
        """
        state, texts = _copies(weights), {name: str(value) for name, value in notes.items()}
        if not self._is_saved(state, texts):
            write_atomic(self.folder / BEST, bytes_writer(sealed_weights(state, **texts)))

    def _is_saved(self, state: Mapping[str, Tensor], texts: Mapping[str, str]) -> bool:
        try:
            require_sealed(self.folder / BEST, **texts)
            return digest(read_state(self.folder / BEST)) == digest(state)
        except InputError:
            return False

    def close(self) -> None:
        """Remove the file that only an unfinished training needs."""
        (self.folder / PREVIOUS).unlink(missing_ok=True)

    def load(self) -> Checkpoint | None:
        """Return the newest state that can be read; None if there is none.

        If the newest file is damaged, the log names it and the state before it is returned.

        Raises:
            InputError: the state belongs to another training (the text names the differences), or a file is
                no checkpoint.
        """
        found = 0
        for name in (LAST, PREVIOUS):
            path = self.folder / name
            if not path.exists():
                continue
            found += 1
            try:
                checkpoint, identity = _unpack(path)
            except InputError:
                raise
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                _log.warning("The checkpoint `%s` is damaged and left aside: %s", path, error)
                continue
            self._require_same(path, identity)
            self._good = name == LAST
            if found > 1:
                _log.warning("Training goes on from the state before it, `%s`.", path)
            return checkpoint
        if found:
            _log.warning("No checkpoint in `%s` can be read: training starts over.", self.folder)
        return None

    def _require_same(self, path: Path, theirs: Mapping[str, Any]) -> None:
        mine = self.identity
        names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        changes = "; ".join(f"`{name}` was {theirs.get(name)}, is {mine.get(name)}" for name in names)
        require(
            not names,
            f"`checkpoint` {path} belongs to another training: {changes}. Name another folder, or remove it.",
        )


def require_tensors(model: nn.Module) -> None:
    """Check that a network can be written to a checkpoint.

    Raises:
        InputError: a part of its state is no tensor.
    """
    for name, value in model.state_dict().items():
        require(
            isinstance(value, Tensor),
            f"The network's state `{name}` cannot be written: it is a {type(value).__name__}, not a tensor. "
            "Make it a buffer, or train without `checkpoint`.",
        )


def optimizer_groups(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], State]:
    """Return an optimiser's state: tensors by `<parameter>/<key>`, and the other values in the same way."""
    tensors: dict[str, Tensor] = {}
    rest: State = {}
    for number, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            into = tensors if isinstance(value, Tensor) else rest
            into[f"{number}/{key}"] = value
    return tensors, rest


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rest: State) -> None:
    """Restore what `optimizer_groups` returned; learning rates and other options stay as they are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **rest}.items():
        number, key = name.split("/", 1)
        like = parameters[int(number)]
        if isinstance(value, Tensor) and value.shape == like.shape:
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)  # the parameter's memory layout
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _pack(checkpoint: Checkpoint, identity: Mapping[str, Any]) -> bytes:
    tensors = _copies({f"{g}/{n}": t for g, named in checkpoint.groups.items() for n, t in named.items()})
    text = json.dumps({"values": checkpoint.values, "identity": identity})
    return safetensors_bytes(tensors, {"format": FORMAT, "state": text, "checksum": digest(tensors, text)})


def _unpack(path: Path) -> tuple[Checkpoint, Mapping[str, Any]]:
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        require(
            "state" in header or "checksum" in header,
            f"`checkpoint` must not contain {path}, which training did not write: name another folder.",
        )
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r} instead of {FORMAT!r}")
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if digest(tensors, header["state"]) != header["checksum"]:
        raise ValueError("its checksum does not fit its content")
    state = parse_json(header["state"])
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        group, rest = name.split("/", 1)
        groups.setdefault(group, {})[rest] = value
    return Checkpoint(state["values"], groups), state["identity"]


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU that share no memory, as the format requires."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
