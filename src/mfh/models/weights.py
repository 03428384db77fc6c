"""State dicts from files: no code is unpickled, and what does not fit a network is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mfh._checks import InputError, listing, require

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
        InputError: the file is absent, damaged or holds more than tensors.
    """
    require(path.is_file(), f"`{path}` must be a checkpoint. There is no such file.")
    try:
        if path.suffix.lower() == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"`{path}` cannot be read as a state dict: {str(error).splitlines()[0]} Only tensors are read, "
            "never code: save `network.state_dict()`, not the network."
        ) from error
    require(
        isinstance(state, Mapping),
        f"`{path}` must hold a state dict, names with tensors. It holds a {type(state).__name__}.",
    )
    names = [str(name) for name in state]
    wrapped = bool(names) and all(name.startswith(WRAPPED) for name in names)
    return {str(n).removeprefix(WRAPPED) if wrapped else n: value for n, value in state.items()}


def mismatches(expected: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[str]:
    """What is wrong with each parameter, in the order of the network."""
    problems = []
    for name, wanted in expected.items():
        value = state.get(name)
        if not isinstance(value, Tensor):
            problems.append(f"`{name}` is {'missing' if value is None else 'not a tensor'}")
        elif value.shape != wanted.shape:
            problems.append(f"`{name}` has shape {tuple(value.shape)}, must be {tuple(wanted.shape)}")
        elif not bool(torch.isfinite(value).all()):
            problems.append(f"`{name}` holds NaN or infinity")
    unknown = [name for name in state if name not in expected]
    return problems + ([f"{listing(unknown)} is not in this network"] if unknown else [])
