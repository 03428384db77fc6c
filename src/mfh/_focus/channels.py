"""Find the dimension of a layer's output that is the channels: the one that weights mix or normalise.

A convolution's channels are dimension 1, those of a token model the last dimension. The shape does not show
which, so a forward pass is observed: functions with weights show the channel dimension of their inputs and
outputs, and element-wise functions pass it on.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mfh._checks import InputError, require
from mfh._focus.chain import Mean, sequence
from mfh._saliency.plain import is_plain

SECOND, LAST = 1, -1
_READ_AND_WRITE = {
    SECOND: re.compile(
        r"conv(_transpose)?[123]d|(batch|instance|group)_norm|((adaptive_)?(avg|max)|lp)_pool[123]d|interpolate"
    ),
    LAST: re.compile(r"linear|(layer|rms)_norm"),
}
_PASS_ON = re.compile(
    r"[ir]?(add|sub|mul|div|truediv|pow)|(leaky_|p|r|rr)?relu6?|gelu|silu|[cs]?elu|mish|tanh|(log|hard)?sigmoid|"
    r"hard(swish|tanh)|soft(plus|sign)|(alpha_|feature_)?dropout[123]?d?|clamp|abs|exp|sqrt|square|clone|"
    r"contiguous|detach|to|float|double|half|bfloat16|type_as|where|cat|concat|pad"
)
_JOINS = ("cat", "concat", "pad")  # the shape changes, but not the meaning of its dimensions
_CHANNELS_LAST: tuple[type[nn.Module], ...] = (  # modules that call no function of `_READ_AND_WRITE`
    nn.MultiheadAttention, nn.RNN, nn.LSTM, nn.GRU, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
)  # fmt: skip


class ChannelFlow(TorchFunctionMode):
    """Collect, while it is active, what functions show about the channel dimension of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: list[Tensor] = []  # an id identifies a tensor only while the tensor exists
        self._parent: dict[int, int] = {}
        self._votes: dict[int, set[int]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, and note what it shows."""
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.ndim > 2:
            self._note(getattr(func, "__name__", ""), list(_tensors(args)), out, args)
        return out

    def _note(self, name: str, inputs: list[Tensor], out: Tensor, args: Sequence[Any]) -> None:
        name = name.strip("_")
        dim = next((dim for dim, names in _READ_AND_WRITE.items() if names.fullmatch(name)), None)
        if dim is not None and not (dim == LAST and _is_joint(args)):
            for tensor in (*inputs[:1], out):
                self.vote(tensor, dim)
        elif name in ("matmul", "mm") and len(inputs) == 2 and inputs[1].ndim == 2:
            for tensor in (inputs[0], out):
                self.vote(tensor, LAST)
        elif _PASS_ON.fullmatch(name):
            for tensor in inputs:
                if tensor.ndim == out.ndim and (tensor.shape == out.shape or name in _JOINS):
                    self._join(tensor, out)

    def vote(self, tensor: Tensor, dim: int) -> None:
        """Note that a function uses that dimension as channels."""
        self._votes.setdefault(self._root(tensor), set()).add(dim)

    def dim(self, tensor: Tensor) -> int | None:
        """Return the dimension on which all votes agree; None if they differ or there are none."""
        if tensor.ndim == 2:
            return SECOND
        votes = self._votes.get(self._root(tensor), set())
        return next(iter(votes)) if len(votes) == 1 else None

    def _root(self, tensor: Tensor) -> int:
        at = id(tensor)
        if at not in self._parent:
            self._alive.append(tensor)
            self._parent[at] = at
        while self._parent[at] != at:
            at = self._parent[at]
        return at

    def _join(self, a: Tensor, b: Tensor) -> None:
        one, two = self._root(a), self._root(b)
        if one != two:
            self._parent[one] = two
            self._votes.setdefault(two, set()).update(self._votes.pop(one, ()))


def has_channels_last(module: nn.Module) -> bool:
    """Return whether the class of a module determines that its channels are the last dimension."""
    return any(is_plain(module, kind) for kind in _CHANNELS_LAST)


def _is_joint(args: Sequence[Any]) -> bool:
    """Return whether a norm uses several dimensions together, which does not show which one is channels."""
    return len(args) > 1 and isinstance(args[1], Sequence) and len(args[1]) > 1


def _tensors(args: Any) -> Iterator[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, (list, tuple)):
            yield from _tensors(arg)


def channels_second(features: Any, channel_dim: int, caller: str) -> Tensor:
    """Return the features with channels as dimension 1."""
    if not isinstance(features, Tensor):
        raise InputError(
            f"The layer of `{caller}` must return a tensor. Got {type(features).__name__}: "
            "name another layer."
        )
    valid = -features.ndim <= channel_dim < features.ndim and channel_dim % features.ndim != 0
    require(
        valid,
        f"`channel_dim` of `{caller}` must be a dimension of the layer's output other than the first, the "
        f"samples. Got {channel_dim} for shape {tuple(features.shape)}.",
    )
    return features.movedim(channel_dim, 1)


def with_channels_second(
    trunk: nn.Module, head: nn.Module, channel_dim: int, ndim: int
) -> tuple[nn.Module, nn.Module]:
    """Return trunk and head with channels as dimension 1 of the features of `ndim` dimensions between them.

    A head that begins with the mean over tokens becomes one that begins with global average pooling, for
    which saliency is exact.
    """
    if channel_dim % ndim == SECOND:
        return trunk, head
    steps = list(head) if is_plain(head, nn.Sequential) else [head]
    if channel_dim % ndim == 2 and ndim == 3 and is_plain(steps[0], Mean):
        return Moved(trunk, LAST, SECOND), sequence([nn.AdaptiveAvgPool1d(1), nn.Flatten(), *steps[1:]])
    return Moved(trunk, channel_dim, SECOND), sequence([Moved(nn.Identity(), SECOND, channel_dim), *steps])


class Moved(nn.Module):
    """A module whose output has one dimension moved."""

    def __init__(self, module: nn.Module, source: int, destination: int) -> None:
        super().__init__()
        self.module, self.source, self.destination = module, source, destination

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the module's output, moved."""
        return self.module(*args, **kwargs).movedim(self.source, self.destination)


def ambiguous(layer: str, shape: tuple[int, ...]) -> str:
    """Return the error message for a layer whose channel dimension cannot be found."""
    return (
        f"`channel_dim` must be given for `{layer}`: the model does not show which dimension of its output "
        f"{shape} is the channels. Give 1 for (sample, channel, ...), or -1 for the last, as in (sample, "
        "token, channel)."
    )
