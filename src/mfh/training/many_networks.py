"""Networks of one shape side by side: all their weights in one matrix, one row per network."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

ACTIVATIONS = (nn.ReLU, nn.Identity)


def weights_matrix(models: Sequence[nn.Module], device: torch.device) -> Float[Tensor, "network weight"]:
    """All parameters of each network, flattened in the order of `named_parameters`, as one new matrix."""
    rows = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models]
    return torch.stack(rows).to(device)


def views(matrix: Float[Tensor, "network weight"], model: nn.Module) -> dict[str, Tensor]:
    """The matrix cut into one stack of tensors per parameter of `model`, sharing its memory."""
    sizes = [p.numel() for p in model.parameters()]
    parts = matrix.split(sizes, dim=1)
    return {
        name: part.view(len(matrix), *parameter.shape)
        for (name, parameter), part in zip(model.named_parameters(), parts, strict=True)
    }


class Stack(Protocol):
    """Networks that read the same inputs, evaluated together."""

    def forward(self, inputs: Float[Tensor, "sample ..."]) -> Float[Tensor, "network sample output"]:
        """Logits of every network."""

    def backward(self, gradient: Float[Tensor, "network sample output"]) -> None:
        """Write the weights' gradients into the matrix, after `forward` on the same inputs."""

    def predict(self, inputs: Float[Tensor, "sample ..."]) -> Float[Tensor, "network sample output"]:
        """Logits in evaluation mode; no `backward` may follow."""


class StackedMLP:
    """Linear layers and ReLUs, forward and backward written out: nothing of autograd's bookkeeping.

    Args:
        model: one of the networks: a sequence of Flatten, Linear, ReLU and Identity.
        weights, gradients: one row per network (see `weights_matrix`).
    """

    def __init__(self, model: nn.Sequential, weights: Tensor, gradients: Tensor) -> None:
        named, into = views(weights, model), views(gradients, model)
        self.layers: list[nn.Module] = [m for m in model if not isinstance(m, (nn.Flatten, nn.Identity))]
        names = {module: name for name, module in model.named_modules()}
        self.parameters: list[tuple[Tensor, Tensor | None]] = []
        self.into: list[tuple[Tensor, Tensor | None]] = []
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                weight, bias = f"{names[layer]}.weight", f"{names[layer]}.bias"
                self.parameters.append((named[weight], named.get(bias)))
                self.into.append((into[weight], into.get(bias)))
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """See `Stack`."""
        self.seen = []
        return self._run(inputs, self.seen)

    def predict(self, inputs: Tensor) -> Tensor:
        """See `Stack`."""
        return self._run(inputs, None)

    def backward(self, gradient: Tensor) -> None:
        """See `Stack`."""
        parameters, into = list(self.parameters), list(self.into)
        for layer in reversed(self.layers):
            values = self.seen.pop()
            if isinstance(layer, nn.ReLU):
                gradient = gradient.masked_fill_(values <= 0, 0)
                continue
            (weight, _), (to_weight, to_bias) = parameters.pop(), into.pop()
            torch.bmm(gradient.transpose(1, 2), values, out=to_weight)
            if to_bias is not None:
                torch.sum(gradient, dim=1, out=to_bias)
            if parameters:
                gradient = torch.bmm(gradient, weight)

    def _run(self, inputs: Tensor, seen: list[Tensor] | None) -> Tensor:
        """Evaluate; `seen` takes what `backward` needs: inputs of linear layers, outputs of ReLUs."""
        count = len(self.parameters[0][0])
        values = inputs.flatten(1).expand(count, -1, -1)
        parameters = iter(self.parameters)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                if seen is not None:
                    seen.append(values)
                weight, bias = next(parameters)
                if bias is None:
                    values = torch.bmm(values, weight.transpose(1, 2))
                else:
                    values = torch.baddbmm(bias.unsqueeze(1), values, weight.transpose(1, 2))
            else:
                values = values.relu_() if values.data_ptr() != inputs.data_ptr() else values.relu()
                if seen is not None:
                    seen.append(values)
        return values


class StackedModule:
    """Any network without randomness and running statistics, through `torch.func`."""

    def __init__(self, model: nn.Module, weights: Tensor, gradients: Tensor) -> None:
        self.model = model
        named = views(weights, model)
        self.parameters = {name: value.detach().requires_grad_() for name, value in named.items()}
        self.into = views(gradients, model)
        self.outputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        """See `Stack`."""
        self.model.train()
        self.outputs = self._run(inputs)
        return self.outputs.detach()

    def predict(self, inputs: Tensor) -> Tensor:
        """See `Stack`."""
        self.model.eval()
        with torch.no_grad():
            return self._run(inputs)

    def backward(self, gradient: Tensor) -> None:
        """See `Stack`."""
        grads = torch.autograd.grad(self.outputs, list(self.parameters.values()), gradient)
        for into, grad in zip(self.into.values(), grads, strict=True):
            into.copy_(grad)
        self.outputs = torch.empty(0)

    def _run(self, inputs: Tensor) -> Tensor:
        def one(parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(self.model, dict(parameters), (inputs,))

        return vmap(one, in_dims=(0, None))(self.parameters, inputs)


def stack(model: nn.Module, weights: Tensor, gradients: Tensor) -> Stack:
    """The quickest way to evaluate networks shaped like `model`."""
    return (StackedMLP if is_mlp(model) else StackedModule)(model, weights, gradients)  # type: ignore[arg-type]


def is_mlp(model: nn.Module) -> bool:
    """Whether a network is nothing but Flatten, Linear, ReLU and Identity, one after another."""
    if not isinstance(model, nn.Sequential):
        return False
    plain = all(
        type(part) in (nn.Linear, nn.ReLU, nn.Identity)
        or (isinstance(part, nn.Flatten) and (part.start_dim, part.end_dim) == (1, -1))
        for part in model
    )
    return plain and any(isinstance(part, nn.Linear) for part in model)
