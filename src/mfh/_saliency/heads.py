"""The head of a teacher: recognise linear heads, run any head."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._saliency.plain import is_plain

Head = Callable[[Tensor], object]

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_IDLE_IN_EVAL = (nn.Identity, *_DROPOUTS)
_POOLS: dict[type[nn.Module], int] = {
    nn.AdaptiveAvgPool1d: 3,
    nn.AdaptiveAvgPool2d: 4,
    nn.AdaptiveAvgPool3d: 5,
}


@dataclass(frozen=True)
class LinearStart:
    """The linear layer that a head begins with, and the rest of the head.

    Attributes:
        weight: (unit, channel x position), positions innermost.
        bias: (unit,), or None.
        pooled: whether each channel's map is first averaged over its positions.
        rest: what follows the linear layer; None if nothing does.
    """

    weight: Float[Tensor, "unit channel_position"]
    bias: Float[Tensor, " unit"] | None
    pooled: bool
    rest: Head | None


def linear_start(head: Head, features: Tensor) -> LinearStart | None:
    """Return the linear layer that `head` applies to all of `features` first; None if it does not.

    Recognised are `nn.Linear`, an `nn.Sequential` (nested or not) of [global average pooling, Flatten |
    Flatten], Linear, ..., and any callable with the attributes `first_linear`, an `nn.Linear` on the
    flattened features, and `after_linear`, a callable. Dropout and Identity count as absent, since heads run
    in evaluation mode. Modules that are not plain (see `is_plain`) are not recognised.

    Raises:
        InputError: features are (sample, channel), and the linear layer takes another number of channels.
    """
    first, rest = getattr(head, "first_linear", None), getattr(head, "after_linear", None)
    own_code = not isinstance(head, nn.Module) or is_plain(head, type(head))
    if own_code and is_plain(first, nn.Linear) and callable(rest):
        return _matching(first, pooled=False, rest=rest, features=features)
    modules = active_modules(head)
    pooled = len(modules) > 1 and _pools_to_one(modules[0], features.ndim) and _flattens(modules[1])
    modules = modules[2:] if pooled else modules[1:] if modules and _flattens(modules[0]) else modules
    if not modules or not is_plain(modules[0], nn.Linear):
        return None
    following = nn.Sequential(*modules[1:]) if len(modules) > 1 else None
    return _matching(modules[0], pooled=pooled, rest=following, features=features)


def active_modules(head: object) -> list[nn.Module]:
    """Return the modules that `head` calls in turn, without those that do nothing in evaluation mode.

    Plain `nn.Sequential` containers are replaced by their modules. The list is empty if `head` is no module.
    """
    return [module for module in _unrolled(head) if not _is_idle(module)]


def weights_of(
    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d,
) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias as `layer` uses them in evaluation mode, without gradients."""
    with evaluating(layer):  # some parametrizations change their state when a layer in training is read
        weight, bias = layer.weight, layer.bias
    return weight.detach(), None if bias is None else bias.detach()


def _matching(linear: nn.Linear, *, pooled: bool, rest: Head | None, features: Tensor) -> LinearStart | None:
    width = features.shape[1] if pooled else features[0].numel()
    if linear.in_features != width:
        require(
            features.ndim > 2,
            f"`features` must have as many channels as `head` takes. Got {width} channels for a head that "
            f"takes {linear.in_features}: pass the output of the layer that the head follows.",
        )
        return None
    weight, bias = weights_of(linear)
    return LinearStart(weight, bias, pooled, rest)


def _unrolled(head: object) -> list[nn.Module]:
    if is_plain(head, nn.Sequential):
        return [inner for module in head for inner in _unrolled(module)]
    return [head] if isinstance(head, nn.Module) else []


def _is_idle(module: nn.Module) -> bool:
    return type(module) in _IDLE_IN_EVAL and is_plain(module, type(module))


def _flattens(module: nn.Module) -> bool:
    return is_plain(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1


def _pools_to_one(module: nn.Module, ndim: int) -> bool:
    sizes = getattr(module, "output_size", None)
    ones = all(size == 1 for size in sizes) if isinstance(sizes, Sequence) else sizes == 1
    return _POOLS.get(type(module)) == ndim and ones and is_plain(module, type(module))


def logits_of(output: object) -> Tensor:
    """Return the logits in what a network returns: a tensor, the first of a tuple, `.logits` or ["logits"].

    Raises:
        InputError: it is none of these.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits  # type: ignore[attr-defined]
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    raise InputError(
        "A network or `head` must return logits: a tensor, a tuple that begins with one, or an object or "
        f"dict with `logits`. Got {type(output).__name__}: wrap it in a module that returns the logits."
    )


@contextmanager
def evaluating(head: object) -> Iterator[None]:
    """Run a block without gradients and with `head` in evaluation mode; then restore every module's mode."""
    modules = list(head.modules()) if isinstance(head, nn.Module) else []
    training = [module.training for module in modules]
    try:
        if isinstance(head, nn.Module):
            head.eval()
        # tensors record that they were changed in place only outside of inference mode
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode
