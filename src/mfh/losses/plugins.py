"""Distillation losses as plug-ins: one signature, what each needs, and the names they go by."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mfh._checks import InputError, listing, require
from mfh._system.import_paths import require_own
from mfh.config import LOSSES, DistillConfig
from mfh.losses.basic import kl_divergence
from mfh.losses.features import crd, hints, rkd
from mfh.losses.logits import c2kd, dist, dkd, ntdh


@dataclass(frozen=True)
class Outputs:
    """What a network gives for a batch: logits, and features of a layer where a loss compares them.

    Attributes:
        logits: one row per sample.
        features: output of a layer, averaged over positions; None where no loss asks for it.
        memory: of a teacher, its features of all training samples, and their labels; None likewise.
    """

    logits: Float[Tensor, "sample ..."]
    features: Float[Tensor, "sample channel"] | None = None
    memory: tuple[Tensor, Tensor] | None = None


LossFunction = Callable[[Outputs, Outputs, Any], Tensor]
"""From the student's outputs, the teacher's, and the labels of a batch to a loss (a tensor of one number)."""
TRAITS = ("batchwise", "features", "regressor", "needs_labels", "memory")


@dataclass(frozen=True)
class DistillLoss:
    """A distillation loss and what it needs.

    Attributes:
        name: what records, reports and flags call it.
        function: from the student's outputs, the teacher's and the labels to the loss.
        batchwise: whether it compares the samples of a batch with each other. If not, it must be a mean over
            samples of something that each has by itself: only then may a batch be divided among processes or
            by `micro_batch`.
        features: whether it compares features of a layer.
        regressor: whether the student's features go through a trained linear map to the teacher's width.
        needs_labels: whether it says too little about classes to train a student without labels.
        memory: whether it compares samples with the teacher's features of all training samples.

    Example:
        >>> import torch
        >>> loss = build_loss("dkd", DistillConfig(dkd_beta=2.0))
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
        """The loss of a batch.

        Raises:
            InputError: the function is not one of (student, teacher, label), or gives no number.
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
    """The loss of that name with the parameters of a config.

    Args:
        name: one of those that exist (`kl`, `dkd`, `dist`, `hints`, `rkd`, `crd`, `ntdh`, `c2kd`), one that
            `register_loss` was told of, or the import path of your own, such as `mypackage.losses:mine`.
        config: holds the parameters.

    Raises:
        InputError: there is no such loss; the text lists those there are.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name](config)
    found = LOSSES[name] if name in LOSSES else _imported(name)
    if isinstance(found, DistillLoss):
        return found
    require(
        callable(found),
        f"`loss` {name} must be a function of (student, teacher, label). Got {type(found).__name__} instead.",
    )
    traits = {trait: bool(getattr(found, trait)) for trait in TRAITS if hasattr(found, trait)}
    return DistillLoss(name, found, **traits)


def register_loss(name: str, loss: LossFunction | DistillLoss) -> None:
    """Give a loss of your own a name, by which configs and flags find it.

    Args:
        name: a new name, or one that was registered before.
        loss: a function of (student, teacher, label), each of the first two an `Outputs`, or a `DistillLoss`
            that says what it needs. A function says so by attributes of the same names; without them it is
            taken to compare the samples of a batch, to need no features and no labels.

    Raises:
        InputError: the name is that of a loss which comes with mfh.

    Example:
        >>> def logits_mse(student, teacher, label):
        ...     return (student.logits - teacher.logits).square().mean()
        >>> logits_mse.batchwise = False
        >>> register_loss("logits-mse", logits_mse)
        >>> build_loss("logits-mse", DistillConfig(loss="logits-mse")).batchwise
        False
    """
    require(name not in _BUILT_IN, f"`name` must not be that of a loss of mfh. Got {name!r}: take another.")
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
            f"`loss` {path} cannot be imported: {error}. Losses that come with mfh are {listing(_BUILT_IN)}."
        ) from error


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


def _contrast(student: Outputs, teacher: Outputs, label: Tensor, *, temperature: float) -> Tensor:
    assert student.features is not None and teacher.features is not None  # noqa: S101, PT018 - its trait
    return crd(student.features, teacher.features, label, temperature=temperature, memory=teacher.memory)


def _kl(config: DistillConfig) -> DistillLoss:
    function = partial(_of_logits, kl_divergence, temperature=config.temperature)
    return DistillLoss("kl", function, batchwise=False)


def _dkd(config: DistillConfig) -> DistillLoss:
    alpha, temperature = config.dkd_alpha, config.temperature
    function = partial(_of_labelled_logits, dkd, alpha=alpha, beta=config.dkd_beta, temperature=temperature)
    return DistillLoss("dkd", function, batchwise=False, needs_labels=alpha == 0)


def _dist(config: DistillConfig) -> DistillLoss:
    inter, intra, temperature = config.dist_inter, config.dist_intra, config.temperature
    function = partial(_of_logits, dist, inter=inter, intra=intra, temperature=temperature)
    return DistillLoss("dist", function, batchwise=intra > 0)


def _hints(config: DistillConfig) -> DistillLoss:
    function = partial(_of_features, hints, weight=config.hints_weight)
    return DistillLoss("hints", function, batchwise=False, features=True, regressor=True, needs_labels=True)


def _rkd(config: DistillConfig) -> DistillLoss:
    function = partial(_of_features, rkd, distance=config.rkd_distance, angle=config.rkd_angle)
    return DistillLoss("rkd", function, features=True, needs_labels=True)


def _crd(config: DistillConfig) -> DistillLoss:
    function = partial(_contrast, temperature=config.crd_temperature)
    memory = config.crd_memory
    return DistillLoss("crd", function, not memory, True, True, needs_labels=True, memory=memory)


def _ntdh(config: DistillConfig) -> DistillLoss:
    similarity, temperature = config.ntdh_similarity, config.temperature
    function = partial(_of_labelled_logits, ntdh, similarity=similarity, temperature=temperature)
    return DistillLoss("ntdh", function, batchwise=False)


def _c2kd(config: DistillConfig) -> DistillLoss:
    threshold, temperature = config.c2kd_threshold, config.temperature
    function = partial(_of_labelled_logits, c2kd, threshold=threshold, temperature=temperature)
    return DistillLoss("c2kd", function, batchwise=False, needs_labels=True)


_BUILT_IN: dict[str, Callable[[DistillConfig], DistillLoss]] = {
    "kl": _kl, "dkd": _dkd, "dist": _dist, "hints": _hints, "rkd": _rkd, "crd": _crd, "ntdh": _ntdh,
    "c2kd": _c2kd,
}  # fmt: skip
