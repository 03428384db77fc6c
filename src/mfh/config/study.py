"""The options of a study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from mfh.arms import DEFAULT, why_no_arm
from mfh.config.checked import Problems
from mfh.config.labelled import LabelCount
from mfh.config.training import DistillConfig, check_loss

MOST_SEEDS = 100_000

STUDY_CHOICES = {
    "teacher_source": ("auto", "joint", "regular", "fused"),
    "saliency_split": ("train", "validation"),
    "score": ("auto", "increase", "followed"),
    "teacher_outputs": ("in-sample", "cross-fit"),
    "calibrate": ("none", "temperature"),
    "engine": ("auto", "loop", "many"),
    "resampling": ("kfold", "splits"),
    "interval": ("auto", "crossed", "nadeau-bengio"),
    "until": ("fixed", "decided"),
    "backend": ("loky", "ray", "dask"),
    "label_tuning": ("auto", "complete", "smoothing", "none"),
}


@dataclass(frozen=True, kw_only=True)
class StudyConfig(DistillConfig):
    """The whole experiment: which modalities, how many seeds, which ratios, which variant of the design.

    Attributes:
        teacher: modality that the teacher sees; by default the first of two. Several, such as lidar+camera,
            make a teacher of both, which sees the student's modality too.
        student: modality that the student sees; by default the other one of two.
        teacher_logits: name of an array in the data with the logits of a teacher that exists, (sample,
            output). It takes the place of the teacher's modality and network. Nothing of the teacher is
            trained; arms that need its training or its channels are left out.
        frozen_teacher: use the teacher's network as it is made, with its weights: nothing of it is trained,
            and arms that need its training are left out.
        layer: layer of the teacher whose channels are ranked; by default the input of its last linear layer.
        channel_dim: dimension of that layer's output that counts as channels: 1, or -1 for the last; by
            default it is found.
        student_layer: layer of the student whose output losses of features compare; by default likewise.
        class_weight: how much each class counts in the losses of teachers and students: balanced (n /
            (classes x samples of the class), by the training labels of each fit), or numbers by class, such
            as {ill: 10}, with 1 for the others. By default all count alike. Metrics do not change.
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
        labelled: labels that each fit may see: a share of the labelled samples outside its test fold, such as
            0.1, or a number for each class, such as 20/class; the others are hidden. Several give a curve. By
            default all labels that the data have. Where some are missing, or this is given, teachers of both
            modalities and their stack teach on all pairs.
        label_curve: further numbers of labels, like `labelled`, with which no-kd alone is trained, to say how
            many labels the teachers are worth.
        label_folds: folds of the labelled samples whose out-of-fold outputs choose smoothing, weight decay,
            ratios and the weights of the stack, 2 or more; by default 4, and 2 for large networks of yours
            (more than 500,000 weights, or inputs of more than 2,000 values).
        label_tuning: what a network without a teacher tries with few labels: complete (label smoothing and
            weight decay, 7 trials), smoothing (3 trials) or none; auto is complete, and smoothing for large
            networks of yours.
        teacher_source: network whose channels are removed: joint (Algorithm 1's step 1), regular, or fused (a
            teacher of both modalities); auto is joint, and fused for a teacher of both.
        saliency_split: split that saliency is computed on; train is the paper's.
        score: what ranks the channels: increase (the paper's) or followed; auto is increase, and followed for
            the channels of fused, whose student was not trained with it.
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
        calibrate: none, or temperature (divide the outputs of every student by the temperature that
            minimises their log-loss on validation data). With few labels no data are for validation: students
            are trained without each fold of the labels too, which takes two to four times as long.
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

    searches: ClassVar[bool] = False
    """Whether recipes are searched; see `FitConfig`."""

    teacher: str | Sequence[str] | None = None
    student: str | None = None
    teacher_logits: str | None = None
    frozen_teacher: bool = False
    layer: str | None = None
    channel_dim: int | None = None
    student_layer: str | None = None
    class_weight: Literal["balanced"] | Mapping[str | int, int | float] | None = None
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
    labelled: Sequence[str] = ()
    label_curve: Sequence[str] = ()
    label_folds: int | None = None
    label_tuning: Literal["auto", "complete", "smoothing", "none"] = "auto"
    teacher_source: Literal["auto", "joint", "regular", "fused"] = "auto"
    saliency_split: Literal["train", "validation"] = "train"
    score: Literal["auto", "increase", "followed"] = "auto"
    num_permutations: int = 30
    saliency_precision: float | None = None
    teacher_outputs: Literal["in-sample", "cross-fit"] = "in-sample"
    cross_fit_folds: int = 5
    smoothing: Sequence[float] = (0.05, 0.1, 0.2)
    random_draws: int = 5
    fix_split: bool = False
    calibrate: Literal["none", "temperature"] = "none"
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
        if self.given_teacher:
            object.__setattr__(self, "teacher_source", "regular")
            object.__setattr__(self, "teacher", self.teacher or self.teacher_logits)
        if isinstance(self.teacher, (list, tuple)):
            named = tuple(self.teacher)
            object.__setattr__(self, "teacher", named[0] if len(named) == 1 else named)
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if isinstance(self.class_weight, Mapping):
            weights = {str(name): value for name, value in self.class_weight.items()}
            object.__setattr__(self, "class_weight", weights)
        for name in ("labelled", "label_curve"):
            given = getattr(self, name)
            counts = given if isinstance(given, (list, tuple)) else (given,)
            texts = (str(LabelCount.of(value, name)) for value in counts)
            object.__setattr__(self, name, tuple(dict.fromkeys(texts)))
        arms = (self.arms,) if isinstance(self.arms, str) else tuple(self.arms)
        object.__setattr__(self, "arms", tuple(dict.fromkeys(arms)))
        losses = (self.losses,) if isinstance(self.losses, str) else tuple(self.losses)
        object.__setattr__(self, "losses", tuple(dict.fromkeys(losses)) or (self.loss,))
        object.__setattr__(self, "loss", self.losses[0])
        super().__post_init__()

    @property
    def given_teacher(self) -> bool:
        """Whether the teacher exists, as logits or as a network, so that nothing of it is trained."""
        return self.frozen_teacher or self.teacher_logits is not None

    @property
    def num_repeats(self) -> int:
        """The number of repeats; each random split is a repeat of its own."""
        if self.resampling == "splits":
            return 10 if self.seeds is None else self.seeds
        return self.repeats or (2 if self.seeds is None else -(-self.seeds // self.folds))

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        check = problems.check
        self._check_resampling(problems)
        given = self.class_weight
        check(
            given in (None, "balanced") if not isinstance(given, Mapping) else _are_weights(given),
            "class_weight",
            "be balanced, or numbers of 0 or more by class, such as {ill: 10}",
            given,
        )
        logits = self.teacher_logits
        check(
            logits is None or self.teacher == logits,
            "teacher",
            "be left out with `teacher_logits`, which take its place",
            self.teacher,
        )
        check(
            logits is None or not self.frozen_teacher,
            "frozen_teacher",
            "be left out with `teacher_logits`",
            self.frozen_teacher,
        )
        check(
            not self.given_teacher or self.teacher_outputs == "in-sample",
            "teacher_outputs",
            "be in-sample for a teacher that is given",
            self.teacher_outputs,
        )
        named = self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)
        check(
            bool(named) and all(name is None or isinstance(name, str) for name in named),
            "teacher",
            "be the name of a modality, or a list of names",
            self.teacher,
        )
        check(
            self.student is None or isinstance(self.student, str),
            "student",
            "be the name of one modality",
            self.student,
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
            check_loss(problems, "losses", name)
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
        check(
            not self.label_curve or bool(self.labelled),
            "label_curve",
            "be left out without `labelled`",
            list(self.label_curve),
        )
        several = len(self.labelled) + len(self.label_curve) > 1
        check(
            not several or self.until == "fixed",
            "until",
            "be fixed with several numbers of labels",
            self.until,
        )
        check(
            not self.labelled or self.label_weight == 0,
            "label_weight",
            "be 0 with `labelled`",
            self.label_weight,
            "The label is half of the target of a labelled sample there",
        )
        check(
            self.label_folds is None or self.label_folds >= 2, "label_folds", "be 2 or more", self.label_folds
        )
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

    def _check_resampling(self, problems: Problems) -> None:
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


def _are_weights(given: Mapping[str | int, int | float]) -> bool:
    numbers = [value for value in given.values() if isinstance(value, (int, float))]
    return 0 < len(numbers) == len(given) and all(0 <= value < math.inf for value in numbers)
