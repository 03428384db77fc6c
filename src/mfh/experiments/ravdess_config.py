"""Options of the RAVDESS experiment. This module is free of torch, so that `--help` is quick."""

from dataclasses import dataclass
from typing import Literal

from mfh.config import DistillConfig, Problems

DEFAULT_RATIO = 0.75


@dataclass(frozen=True, kw_only=True)
class RavdessConfig(DistillConfig):
    """How the networks of the RAVDESS experiment are built and trained; the defaults are the released ones.

    Attributes:
        student: what the student sees, image or audio; the teacher sees the other.
        width: channels of the first convolution, 1 or more; 32 is the released size, 8 a small version.
        seed: fixes initial weights and batches, 0 or more; several students have this seed and those after
            it.
        released_audio_order: exchange frames 0 and 2 of every MFCC array, as the released checkpoints
            require; the commands set it if such a file (.pkl, .pt, .pth) is given.
        micro_batch: largest number of samples in one forward pass, 1 or more; a larger batch is split into
            parts whose gradients are added. By default what stays in the cache of a CPU; no limit elsewhere.
    """

    student: Literal["image", "audio"] = "image"
    width: int = 32
    seed: int = 0
    released_audio_order: bool = False
    micro_batch: int | None = None
    lr: float = 0.01
    epochs: int = 100

    @property
    def teacher(self) -> Literal["image", "audio"]:
        """The modality that the teacher sees."""
        return "audio" if self.student == "image" else "image"

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        problems.check(self.student in ("image", "audio"), "student", "be `image` or `audio`", self.student)
        problems.check(self.width >= 1, "width", "be 1 or more", self.width)
        problems.check(self.seed >= 0, "seed", "be 0 or more", self.seed)
