"""Distillation losses by name: their common signature and their needs, such as features or labels."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mfh._checks import InputError, listing, require
from mfh._system.import_paths import require_own
from mfh.config import DistillConfig
from mfh.loss_options import BUILT_IN, LOSSES, LossOptions, loss_options, require_known


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for a batch: logits and, for losses that compare them, features of a layer.

    Attributes:
        logits: one row per sample.
        features: output of a layer, averaged over positions; None if no loss needs it.
        memory: a teacher's features of all training samples, and their labels; None if no loss needs them.
    """

    logits: Float[Tensor, "sample ..."]
    features: Float[Tensor, "sample channel"] | None = None
    memory: tuple[Tensor, Tensor] | None = None


LossFunction = Callable[[Outputs, Outputs, Any], Tensor]
"""Maps the student's outputs, the teacher's outputs and the labels of a batch to a tensor of one number."""
TRAITS = ("batchwise", "features", "regressor", "needs_labels", "memory")


@dataclass(frozen=True)
class DistillLoss:
    """A distillation loss and what it needs.

    Attributes:
        name: its name in records, reports and flags.
        function: maps the student's outputs, the teacher's outputs and the labels to the loss.
        batchwise: whether it compares the samples of a batch with each other. If not, it must be a mean of
            one value per sample that does not depend on other samples: only then may a batch be divided
            among processes or by `micro_batch`.
        features: whether it compares features of a layer.
        regressor: whether a trained linear map brings the student's features to the teacher's width.
        needs_labels: whether a student needs a `label_weight` above 0 to learn classes.
        memory: whether it compares samples with the teacher's features of all training samples.

    Example:
        >>> import torch
        >>> loss = build_loss("dkd", DistillConfig(loss_options={"dkd": {"beta": 2.0}}))
        >>> logits = Outputs(torch.tensor([[1.0, 0.0]]))
        >>> loss(logits, logits, torch.tensor([0])).item()
        0.0
    """

    name: str
    function: LossFunction
    batchwise: bool = True
    features: bool = False
    regressor: bool = False
    needs_labels: bool = False
    memory: bool = False

    def __call__(self, student: Outputs, teacher: Outputs, label: Tensor) -> Float[Tensor, ""]:
        """Return the loss of a batch.

        Raises:
            InputError: the function does not take (student, teacher, label), or returns no number.
        """
        try:
            value = self.function(student, teacher, label)
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"`loss` {self.name} fails on a batch: {error}. It must be a function of (student, teacher, "
                "label), the first two with `.logits` and `.features`."
            ) from error
        require(
            isinstance(value, Tensor) and value.ndim == 0,
            f"`loss` {self.name} must return a tensor of one number. Got {_kind(value)}.",
        )
        return value


def build_loss(name: str, config: DistillConfig) -> DistillLoss:
    """Build the loss of that name with the options that a config gives it.

    Args:
        name: a loss that comes with mfh (see `mfh.loss_options`), one that `register_loss` added, or the
            import path of your own, such as `mypackage.losses:mine`.
        config: gives the options (`loss_options`) and the temperature.

    Raises:
        InputError: there is no such loss, or it has no such option; the text lists the known ones.
    """
    values = config.loss_options.get(name, {})
    if name in BUILT_IN:
        return _built_in(name, loss_options(name, values), config.temperature)
    found = LOSSES[name] if name in LOSSES else _imported(name)
    if not isinstance(found, DistillLoss):
        require(
            callable(found),
            f"`loss` {name} must be a function of (student, teacher, label). Got {type(found).__name__}.",
        )
        traits = {trait: bool(getattr(found, trait)) for trait in TRAITS if hasattr(found, trait)}
        found = DistillLoss(name, found, **traits)
    if not values:
        return found
    require_known(name, values, _keywords(found.function))
    return replace(found, function=partial(found.function, **values))


def register_loss(name: str, loss: LossFunction | DistillLoss) -> None:
    """Register a loss of your own under a name for configs and flags.

    Args:
        name: a new name, or one that was registered before.
        loss: a function of (student, teacher, label), the first two of type `Outputs`, or a `DistillLoss`.
            Attributes of a function with the names of those of `DistillLoss` state what it needs; by default
            it compares the samples of a batch, and needs neither features nor labels. Further arguments of
            the function are its options (`loss_options`).

    Raises:
        InputError: a loss that comes with mfh has this name.

    Example:
        >>> def logits_mse(student, teacher, label):
        ...     return (student.logits - teacher.logits).square().mean()
        >>> logits_mse.batchwise = False
        >>> register_loss("logits-mse", logits_mse)
        >>> build_loss("logits-mse", DistillConfig(loss="logits-mse")).batchwise
        False
    """
    require(
        name not in BUILT_IN, f"`name` must not be the name of a loss of mfh. Got {name!r}: choose another."
    )
    LOSSES[name] = loss


def _kind(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _imported(path: str) -> Any:
    module, _, attribute = path.replace(":", ".").rpartition(".")
    require(
        bool(module),
        f"`loss` must be one of {listing(LOSSES)}, or an import path such as `package.module:name`. "
        f"Got {path!r} instead.",
    )
    require_own(path)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"`loss` {path} cannot be imported: {error}. Losses that come with mfh are {listing(BUILT_IN)}."
        ) from error


def _keywords(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters of a loss function that follow student, teacher and label."""
    parameters = list(inspect.signature(function).parameters.values())[3:]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _built_in(name: str, options: LossOptions, temperature: float) -> DistillLoss:
    """Build a loss that comes with mfh."""
    function = getattr(importlib.import_module("mfh.losses"), options.function)
    parameters = options.parameters | ({"temperature": temperature} if options.takes_temperature else {})
    call = _CALLS[options.reads]
    return DistillLoss(
        name,
        partial(call, function, **parameters),
        batchwise=options.batchwise,
        features=options.features,
        regressor=options.regressor,
        needs_labels=options.needs_labels,
        memory=options.uses_memory,
    )


def _of_logits(
    function: Callable[..., Tensor], student: Outputs, teacher: Outputs, _: Tensor, **parameters: float
) -> Tensor:
    return function(student.logits, teacher.logits, **parameters)


def _of_labelled_logits(
    function: Callable[..., Tensor], student: Outputs, teacher: Outputs, label: Tensor, **parameters: float
) -> Tensor:
    return function(student.logits, teacher.logits, label, **parameters)


def _of_features(
    function: Callable[..., Tensor], student: Outputs, teacher: Outputs, _: Tensor, **parameters: float
) -> Tensor:
    return function(student.features, teacher.features, **parameters)


def _of_contrast(
    function: Callable[..., Tensor], student: Outputs, teacher: Outputs, label: Tensor, **parameters: float
) -> Tensor:
    return function(student.features, teacher.features, label, memory=teacher.memory, **parameters)


_CALLS: dict[str, Callable[..., Tensor]] = {
    "logits": _of_logits,
    "labelled logits": _of_labelled_logits,
    "features": _of_features,
    "contrast": _of_contrast,
}
