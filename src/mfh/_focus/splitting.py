"""Cut a model at a layer into trunk and head, without changing its code."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import fail, require
from mfh._focus.chain import sequence
from mfh._focus.channels import channels_second, with_channels_second
from mfh._focus.inventory import (
    INPUT,
    arguments,
    at_input,
    call,
    find,
    find_channel_dim,
    running_eagerly,
    uncompiled,
)
from mfh._focus.outputs import part_of
from mfh._focus.tracing import INSTEAD, UntraceableError, trace_head, trace_rest
from mfh._saliency.heads import evaluating, logits_of
from mfh._saliency.plain import is_plain


def split(model: nn.Module, layer: str, *, example: object = None) -> tuple[nn.Module, nn.Module]:
    """Cut a model in two at a layer: `head(trunk(x))` equals `model(x)`.

    Both share the model's parameters and buffers. The head takes any number of samples, passes gradients on,
    does not change its input, and never runs the trunk. It consists of the model's own modules. Plain
    `nn.Sequential` models are sliced. In other models `torch.fx` traces the `forward` of the modules that
    contain the layer, with branches on `self.training` as in evaluation. A head that begins with a linear
    layer is this `nn.Linear`, or an `nn.Sequential` that begins with it. If the code that leads to the layer
    cannot be traced, the example runs up to the layer and only the rest is traced. A compiled model is cut
    without `torch.compile`.

    With an example, a layer may return a tuple or an object. The trunk then returns its tensor (the first of
    a tuple, `last_hidden_state`, `logits`, or the first tensor), which must be all that the head needs. If
    the model returns an object with `.logits` that cannot be traced, the head returns these logits.

    Args:
        model: any module.
        layer: name of a submodule that is called once in a forward pass; see `layers`. With `:input` behind
            it, as in `head:input`, the model is cut before this submodule, so that the features are what it
            takes: several branches that code such as `torch.cat` joins have no submodule of their own.
        example: an input, as for `layers`, preferably of several samples. With it, trunk and head are
            compared with the model on two batch sizes.

    Returns:
        The trunk, which takes what the model takes and stops at the layer, and the head.

    Raises:
        InputError: the name is wrong; the layer is not called exactly once; the head needs more than the
            layer's output; the head cannot be traced or, on the example, differs from the model.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> trunk, head = split(model, "1")
        >>> head
        Linear(in_features=8, out_features=3, bias=True)
        >>> x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        >>> torch.equal(head(trunk(x)), model(x))
        True
    """
    model = uncompiled(model)
    target = find(model, layer, "split", example)
    require(
        not any(isinstance(module, Hooked) for module in model.modules()),
        "`model` of `split` must not contain a focused teacher: split the model that it wraps, its `.model`.",
    )
    if at_input(model, layer):
        return _before(model, layer, target, example)
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


def _before(model: nn.Module, layer: str, target: nn.Module, example: object) -> tuple[nn.Module, nn.Module]:
    """Return trunk and head of a model that is cut before a submodule."""
    _, rest = split(model, layer.removesuffix(INPUT), example=example)
    trunk, head = Trunk(model, layer), sequence([target, *([] if type(rest) is nn.Identity else [rest])])
    trunk.training = model.training
    if example is not None:
        with evaluating(model), running_eagerly(model):
            _compare(model, layer, trunk, head, example)
    return trunk, head


def channel_split(
    model: nn.Module, layer: str, example: object, channel_dim: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Cut as `split`, with channels as dimension 1 of the features between trunk and head.

    Args:
        model: any module.
        layer: name of a submodule.
        example: an input, as for `layers`.
        channel_dim: the dimension of the layer's output that is the channels; None finds it.

    Raises:
        InputError: as `split`; there is no such dimension, or none can be found.
    """
    trunk, head = split(model, layer, example=example)
    if channel_dim is None:
        channel_dim = find_channel_dim(uncompiled(model), layer, example)
    with evaluating(model):
        features = channels_second(call(trunk, example), channel_dim, "split")
    return with_channels_second(trunk, head, channel_dim, features.ndim)


def _traced(model: nn.Module, layer: str, example: object) -> tuple[nn.Module, nn.Module]:
    """Return trunk and head. Trace the head through the whole model or, if that fails, from the layer on."""
    trunk = Trunk(model, layer)
    with evaluating(model), running_eagerly(model):
        if example is None:
            return trunk, trace_head(model, layer, None, None)
        args, kwargs = arguments(example)
        output = call(trunk.stop, example)
        require(
            part_of(output)[1] is not None,
            f"`layer` of `split` must return a tensor, or an object that contains one. `{layer}` returns "
            f"{type(output).__name__}: name a layer after it, {INSTEAD}",
        )
        trunk.any_output = True
        try:
            head = trace_head(model, layer, (args, kwargs), output)
            _compare(model, layer, trunk, head, example)
        except UntraceableError:
            head = trace_rest(model, layer, lambda hook: trunk.run(hook, *args, **kwargs))
            _compare(model, layer, trunk, head, example)
        return trunk, head


