"""What a head is: recognising linear ones, running any of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError, require

Head = Callable[[Tensor], object]
M = TypeVar("M", bound=nn.Module)

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_IDLE_IN_EVAL = (nn.Identity, *_DROPOUTS)
_POOLS: dict[type[nn.Module], int] = {
    nn.AdaptiveAvgPool1d: 3,
    nn.AdaptiveAvgPool2d: 4,
    nn.AdaptiveAvgPool3d: 5,
}


@dataclass(frozen=True)
class LinearStart:
    """A head that is a linear layer followed by `rest`; nothing follows when `rest` is None.

    Attributes:
        weight: (unit, channel x position), positions innermost.
        bias: (unit,), or None.
        pooled: whether each channel's map is averaged over its positions first.
        rest: what comes after the linear layer.
    """

    weight: Float[Tensor, "unit channel_position"]
    bias: Float[Tensor, " unit"] | None
    pooled: bool
    rest: Head | None


def linear_start(head: Head, features: Tensor) -> LinearStart | None:
    """See whether `head` begins with a linear layer on all of `features`; None when it does not.

    Recognised are `nn.Linear`, an `nn.Sequential` (nested or not) of [global average pooling, Flatten |
    Flatten], Linear, ..., and any callable with the attributes `first_linear`, an `nn.Linear` on the
    flattened features, and `after_linear`, a callable. Dropout and Identity count as absent, since
    heads run in evaluation mode. A module with hooks or a subclass with another `forward` is not looked into.

    Raises:
        InputError: features are (sample, channel), and the linear layer takes another number of channels.
    """
    first = getattr(head, "first_linear", None)
    if _is_plain(first, nn.Linear) and callable(getattr(head, "after_linear", None)):
        return _matching(first, pooled=False, rest=head.after_linear, features=features)  # type: ignore[attr-defined]
    modules = [module for module in _unrolled(head) if not _is_idle(module)]
    pooled = len(modules) > 1 and _pools_to_one(modules[0], features.ndim) and _flattens(modules[1])
    modules = modules[2:] if pooled else modules[1:] if modules and _flattens(modules[0]) else modules
    if not modules or not _is_plain(modules[0], nn.Linear):
        return None
    rest = nn.Sequential(*modules[1:]) if len(modules) > 1 else None
    return _matching(modules[0], pooled=pooled, rest=rest, features=features)


def _matching(linear: nn.Linear, *, pooled: bool, rest: Head | None, features: Tensor) -> LinearStart | None:
    width = features.shape[1] if pooled else features[0].numel()
    if linear.in_features != width:
        require(
            features.ndim > 2,
            f"`features` must have as many channels as `head` takes. Got {width} channels for a head that "
            f"takes {linear.in_features}: pass the output of the layer that the head follows.",
        )
        return None
    return LinearStart(
        linear.weight.detach(), None if linear.bias is None else linear.bias.detach(), pooled, rest
    )


def _unrolled(head: object) -> list[nn.Module]:
    if _is_plain(head, nn.Sequential):
        return [inner for module in head for inner in _unrolled(module)]
    return [head] if isinstance(head, nn.Module) else []


def _is_plain(module: object, kind: type[M]) -> TypeGuard[M]:
    """Whether calling `module` does what its class says: no override of `forward`, no hooks."""
    return (
        isinstance(module, kind)
        and type(module).forward is kind.forward
        and "forward" not in vars(module)
        and not module._forward_hooks
        and not module._forward_pre_hooks
    )


def _is_idle(module: nn.Module) -> bool:
    return type(module) in _IDLE_IN_EVAL and _is_plain(module, type(module))


def _flattens(module: nn.Module) -> bool:
    return _is_plain(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1


def _pools_to_one(module: nn.Module, ndim: int) -> bool:
    sizes = getattr(module, "output_size", None)
    ones = all(size == 1 for size in sizes) if isinstance(sizes, Sequence) else sizes == 1
    return _POOLS.get(type(module)) == ndim and ones and _is_plain(module, type(module))


def logits_of(output: object) -> Tensor:
    """Reduce what a network returns to its logits: a tensor, the first of a tuple, `.logits` or ["logits"].

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
    """Run a block without gradients and with `head` in evaluation mode; every module's mode is restored."""
    modules = list(head.modules()) if isinstance(head, nn.Module) else []
    training = [module.training for module in modules]
    try:
        if isinstance(head, nn.Module):
            head.eval()
        # outside of inference mode, since only there do tensors tell that they were changed in place
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode
