"""Typed configurations: the same fields serve Python, YAML and the command line. Free of torch.

Each class checks itself when it is made and reports every broken rule at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from mfh._checks import BrokenRulesError, listing
from mfh.arms import DEFAULT, PILOT, why_no_arm
from mfh.loss_options import LOSSES, broken_rules
from mfh.metrics import why_no_metric

TaskName = Literal["single-label", "multi-label", "regression", "dense"]

SPLITS = ("train", "validation", "test")
MOST_SEEDS = 100_000


class _Problems:
    """Collects broken rules so that all of them are reported at once."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def check(self, holds: bool, name: str, rule: str, value: object, way_out: str = "") -> None:
        if not holds:
            told = f"`{name}` must {rule}. Got {value!r} instead{'. ' + way_out if way_out else ''}."
            field_name = name.partition("`")[0].partition(".")[0]
            self.found.append((field_name, told))

    def raise_all(self) -> None:
        if self.found:
            raise BrokenRulesError(self.found)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A configuration that checks itself when it is made; parts of one can be put together."""

    def __post_init__(self) -> None:
        """Check every field; all broken rules are reported together."""
        problems = _Problems()
        self._check(problems)
        problems.raise_all()

    def _check(self, problems: _Problems) -> None:
        """Note every broken rule, then those of the next class in the order of inheritance."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """How one network is trained.

    Attributes:
        optimizer: sgd (with momentum) or adamw.
        lr: learning rate, above 0.
        momentum: momentum of sgd, in [0, 1); adamw ignores it.
        weight_decay: weight decay, 0 or more (decoupled for adamw, added to the gradient for sgd).
        schedule: learning rate over the epochs: constant, cosine (to 0, by step), or step (x 0.1 every
            `step_epochs`).
        step_epochs: epochs between two falls of the schedule step, 1 or more.
        batch_size: samples a step over all processes, 1 or more.
        epochs: passes over the training split, 1 or more.
        patience: stop after this many epochs without a better validation metric; 0 trains all epochs.
        clip: largest norm of the gradient, above 0; none by default.
        precision: no (float32), bf16 or fp16 mixed precision.
        device: auto, cpu, cuda, cuda:1, mps; auto takes an accelerator where there is one.
        micro_batch: most samples in one forward pass, 1 or more; a larger batch is taken in parts whose
            gradients are added up. By default a process takes its share of a batch at once.
        channels_last: lay out pictures with channels last, which is quicker for many convolutions.
        tracker: what records losses and metrics besides: names that Hugging Face Accelerate knows, such as
            tensorboard, wandb or mlflow; none by default.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    step_epochs: int = 25
    batch_size: int = 64
    epochs: int = 60
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
        super().__post_init__()

    def _check(self, problems: _Problems) -> None:
        super()._check(problems)
        check = problems.check
        check(self.optimizer in ("sgd", "adamw"), "optimizer", "be `sgd` or `adamw`", self.optimizer)
        check(0 < self.lr < float("inf"), "lr", "be a number above 0", self.lr)
        check(0 <= self.momentum < 1, "momentum", "lie in [0, 1)", self.momentum)
        check(0 <= self.weight_decay < float("inf"), "weight_decay", "be 0 or more", self.weight_decay)
        schedules = ("constant", "cosine", "step")
        check(self.schedule in schedules, "schedule", "be `constant`, `cosine` or `step`", self.schedule)
        check(self.step_epochs >= 1, "step_epochs", "be 1 or more", self.step_epochs)
        check(self.batch_size >= 1, "batch_size", "be 1 or more", self.batch_size)
        check(self.epochs >= 1, "epochs", "be 1 or more", self.epochs)
        check(self.patience >= 0, "patience", "be 0 or more", self.patience)
        check(self.clip is None or self.clip > 0, "clip", "be above 0, or left out", self.clip)
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

    def learning_rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of a training with `steps` steps an epoch.

        >>> config = TrainConfig(lr=1.0, epochs=2, schedule="cosine")
        >>> [round(config.learning_rate(step, steps=2), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]
        """
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * step / (self.epochs * steps))) / 2
        if self.schedule == "step":
            return self.lr * 0.1 ** (step // (self.step_epochs * steps))
        return self.lr

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


def _check_loss(problems: _Problems, field: str, name: object) -> None:
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
            macro-f1, auroc, average-precision, log-loss, brier, mAP, R2, mIoU, or a name given to
            mfh.register_metric; it must fit the task. auto takes the task's own: accuracy, mAP, R2 or mIoU.
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

    def _check(self, problems: _Problems) -> None:
        super()._check(problems)
        _check_loss(problems, "loss", self.loss)
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


STUDY_CHOICES = {
    "teacher_source": ("joint", "regular"),
    "saliency_split": ("train", "validation"),
    "score": ("increase", "followed"),
    "teacher_outputs": ("in-sample", "cross-fit"),
    "engine": ("auto", "loop", "many"),
    "resampling": ("kfold", "splits"),
    "interval": ("auto", "crossed", "nadeau-bengio"),
    "until": ("fixed", "decided"),
    "backend": ("loky", "ray", "dask"),
}


@dataclass(frozen=True, kw_only=True)
class StudyConfig(DistillConfig):
    """The whole experiment: which modalities, how many seeds, which ratios, which variant of the design.

    Attributes:
        teacher: modality that the teacher sees; by default the first of two.
        student: modality that the student sees; by default the other one of two.
        layer: layer of the teacher whose channels are ranked; by default the input of its last linear layer.
        channel_dim: dimension of that layer's output that counts as channels: 1, or -1 for the last; by
            default it is found.
        student_layer: layer of the student whose output losses of features compare; by default likewise.
        arms: arms to train, by name or by the import path of an mfh.Arm of your own; by default all that come
            with mfh. Networks that none of them needs are not trained.
        losses: distillation losses to compare under the same arms, seeds and statistics, by name or import
            path; the first is the declared one, the others are exploratory. By default `loss` alone.
        resampling: kfold (repeated K-fold cross-validation: in each repeat every sample, or every group, is
            tested exactly once) or splits (a new random 60/20/20 split for each seed).
        repeats: repeats of the K folds, 1 or more; by default 2, or as many as `seeds` needs.
        folds: folds of each repeat, 2 or more; with fewer groups than folds each group is a fold.
        seeds: number of fits, 1 to 100,000: repeats x folds; each has its own split, teachers, saliency and
            students. By default 10. A number that is no multiple of the folds is rounded up.
        seed: the first seed, 0 or more; the others follow it.
        interval: what intervals come from: auto (crossed, but for random splits nadeau-bengio), crossed
            (components of variance of samples and of trainings) or nadeau-bengio.
        margin: size of a difference, in the unit of the metric, that still counts as no effect; above 0; by
            default that of the metric (1 percentage point).
        until: how long to go on: fixed (all fits), or decided (repeats are added until the declared question
            is answered, with an error of .05 over all looks).
        max_repeats: repeats after which a study stops that is not decided.
        ratio: shares of channels to remove, each in (0, 1).
        teacher_source: network whose channels are removed: joint (Algorithm 1's step 1) or regular.
        saliency_split: split that saliency is computed on; train is the paper's.
        score: what ranks the channels: increase (the paper's) or followed.
        num_permutations: permutations a channel where the part of the teacher after the layer is not one
            linear layer, 1 or more; after a linear layer saliency is exact.
        saliency_precision: draw only until the ranking can be expected to correlate with that of all
            permutations by 1 minus this, in (0, 1), and `num_permutations` at the most; none draws them all.
        teacher_outputs: in-sample, or cross-fit (each training sample's soft label comes from a teacher that
            was not fitted on it).
        cross_fit_folds: number of folds of cross-fit, 2 or more.
        smoothing: shares of label smoothing that no-kd-smoothed tries; validation chooses.
        random_draws: draws of random channels a seed, 1 to 100,000.
        fix_split: with resampling splits, draw the split once, from the first seed, for all seeds.
        hidden: widths of the hidden layers of the default networks.
        engine: many (students of a seed at once, where the networks allow), loop (one by one), or auto.
        jobs: workers that train seeds side by side, 1 or more; by default 1, or all of a cluster.
        backend: where they run: loky (processes of this machine), ray or dask (a cluster, by joblib).
        address: of the cluster, such as auto, ray://host:10001 or tcp://host:8786; by default a cluster is
            started on this machine.
        retries: times that a seed is begun again after it failed, 0 or more; then the others go on without
            it.

    Example:
        >>> StudyConfig(teacher="lidar", student="camera", ratio=[0.75, 0.25]).ratio
        (0.25, 0.75)
    """

    teacher: str | None = None
    student: str | None = None
    layer: str | None = None
    channel_dim: int | None = None
    student_layer: str | None = None
    arms: Sequence[str] = DEFAULT
    losses: Sequence[str] = ()
    resampling: Literal["kfold", "splits"] = "kfold"
    repeats: int | None = None
    folds: int = 5
    seeds: int | None = None
    seed: int = 0
    interval: Literal["auto", "crossed", "nadeau-bengio"] = "auto"
    margin: float | None = None
    until: Literal["fixed", "decided"] = "fixed"
    max_repeats: int = 20
    ratio: Sequence[float] = (0.25, 0.5, 0.75)
    teacher_source: Literal["joint", "regular"] = "joint"
    saliency_split: Literal["train", "validation"] = "train"
    score: Literal["increase", "followed"] = "increase"
    num_permutations: int = 30
    saliency_precision: float | None = None
    teacher_outputs: Literal["in-sample", "cross-fit"] = "in-sample"
    cross_fit_folds: int = 5
    smoothing: Sequence[float] = (0.05, 0.1, 0.2)
    random_draws: int = 5
    fix_split: bool = False
    hidden: Sequence[int] = (128, 64)
    engine: Literal["auto", "loop", "many"] = "auto"
    jobs: int | None = None
    backend: Literal["loky", "ray", "dask"] = "loky"
    address: str | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        """Sort the ratios, then check every field."""
        object.__setattr__(self, "ratio", tuple(sorted({float(r) for r in self.ratio})))
        object.__setattr__(self, "smoothing", tuple(self.smoothing))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        arms = (self.arms,) if isinstance(self.arms, str) else tuple(self.arms)
        object.__setattr__(self, "arms", tuple(dict.fromkeys(arms)))
        named = (self.losses,) if isinstance(self.losses, str) else tuple(self.losses)
        object.__setattr__(self, "losses", tuple(dict.fromkeys(named)) or (self.loss,))
        object.__setattr__(self, "loss", self.losses[0])
        super().__post_init__()

    @property
    def num_repeats(self) -> int:
        """The number of repeats; each random split is a repeat of its own."""
        if self.resampling == "splits":
            return 10 if self.seeds is None else self.seeds
        return self.repeats or (2 if self.seeds is None else -(-self.seeds // self.folds))

    def _check(self, problems: _Problems) -> None:
        super()._check(problems)
        check = problems.check
        self._check_resampling(problems)
        for name in ("teacher", "student"):
            modality = getattr(self, name)
            check(
                modality is None or isinstance(modality, str),
                name,
                "be the name of one modality",
                modality,
                "For a network that sees several, put them into one array, side by side",
            )
        check(len(self.ratio) > 0, "ratio", "name one share or more", list(self.ratio))
        for ratio in self.ratio:
            why = "Removing every channel leaves nothing to teach"
            check(0 <= ratio < 1, "ratio", "lie in [0, 1)", ratio, why)
        check(self.channel_dim != 0, "channel_dim", "not be 0, the samples", self.channel_dim)
        check(len(self.arms) > 0, "arms", "name one arm or more", list(self.arms))
        for name in self.arms:
            rule = why_no_arm(name)
            check(rule is None, "arms", str(rule), name)
        for name in self.losses[1:]:
            _check_loss(problems, "losses", name)
        for name in ("seeds", "random_draws"):
            count = getattr(self, name)
            check(count is None or count >= 1, name, "be 1 or more", count)
            check(count is None or count <= MOST_SEEDS, name, f"be {MOST_SEEDS} or less", count)
        check(self.seed >= 0, "seed", "be 0 or more", self.seed)
        check(
            self.teacher is None or self.teacher != self.student,
            "student",
            "differ from `teacher`",
            self.student,
        )
        for name, allowed in STUDY_CHOICES.items():
            told = ", ".join(f"`{value}`" for value in allowed[:-1]) + f" or `{allowed[-1]}`"
            check(getattr(self, name) in allowed, name, f"be {told}", getattr(self, name))
        check(self.num_permutations >= 1, "num_permutations", "be 1 or more", self.num_permutations)
        precision, rule = self.saliency_precision, "lie between 0 and 1, or be left out"
        check(precision is None or 0 < precision < 1, "saliency_precision", rule, precision)
        check(self.cross_fit_folds >= 2, "cross_fit_folds", "be 2 or more", self.cross_fit_folds)
        check(
            all(0 < s < 1 for s in self.smoothing), "smoothing", "hold shares in (0, 1)", list(self.smoothing)
        )
        check(len(self.smoothing) > 0, "smoothing", "name one share or more", list(self.smoothing))
        check(
            all(width >= 1 for width in self.hidden), "hidden", "hold widths of 1 or more", list(self.hidden)
        )
        check(self.jobs is None or self.jobs >= 1, "jobs", "be 1 or more", self.jobs)
        check(
            self.address is None or self.backend != "loky",
            "address",
            "be left out with the backend loky, which is this machine",
            self.address,
        )
        check(self.retries >= 0, "retries", "be 0 or more", self.retries)

    def _check_resampling(self, problems: _Problems) -> None:
        check = problems.check
        check(self.folds >= 2, "folds", "be 2 or more", self.folds)
        check(self.repeats is None or self.repeats >= 1, "repeats", "be 1 or more", self.repeats)
        check(self.margin is None or 0 < self.margin < math.inf, "margin", "be above 0", self.margin)
        check(self.max_repeats >= 2, "max_repeats", "be 2 or more", self.max_repeats)
        if self.resampling == "splits":
            check(
                self.repeats is None,
                "repeats",
                "be left out with the resampling splits",
                self.repeats,
                "Give the number of splits by `seeds`",
            )
            check(self.interval != "crossed" or self.fix_split, "interval",
                  "not be crossed with the resampling splits, where samples are tested at random",
                  self.interval)  # fmt: skip
        else:
            check(
                self.seeds is None or self.repeats is None or self.seeds == self.repeats * self.folds,
                "seeds",
                f"be repeats x folds, here {self.repeats} x {self.folds}",
                self.seeds,
                "Leave out one of them",
            )
            check(
                not self.fix_split,
                "fix_split",
                "be left out with the resampling kfold",
                self.fix_split,
                "Use `resampling` splits",
            )
        check(
            self.until == "fixed" or self.resampling == "kfold",
            "until",
            "be fixed with the resampling splits",
            self.until,
        )


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig(StudyConfig):
    """The evidence before a study: the study's options with short trainings, in folds.

    Attributes:
        folds: folds of the samples that the diagnosis may see, 3 or more.
        seeds: times that the folds are dealt anew for the pilot, 1 or more; gamma_hat comes from the first.
        epochs: passes over the training samples of a fold, 1 or more.
        arms: the arms of the pilot.
        ratio: shares of channels to remove in the pilot, each in (0, 1).
        random_draws: as in a study; the pilot trains no students on random channels.
        num_bootstrap: resamples behind the interval of gamma_hat, 20 or more.
        num_shuffles: shuffled pairings behind each null, 1 or more.

    Example:
        >>> DiagnoseConfig(teacher="lidar", student="camera").teacher
        'lidar'
    """

    resampling: Literal["kfold", "splits"] = "splits"
    seeds: int | None = 1
    arms: Sequence[str] = PILOT
    epochs: int = 30
    ratio: Sequence[float] = (0.5,)
    random_draws: int = 1
    num_bootstrap: int = 200
    num_shuffles: int = 20

    def _check(self, problems: _Problems) -> None:
        super()._check(problems)
        check = problems.check
        check(self.num_bootstrap >= 20, "num_bootstrap", "be 20 or more", self.num_bootstrap)
        check(self.num_shuffles >= 1, "num_shuffles", "be 1 or more", self.num_shuffles)
        check(self.folds >= 3, "folds", "be 3 or more", self.folds, "Inner folds choose the regression")
