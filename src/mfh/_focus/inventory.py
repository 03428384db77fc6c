"""List the layers of a model: names, output shapes and the dimension that is the channels."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import InputError, listing, require
from mfh._focus.channels import LAST, ChannelFlow, ambiguous, has_channels_last
from mfh._focus.outputs import part_of
from mfh._saliency.heads import evaluating

INPUT = ":input"
"""Behind the name of a layer, it means what the layer takes instead of what it returns."""


@dataclass(frozen=True)
class LayerInfo:
    """One submodule that a forward pass calls.

    Attributes:
        name: the `layer` argument of `split` and `FocusedTeacher`.
        kind: the module's class.
        shape: shape of its output, including the batch. For a tuple or an object it is the shape of the
            first tensor (`last_hidden_state` or `logits` if there is one); empty if there is no tensor.
        channels: size of the channel dimension; None if that is unknown.
        calls: number of calls in a forward pass. A model can be split only at a layer that is called once.
        channel_dim: the dimension that is the channels: 1, or -1 for the last, as in token models. None if
            the model does not show it; then it must be given.

    Example:
        >>> layer = layers(nn.Sequential(nn.Linear(4, 3)), torch.zeros(2, 7, 4))[0]
        >>> layer.shape, layer.channel_dim, layer.channels
        ((2, 7, 3), -1, 3)
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    channels: int | None
    calls: int
    channel_dim: int | None = None


def layers(model: nn.Module, example: object, *, channel_dim: int | None = None) -> list[LayerInfo]:
    """List every submodule that a forward pass on `example` calls, in the order of the first calls.

    The model runs once, in evaluation mode and without gradients; its modes are restored. A compiled model
    runs without `torch.compile`.

    The channel dimension of an output with two dimensions is 1. For other outputs the layers that write or
    read them decide: 1 for convolutions and batch normalisation, -1 for linear layers, layer normalisation
    and attention. Element-wise functions pass the dimension on.

    Args:
        model: any module.
        example: its input: a tensor, a tuple of positional inputs, or a dict of named ones.
        channel_dim: the dimension of every layer's output that is the channels; by default it is found.

    Raises:
        InputError: the model does not accept the example.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 10))
        >>> for layer in layers(model, torch.zeros(5, 3, 4, 4)):
        ...     print(layer.name, layer.kind, layer.shape, layer.channels)
        0 Conv2d (5, 8, 2, 2) 8
        1 Flatten (5, 32) 32
        2 Linear (5, 10) 10
    """
    model = uncompiled(model)
    names = {module: name for name, module in model.named_modules() if name}
    order: list[nn.Module] = []
    outputs: dict[nn.Module, list[Tensor | None]] = {}
    flow = ChannelFlow()
    channels_last = set(
        filter(has_channels_last, names)
    )  # found before the hooks below are added, since they count as code

    def begin(module: nn.Module, _: object) -> None:
        if module not in outputs:
            order.append(module)
            outputs[module] = []

    def note(module: nn.Module, _: object, output: Any) -> None:
        first = part_of(output)[1]
        outputs[module].append(first)
        if first is not None and first.ndim > 2 and module in channels_last:
            flow.vote(first, LAST)

    handles = [module.register_forward_pre_hook(begin) for module in names]
    handles += [module.register_forward_hook(note) for module in names]
    try:
        with evaluating(model), running_eagerly(model), flow:
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()

    def info(module: nn.Module) -> LayerInfo:
        first = next(iter(outputs[module]), None)
        shape = () if first is None else tuple(first.shape)
        found = None if first is None or len(shape) < 2 else flow.dim(first)
        dim = found if channel_dim is None else channel_dim
        valid = dim is not None and -len(shape) <= dim < len(shape)
        channels = shape[dim] if valid and dim is not None else None
        kind = type(module).__name__
        return LayerInfo(names[module], kind, shape, channels, len(outputs[module]), dim if valid else None)

    return [info(module) for module in order]


def find_channel_dim(model: nn.Module, layer: str, example: object) -> int:
    """Find the dimension of a layer's output that is the channels; see `layers`.

    Raises:
        InputError: the model does not show it.
    """
    if at_input(model, layer):  # a linear layer reads the last dimension, a convolution the second
        return -1 if isinstance(find(model, layer, "layers"), nn.Linear) else 1
    infos = [info for info in layers(model, example) if info.name == layer]
    if not infos:
        return 1
    if infos[0].channel_dim is None:
        raise InputError(ambiguous(layer, infos[0].shape))
    return infos[0].channel_dim


def find(model: nn.Module, layer: str, caller: str, example: object = None) -> nn.Module:
    """Return the submodule of that name, or the one whose input is named, as in `head:input`.

    Raises:
        InputError: there is none. The message lists the submodules, with shapes if an example is given.
    """
    named = dict(model.named_modules(remove_duplicate=False))
    if layer and layer in named:
        return named[layer]
    if at_input(model, layer):
        return named[layer.removesuffix(INPUT)]
    if example is None:
        known = [name for name in named if name]
    else:
        known = [f"{info.name} {info.shape}" for info in layers(model, example)]
    raise InputError(
        f"`layer` of `{caller}` must name a submodule. Got {layer!r}. Choose from {listing(known, limit=40)}."
    )


def at_input(model: nn.Module, layer: str) -> bool:
    """Return whether a name means the input of a submodule, as in `head:input`."""
    named = dict(model.named_modules(remove_duplicate=False))
    return layer not in named and layer.endswith(INPUT) and layer.removesuffix(INPUT) in named


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wrapped, or the module itself."""
    while isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        model = inner
    return model


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


@contextlib.contextmanager
def running_eagerly(model: nn.Module) -> Iterator[None]:
    """Run compiled parts of a model without compilation, since compiled code ignores new hooks."""
    compiled = any(map(_is_compiled, model.modules()))
    if not compiled:
        yield
        return
    require(
        hasattr(torch.compiler, "set_stance"),
        "`model` must not have compiled parts with torch older than 2.6. Compile it afterwards.",
    )
    with torch.compiler.set_stance("force_eager"):
        yield


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return an example as positional and named arguments."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}


def call(module: Callable[..., Any], example: object) -> Any:
    """Return the module's output on an example; errors are raised again with a message about `example`."""
    args, kwargs = arguments(example)
    try:
        return module(*args, **kwargs)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"`example` must be an input that `model` accepts. {type(error).__name__}: {error}"
        ) from error
