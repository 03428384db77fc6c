"""Options of the AV-MNIST study. This module is free of torch, so that `--help` is quick."""

from collections.abc import Sequence
from dataclasses import dataclass

from mfh.config import DistillConfig, Problems


@dataclass(frozen=True, kw_only=True)
class AvmnistConfig(DistillConfig):
    """How the networks of AV-MNIST are trained.

    Attributes:
        lr: learning rate, above 0.
        label_weight: weight of the cross-entropy on labels, 0 or more. By default both weights add up to 1,
            so that steps are equally large with and without a teacher.
        distill_weight: weight of the KL divergence from the teacher's soft labels, 0 or more; not both 0.
        seeds: number of fits, 1 or more, rounded up to whole repeats of five folds; in a repeat each speaker
            is tested once.
        labelled: labels that each fit may see, as in `mfh study`: the study is then one with few labels, with
            an image teacher and an audio student, both with the widths `hidden`; the two weights,
            `teacher_hidden` and `epochs` have no effect. By default all.
        seed: the seed of the first fit, 0 or more; the others follow it.
        hidden: widths of the hidden layers of the audio student.
        teacher_hidden: widths of the hidden layers of each teacher; of each of its trunks if it has two.
        epochs: passes over the training split, 1 or more.
    """

    lr: float = 0.01
    label_weight: float = 0.5
    distill_weight: float = 0.5
    seeds: int = 10
    seed: int = 0
    labelled: Sequence[str] = ()
    hidden: Sequence[int] = (64, 32)
    teacher_hidden: Sequence[int] = (128, 64)
    epochs: int = 30

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "hidden", tuple(self.hidden))
        given = (self.labelled,) if isinstance(self.labelled, str) else self.labelled
        object.__setattr__(self, "labelled", tuple(given))
        object.__setattr__(self, "teacher_hidden", tuple(self.teacher_hidden))
        super().__post_init__()

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        check = problems.check
        check(self.seeds >= 1, "seeds", "be 1 or more", self.seeds)
        check(self.seed >= 0, "seed", "be 0 or more", self.seed)
        for name in ("hidden", "teacher_hidden"):
            widths = getattr(self, name)
            check(len(widths) > 0 and min(widths) >= 1, name, "hold widths of 1 or more", list(widths))
