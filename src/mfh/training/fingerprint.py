"""Fingerprints of weights, transforms and objectives, to tell whether a file belongs to a computation."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import ismethod
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from mfh._system.files import plain
from mfh.models.weights import digest

DEEPEST = 4
"""Depth at which the description of an object's attributes ends."""


def structure(model: nn.Module) -> str:
    """Return a network's `repr` without memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(model))


def network_fingerprint(model: nn.Module) -> str:
    """Return a digest of a network's weights, buffers, other state and `repr`."""
    state = model.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    rest = {name: describe(value) for name, value in state.items() if name not in tensors}
    return digest(tensors, json.dumps([structure(model), rest]))


def describe(value: object, *, depth: int = 0) -> Any:
    """Return a description of a value as JSON that is the same in every process.

    Arrays and networks are described by their digests, functions by their names, and objects of other classes
    by their attributes.

    >>> describe({"a": (1, 2.5)})
    {'a': [1, 2.5]}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        return digest({"": value})
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()}"
    if isinstance(value, nn.Module):
        return network_fingerprint(value)
    if depth > DEEPEST:
        return type(value).__qualname__

    def inner(part: object) -> Any:
        return describe(part, depth=depth + 1)

    if isinstance(value, partial):
        return {"call": inner(value.func), "with": inner((value.args, value.keywords))}
    if isinstance(value, Mapping):
        return {str(key): inner(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [inner(part) for part in value]
    return _describe_object(value, inner)


def _describe_object(value: object, inner: Callable[[object], Any]) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: inner(getattr(value, field.name)) for field in fields(value)}
        return {"class": type(value).__qualname__, **parts}
    if ismethod(value):
        return {"method": value.__func__.__qualname__, "of": inner(value.__self__)}
    if isinstance(value, ModuleType) or hasattr(value, "__qualname__"):  # a module, a function or a class
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
    parts = {name: inner(part) for name, part in getattr(value, "__dict__", {}).items()}
    return {"class": type(value).__qualname__, **parts}


def short(value: object) -> str:
    """Return 16 hex digits that depend on `describe(value)`."""
    text = json.dumps(plain(describe(value)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
