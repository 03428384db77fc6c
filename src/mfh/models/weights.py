"""State dicts from files: no code is unpickled, and what does not fit a network is named."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mfh._checks import InputError, listing, one_line, require

PART = 2**22  # bytes of a digest that one thread takes
WRAPPED = "module."  # before every name of a network that was trained in several processes


def load_state(network: nn.Module, path: Path | str, told: str) -> None:
    """Put the weights of a state dict into a network; no code is unpickled.

    Args:
        network: changed only if everything fits.
        path: `.safetensors`, or else what `torch.save` wrote, on whatever device.
        told: what the file must be, such as `a state dict of the audio network of width 64`.

    Raises:
        InputError: the file is absent, damaged or holds more than tensors; or a parameter is missing,
            unknown, of another shape or not finite (each is named).
    """
    state = read_state(Path(path))
    problems = mismatches(network.state_dict(), state)
    if problems:
        raise InputError(f"`{path}` must be {told}. {'; '.join(problems)}.")
    network.load_state_dict(state)


def read_state(path: Path) -> dict[str, Any]:
    """The state dict in a file, without the prefix that distributed training puts before names.

    Raises:
        InputError: the file is absent, damaged (by its checksum too, if `sealed_weights` gave it one) or
            holds more than tensors.
    """
    require(path.is_file(), f"`{path}` must be a checkpoint. There is no such file.")
    safe = path.suffix.lower() == ".safetensors"
    try:
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        seal = _seal(path) if safe else ""
    except Exception as error:
        reason = (str(error).splitlines() or [f"{type(error).__name__}."])[0]
        raise InputError(
            f"`{path}` cannot be read as a state dict: {reason} Only tensors are read, "
            "never code: save `network.state_dict()`, not the network."
        ) from error
    require(
        isinstance(state, Mapping),
        f"`{path}` must hold a state dict, names with tensors. It holds a {type(state).__name__}.",
    )
    require(
        seal in ("", digest(state) if seal else ""),
        f"`{path}` is damaged: its checksum does not fit its content.",
    )
    names = [str(name) for name in state]
    wrapped = not safe and bool(names) and all(name.startswith(WRAPPED) for name in names)
    return {str(n).removeprefix(WRAPPED) if wrapped else n: value for n, value in state.items()}


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """32 hex digits that change with any name, type, shape or value, and with the text.

    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(2, 1)})
    False
    """
    total = hashlib.blake2b(text.encode(), digest_size=16)
    parts: list[memoryview] = []
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().resolve_conj().resolve_neg()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content = value.contiguous().reshape(-1).view(torch.uint8).numpy().data
        parts += [content[start : start + PART] for start in range(0, len(content), PART)]
    large = sum(map(len, parts)) > 2 * PART
    with ThreadPoolExecutor(torch.get_num_threads() if large else 1) as pool:
        for found in (pool.map if large else map)(_digest, parts):
            total.update(found)
    return total.hexdigest()


def _digest(content: memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def all_finite(values: Iterable[Tensor]) -> bool:
    """Whether no value is NaN or infinite: by the extremes, which takes a tenth of the time of a mask."""
    parts = [value.detach() for value in values if value.numel()]
    plain = [value for value in parts if value.dtype.is_floating_point]
    ends = [end.isfinite() for value in plain for end in value.aminmax()]
    ends += [value.isfinite().all() for value in parts if value.is_complex()]
    return not ends or bool(torch.stack(ends).all())


def sealed_weights(state: Mapping[str, Tensor], **told: str) -> bytes:
    """A state dict as safetensors with a checksum; `told` says what the file is and whose."""
    return save(dict(state), told | {"checksum": digest(state)})


def _seal(path: Path) -> str:
    """The checksum that `sealed_weights` gave a file; empty for files of others."""
    with safe_open(path, framework="pt") as file:
        told = file.metadata() or {}
    return told.get("checksum", "") if {"network", "epoch"} & set(told) else ""


def require_sealed(path: Path, **told: str) -> None:
    """Refuse a file that is not what `sealed_weights` wrote for `told`.

    Raises:
        InputError: it is absent or damaged, or is another network or another run's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise InputError(f"`{path}` is damaged: {one_line(error)}.") from error
    require(
        found.pop("checksum", "") == digest(state),
        f"`{path}` is damaged: its checksum does not fit its content.",
    )
    other = [f"`{name}` is {found.get(name)!r}" for name, value in told.items() if found.get(name) != value]
    require(not other, f"`{path}` is not what was written there: {', '.join(other)}.")


def mismatches(expected: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[str]:
    """What is wrong with each parameter, in the order of the network."""
    problems = []
    for name, wanted in expected.items():
        value = state.get(name)
        if not isinstance(value, Tensor):
            problems.append(f"`{name}` is {'missing' if value is None else 'not a tensor'}")
        elif value.shape != wanted.shape:
            problems.append(f"`{name}` has shape {tuple(value.shape)}, must be {tuple(wanted.shape)}")
        elif not all_finite([value]):
            problems.append(f"`{name}` holds NaN or infinity")
    unknown = [name for name in state if name not in expected]
    return problems + ([f"{listing(unknown)} is not in this network"] if unknown else [])
