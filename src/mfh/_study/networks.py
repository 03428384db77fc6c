"""The networks of a study, given or default, and the data as they see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mfh._checks import listing, require
from mfh._focus import uncompiled
from mfh._study.given import arms_for
from mfh._study.losses import study_losses
from mfh.arms import DEFAULT, FUSED, SEARCH_ARMS, Arm, find_arms
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.parts import join_names
from mfh.data.prepared import fit_inputs, prepare_inputs
from mfh.data.standardize import Standardize
from mfh.losses import DistillLoss
from mfh.metrics import Metric, find_metric, metrics_of
from mfh.models.both import SideBySide, with_inputs
from mfh.models.mlp import mlp
from mfh.tasks import is_labelled
from mfh.training.fingerprint import network_fingerprint, short
from mfh.training.objectives import Distill
from mfh.training.rate import with_rate
from mfh.training.students import seeded
from mfh.training.weights import class_weights

Build = Callable[[], torch.nn.Module]
C = TypeVar("C", bound=StudyConfig)
SMALL_INPUT = 2_000
SMALL_NETWORK = 500_000
NOT_IN_IDENTITY = (
    "seeds", "repeats", "jobs", "backend", "address", "retries", "device", "engine", "tracker",
    "interval", "margin", "until", "max_repeats",
)  # fmt: skip
"""Options that do not change what a seed gives."""


def with_modalities(data: PairedDataset, config: C, *, own_networks: bool = False) -> C:
    """Return the configuration with the modalities of teacher and student, where the data have just two.

    Several modalities of the teacher get one name, such as `lidar+camera`. Options that were left out get
    their values: those of the optimiser, by whether a network is the user's own, `teacher_source`, `score`.

    Raises:
        InputError: a modality does not exist, or must be named; a teacher of several does not see the
            student's.
    """
    names = list(data.modalities)
    teacher, student = data.named(config.teacher), config.student
    if student is not None:
        data.require_modality(student)
    both = teacher is not None and len(data.parts(teacher)) > 1
    if both:
        require_both(data, str(teacher), student)
    elif len(names) == 2:
        teacher = teacher or next(name for name in names if name != student)
        student = student or next(name for name in names if name != teacher)
    require(
        teacher is not None and student is not None,
        f"`teacher` and `student` must be named: the data hold {len(names)} modalities, {listing(names)}.",
    )
    sides = (*data.parts(str(teacher)), str(student))
    widest = max(data.num_values(name) for name in sides)
    require(
        both or config.teacher_source != FUSED,
        f"`teacher_source` must not be {FUSED} for a teacher of one modality. Name both, such as "
        f"`teacher` {join_names(sides)}.",
    )
    config = with_source(data, replace(config, teacher=teacher, student=student))
    return config.settled(own_networks=own_networks, num_inputs=0 if own_networks else widest)


def with_source(data: PairedDataset, config: C) -> C:
    """Return the configuration with `teacher_source` and `score` by name, where they are auto."""
    source, score = config.teacher_source, config.score
    if config.given_teacher or len(data.parts(str(config.teacher))) == 1:
        source = "joint" if source == "auto" else source
    else:
        source = "joint" if source == "joint" else "fused"
    if score == "auto":
        score = "followed" if source == FUSED else "increase"
    return replace(config, teacher_source=source, score=score)


def require_both(data: PairedDataset, teacher: str, student: str | None) -> None:
    """Check that a teacher of several modalities sees the student's.

    Raises:
        InputError: it does not, or no student is named.
    """
    parts = data.parts(teacher)
    require(
        student is not None,
        f"`student` must be named with a teacher of several modalities: one of {listing(parts)}.",
    )
    require(
        student in parts,
        f"`teacher` {teacher} must contain the student's modality, {student}: a teacher of several sees what "
        f"the student sees, too. Name {join_names([*parts, str(student)])}, or put {listing(parts)} into one "
        "array, side by side.",
    )


def study_arms(data: PairedDataset, config: StudyConfig) -> tuple[Arm, ...]:
    """Return the arms of a study; `config` is that of `with_modalities`."""
    if config.searches:
        return SEARCH_ARMS
    both = len(data.parts(str(config.teacher))) > 1 and not config.given_teacher
    few = bool(config.labelled) or not data.labelled.all()
    arms = find_arms(config.arms, few_labels=few, both=config.teacher_source if both else "")
    # without labels that the study hid, `oracle` would be another `no-kd`
    arms = tuple(arm for arm in arms if config.labelled or not arm.hidden_labels)
    return arms_for(arms, config, few_labels=few)


@dataclass(eq=False)
class Networks:
    """What a study trains, on which data, by which arms and losses.

    Attributes:
        data: all samples.
        config: the design, with the modalities of teacher and student.
        teacher, student: functions that make the networks; None makes the default ones.
        standardized: modalities whose inputs are standardised, since their network is a default one.
        arms: the arms of the study.
        losses: its distillation losses by name.
        metrics: its metrics; the first one chooses epochs and ratios.
    """

    data: PairedDataset
    config: StudyConfig
    teacher: Build | None = None
    student: Build | None = None
    standardized: tuple[str, ...] = field(init=False)
    arms: tuple[Arm, ...] = field(init=False)
    losses: dict[str, DistillLoss] = field(init=False)
    metrics: tuple[Metric, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.config = with_source(self.data, self.config)
        student = str(self.config.student)
        others = [name for name in self.sees if name not in (student, self.config.teacher_logits)]
        self.standardized = (
            *(others if self.teacher is None else []),
            *([student] if self.student is None else []),
        )
        self.arms = study_arms(self.data, self.config)
        self.losses = study_losses(self.config, self.data.task, few_labels=self.few_labels)
        chosen = find_metric(self.config.metric, self.data.task)
        self.metrics = metrics_of(self.data.task, chosen, weighted=self.data.weight is not None)
        class_weights(self.config.class_weight, self.data, torch.arange(len(self.data)))  # refused early

    def build_teacher(self) -> torch.nn.Module:
        """Make a new teacher, without what `torch.compile` wraps around it; for given logits the identity.

        A teacher of several modalities takes a positional input for each.
        """
        if self.config.teacher_logits is not None:
            return torch.nn.Identity()
        if self.teacher is None:
            return self.build_default(*self.sees)
        made = uncompiled(self.teacher())
        return made if len(self.sees) == 1 else with_inputs(made, self.sees)

    def build_student(self) -> torch.nn.Module:
        """Make a new student, without what `torch.compile` wraps around it."""
        return uncompiled(self.student()) if self.student else self.build_default(str(self.config.student))

    def scaled(self, factor: float) -> "Networks":
        """Return the same, with default networks whose hidden layers are wider by a factor."""
        hidden = tuple(max(1, round(factor * width)) for width in self.config.hidden)
        return replace(self, config=replace(self.config, hidden=hidden))

    @property
    def sees(self) -> tuple[str, ...]:
        """The modalities that the teacher sees."""
        return self.data.parts(str(self.config.teacher))

    @property
    def both(self) -> bool:
        """Whether a teacher that is trained sees the student's modality too."""
        return len(self.sees) > 1 and not self.config.given_teacher

    def build_default(self, *modalities: str) -> torch.nn.Module:
        """Make a default network of one modality or of several."""
        require(
            self.data.task != "dense",
            "`teacher` and `student` must be given for the task dense: the default networks are perceptrons, "
            "which have no positions.",
        )
        sizes = [self.data.num_values(name) for name in modalities]
        count, hidden = self.data.num_classes, self.config.hidden
        if len(sizes) == 1:
            return mlp(sizes[0], count, hidden=hidden)
        return SideBySide(sizes, count, hidden=hidden)

    @property
    def few_labels(self) -> bool:
        """Whether teachers of both modalities teach on all pairs: labels are missing, or recipes searched."""
        return self.config.searches or bool(self.config.labelled) or not self.data.labelled.all()

    @cached_property
    def present(self) -> dict[str, np.ndarray]:
        """Whether each sample has what `teacher`, `student` and `both` see: bool, (sample,)."""
        sides = {side: self.data.present(str(getattr(self.config, side))) for side in ("teacher", "student")}
        return sides | {"both": sides["teacher"] & sides["student"]}

    def having(self, rows: Int[Tensor, " row"], side: str) -> Int[Tensor, " kept"]:
        """Return those of some rows that have what a side sees: `teacher`, `student` or `both`."""
        return rows[torch.from_numpy(self.present[side])[rows]]

    def prepared(self, train: Tensor, data: PairedDataset | None = None) -> PairedDataset:
        """Return the data as the networks see them, with statistics of the training rows.

        Inputs of default networks are standardised, and the targets of a regression for all networks. Missing
        values of tables are filled in. Classes get the weights that the options ask for.

        Args:
            train: the training rows.
            data: the samples, if some of their labels are hidden; by default those of the study.
        """
        data = self.data if data is None else data
        seen = prepare_inputs(data, fit_inputs(data, train, self.standardized))
        weights = class_weights(self.config.class_weight, data, train)
        return replace(seen, label=learnt_labels(data, train), class_weight=weights)

    def with_rate(self, seed: int, train: Tensor) -> "Networks":
        """Return the same networks with a number for `lr`; if it is auto, a range test on training rows."""
        if self.config.lr != "auto":
            return self
        sides = {"student": self.build_student}
        if not self.config.given_teacher:
            sides["teacher"] = self.build_teacher
        config = with_rate(
            self.config,
            [
                (seeded(build, seed), str(getattr(self.config, side)), self.having(train, side))
                for side, build in sides.items()
            ],
            self.prepared(train),
            Distill(task=self.data.task),
            seed=seed,
        )
        return replace(self, config=config)

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for two runs to share results."""
        fields = {n: value for n, value in self.config.to_dict().items() if n not in NOT_IN_IDENTITY}
        frozen = self.config.frozen_teacher
        own = {a.name: short([a.teacher, a.ranking, a.remove]) for a in self.arms if a.name not in DEFAULT}
        return {
            **fields,
            **({"own arms": own} if own else {}),
            "data": self.data.fingerprint,
            "task": self.data.task,
            "teacher network": repr(self.build_teacher()),
            "student network": repr(self.build_student()),
            **({"given teacher": network_fingerprint(self.build_teacher())} if frozen else {}),
            **({"augment": short(self.data.augment)} if self.data.augment else {}),
        }

    def small(self, sides: Sequence[str] = ("teacher", "student")) -> bool:
        """Return whether the networks of some sides, by default both, are small and read short vectors."""
        values = max(self.data.num_values(str(getattr(self.config, side))) for side in sides)
        networks = [self.build_teacher() if side == "teacher" else self.build_student() for side in sides]
        weights = max(sum(p.numel() for p in network.parameters()) for network in networks)
        return values <= SMALL_INPUT and weights <= SMALL_NETWORK


def learnt_labels(data: PairedDataset, train: Tensor) -> Tensor:
    """Return labels as networks learn them: those of a regression are standardised.

    One learning rate then suits targets of any unit, and R^2 does not depend on it.
    """
    return label_scale(data, train)(data.label)


def label_scale(data: PairedDataset, train: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function from labels to labels as networks learn them, by those of the training rows."""
    if data.task != "regression":
        return lambda label: label
    return Standardize.fit(data.label[train[is_labelled(data.label[train])]])
