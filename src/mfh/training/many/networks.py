"""Batched networks of one shape: all their weights are in one matrix, one row per network."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mfh._saliency.heads import logits_of
from mfh.models.copies import copied
from mfh.training.many.perceptron import Perceptron


def weights_matrix(models: Sequence[nn.Module], device: torch.device) -> Float[Tensor, "network weight"]:
    """Return a new matrix of all parameters of each network, in the order of `named_parameters`."""
    rows = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models]
    return torch.stack(rows).to(device)


def views(matrix: Float[Tensor, "network weight"], model: nn.Module) -> dict[str, Tensor]:
    """Return views of the matrix by the name of each parameter of `model`, (network, *parameter)."""
    sizes = [p.numel() for p in model.parameters()]
    parts = matrix.split(sizes, dim=1)
    return {
        name: part.view(len(matrix), *parameter.shape)
        for (name, parameter), part in zip(model.named_parameters(), parts, strict=True)
    }


@runtime_checkable
class Stack(Protocol):
    """Networks with the same inputs, computed together."""

    def forward(self, inputs: Float[Tensor, "sample ..."]) -> Float[Tensor, "network sample output"]:
        """Return the logits of every network."""

    def backward(self, gradient: Float[Tensor, "network sample output"]) -> None:
        """Write the gradients of the weights into the matrix; `forward` must have been called before."""

    def predict(self, inputs: Float[Tensor, "sample ..."]) -> Float[Tensor, "network sample output"]:
        """Return the logits in evaluation mode; `backward` must not follow."""


class StackedMLP:
    """Linear layers and ReLUs, with explicit forward and backward, which avoids the cost of autograd.

    Args:
        network: the structure of the networks.
        weights, gradients: one row per network; each matrix (output, input) is followed by its bias.
    """

    def __init__(self, network: Perceptron, weights: Tensor, gradients: Tensor) -> None:
        self.rectified = network.rectified
        self.weight, self.bias = _layers(network, weights)
        self.to_weight, self.to_bias = _layers(network, gradients)
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """See `Stack`."""
        values = inputs.flatten(1).expand(len(self.weight[0]), -1, -1)
        self.seen = []
        for weight, bias, rectified in zip(self.weight, self.bias, self.rectified, strict=True):
            self.seen.append(values)
            if bias is None:
                values = torch.bmm(values, weight.mT)
            else:
                values = torch.baddbmm(bias.unsqueeze(1), values, weight.mT)
            if rectified:
                values.relu_()
        return values

    def predict(self, inputs: Tensor) -> Tensor:
        """See `Stack`."""
        return self.forward(inputs)

    def backward(self, gradient: Tensor) -> None:
        """See `Stack`."""
        for layer in reversed(range(len(self.weight))):
            values, to_bias = self.seen[layer], self.to_bias[layer]
            torch.bmm(gradient.mT, values, out=self.to_weight[layer])
            if to_bias is not None:
                torch.sum(gradient, dim=1, out=to_bias)
            if layer:
                gradient = torch.bmm(gradient, self.weight[layer])
                if self.rectified[layer - 1]:
                    gradient.masked_fill_(values <= 0, 0)


def _layers(network: Perceptron, matrix: Tensor) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return views of the weights and the biases of each layer."""
    weights: list[Tensor] = []
    biases: list[Tensor | None] = []
    start = 0
    for below, above, biased in zip(network.sizes, network.sizes[1:], network.biased, strict=False):
        weights.append(matrix[:, start : start + above * below].view(-1, above, below))
        start += above * below
        biases.append(matrix[:, start : start + above] if biased else None)
        start += above * biased
    return weights, biases


class StackedModule:
    """Any network without randomness and running statistics, through `torch.func`."""

    def __init__(self, model: nn.Module, weights: Tensor, gradients: Tensor) -> None:
        self.model = copied(model)
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
            return logits_of(functional_call(self.model, dict(parameters), (inputs,)))

        return vmap(one, in_dims=(0, None))(self.parameters, inputs)


def stack(model: nn.Module, weights: Tensor, gradients: Tensor, shape: Sequence[int]) -> Stack:
    """Return the fastest batched networks like `model`, for samples of this shape."""
    network = Perceptron.of(model, shape)
    return StackedMLP(network, weights, gradients) if network else StackedModule(model, weights, gradients)
