"""A model cut at a layer, without touching its code: the layers one can name, the trunk, the head."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import InputError, fail, listing, require
from mfh._focus.chain import is_plain, sequence
from mfh._focus.tracing import INSTEAD, UntraceableError, trace_head, trace_rest
from mfh._saliency.heads import evaluating


@dataclass(frozen=True)
class LayerInfo:
    """One submodule that a forward pass calls.

    Attributes:
        name: what `split` and `FocusedTeacher` take as `layer`.
        kind: the module's class.
        shape: of its output, the batch included; of the first element where it returns a tuple; empty where
            it returns neither.
        channels: size of the channel dimension; None where the output has no such dimension.
        calls: how often the forward pass calls it. Only a layer called once can be split at.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    channels: int | None
    calls: int


def layers(model: nn.Module, example: object, *, channel_dim: int = 1) -> list[LayerInfo]:
    """List every submodule that a forward pass on `example` calls, in the order of the model's definition.

    The model runs once, in evaluation mode and without gradients; its modes are restored.

    Args:
        model: any module.
        example: its input: a tensor, a tuple of positional inputs, or a dict of named ones.
        channel_dim: the dimension of the outputs that counts as channels.

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
    names = {module: name for name, module in model.named_modules() if name}
    shapes: dict[nn.Module, list[tuple[int, ...]]] = {}

    def note(module: nn.Module, _: object, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        shapes.setdefault(module, []).append(tuple(first.shape) if isinstance(first, Tensor) else ())

    handles = [module.register_forward_hook(note) for module in names]
    try:
        with evaluating(model):
            call(model, example)
    finally:
        for handle in handles:
            handle.remove()

    def info(name: str, module: nn.Module) -> LayerInfo:
        shape = shapes[module][0]
        held = -len(shape) <= channel_dim < len(shape)
        channels = shape[channel_dim] if held else None
        return LayerInfo(name, type(module).__name__, shape, channels, len(shapes[module]))

    return [info(name, module) for module, name in names.items() if module in shapes]


def find(model: nn.Module, layer: str, caller: str, example: object = None) -> nn.Module:
    """The submodule of that name.

    Raises:
        InputError: there is none; the text lists those there are, with shapes where an example is given.
    """
    named = dict(model.named_modules(remove_duplicate=False))
    if layer and layer in named:
        return named[layer]
    if example is None:
        known = [name for name in named if name]
    else:
        known = [f"{info.name} {info.shape}" for info in layers(model, example)]
    raise InputError(
        f"`layer` of `{caller}` must name a submodule. Got {layer!r}. Choose from {listing(known, limit=40)}."
    )


def split(model: nn.Module, layer: str, *, example: object = None) -> tuple[nn.Module, nn.Module]:
    """Cut a model in two at a layer: `head(trunk(x))` equals `model(x)`.

    Both share the model's parameters and buffers. The head takes any number of samples, passes gradients on,
    leaves its input as it is, and never runs the trunk. It is made of the model's own modules: plain
    `nn.Sequential` models are sliced, others traced by `torch.fx` through the `forward` of only those modules
    that contain the layer; branches there on `self.training` are taken as in evaluation. A head that begins
    with a linear layer is an `nn.Sequential` that begins with that `nn.Linear`, or just it. Where the code
    that leads to the layer cannot be traced, the example is run up to the layer and only the rest is traced.

    Args:
        model: any module.
        layer: name of a submodule that is called once in a forward pass, and returns a tensor; see `layers`.
        example: an input, as for `layers`, best of several samples; with it the two parts are compared with
            the whole on two batch sizes.

    Returns:
        The trunk, which takes what the model takes and stops at the layer, and the head.

    Raises:
        InputError: the name is wrong; the layer is called more than once or never; the head needs more than
            the layer's output; the head cannot be traced or, on the example, is not equal to the model.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> trunk, head = split(model, "1")
        >>> head
        Linear(in_features=8, out_features=3, bias=True)
        >>> x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(head(trunk(x)), model(x))
        True
    """
    target = find(model, layer, "split", example)
    require(
        not any(isinstance(module, Hooked) for module in model.modules()),
        "`model` of `split` must not contain a focused teacher: split the model that it wraps, its `.model`.",
    )
    uses = sum(module is target for _, module in model.named_modules(remove_duplicate=False))
    trunk: nn.Module
    parts = _slice(model, layer.split(".")) if uses == 1 else None
    if parts is not None:
        trunk, head = nn.Sequential(*parts[0]), sequence(parts[1])
    else:
        trunk, head = _traced(model, layer, example)
    for module in {*trunk.modules(), *head.modules()}.difference(model.modules()):
        module.training = model.training
    return trunk, head


def _traced(model: nn.Module, layer: str, example: object) -> tuple[nn.Module, nn.Module]:
    """Both parts; the head by tracing all of the model or, where that fails, only what follows the layer."""
    trunk = Trunk(model, layer)
    with evaluating(model):
        if example is None:
            return trunk, trace_head(model, layer, None)
        args, kwargs = arguments(example)
        call(trunk, example)
        try:
            head = trace_head(model, layer, (args, kwargs))
            _compare(model, layer, trunk, head, example)
        except UntraceableError:
            head = trace_rest(model, layer, lambda hook: trunk.run(hook, *args, **kwargs))
            _compare(model, layer, trunk, head, example)
        return trunk, head


def _compare(model: nn.Module, layer: str, trunk: nn.Module, head: nn.Module, example: object) -> None:
    """Refuse a head that differs from the model on the example or on another number of samples."""
    cut = f"`split` cannot cut at `{layer}`"
    for inputs in (example, _resized(example)):
        expected = list(_tensors(call(model, inputs)))
        try:
            features = call(trunk, inputs)
            with redirect_stderr(io.StringIO()):  # torch.fx writes its generated code there when it fails
                found = list(_tensors(head(features)))
        except RuntimeError as error:
            raise UntraceableError(
                f"{cut}: what follows it fits the example's number of samples only ({error}). "
                f"Take sizes from the layer's output in the model's code, {INSTEAD}"
            ) from error
        if not all(map(_same, found, expected)):
            raise UntraceableError(
                f"{cut}: trunk and head do not equal the model on `example`, for its code depends on more "
                f"than the layer's output. Name a later layer, {INSTEAD}"
            )


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


class Hooked(nn.Module):
    """A model with a hook on one layer, which is there only while this runs and acts only in its thread.

    So the model itself, and others that wrap it, never see the hook.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        self.model = model
        self.layer = layer

    def run(self, hook: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
        """The model's output where `hook` maps the layer's output to another one, or None to leave it."""
        thread = threading.get_ident()

        def in_this_thread(_: nn.Module, __: object, output: Any) -> Any:
            return hook(output) if threading.get_ident() == thread else None

        handle = self.model.get_submodule(self.layer).register_forward_hook(in_this_thread)
        try:
            return self.model(*args, **kwargs)
        finally:
            handle.remove()

    def extra_repr(self) -> str:
        """The layer, for `print`."""
        return f"layer={self.layer!r}"


class Trunk(Hooked):
    """The model up to a layer: runs the model's own code and leaves it when the layer is done."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output."""

        def stop(output: Any) -> None:
            raise _ReachedError(output)

        try:
            self.run(stop, *args, **kwargs)
        except _ReachedError as reached:
            (output,) = reached.args
        else:
            fail(f"`layer` of `split` must be called in a forward pass. `{self.layer}` is not.")
        require(
            isinstance(output, Tensor),
            f"`layer` of `split` must return a tensor. `{self.layer}` returns {type(output).__name__}: "
            "name a layer after it, or pass a trunk and a head of your own.",
        )
        return output


class _ReachedError(BaseException):
    """Carries a layer's output out of the model; not an Exception, which model code might catch."""


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example as positional and named arguments."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}


def call(module: nn.Module, example: object) -> Any:
    """The module's output on an example; its failure told as the example's."""
    args, kwargs = arguments(example)
    try:
        return module(*args, **kwargs)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"`example` must be an input that `model` accepts. {type(error).__name__}: {error}"
        ) from error


