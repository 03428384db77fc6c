"""The options of a search for the best student."""

import math
from dataclasses import dataclass
from typing import ClassVar

from mfh.config.checked import Problems
from mfh.config.study import StudyConfig
from mfh.config.threshold import ThresholdRule


@dataclass(frozen=True, kw_only=True)
class FitConfig(StudyConfig):
    """A search for the best student: the protocol of few labels, whatever their number, with recipes tried.

    Attributes:
        budget: students that the two searches of a fit train, 2 or more: half of them without a teacher,
            half with one. There is a fit for each outer fold, and one for all samples. By default 200; 24
            for large networks of yours; with `minutes` no number.
        minutes: time for the searches of the whole run, above 0, in place of `budget`; with both, what is
            reached first ends a search. What is left of the time is divided evenly among the fits to come;
            a fit trains its teachers, and half of the rest is for each search. Fixed recipes are tried
            even if there is no time. The result depends on how fast the machine is.
        threshold: where there are two classes, what the threshold of their probability is chosen for:
            cost:A:B (what a false positive and a false negative cost), precision:0.9 or recall:0.9. By
            default 0.5 is used.
        positive: name of the positive class, for `threshold`; by default the second one.
        label_folds: folds of the labelled samples by which recipes are judged, 3 or more; by default 4, and 3
            for large networks of yours.
        repeats: repeats of the outer folds, 1 or more.
        ratio: shares of channels that a focused teacher may lose, each in (0, 1).

    Example:
        >>> FitConfig(teacher="lidar", student="camera", threshold="recall:0.95").threshold
        'recall:0.95'
    """

    searches: ClassVar[bool] = True

    budget: int | None = None
    minutes: float | None = None
    threshold: str | None = None
    positive: str | None = None
    repeats: int | None = None

    @property
    def num_repeats(self) -> int:
        """The number of repeats; 1 if nothing is said."""
        return 1 if self.repeats is None and self.seeds is None else super().num_repeats

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        check = problems.check
        budget = self.budget
        whole = isinstance(budget, int) and budget >= 2
        check(budget is None or whole, "budget", "be a whole number of 2 or more", budget)
        check(
            self.positive is None or self.threshold is not None,
            "positive",
            "be left out without `threshold`",
            self.positive,
        )
        folds = self.label_folds
        why = "Teachers are trained without two of them"
        check(folds is None or folds >= 3, "label_folds", "be 3 or more for a search", folds, why)
        minutes = self.minutes
        check(minutes is None or 0 < minutes < math.inf, "minutes", "be above 0", minutes)
        if self.threshold is not None:
            ThresholdRule.of(self.threshold)
        check(self.until == "fixed", "until", "be fixed for a search", self.until)
        check(len(self.labelled) < 2, "labelled", "be one number of labels for a search", list(self.labelled))
