"""Options of the VGGSound experiment. This module is free of torch, so that `--help` is quick."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mfh.config import Checked, DistillConfig, Problems

RELEASED = ("optimizer", "lr", "weight_decay", "schedule", "step_epochs", "epochs", "batch_size")
"""Training options whose defaults are the released code's; that code has no augmentation."""
DEFAULT_RATIO = 0.5


@dataclass(frozen=True, kw_only=True)
class InputConfig(Checked):
    """The networks' inputs, and their random changes in training.

    Attributes:
        frames: number of frames of a clip, evenly spaced; by default all that `prepare` stored.
        span: part of the clip that frames are taken from, as two shares of its length.
        size: height and width of a frame, or one number for both; by default as stored.
        audio_frames: number of spectra of a clip; by default that of the median clip, 313 for 10 seconds.
        log: take the logarithm of the spectrograms, log(1 + magnitude).
        cache: decode each clip once, into memory-mapped arrays.
        workers: number of threads that decode.
        time_shift: largest random shift of a spectrogram, in spectra.
        time_mask: largest masked span of a spectrogram, in spectra.
        frequency_mask: largest masked band of a spectrogram, in bins.
        pixel_shift: largest random shift of a clip, in pixels to each side.
        frame_shift: largest random shift of a clip, in frames.
        contrast: largest relative change of a clip's contrast, in [0, 1).
        flip: mirror half of the clips.
    """

    frames: int | None = None
    span: Sequence[float] = (0.0, 1.0)
    size: Sequence[int] | None = None
    audio_frames: int | None = None
    log: bool = False
    cache: bool = False
    workers: int = 4
    time_shift: int = 0
    time_mask: int = 0
    frequency_mask: int = 0
    pixel_shift: int = 0
    frame_shift: int = 0
    contrast: float = 0.0
    flip: bool = False

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        check = problems.check
        check(len(self.span) == 2, "span", "be two shares, from and to", list(self.span))
        check(self.size is None or len(self.size) in (1, 2), "size", "be one number or two", self.size)
        positive = ("frames", "audio_frames")
        for name in positive:
            value = getattr(self, name)
            check(value is None or value >= 1, name, "be 1 or more, or left out", value)
        for value in self.size or ():
            check(value >= 1, "size", "be 1 or more", value)
        lengths = ("workers", "time_shift", "time_mask", "frequency_mask", "pixel_shift", "frame_shift")
        for name in lengths:
            check(getattr(self, name) >= 0, name, "be 0 or more", getattr(self, name))
        check(0 <= self.contrast < 1, "contrast", "lie in [0, 1)", self.contrast)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Checked):
    """The networks.

    Attributes:
        teacher_network: the audio network, resnet18 or resnet50.
        student_network: the video network: resnet3d, or a video model of torchvision such as r3d_18.
        width: channels of the first stage, 1 or more; 64 is the released size. Models of torchvision ignore
            it.
    """

    teacher_network: Literal["resnet18", "resnet50"] = "resnet18"
    student_network: str = "resnet3d"
    width: int = 64

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        problems.check(self.width >= 1, "width", "be 1 or more", self.width)


@dataclass(frozen=True, kw_only=True)
class VggsoundConfig(InputConfig, NetworkConfig, DistillConfig):
    """Inputs, networks and training of the VGGSound steps; the defaults are the released ones.

    Attributes:
        seed: fixes initial weights and batches, 0 or more; several students have this seed and those after
            it.
    """

    seed: int = 0
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-5
    schedule: Literal["constant", "cosine", "step"] = "step"
    epochs: int = 50
    batch_size: int = 32

    teacher = "audio"
    student = "video"

    def _check(self, problems: Problems) -> None:
        super()._check(problems)
        problems.check(self.seed >= 0, "seed", "be 0 or more", self.seed)
