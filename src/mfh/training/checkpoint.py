"""The state of a training on disk, from which it goes on exactly where it stopped.

A checkpoint is one safetensors file: weights, the best epoch's weights and the optimiser's state as tensors,
everything else as JSON in its header, and a checksum. It appears whole or not at all, and nothing in it is
code. Its folder holds

- `last.safetensors`, the newest state;
- `previous.safetensors`, the one before it, for when the newest is damaged; removed at the end;
- `best.safetensors`, the best epoch's weights by themselves, under the names of the network's state dict;
- `logs`, where a tracker writes.
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
    """What one checkpoint holds.

    Attributes:
        values: scalars and lists, as JSON holds them; NaN is allowed.
        groups: group name (`model`, `best`, `optimizer`) -> tensors by name.
    """

    values: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Tensor]]


class Store:
    """The checkpoints of one training in one folder.

    Args:
        folder: made if it is absent.
        identity: what the training is made of; a checkpoint of another one is refused.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path | str, identity: Mapping[str, Any]) -> None:
        self.folder = writable_folder(folder, "checkpoint")
        self.identity = json.loads(json.dumps(plain(identity)))
        self._good = False  # whether the newest file was read or written well, so that it is worth keeping

    @property
    def last(self) -> Path:
        """The file of the newest state."""
        return self.folder / LAST

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the newest state; the former one is kept beside it."""
        blob = _pack(checkpoint, self.identity)
        if self._good:
            self.last.replace(self.folder / PREVIOUS)
        write_atomic(self.last, lambda file: file.write(blob))
        self._good = True

    def save_best(self, weights: Mapping[str, Tensor], **told: object) -> None:
        """Write the best epoch's weights by themselves, with a checksum and what is `told` of them.

        A file that holds them already is left as it is.
        """
        state, texts = _copies(weights), {name: str(value) for name, value in told.items()}
        if not self._holds(state, texts):
            write_atomic(self.folder / BEST, bytes_writer(sealed_weights(state, **texts)))

    def _holds(self, state: Mapping[str, Tensor], texts: Mapping[str, str]) -> bool:
        try:
            require_sealed(self.folder / BEST, **texts)
            return digest(read_state(self.folder / BEST)) == digest(state)
        except InputError:
            return False

    def close(self) -> None:
        """Remove what only an unfinished training needs."""
        (self.folder / PREVIOUS).unlink(missing_ok=True)

    def load(self) -> Checkpoint | None:
        """The newest state that can be read; None where there is none.

        A damaged file is named in the log, and the state before it is taken.

        Raises:
            InputError: the state is that of another training (the text says what differs), or no checkpoint.
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
        told = "; ".join(f"`{name}` was {theirs.get(name)}, is {mine.get(name)}" for name in names)
        require(
            not names,
            f"`checkpoint` {path} belongs to another training: {told}. Name another folder, or remove it.",
        )


def require_tensors(model: nn.Module) -> None:
    """Refuse a network that a checkpoint could not hold.

    Raises:
        InputError: it keeps state that is not a tensor.
    """
    for name, value in model.state_dict().items():
        require(
            isinstance(value, Tensor),
            f"The network's state `{name}` cannot be written: it is a {type(value).__name__}, not a tensor. "
            "Make it a buffer, or train without `checkpoint`.",
        )


def optimizer_groups(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], State]:
    """An optimiser's state as tensors named `<parameter>/<key>` and the rest."""
    tensors: dict[str, Tensor] = {}
    rest: State = {}
    for number, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            into = tensors if isinstance(value, Tensor) else rest
            into[f"{number}/{key}"] = value
    return tensors, rest


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rest: State) -> None:
    """The inverse of `optimizer_groups`; learning rates and the like stay as they are."""
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
        told = file.metadata() or {}
        require(
            "state" in told or "checksum" in told,
            f"`checkpoint` holds a file that training did not write, {path}. Name another folder.",
        )
        if told["format"] != FORMAT:
            raise ValueError(f"its format is {told['format']!r} instead of {FORMAT!r}")
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if digest(tensors, told["state"]) != told["checksum"]:
        raise ValueError("its checksum does not fit its content")
    state = parse_json(told["state"])
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        group, rest = name.split("/", 1)
        groups.setdefault(group, {})[rest] = value
    return Checkpoint(state["values"], groups), state["identity"]


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that share no memory, as the format wants them."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
