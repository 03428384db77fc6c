"""How much is trained with few labels: the folds, the trials and the steps; less for large networks."""

import math
from dataclasses import dataclass

from mfh._study.given import GIVEN
from mfh._study.networks import Networks
from mfh.arms import BASELINE, FUSED
from mfh.config import FitConfig
from mfh.training.calibration import PROBABILITIES

STEPS = 300
"""Steps of a training; a large network is trained for `epochs` passes over the pairs instead."""
FOLDS = 4
"""Folds of the labelled samples."""
FEW_FOLDS = 2
"""The same for large networks."""
TWICE_FOLDS = 3
"""The same for large networks where teachers must be trained without two folds: in a search, and to calibrate
students."""
STUDENTS, FEW_STUDENTS = 200, 24
"""Students that the two searches of a fit train by default, and for large networks."""
COMPLETE = ((0.0, 0.0), (0.1, 0.0), (0.3, 0.0), (0.0, 0.01), (0.1, 0.01), (0.0, 0.03), (0.1, 0.03))
"""Label smoothing and weight decay that a network without a teacher tries."""
SMOOTHING = (0.0, 0.1, 0.3)
"""Label smoothing alone; the weight decay is then that of the options."""


MEMBERS = ("regular", "unimodal", FUSED, "joint", "joint-student", BASELINE)
"""The networks of a stack."""


def members(networks: Networks) -> tuple[str, ...]:
    """Return the networks of a study's stack.

    Where the teacher sees both modalities they are those that it needs; where it is given, none that would be
    trained in its place.
    """
    config = networks.config
    if config.given_teacher:
        left_out = {FUSED, "joint", "joint-student"}
    elif not networks.both:
        left_out = set()
    else:
        left_out = {"regular"} if config.teacher_source == "joint" else {"regular", "joint", "joint-student"}
    return tuple(name for name in MEMBERS if name not in left_out)


@dataclass(frozen=True)
class Budget:
    """How much is trained with few labels.

    The trials count for `no-kd`, for the networks of `self` and for the prior of the stack alike: they are
    the same tuned network.

    Attributes:
        folds: folds of the labelled samples.
        trials: label smoothing and weight decay of each trial.
        large: whether the networks are large; see `is_large`.
        teachers: teachers, or pairs of them, that each part of the labels trains.
        students: students that each search of a fit trains at most; 0 without a search, None if time alone
            limits them.
        calibrates: whether each student is trained without each fold too, to fit its temperature.
    """

    folds: int
    trials: tuple[tuple[float, float], ...]
    large: bool
    teachers: int = 4
    students: int | None = 0
    calibrates: bool = False

    @classmethod
    def of(cls, networks: Networks) -> "Budget":
        """Return the folds and trials that the options ask for, by default those for these networks."""
        config, large = networks.config, is_large(networks)
        if isinstance(config, FitConfig):
            folds = config.label_folds or (TWICE_FOLDS if large else FOLDS)
            students = config.budget
            if students is None and config.minutes is None:
                students = FEW_STUDENTS if large else STUDENTS
            half = None if students is None else students // 2
            return cls(folds, (), large, _teachers(networks), half)
        tuning = config.label_tuning
        if tuning == "auto":
            tuning = "smoothing" if large else "complete"
        trials = {
            "complete": COMPLETE,
            "smoothing": tuple((share, config.weight_decay) for share in SMOOTHING),
            "none": ((0.0, config.weight_decay),),
        }[tuning]
        kept = (pair for pair in trials if networks.data.kind.smooths or not pair[0])
        calibrates = config.calibrate == "temperature" and networks.data.task in PROBABILITIES
        least = TWICE_FOLDS if calibrates else FEW_FOLDS
        folds = config.label_folds or (least if large else FOLDS)
        return cls(folds, tuple(kept), large, _teachers(networks), calibrates=calibrates)

    @property
    def pairs(self) -> int:
        """How many sets of teachers are trained without two folds."""
        return self.folds * (self.folds - 1) // 2

    def steps(self, networks: Networks, num_pairs: int) -> int:
        """Return the number of steps of a training.

        Args:
            networks: what is trained.
            num_pairs: number of training pairs.
        """
        config = networks.config
        passes = math.ceil(config.epochs * num_pairs / self.batch_size(networks))
        return config.steps or (passes if self.large else STEPS)

    def batch_size(self, networks: Networks) -> int:
        """Return the samples of a step: half as many again as usual, but for large networks."""
        size = networks.config.batch_size
        return size if self.large else size * 3 // 2

    def describe(self) -> str:
        """Return in words how much is trained in a fit."""
        size = "large" if self.large else "small"
        if self.students != 0:
            trains = f"{self.students} students without a teacher and {self.students} with one"
            trains = "as many students as its share of the time allows" if self.students is None else trains
            return (
                f"A search with {size} networks: {self.folds} folds of the labelled samples judge a recipe. "
                f"Each fit trains {trains}. `budget`, `minutes` and `label_folds` change this."
            )
        count, tried = self.folds, len(self.trials)
        trials = "one trial" if tried == 1 else f"{tried} trials"
        return (
            f"Few labels, {size} networks: {count} folds of the labelled samples, and {trials} of label "
            "smoothing and weight decay for the network without a teacher, which `no-kd`, `self` and the "
            f"stack share. Each fit trains {self.teachers * (count + 1)} teachers and {tried * count} "
            f"networks of these trials.{self._calibration()} `label_folds` and `label_tuning` change this."
        )

    def _calibration(self) -> str:
        """Return in words what the temperatures of the students cost."""
        if not self.calibrates:
            return ""
        return (
            f" Temperatures take {(self.teachers + 1) * self.pairs} more teachers, and train each student "
            f"{self.folds} more times."
        )


def _teachers(networks: Networks) -> int:
    """Return how many teachers, or pairs of them, each part of the labels trains."""
    given = {GIVEN} if networks.config.given_teacher else set()
    return len(set(members(networks)) - {"joint-student", BASELINE} - given)


def is_large(networks: Networks) -> bool:
    """Return whether a network to train was given that is too large for many trainings in a fit."""
    sides = ("student",) if networks.config.given_teacher else ("teacher", "student")
    given = any(getattr(networks, side) is not None for side in sides)
    return given and not networks.small(sides)
