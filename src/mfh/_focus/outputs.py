"""Outputs of layers: a tensor, or a tuple, a mapping or an object that contains the tensor to use."""

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

Part = int | str | None
"""Place of the tensor: an index, a name, or None if the output is the tensor itself."""

_MAIN = ("last_hidden_state", "logits")


def part_of(output: Any) -> tuple[Part, Tensor | None]:
    """Find the tensor of a layer's output: the output, the first item of a tuple, or a field of an object.

    The field is `last_hidden_state` or `logits` if there is one, else the first that is a tensor.

    Returns:
        The place of the tensor, and the tensor; (None, None) if there is none.

    Example:
        >>> import torch
        >>> part_of((torch.zeros(2), None))
        (0, tensor([0., 0.]))
    """
    if isinstance(output, Tensor):
        return None, output
    if isinstance(output, (tuple, list)):
        return (0, output[0]) if output and isinstance(output[0], Tensor) else (None, None)
    held = _fields(output)
    for name in (*_MAIN, *held):
        if isinstance(held.get(name), Tensor):
            return name, held[name]
    return None, None


def with_part(output: Any, part: Part, value: Any) -> Any:
    """Return a copy of the output with another value in that place; the output itself does not change."""
    if part is None:
        return value
    if isinstance(part, int):
        new = (*output[:part], value, *output[part + 1 :])
        return type(output)(*new) if hasattr(output, "_fields") else type(output)(new)
    if is_dataclass(output) and not isinstance(output, Mapping):
        return replace(output, **{part: value})  # type: ignore[type-var]
    changed = copy.copy(output)
    if isinstance(changed, Mapping):
        changed[part] = value  # type: ignore[index]
    else:
        setattr(changed, part, value)
    return changed


def is_access(part: Part, key: object, output: Any) -> bool:
    """Return whether `output[key]` or `output.key` is the tensor."""
    held = list(_fields(output))
    return key == part or (isinstance(key, int) and 0 <= key < len(held) and held[key] == part)


def _fields(output: Any) -> dict[str, Any]:
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if is_dataclass(output):
        return {spec.name: getattr(output, spec.name) for spec in fields(output)}
    return dict(getattr(output, "__dict__", {}))
