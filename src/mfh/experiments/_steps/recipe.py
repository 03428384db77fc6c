"""What one experiment differs in from another: its networks, and the layers whose channels can be ranked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mfh._system.import_paths import ClassSpec
from mfh.config import DistillConfig, TrainConfig
from mfh.training.loop import HOW_NOT_WHAT


@dataclass(frozen=True)
class RankedLayer:
    """A layer of one of the teachers, whose channels are ranked and removed.

    Attributes:
        layer: its name in the network.
        name: its name in files and results, as in `saliency-<name>.npz`.
        words: its name in messages.
        option: the option that chooses it on the command line; empty for the default layer.
        source: the teacher, `joint` or `regular`.
    """

    layer: str
    name: str
    words: str
    option: str
    source: Literal["joint", "regular"] = "joint"


@dataclass(frozen=True)
class Recipe:
    """An experiment that is run step by step.

    Its config is a `DistillConfig` that also has `teacher` and `student` (modalities) and `seed`.

    Attributes:
        name: name of the command.
        config: class of the config. Its fields that decide what is computed identify the folder.
        network: from the config, a modality and the number of classes to what makes a new network.
        load_weights: loads a file's weights into a network; raises `InputError` if they do not fit.
        layers: from the config to the layers whose channels can be ranked, the default first.
        remedies: for each trained network (`teacher-joint`, `student-joint`, `teacher-regular`,
            `student-regular`) how a user gets it if it is missing.
        separable: whether each sample's output depends on this sample alone (there is no batch
            normalisation), so that a batch may be split into parts.
    """

    name: str
    config: type[DistillConfig]
    network: Callable[[Any, str, int], ClassSpec]
    load_weights: Callable[[Any, Path | str], None]
    layers: Callable[[Any], Sequence[RankedLayer]]
    remedies: Mapping[str, str]
    separable: bool = False

    def networks(self, config: Any, num_classes: int) -> dict[str, ClassSpec]:
        """Return what makes the networks of both sides."""
        return {
            side: self.network(config, getattr(config, side), num_classes) for side in ("teacher", "student")
        }

    @property
    def identity(self) -> tuple[str, ...]:
        """Fields of the config that must be equal in all commands on one folder."""
        loss = {f.name for f in fields(DistillConfig)} - {f.name for f in fields(TrainConfig)}
        free = {*HOW_NOT_WHAT, *(loss - {"metric"}), "workers", "cache"}
        return tuple(f.name for f in fields(self.config) if f.name not in free)
