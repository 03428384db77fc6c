"""The options of a diagnosis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mfh.arms import PILOT
from mfh.config.checked import Problems
from mfh.config.study import StudyConfig


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
        outlook: where labels are missing: also train with half of the labels and with half of the pairs, to
            say whether more of them would pay; it takes three times as long.

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
    outlook: bool = True

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        check = problems.check
        check(self.num_bootstrap >= 20, "num_bootstrap", "be 20 or more", self.num_bootstrap)
        check(self.num_shuffles >= 1, "num_shuffles", "be 1 or more", self.num_shuffles)
        check(self.folds >= 3, "folds", "be 3 or more", self.folds, "Inner folds choose the regression")
