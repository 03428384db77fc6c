"""A student as it is deployed: values as the data have them go in, scores come out."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._saliency.heads import logits_of
from mfh._study.kept import UNKNOWN
from mfh._system.import_paths import ClassSpec, find_target
from mfh.models.both import Prepared, SideBySide, with_inputs
from mfh.models.mlp import mlp, standardized

SOFTMAX, SIGMOID, NUMBERS = "softmax", "sigmoid", "none"
PROBABILITIES = {"single-label": SOFTMAX, "dense": SOFTMAX, "multi-label": SIGMOID, "regression": NUMBERS}
"""What turns the scores of a task into probabilities."""


class Deployed(nn.Module):
    """A trained network with what comes before and after it.

    Its input is a batch as the data have it, (sample, *shape). It applies the transform of the data and the
    network, which standardises by itself if the study did so. It returns scores, (sample, class, *position):
    logits divided by the temperature that calibrates them, or numbers in the unit of the targets.

    Args:
        network: the network, with its standardisation.
        num_outputs: outputs for each sample (or position).
        task: what is predicted.
        transform: function from raw values to the input of the network; None makes floats.

    Example:
        >>> model = Deployed(nn.Identity(), 2, "regression")
        >>> model.target_mean += 10
        >>> model(torch.tensor([[1, 2]]))
        tensor([[11., 12.]])
    """

    temperature: Tensor
    target_mean: Tensor
    target_sd: Tensor

    def __init__(
        self,
        network: nn.Module,
        num_outputs: int,
        task: str,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.transform, self.task = network, transform, task
        if task == "regression":
            self.register_buffer("target_mean", torch.zeros(1, num_outputs))
            self.register_buffer("target_sd", torch.ones(1, num_outputs))
        else:
            self.register_buffer("temperature", torch.ones(()))

    def logits(self, inputs: Tensor) -> Tensor:
        """Return what the network returns for a batch, before calibration and units."""
        if self.transform is not None:
            inputs = self.transform(inputs)
        elif not inputs.is_floating_point():
            inputs = inputs.float()
        return logits_of(self.network(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores of a batch."""
        logits = self.logits(inputs)
        if self.task == "regression":
            return logits * self.target_sd + self.target_mean
        return logits / self.temperature

    def load_trained(self, state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
        """Load what a training left: weights, statistics of the inputs and the unit of the targets.

        Args:
            state: weights, by the names of the network without its standardisation.
            tensors: what a fit keeps; see `mfh._study.kept`.

        Raises:
            InputError: the weights do not fit the network.
        """
        named: dict[str, Tensor] = dict(state)
        if "standardize/mean" in tensors:
            named = {f"network.{name}": value for name, value in state.items()}
            parts = [name for name in ("mean", "sd", "fill") if f"standardize/{name}" in tensors]
            named |= {f"standardize.{name}": tensors[f"standardize/{name}"] for name in parts}
        try:
            self.network.load_state_dict(named)
        except RuntimeError as error:
            raise InputError(f"The weights of the run do not fit the student's network: {error}") from error
        if "targets/mean" in tensors:
            self.target_mean.copy_(tensors["targets/mean"])
            self.target_sd.copy_(tensors["targets/sd"])

    def probabilities(self, scores: Tensor) -> Tensor | None:
        """Return probabilities, of the shape of the scores; None for a regression."""
        kind = PROBABILITIES[self.task]
        if kind == NUMBERS:
            return None
        return scores.softmax(dim=1) if kind == SOFTMAX else scores.sigmoid()


class Outputs(nn.Module):
    """Return scores, and probabilities beside them where there are any: the outputs of an ONNX file."""

    def __init__(self, model: Deployed) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of a batch."""
        scores = self.model(inputs)
        probabilities = self.model.probabilities(scores)
        return (scores,) if probabilities is None else (scores, probabilities)


def deployed_from(described: Mapping[str, Any], class_names: list[str], task: str) -> Deployed:
    """Make a student without its weights from its description in `export.json` or `results.json`.

    Args:
        described: `network` and `transform`; see `mfh._study.kept.describe_networks`.
        class_names: one name for each output.
        task: what is predicted.

    Raises:
        InputError: the network has no import path, or cannot be made or imported.
    """
    require(
        described["network"] is not None,
        "The student's network has no import path: it was made by a function that is not a part of a module. "
        "Use model.onnx or model.pt2, which need no code of yours.",
    )
    transform = transform_from(described.get("transform"))
    return Deployed(network_of(described["network"]), len(class_names), task, transform)


def transform_from(described: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the transform of a description; None if there is none, or if it is not a part of the export."""
    if described in (None, UNKNOWN):
        return None
    if described == "long":
        return Tensor.long
    if "function" in described:
        return find_target(described["function"])
    made: Callable[[Tensor], Tensor] = ClassSpec.parse(described)()
    return made


def class_of(made_of: Mapping[str, Any]) -> dict[str, Any]:
    """Return the class and its arguments alone, of plain values of `network_of`."""
    return {name: value for name, value in made_of.items() if name not in ("prepared", "inputs")}


def network_of(made_of: Mapping[str, Any]) -> nn.Module:
    """Make a network from plain values: a class with arguments, or a default network."""
    prepared, names = made_of.get("prepared"), made_of.get("inputs")
    if "side_by_side" in made_of:
        network: nn.Module = SideBySide(made_of["side_by_side"], made_of["outputs"], hidden=made_of["hidden"])
        return Prepared(network, prepared or ())
    if "class_path" in made_of:
        network = ClassSpec.parse(class_of(made_of))()
        if names is not None:
            return Prepared(with_inputs(network, names), prepared or ())
        return network if prepared is None else standardized(network, **prepared)
    shape = list(made_of["mlp"])
    size = math.prod(shape)
    return standardized(
        mlp(size, made_of["outputs"], hidden=made_of["hidden"]), shape, fills=made_of.get("fills", False)
    )
