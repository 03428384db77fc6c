"""What an unfinished seed of a study keeps on disk: trained networks, and what its teachers answer."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mfh._checks import InputError, parse_json
from mfh._study.arms import ArmKey, Tables
from mfh._system.files import write_npz
from mfh.results import read_arrays
from mfh.training.device import Processes

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Ranked:
    """The teachers' channels, ranked, and what every arm's teacher answers.

    Attributes:
        tables: logits of every teacher.
        channels: per-channel arrays, each of shape (channel,).
        overlap: (split, ratio) -> share of the channels kept by `general` that `important` keeps too.
        layer: the layer that was used.
        student_layer: the student's layer whose features are compared; empty where no loss does so.
    """

    tables: Tables
    channels: Mapping[str, np.ndarray]
    overlap: Mapping[tuple[str, float], float]
    layer: str
    student_layer: str = ""


class Parts:
    """The parts of one seed in one folder; without a folder nothing is kept.

    `mark` tells the run and the seed from others. Each network has a subfolder of checkpoints, and what the
    teachers answer is a file of its own: computed anew, on other hardware or by another number of processes,
    it would differ in the last digits, and students half trained on it could not go on.
    """

    def __init__(self, folder: Path | None, mark: str = "") -> None:
        self.path, self.mark = folder, mark

    def folder(self, name: str) -> Path | None:
        """Where a network's checkpoints are kept."""
        return None if self.path is None else self.path / name

    def save(self, name: str, ranked: Ranked) -> None:
        """Keep a ranking; only the main process of several writes."""
        if self.path is None or not Processes.on(torch.device("cpu")).main:
            return
        tables = ranked.tables
        arrays = {f"channels/{key}": values for key, values in ranked.channels.items()}
        arrays |= {f"logits/{key}": logits.numpy() for key, logits in tables.logits.items()}
        focused = [[key.arm, key.ratio, key.draw] for key in tables.focused]
        arrays |= {f"focused/{i}": logits.numpy() for i, logits in enumerate(tables.focused.values())}
        arrays |= {f"features/{key}": values.numpy() for key, values in tables.features.items()}
        seen = tables.focused_features.values()  # of the same teachers as `focused`
        arrays |= {f"focused features/{i}": values.numpy() for i, values in enumerate(seen)}
        overlap = [[split, ratio, share] for (split, ratio), share in ranked.overlap.items()]
        told = {
            "layer": ranked.layer, "student layer": ranked.student_layer,
            "task": tables.task, "temperature": tables.temperature, "focused": focused, "overlap": overlap,
        }  # fmt: skip
        content = {**arrays, "told": np.asarray(json.dumps(told))}
        write_npz(self.path / f"{name}.npz", content, mark=f"{self.mark} {name}")

    def load(self, name: str) -> Ranked | None:
        """The ranking that was kept; None where there is none, or a damaged one."""
        if self.path is None or not (path := self.path / f"{name}.npz").exists():
            return None
        try:
            arrays = read_arrays(path, sealed=True, mark=f"{self.mark} {name}")
            told = parse_json(str(arrays["told"]))
            keys = [ArmKey(*key) for key in told["focused"]]
            tables = Tables(
                told["temperature"],
                logits={key: torch.from_numpy(a) for key, a in _named(arrays, "logits/").items()},
                focused={key: torch.from_numpy(arrays[f"focused/{i}"]) for i, key in enumerate(keys)},
                task=told["task"],
                features={key: torch.from_numpy(a) for key, a in _named(arrays, "features/").items()},
            )
            tables.focused_features.update(
                (key, torch.from_numpy(arrays[name]))
                for i, key in enumerate(keys)
                if (name := f"focused features/{i}") in arrays
            )
            overlap = {(split, ratio): share for split, ratio, share in told["overlap"]}
            return Ranked(tables, _named(arrays, "channels/"), overlap, told["layer"], told["student layer"])
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("A ranking is computed again. %s", error)
            return None


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