def _compare(model: nn.Module, layer: str, trunk: nn.Module, head: nn.Module, example: object) -> None:
    """Raise if the head differs from the model on the example or on another number of samples."""
    cut = f"`split` cannot cut at `{layer}`"
    for inputs in (example, _resized(example)):
        expected_output = call(model, inputs)
        try:
            features = call(trunk, inputs)
            with redirect_stderr(io.StringIO()):  # torch.fx writes its generated code there when it fails
                output = head(features)
        except RuntimeError as error:
            raise UntraceableError(
                f"{cut}: the code after it works only for the example's number of samples ({error}). "
                f"Take sizes from the layer's output in the model's code, {INSTEAD}"
            ) from error
        found = list(_tensors(output))
        only_logits = isinstance(output, Tensor) and not isinstance(expected_output, Tensor)
        expected = [logits_of(expected_output)] if only_logits else list(_tensors(expected_output))
        if len(found) != len(expected) or not all(map(_same, found, expected)):
            raise UntraceableError(
                f"{cut}: trunk and head differ from the model on `example`, since its code depends on more "
                f"than the layer's output. Name a later layer, {INSTEAD}"
            )


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


class Hooked(nn.Module):
    """A model with a hook on one layer, which exists only during a call and acts only in its thread.

    The model itself, and other modules that wrap it, are not affected.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        self.model = model
        self.layer = layer

    def run(self, hook: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
        """Return the model's output after `hook` replaced the layer's output; None keeps that output.

        For the input of a layer, `hook` replaces the input.
        """
        thread = threading.get_ident()

        def in_this_thread(_: nn.Module, __: object, output: Any) -> Any:
            return hook(output) if threading.get_ident() == thread else None

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
            require(len(inputs) > 0, f"`{self.layer}` must be a positional input. It is given by keyword.")
            changed = in_this_thread(module, None, inputs[0])
            return None if changed is None else (changed, *inputs[1:])

        module = find(self.model, self.layer, "split")
        handle = (
            module.register_forward_pre_hook(before)
            if at_input(self.model, self.layer)
            else module.register_forward_hook(in_this_thread)
        )
        try:
            with running_eagerly(self.model):
                return self.model(*args, **kwargs)
        finally:
            handle.remove()

    def extra_repr(self) -> str:
        """Return the layer, for `print`."""
        return f"layer={self.layer!r}"


class Trunk(Hooked):
    """The model up to a layer: run the model's own code and leave it after the layer.

    With `any_output`, return also the tensor in a tuple or object; the head must fit that.
    """

    any_output = False

    def stop(self, *args: Any, **kwargs: Any) -> Any:
        """Return the layer's output, of any type."""

        def stop(output: Any) -> None:
            raise _ReachedError(output)

        try:
            self.run(stop, *args, **kwargs)
        except _ReachedError as reached:
            (output,) = reached.args
        else:
            fail(f"`layer` of `split` must be called in a forward pass. `{self.layer}` is not.")
        return output

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output."""
        output = self.stop(*args, **kwargs)
        tensor = part_of(output)[1]
        if tensor is None or not (self.any_output or isinstance(output, Tensor)):
            fail(
                f"`layer` of `split` must return a tensor. `{self.layer}` returns {type(output).__name__}: "
                f"give an `example` to use its first tensor, name a layer after it, {INSTEAD}"
            )
        return tensor


class _ReachedError(BaseException):
    """Carry a layer's output out of the model. It is no `Exception`, since model code might catch one."""


def _resized(example: Any) -> Any:
    """Return the first sample of the example, or twice the example if it has one sample."""
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
    """Yield the tensors in a model's output."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from chain.from_iterable(map(_tensors, output.values()))
    elif isinstance(output, (list, tuple)):
        yield from chain.from_iterable(map(_tensors, output))
    elif hasattr(output, "__dict__"):
        yield from chain.from_iterable(map(_tensors, vars(output).values()))


def _slice(model: nn.Module, path: list[str]) -> tuple[list[nn.Module], list[nn.Module]] | None:
    """Return the modules up to the named one and those after it; None unless plain Sequentials contain it."""
    if not is_plain(model, nn.Sequential):
        return None
    children = [child for child in model._modules.values() if child is not None]
    at = list(model._modules).index(path[0])
    inner = ([children[at]], []) if len(path) == 1 else _slice(children[at], path[1:])
    return None if inner is None else (children[:at] + inner[0], inner[1] + children[at + 1 :])
