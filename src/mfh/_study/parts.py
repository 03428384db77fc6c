"""What an unfinished seed of a study keeps on disk: trained networks, and the outputs of its teachers."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mfh._checks import InputError, parse_json
from mfh._study.outputs import StudentKey, TeacherOutputs
from mfh._system.files import write_npz
from mfh.results import read_arrays
from mfh.training.device import Processes

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Ranked:
    """The source teacher's channels, ranked, and the outputs of every teacher.

    Attributes:
        outputs: the outputs of every teacher.
        channels: per-channel arrays, each of shape (channel,); empty unless an arm removes channels.
        overlap: (split, ratio) -> share of the channels kept by `general` that `important` keeps too.
        layer: the teacher's layer whose channels are ranked; empty if none is.
        student_layer: the student's layer whose features are compared; empty unless a loss compares them.
    """

    outputs: TeacherOutputs
    channels: Mapping[str, np.ndarray]
    overlap: Mapping[tuple[str, float], float]
    layer: str
    student_layer: str = ""


class Parts:
    """The unfinished work of one seed in one folder; without a folder nothing is kept.

    Each network has a subfolder of checkpoints. The outputs of the teachers have a file of their own:
    computed again on other hardware, or by another number of processes, they would differ in the last digits,
    and students that are half trained on them could not go on.

    Args:
        folder: where to keep the work, or None.
        mark: identifies the run and the seed.
    """

    def __init__(self, folder: Path | None, mark: str = "") -> None:
        self.path, self.mark = folder, mark

    def folder(self, name: str) -> Path | None:
        """Return the folder of a network's checkpoints, if anything is kept."""
        return None if self.path is None else self.path / name

    def save(self, name: str, ranked: Ranked) -> None:
        """Write a ranking; of several processes only the main one writes."""
        if self.path is None or not Processes.on(torch.device("cpu")).main:
            return
        outputs = ranked.outputs
        arrays = {f"channels/{key}": values for key, values in ranked.channels.items()}
        arrays |= {f"logits/{key}": logits.numpy() for key, logits in outputs.logits.items()}
        focused = [[key.arm, key.ratio, key.draw] for key in outputs.focused]
        arrays |= {f"focused/{i}": logits.numpy() for i, logits in enumerate(outputs.focused.values())}
        arrays |= {f"features/{key}": values.numpy() for key, values in outputs.features.items()}
        seen = outputs.focused_features.values()  # of the same teachers as `focused`
        arrays |= {f"focused features/{i}": values.numpy() for i, values in enumerate(seen)}
        overlap = [[split, ratio, share] for (split, ratio), share in ranked.overlap.items()]
        description = {
            "layer": ranked.layer, "student layer": ranked.student_layer,
            "task": outputs.task, "temperature": outputs.temperature, "focused": focused, "overlap": overlap,
        }  # fmt: skip
        content = {**arrays, "description": np.asarray(json.dumps(description))}
        write_npz(self.path / f"{name}.npz", content, mark=f"{self.mark} {name}")

    def load(self, name: str) -> Ranked | None:
        """Return the ranking that was kept; None if there is none, or it is damaged."""
        if self.path is None or not (path := self.path / f"{name}.npz").exists():
            return None
        try:
            arrays = read_arrays(path, sealed=True, mark=f"{self.mark} {name}")
            description = parse_json(str(arrays["description"]))
            keys = [StudentKey(*key) for key in description["focused"]]
            outputs = TeacherOutputs(
                description["temperature"],
                logits={key: torch.from_numpy(a) for key, a in _named(arrays, "logits/").items()},
                focused={key: torch.from_numpy(arrays[f"focused/{i}"]) for i, key in enumerate(keys)},
                task=description["task"],
                features={key: torch.from_numpy(a) for key, a in _named(arrays, "features/").items()},
            )
            outputs.focused_features.update(
                (key, torch.from_numpy(arrays[name]))
                for i, key in enumerate(keys)
                if (name := f"focused features/{i}") in arrays
            )
            overlap = {(split, ratio): share for split, ratio, share in description["overlap"]}
            return Ranked(
                outputs,
                _named(arrays, "channels/"),
                overlap,
                description["layer"],
                description["student layer"],
            )
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("A ranking is computed again. %s", error)
            return None


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
