"""Checks of modules: whether one runs the code of its class only, and whether it has its weights."""

from typing import TypeGuard, TypeVar

from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.parameter import is_lazy

from mfh._checks import listing, require

M = TypeVar("M", bound=nn.Module)

# Methods that decide what a call returns. Weights are not among them: parametrizations and properties of
# subclasses have their effect when a weight is read as `module.weight`.
_CODE = ("__call__", "_call_impl", "forward", "_conv_forward", "__iter__")
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_BACKWARD_HOOKS = ("_backward_pre_hooks", "_backward_hooks")


def is_plain(module: object, kind: type[M]) -> TypeGuard[M]:
    """Return whether a call of `module` computes what `kind.forward` computes, and nothing else.

    A module is not plain if a subclass or the object itself replaces `forward` (or what it is called by), or
    if forward hooks, its own or those for all modules, may change its input or output. A layer that
    `torch.compile` wraps is an object of another class, so it is not plain either.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> is_plain(layer, nn.Linear)
        True
        >>> handle = layer.register_forward_hook(lambda module, inputs, output: 2 * output)
        >>> is_plain(layer, nn.Linear)
        False
    """
    if not isinstance(module, kind) or not vars(module).keys().isdisjoint(_CODE):
        return False
    inherited = all(getattr(type(module), name, None) is getattr(kind, name, None) for name in _CODE)
    return inherited and not _has_any(module, _HOOKS)


def has_backward_hooks(module: nn.Module) -> bool:
    """Return whether hooks, of the module or of all modules, may change the gradients that pass it."""
    return _has_any(module, _BACKWARD_HOOKS)


def require_sized(network: nn.Module, name: str) -> None:
    """Raise `InputError` if layers of a network get their size, and their weights, from the first batch.

    Their weights would then depend on what happened before that batch, not on the seed.

    Args:
        network: any module.
        name: what the message calls it, such as `student`.

    Example:
        >>> require_sized(nn.Sequential(nn.LazyLinear(3)), "teacher")
        Traceback (most recent call last):
        mfh._checks.InputError: `teacher` must have weights already. Layer `0` gets them from its first \
batch (LazyLinear): run the network once on a batch before you pass it, or give the layer its input size.
    """
    modules = network.named_modules(remove_duplicate=False)
    lazy = {
        name: type(module).__name__
        for name, module in modules
        if any(map(is_lazy, (*module._parameters.values(), *module._buffers.values())))
    }
    several = len(lazy) > 1
    require(
        not lazy,
        f"`{name}` must have weights already. Layer{'s' * several} {listing(lazy)} get{'s' * (not several)} "
        f"them from {'their' if several else 'its'} first batch ({', '.join(sorted(set(lazy.values())))}): "
        "run the network once on a batch before you pass it, or give the layer its input size.",
    )


def _has_any(module: nn.Module, kinds: tuple[str, ...]) -> bool:
    return any(getattr(module, name) or getattr(torch_module, f"_global{name}") for name in kinds)
