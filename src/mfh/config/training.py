"""How one network is trained, alone or from a teacher."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

from mfh._checks import fail, listing
from mfh.config.checked import Checked, Problems
from mfh.loss_options import LOSSES, broken_rules
from mfh.metrics import why_no_metric

T = TypeVar("T", bound="TrainConfig")
LR = 0.05
OWN_LR, OWN_WARMUP, OWN_CLIP = 0.001, 0.1, 1.0
"""Learning rate of AdamW, share of warm-up steps and largest norm for networks of the user's own."""
WIDE, WIDE_CLIP = 1_000, 5.0
"""Inputs of a network above which gradients are clipped by default, and their largest norm."""
TaskName = Literal["single-label", "multi-label", "regression", "dense"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """How one network is trained.

    Attributes:
        optimizer: sgd (with momentum) or adamw. By default sgd for perceptrons that mfh makes; for networks
            of your own adamw, unless `lr` is given.
        lr: learning rate, above 0, or auto: found by a short range test. By default 0.05; for networks of
            your own with adamw 0.001.
        warmup: share of all steps over which the learning rate rises from 0, in [0, 1). By default 0; 0.1 for
            networks of your own where neither `optimizer` nor `lr` is given.
        momentum: momentum of sgd, in [0, 1); adamw ignores it.
        weight_decay: weight decay, 0 or more (decoupled for adamw, added to the gradient for sgd).
        schedule: learning rate over the epochs: constant, cosine (to 0, by step), linear (to 0, by step), or
            step (x 0.1 every `step_epochs`).
        step_epochs: epochs between two falls of the schedule step, 1 or more.
        batch_size: samples a step over all processes, 1 or more.
        epochs: passes over the training split, 1 or more.
        steps: train this number of steps, 1 or more, and keep the last weights; validation then chooses
            nothing and `epochs` is 1. By default `epochs` and validation decide.
        patience: stop after this many epochs without a better validation metric; 0 trains all epochs.
        clip: largest norm of the gradient; 0 is no limit. By default 0; 1 for networks of your own where
            neither `optimizer` nor `lr` is given; 5 for perceptrons of more than 1,000 inputs, and where
            labels are missing.
        precision: no (float32), bf16 or fp16 mixed precision.
        device: auto, cpu, cuda, cuda:1, mps; auto takes an accelerator where there is one.
        micro_batch: most samples in one forward pass, 1 or more; a larger batch is taken in parts whose
            gradients are added up. By default a process takes its share of a batch at once.
        channels_last: lay out pictures with channels last, which is quicker for many convolutions.
        tracker: what records losses and metrics besides: names that Hugging Face Accelerate knows, such as
            tensorboard, wandb or mlflow; none by default.
    """

    optimizer: Literal["sgd", "adamw"] | None = None
    lr: float | Literal["auto"] | None = None
    warmup: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "linear", "step"] = "constant"
    step_epochs: int = 25
    batch_size: int = 64
    epochs: int = 60
    steps: int | None = None
    patience: int = 0
    clip: float | None = None
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: str = "auto"
    micro_batch: int | None = None
    channels_last: bool = False
    tracker: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check every field; all broken rules are reported together."""
        names = (self.tracker,) if isinstance(self.tracker, str) else tuple(self.tracker)
        object.__setattr__(self, "tracker", tuple(name for name in names if name != "none"))
        if self.steps is not None:
            object.__setattr__(self, "epochs", 1)
        super().__post_init__()

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        check = problems.check
        check(self.optimizer in (None, "sgd", "adamw"), "optimizer", "be `sgd` or `adamw`", self.optimizer)
        number = isinstance(self.lr, (int, float)) and 0 < self.lr < float("inf")
        check(self.lr in (None, "auto") or number, "lr", "be a number above 0, or auto", self.lr)
        warmup = self.warmup
        check(warmup is None or 0 <= warmup < 1, "warmup", "lie in [0, 1), or be left out", warmup)
        check(0 <= self.momentum < 1, "momentum", "lie in [0, 1)", self.momentum)
        check(0 <= self.weight_decay < float("inf"), "weight_decay", "be 0 or more", self.weight_decay)
        schedules = ("constant", "cosine", "linear", "step")
        rule = "be `constant`, `cosine`, `linear` or `step`"
        check(self.schedule in schedules, "schedule", rule, self.schedule)
        check(self.step_epochs >= 1, "step_epochs", "be 1 or more", self.step_epochs)
        check(self.batch_size >= 1, "batch_size", "be 1 or more", self.batch_size)
        check(self.epochs >= 1, "epochs", "be 1 or more", self.epochs)
        check(self.steps is None or self.steps >= 1, "steps", "be 1 or more, or left out", self.steps)
        check(self.patience >= 0, "patience", "be 0 or more", self.patience)
        check(self.clip is None or self.clip >= 0, "clip", "be 0 or more, or left out", self.clip)
        check(
            self.precision in ("no", "bf16", "fp16"), "precision", "be `no`, `bf16` or `fp16`", self.precision
        )
        check(
            self.micro_batch is None or self.micro_batch >= 1,
            "micro_batch",
            "be 1 or more, or left out",
            self.micro_batch,
        )
        check(
            all(isinstance(name, str) and name for name in self.tracker),
            "tracker",
            "hold names of trackers",
            list(self.tracker),
        )

    def settled(self: T, *, own_networks: bool = False, num_inputs: int = 0) -> T:
        """Return the configuration with a value for every option of the optimiser that was left out.

        Networks of the user's own, such as convolutional networks and transformers, would often diverge at
        the default learning rate of perceptrons. They get AdamW with a warm-up and clipped gradients.

        Many inputs add up to large gradients in a perceptron's first steps, above all where they are sparse,
        such as standardised counts of words. Above `WIDE` inputs gradients are clipped.

        Args:
            own_networks: whether a network is the user's own.
            num_inputs: values of a sample that a network sees at most.

        Example:
            >>> config = TrainConfig().settled(own_networks=True)
            >>> config.optimizer, config.lr, config.warmup, config.clip
            ('adamw', 0.001, 0.1, 1.0)
            >>> config = TrainConfig(lr=0.01).settled(own_networks=True)
            >>> config.optimizer, config.lr, config.warmup, config.clip
            ('sgd', 0.01, 0.0, None)
        """
        careful = own_networks and self.optimizer is None and self.lr in (None, "auto")
        optimizer = self.optimizer or ("adamw" if careful else "sgd")
        lr = self.lr or (OWN_LR if own_networks and optimizer == "adamw" else LR)
        warmup = self.warmup if self.warmup is not None else OWN_WARMUP if careful else 0.0
        by_default = OWN_CLIP if careful else WIDE_CLIP if num_inputs > WIDE else None
        clip = by_default if self.clip is None else self.clip
        return replace(self, optimizer=optimizer, lr=lr, warmup=warmup, clip=clip)

    @property
    def peak_rate(self) -> float:
        """The learning rate after the warm-up.

        Raises:
            InputError: `lr` is auto, and no number was found for it.
        """
        if self.lr == "auto":
            fail("`lr` must be a number here. Got 'auto', which `mfh.study` and `mfh.distill` replace.")
        return LR if self.lr is None else self.lr

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0, of a training with `steps` steps an epoch.

        >>> config = TrainConfig(lr=1.0, epochs=2, schedule="cosine")
        >>> [round(config.learning_rate(step, steps=2), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]
        >>> config = TrainConfig(lr=1.0, epochs=2, warmup=0.5)
        >>> [config.learning_rate(step, steps=2) for step in range(4)]
        [0.5, 1.0, 1.0, 1.0]
        """
        rate, total = self.peak_rate, self.epochs * steps
        rising = min(1.0, (step + 1) / max(1.0, (self.warmup or 0.0) * total))
        if self.schedule == "cosine":
            return rising * rate * (1 + math.cos(math.pi * step / total)) / 2
        if self.schedule == "linear":
            return rising * rate * (1 - step / total)
        if self.schedule == "step":
            return rising * rate * 0.1 ** (step // (self.step_epochs * steps))
        return rising * rate

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


def check_loss(problems: Problems, field: str, name: object) -> None:
    """A loss must be known by its name or look like an import path; see `mfh.losses.build_loss`."""
    known = isinstance(name, str) and (name in LOSSES or "." in name or ":" in name)
    rule = f"be one of {listing(LOSSES)}, or the import path of your own"
    problems.check(known, field, rule, name)


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TrainConfig):
    """How a student is trained: label_weight x cross-entropy + distill_weight x a distillation loss.

    Attributes:
        label_weight: weight of the cross-entropy on labels, 0 or more.
        distill_weight: weight of the distillation loss, 0 or more; not both 0.
        temperature: temperature T of the soft labels, above 0; the loss carries the factor T^2.
        loss: distillation loss: kl, dkd, dist, hints, rkd, crd, ntdh or c2kd, or the import path of your own,
            such as mypackage.losses:mine; see mfh.losses.
        task: what is predicted: single-label, multi-label, regression or dense (a class for every position);
            auto tells it from the labels.
        metric: what chooses epochs and ratios, and what the verdict is about: accuracy, balanced-accuracy,
            macro-f1, auroc, average-precision, log-loss, brier, calibration-error, mAP, R2, mIoU, or a name
            given to mfh.register_metric; it must fit the task. auto takes the task's own: accuracy, mAP, R2
            or mIoU.
        loss_options: options of losses, by loss and option, such as {dkd: {beta: 4}}; see
            mfh.loss_options. Options of a loss of your own are keyword arguments of its function.

    Example:
        >>> DistillConfig(temperature=0.0)
        Traceback (most recent call last):
        mfh._checks.BrokenRulesError: `temperature` must be above 0. Got 0.0 instead.
    """

    label_weight: float = 0.0
    distill_weight: float = 1.0
    temperature: float = 1.0
    loss: str = "kl"
    task: Literal["auto", "single-label", "multi-label", "regression", "dense"] = "auto"
    metric: str = "auto"
    loss_options: Mapping[str, Mapping[str, int | float | bool]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Copy the options of losses, then check every field."""
        given = {} if self.loss_options is None else self.loss_options
        if isinstance(given, Mapping):
            given = {k: dict(v) if isinstance(v, Mapping) else v for k, v in given.items()}
        object.__setattr__(self, "loss_options", given)
        super().__post_init__()

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        check_loss(problems, "loss", self.loss)
        for place, rule, value in broken_rules(self.loss_options):
            problems.check(False, place, rule, value)
        weights = {"label_weight": self.label_weight, "distill_weight": self.distill_weight}
        for name, value in weights.items():
            problems.check(0 <= value < float("inf"), name, "be 0 or more", value)
        problems.check(
            any(value > 0 for value in weights.values()),
            "label_weight` and `distill_weight",
            "not both be 0",
            tuple(weights.values()),
            "A student needs something to learn from",
        )
        problems.check(0 < self.temperature < float("inf"), "temperature", "be above 0", self.temperature)

        tasks = ("auto", *get_args(TaskName))
        problems.check(self.task in tasks, "task", f"be one of {listing(tasks)}", self.task)
        why = why_no_metric(self.metric, self.task if self.task in get_args(TaskName) else None)
        problems.check(why is None, "metric", str(why), self.metric)