def _resized(example: Any) -> Any:
    """The example with its first sample only, or twice if that is all there is."""
    args, kwargs = arguments(example)
    count = next((len(value) for value in (*args, *kwargs.values()) if _is_batch(value)), 0)

    def other(value: Any) -> Any:
        if not (_is_batch(value) and len(value) == count):
            return value
        return value[:1] if count > 1 else torch.cat([value, value])

    return {name: other(value) for name, value in kwargs.items()} or tuple(other(value) for value in args)


def _is_batch(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors in what a model returns."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from chain.from_iterable(map(_tensors, output.values()))
    elif isinstance(output, (list, tuple)):
        yield from chain.from_iterable(map(_tensors, output))
    elif hasattr(output, "__dict__"):
        yield from chain.from_iterable(map(_tensors, vars(output).values()))


def _slice(model: nn.Module, path: list[str]) -> tuple[list[nn.Module], list[nn.Module]] | None:
    """The modules up to the named one and those after it; None unless plain Sequentials lead to it."""
    if not is_plain(model):
        return None
    children = [child for child in model._modules.values() if child is not None]
    at = list(model._modules).index(path[0])
    inner = ([children[at]], []) if len(path) == 1 else _slice(children[at], path[1:])
    return None if inner is None else (children[:at] + inner[0], inner[1] + children[at + 1 :])
