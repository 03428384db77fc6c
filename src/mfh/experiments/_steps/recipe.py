"""What an experiment in steps has of its own: its networks, the layers whose channels are ranked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from torch import nn

from mfh.config import DistillConfig, TrainConfig
from mfh.training.loop import HOW_NOT_WHAT


@dataclass(frozen=True)
class Site:
    """Channels to rank and to remove: a layer of one of the teachers.

    Attributes:
        layer: its name in the network.
        name: of its saliency file, `saliency-<name>.npz`.
        told: what messages call it.
        option: what chooses it on the command line; empty for the default.
        source: the teacher, `joint` or `regular`.
    """

    layer: str
    name: str
    told: str
    option: str
    source: Literal["joint", "regular"] = "joint"


@dataclass(frozen=True)
class Recipe:
    """An experiment in steps.

    Its config is a `DistillConfig` that also has `teacher`, `student` (modalities) and `seed`.

    Attributes:
        name: the command's.
        config: the class of its config; every field that says what is computed marks the folder.
        build: from config, modality and number of classes to a new network.
        load_weights: puts a file's weights into a network, or says in an `InputError` what does not fit.
        sites: from the config to where channels can be ranked, the default first.
        ways: trained network (`teacher-joint`, `student-joint`, `teacher-regular`, `student-regular`) -> how
            a user comes by it.
        separable: nothing in the networks looks at other samples of a batch (no batch normalisation), so that
            batches may be taken in parts.
    """

    name: str
    config: type[DistillConfig]
    build: Callable[[Any, str, int], nn.Module]
    load_weights: Callable[[Any, Path | str], None]
    sites: Callable[[Any], Sequence[Site]]
    ways: Mapping[str, str]
    separable: bool = False

    @property
    def identity(self) -> tuple[str, ...]:
        """Fields that two commands on one folder must agree on."""
        loss = {f.name for f in fields(DistillConfig)} - {f.name for f in fields(TrainConfig)}
        free = {*HOW_NOT_WHAT, *loss, "workers", "cache"}
        return tuple(f.name for f in fields(self.config) if f.name not in free)
