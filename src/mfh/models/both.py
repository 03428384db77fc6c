"""Networks of several modalities: the default one, and adapters for the inputs of a user's."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mfh._focus import FocusedTeacher
from mfh.models.mlp import Standardized, mlp


class Join(nn.Module):
    """Put features side by side."""

    def forward(self, *parts: Tensor) -> Tensor:
        """Return all features of a batch, (sample, channel)."""
        return torch.cat([part.flatten(1) for part in parts], dim=1)


class SideBySide(nn.Module):
    """One trunk for each modality, their features side by side in `features`, and one linear layer `output`.

    Args:
        sizes: values of a sample in each modality.
        num_outputs: number of logits.
        hidden: widths of the hidden layers of each trunk; see `mlp`.

    Example:
        >>> network = SideBySide([6, 4], 3, hidden=(5,))
        >>> network(torch.zeros(2, 6), torch.zeros(2, 4)).shape
        torch.Size([2, 3])
        >>> network.output
        Linear(in_features=10, out_features=3, bias=True)
    """

    def __init__(self, sizes: Sequence[int], num_outputs: int, *, hidden: Sequence[int] = (128, 64)) -> None:
        super().__init__()
        halves = [mlp(size, num_outputs, hidden=hidden) for size in sizes]
        self.widths = [_output(half).in_features for half in halves]
        self.trunks = nn.ModuleList(half[:-1] for half in halves)
        self.features = Join()
        self.output = nn.utils.skip_init(nn.Linear, sum(self.widths), num_outputs)
        self.load_halves(halves)

    def forward(self, *inputs: Any) -> Any:  # `split` traces it with symbols
        """Return the logits of a batch, from one input for each modality."""
        return self.output(self.features(*(trunk(x) for trunk, x in zip(self.trunks, inputs, strict=True))))

    def halves(self) -> list[nn.Sequential]:
        """Return a perceptron for each modality, with weights of its own; their logits add up to mine."""
        found = []
        for trunk, weight in zip(self.trunks, self.output.weight.split(self.widths, dim=1), strict=True):
            output = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight))
            output.load_state_dict({"weight": weight, "bias": self.output.bias / len(self.widths)})
            layers = dict(deepcopy(trunk).named_children())
            found.append(nn.Sequential(OrderedDict(layers, output=output)))
        return found

    def load_halves(self, halves: Sequence[nn.Sequential]) -> None:
        """Take the weights of a perceptron for each modality, so that my logits are the sum of theirs."""
        for trunk, half in zip(self.trunks, halves, strict=True):
            trunk.load_state_dict(half[:-1].state_dict())
        outputs = [_output(half) for half in halves]
        weight = torch.cat([output.weight for output in outputs], dim=1)
        bias = torch.stack([output.bias for output in outputs]).sum(0)
        self.output.load_state_dict({"weight": weight, "bias": bias})


def _output(half: nn.Sequential) -> nn.Linear:
    layer = half[-1]
    assert isinstance(layer, nn.Linear)  # noqa: S101 - a perceptron ends with it
    return layer


class Prepared(nn.Module):
    """Standardise the inputs of a network of several modalities: modules `standardize` and `network`.

    Args:
        network: takes a positional input for each modality.
        inputs: of each modality the arguments of `Standardized`; None leaves its input as it is.

    Example:
        >>> model = Prepared(SideBySide([2, 3], 2, hidden=()), [{"shape": [2]}, None])
        >>> sorted(model.state_dict())[-2:]
        ['standardize.0.mean', 'standardize.0.sd']
    """

    def __init__(self, network: nn.Module, inputs: Sequence[Mapping[str, Any] | None]) -> None:
        super().__init__()
        self.standardize = nn.ModuleList(
            nn.Identity() if options is None else Standardized(**options) for options in inputs
        )
        self.network = network

    def forward(self, *inputs: Any) -> Any:  # `split` traces it with symbols
        """Return what the network returns."""
        return self.network(*(step(x) for step, x in zip(self.standardize, inputs, strict=True)))


class Named(nn.Module):
    """A network that takes its inputs by name, called with one positional input for each modality.

    Layers, parameters and buffers are those of the network and keep their names.

    Args:
        network: takes one dict of inputs, or inputs as keywords.
        names: of the modalities, in the order of the positional inputs.
        in_dict: whether the network takes one dict.

    Example:
        >>> class Both(nn.Module):
        ...     def forward(self, batch):
        ...         return batch["lidar"] - batch["camera"]
        >>> Named(Both(), ["camera", "lidar"], in_dict=True)(torch.tensor([1.0]), torch.tensor([3.0]))
        tensor([2.])
    """

    def __init__(self, network: nn.Module, names: Sequence[str], *, in_dict: bool) -> None:
        super().__init__()
        self.names, self.in_dict = tuple(names), in_dict
        self._modules, self._parameters = network._modules, network._parameters
        self._buffers, self._non_persistent_buffers_set = (
            network._buffers,
            network._non_persistent_buffers_set,
        )
        self.training = network.training
        self.network: Callable[..., Any]
        object.__setattr__(self, "network", network)  # no submodule, so that names stay

    def forward(self, *inputs: Any) -> Any:  # `split` traces it with symbols
        """Return what the network returns."""
        named = dict(zip(self.names, inputs, strict=True))
        self.network.training = self.training  # type: ignore[attr-defined]
        return self.network(named) if self.in_dict else self.network(**named)

    def extra_repr(self) -> str:
        """Return the class of the network, for `print`."""
        return f"{type(self.network).__qualname__}, inputs {', '.join(self.names)}"


def with_inputs(network: nn.Module, names: Sequence[str]) -> nn.Module:
    """Return a network of several modalities as one that takes a positional input for each.

    A network whose `forward` has parameters named like the modalities gets them by name, in any order; one
    with a single parameter gets one dict, as a data set of dicts gives it; any other gets positional inputs.

    Args:
        network: the network.
        names: of the modalities.

    Example:
        >>> with_inputs(SideBySide([2, 3], 2), ["lidar", "camera"]).output
        Linear(in_features=128, out_features=2, bias=True)
    """
    if isinstance(network, SideBySide):
        return network
    inner = network.model if isinstance(network, FocusedTeacher) else network
    parameters = inspect.signature(inner.forward).parameters
    plain = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    kinds = {p.kind for p in parameters.values()}
    keywords = {p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if keywords.issuperset(names):
        in_order = [p.name for p in plain[: len(names)]] == list(names)
        return network if in_order else Named(network, names, in_dict=False)
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return network
    if not plain and inspect.Parameter.VAR_KEYWORD in kinds:
        return Named(network, names, in_dict=False)
    needed = [p for p in plain if p.default is p.empty]
    return Named(network, names, in_dict=True) if len(plain) == 1 or len(needed) == 1 else network
