"""Chains of modules: build an nn.Sequential, and recognise code that is equivalent to one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from mfh._saliency.plain import has_backward_hooks, is_plain


def sequence(modules: Sequence[nn.Module]) -> nn.Module:
    """Return one module that calls modules in turn and does not change its input.

    It is an nn.Sequential, the only module, or an nn.Identity.
    """
    steps = list(_unrolled(modules))
    steps = [_Copy(), *steps] if _may_write_input(steps) else steps
    return nn.Sequential(*steps) if len(steps) > 1 else steps[0] if steps else nn.Identity()


def leading_modules(graph_module: fx.GraphModule) -> tuple[list[nn.Module], fx.Node]:
    """Return the chain of modules that a graph of one input begins with.

    Each module of the chain is the only user of the value before it. Functions that flatten or pool a whole
    map, or average over tokens, count as modules.

    Returns:
        The modules, and the node with the value of the last one.
    """
    for pattern, replacement in _rewritings():
        fx.replace_pattern(graph_module, pattern, replacement)
    steps: list[nn.Module] = []
    node = next(iter(graph_module.graph.nodes))
    while (step := _step(graph_module, node)) is not None:
        steps.append(step)
        node = next(iter(node.users))
    return steps, node


def _step(graph_module: fx.GraphModule, source: fx.Node) -> nn.Module | None:
    """Return the module that is the only user of a node; None if there is another user or none."""
    node = next(iter(source.users), None)
    if node is None or len(source.users) > 1 or node.args[:1] != (source,):
        return None
    if node.op == "call_module" and len(node.args) == 1 and not node.kwargs:
        return graph_module.get_submodule(str(node.target))
    if node.target is torch.mean and node.args == (source, 1) and not node.kwargs:
        return Mean(1)
    if node.target is torch.flatten and node.args == (source, 1) and not node.kwargs:
        return nn.Flatten()
    if node.target in _POOLS and len(node.args) == 2 and not node.kwargs:
        return _POOLS[node.target](node.args[1])
    if node.target is functional.dropout and node.kwargs.get("training") is False:
        return nn.Identity()
    return None


@cache
def _rewritings() -> list[tuple[fx.GraphModule, Callable[[Any], Any]]]:
    """Return pairs of traced code and the form that replaces it."""
    found: list[tuple[fx.GraphModule, Callable[[Any], Any]]] = []
    for variants, replacement in ((_FLATTENINGS, _flatten), (_AVERAGINGS, _average)):
        for variant in variants:
            with suppress(TypeError):  # older releases of torch cannot trace a reshape to a tuple
                found.append((fx.symbolic_trace(variant), replacement))
    return found


def _flatten(x: Any) -> Any:
    return torch.flatten(x, 1)


def _average(x: Any) -> Any:
    return torch.mean(x, 1)


_AVERAGINGS: tuple[Callable[[Any], Any], ...] = (
    lambda x: x.mean(1),
    lambda x: x.mean(dim=1),
    lambda x: torch.mean(x, dim=1),
)
_FLATTENINGS: tuple[Callable[[Any], Any], ...] = (
    lambda x: x.flatten(1),
    lambda x: x.flatten(1, -1),
    lambda x: x.flatten(start_dim=1),
    lambda x: torch.flatten(x, start_dim=1),
    lambda x: x.view(x.size(0), -1),
    lambda x: x.view(x.shape[0], -1),
    lambda x: x.view(x.size()[0], -1),
    lambda x: x.reshape(x.size(0), -1),
    lambda x: x.reshape(x.shape[0], -1),
    lambda x: x.reshape(x.size()[0], -1),
    lambda x: torch.reshape(x, (x.size(0), -1)),
    lambda x: torch.reshape(x, (x.shape[0], -1)),
)
_POOLS: dict[Any, Callable[[Any], nn.Module]] = {
    functional.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.adaptive_avg_pool3d: nn.AdaptiveAvgPool3d,
}


def _unrolled(modules: Iterable[nn.Module | None]) -> Iterator[nn.Module]:
    for module in modules:
        if is_plain(module, nn.Sequential) and not has_backward_hooks(module):
            yield from _unrolled(module._modules.values())
        elif module is not None:
            yield module


class Mean(nn.Module):
    """The mean over a dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean."""
        return features.mean(self.dim)


class _Copy(nn.Module):
    """A copy of the input, so that later in-place operations do not change the input."""

    def forward(self, features: Tensor) -> Tensor:
        """Return a copy."""
        return features.clone()


_NEW_OUTPUT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _may_write_input(steps: Sequence[nn.Module]) -> bool:
    """Return whether an in-place operation may change the input; code other than torch's and ours may."""
    for step in steps:
        if any(getattr(m, "inplace", False) or not _is_known(m) for m in step.modules()):
            return True
        if isinstance(step, _NEW_OUTPUT):  # it is plain, else `_is_known` were false
            return False
    return False


def _is_known(module: nn.Module) -> bool:
    known = module.__module__.startswith(("torch.nn.", "mfh._focus."))
    return known and is_plain(module, type(module))
