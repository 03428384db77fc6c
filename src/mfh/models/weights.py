"""Read and write state dicts without unpickling code, and list the parameters that do not fit a network."""

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

PART = 2**22  # bytes that one thread digests at a time
WRAPPED = "module."  # prefix of all names of a network that was trained in several processes


def load_state(network: nn.Module, path: Path | str, expected: str) -> None:
    """Load the weights of a state dict into a network, without unpickling code.

    Args:
        network: the network; it changes only if everything fits.
        path: `.safetensors`, or a file of `torch.save`, from any device.
        expected: what the file must be, such as `a state dict of the audio network of width 64`.

    Raises:
        InputError: the file is missing, damaged or contains more than tensors; or a parameter is missing,
            unknown, not finite or has another shape (the message names each).
    """
    state = read_state(Path(path))
    problems = mismatches(network.state_dict(), state)
    if problems:
        raise InputError(f"`{path}` must be {expected}. {'; '.join(problems)}.")
    network.load_state_dict(state)


def read_state(path: Path) -> dict[str, Any]:
    """Read the state dict in a file; remove the prefix that distributed training adds to names.

    Raises:
        InputError: the file is missing, damaged (also by the checksum of `sealed_weights`, if it has one) or
            contains more than tensors.
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
        f"`{path}` must contain a state dict, which maps names to tensors. Got {type(state).__name__}.",
    )
    require(
        seal in ("", digest(state) if seal else ""),
        f"`{path}` is damaged: its checksum does not fit its content.",
    )
    names = [str(name) for name in state]
    wrapped = not safe and bool(names) and all(name.startswith(WRAPPED) for name in names)
    return {str(n).removeprefix(WRAPPED) if wrapped else n: value for n, value in state.items()}


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Return 32 hex digits that change with any name, type, shape or value, and with the text.

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
    """Return whether no value is NaN or infinite. The extremes show it in a tenth of the time of a mask."""
    parts = [value.detach() for value in values if value.numel()]
    plain = [value for value in parts if value.dtype.is_floating_point]
    ends = [end.isfinite() for value in plain for end in value.aminmax()]
    ends += [value.isfinite().all() for value in parts if value.is_complex()]
    return not ends or bool(torch.stack(ends).all())


def sealed_weights(state: Mapping[str, Tensor], **facts: str) -> bytes:
    """Return a state dict as safetensors with a checksum; `facts` describe the file and its run."""
    return save(dict(state), facts | {"checksum": digest(state)})


def _seal(path: Path) -> str:
    """Return the checksum that `sealed_weights` gave a file; empty for other files."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata() or {}
    return facts.get("checksum", "") if {"network", "epoch"} & set(facts) else ""


def require_sealed(path: Path, **facts: str) -> None:
    """Check that `sealed_weights` wrote a file with these facts.

    Raises:
        InputError: the file is missing or damaged, or belongs to another network or another run.
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
    other = [f"`{name}` is {found.get(name)!r}" for name, value in facts.items() if found.get(name) != value]
    require(not other, f"`{path}` was replaced by another file: {', '.join(other)}.")


def mismatches(expected: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with each parameter, in the order of the network."""
    problems = []
    for name, wanted in expected.items():
        value = state.get(name)
        if not isinstance(value, Tensor):
            problems.append(f"`{name}` is {'missing' if value is None else 'not a tensor'}")
        elif value.shape != wanted.shape:
            problems.append(f"`{name}` has shape {tuple(value.shape)}, must be {tuple(wanted.shape)}")
        elif not all_finite([value]):
            problems.append(f"`{name}` contains NaN or infinity")
    unknown = [name for name in state if name not in expected]
    return problems + ([f"{listing(unknown)} is not in this network"] if unknown else [])
