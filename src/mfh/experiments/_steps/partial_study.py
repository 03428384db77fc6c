"""The folder of an experiment that is run step by step: what one command leaves there for the next.

- `run.json`: the configuration and data that the folder belongs to.
- `checkpoints/`: trained networks.
- `saliency-<layer>.npz`: saliency of a layer's channels; `.npy` if the user supplied it.
- `adopted.json`: the files that the user supplied in place of a step.
- `students/`: one file per finished student.
- `teachers.json`, `teacher-outputs/`: what is known of the teachers, and their outputs.
- `training/`: state of unfinished trainings. `logs/`: curves written by trackers.

If several processes train together, only the main one writes.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._saliency import SaliencyResult
from mfh._study.resume import Store
from mfh._study.task import derived_seed
from mfh._system.files import (
    bytes_writer,
    checksum,
    identity_mark,
    npy_bytes,
    read_json,
    require_files,
    write_atomic,
    write_json,
)
from mfh.data.paired import PairedDataset
from mfh.data.splits import draw_split
from mfh.experiments._steps.files import ADOPTED, adopted, read_vector, saliency_file
from mfh.experiments._steps.parts import in_parts
from mfh.experiments._steps.recipe import RankedLayer, Recipe
from mfh.metrics import find_metric
from mfh.models.weights import require_sealed, sealed_weights
from mfh.results import Record, TeacherRecord
from mfh.training.device import Processes, make_accelerator
from mfh.training.fingerprint import short
from mfh.training.scores import make_teacher_record
from mfh.training.students import seeded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Student:
    """A finished student.

    Attributes:
        record: its metrics.
        correct: whether it predicts each test sample correctly, shape (sample,).
        settings: what it was trained with; students of one folder must agree on them.
    """

    record: Record
    correct: np.ndarray
    settings: Mapping[str, Any]


class PartialStudy:
    """An open folder, with its data and configuration.

    Args:
        recipe: the experiment.
        data: data with the modalities that the config names.
        out: the folder; it is created if it does not exist.
        config: how networks are built and trained; see `Recipe`.

    Raises:
        InputError: the folder belongs to another run (the text names the differences), or cannot be written.
    """

    def __init__(self, recipe: Recipe, data: PairedDataset, out: Path | str, config: Any) -> None:
        for modality in (config.teacher, config.student):
            data.require_modality(modality)
        self.recipe, self.data, self.config = recipe, data, config
        self.device = make_accelerator(replace(config, tracker=())).device
        self.processes = Processes.on(self.device)
        self.split = draw_split(data, config.seed)
        self.train, self.validation, self.test = (
            torch.from_numpy(rows) for rows in (self.split.train, self.split.validation, self.split.test)
        )
        identity = {name: getattr(config, name) for name in recipe.identity}
        inputs = short({"transforms": data.transforms, "augment": data.augment})
        self.identity = {
            "experiment": recipe.name, **identity, "data": data.fingerprint, "inputs": inputs
        }  # fmt: skip
        self.out = Path(out)
        self.mark = identity_mark(self.identity)
        if any((self.out / name).exists() for name in ("run.json", "results.json")):
            self.claim()

    def claim(self) -> None:
        """Record in the folder which run it belongs to; raise `InputError` if it belongs to another one.

        This is called just before the first file is written, so that a run that fails earlier leaves nothing.
        """
        store = Store.open(self.out, self.identity)
        if self.processes.main:
            store.claim()

    def train_config(self, *modalities: str) -> Any:
        """Return the config to train with; batches are split into parts if the recipe allows it."""
        return in_parts(self.config, self.data, *modalities) if self.recipe.separable else self.config

    def network(self, side: str, role: str, seed: int | None = None) -> nn.Module:
        """Make a new network for the `teacher` or the `student`; seed and role alone fix its weights."""
        modality = self.config.teacher if side == "teacher" else self.config.student
        return seeded(
            lambda: self.recipe.build(self.config, modality, self.data.num_classes),
            derived_seed(self.config.seed if seed is None else seed, role),
        )

    def checkpoint(self, name: str) -> Path:
        """Return the path of a trained network's weights."""
        return self.out / "checkpoints" / f"{name}.safetensors"

    def save_weights(self, name: str, network: nn.Module) -> None:
        """Write a trained network's weights."""
        self.claim()
        state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        if self.processes.main:
            content = sealed_weights(state, run=self.mark, network=name)
            write_atomic(self.checkpoint(name), bytes_writer(content))
        self.processes.wait()

    def has(self, name: str) -> bool:
        """Return whether a network is there and undamaged; a damaged one is logged, to be trained again.

        Raises:
            InputError: a network that the user supplied is damaged.
        """
        path = self.checkpoint(name)
        if not path.exists():
            return False
        try:
            require_sealed(path, run=self.mark, network=name)
        except InputError as error:
            require(path.name not in self.adopted(), f"{error} You supplied this network: supply it again.")
            logger.warning("%s It is trained again.", error)
            return False
        return True

    def trained(self, name: str) -> nn.Module:
        """Load a network of `Recipe.remedies`, in evaluation mode, on the device.

        Raises:
            InputError: it is missing or damaged; the text says how to get it.
        """
        path = self.checkpoint(name)
        require(path.exists(), f"`{self.out}` contains no {name}. {self.recipe.remedies[name]}")
        try:
            require_sealed(path, run=self.mark, network=name)
        except InputError as error:
            raise InputError(f"{error} {self.recipe.remedies[name]}") from error
        network = self.network(name.split("-", maxsplit=1)[0], name)
        self.recipe.load_weights(network, path)
        return network.to(self.device).eval()

    def adopted(self) -> dict[str, str]:
        """Return the files that the user supplied, by name in the folder.

        The values are their checksums, or empty for files that contain their own.

        Raises:
            InputError: the list is damaged, or belongs to another run.
        """
        return adopted(self.out, self.mark)

    def _adopt(self, file: str, content: str = "") -> None:
        if self.processes.main:
            files = self.adopted() | {file: content}
            write_json(self.out / ADOPTED, {"run": self.mark, "files": files}, sealed=True)

    def adopt_network(self, name: str, path: Path | str | None) -> None:
        """Copy a checkpoint that the user supplies as a network of `Recipe.remedies`; None does nothing.

        Raises:
            InputError: it does not fit the network, or the folder contains another one already.
        """
        if path is None:
            return
        network = self.network(name.split("-", maxsplit=1)[0], name)
        self.recipe.load_weights(network, path)
        if self._is_intact(name):
            known = self.trained(name).cpu().state_dict()
            same = all(torch.equal(known[key], value) for key, value in network.state_dict().items())
            require(same, f"`{self.out}` contains another {name} than `{path}`. Name another `out`.")
        self.claim()
        self._adopt(self.checkpoint(name).name)
        self.save_weights(name, network)

    def _is_intact(self, name: str) -> bool:
        """Return whether a network is there and undamaged, whether it was trained or supplied."""
        if not self.checkpoint(name).exists():
            return False
        try:
            require_sealed(self.checkpoint(name), run=self.mark, network=name)
        except InputError as error:
            logger.warning("%s It is written again.", error)
            return False
        return True

    def adopt_saliency(self, layer: RankedLayer, path: Path | str | None) -> None:
        """Copy a saliency vector that the user supplies: a `.npy`, like the authors', or a `.npz` of ours.

        Raises:
            InputError: it is not a vector of finite numbers, or the folder contains another one already.
        """
        if path is None:
            return
        values = read_vector(path)
        try:
            found = self._saliency_values(layer)
        except InputError as error:
            logger.warning("%s It is written again.", error)
            found = []
        if found:
            require(
                np.array_equal(found[0], values),
                f"`{self.out}` contains another saliency of {layer.words} than `{path}`. Name another `out`.",
            )
            return
        self.claim()
        path, content = self.saliency_file(layer, ".npy"), npy_bytes(values)
        self._adopt(path.name, checksum(content))
        if self.processes.main:
            write_atomic(path, bytes_writer(content))
        self.processes.wait()

    def saliency_file(self, layer: RankedLayer, suffix: str = ".npz") -> Path:
        """Return the path of a layer's saliency."""
        return saliency_file(self.out, layer, suffix)

    def saliency_values(self, layer: RankedLayer) -> Float[np.ndarray, " channel"]:
        """Return the saliency by which a layer's channels are ranked.

        Raises:
            InputError: there is none yet.
        """
        if found := self._saliency_values(layer):
            return found[0]
        raise InputError(
            f"`{self.out}` contains no saliency of {layer.words}. Run `{self._command(layer)}` with the same "
            "--data and --out first, or supply a vector with --saliency."
        )

    def _saliency_values(self, layer: RankedLayer) -> list[np.ndarray]:
        if self.saliency_file(layer).exists():
            return [self.saliency(layer).values]
        path = self.saliency_file(layer, ".npy")
        if not path.exists():
            return []
        require_files(self.out, {path.name: self.adopted().get(path.name, "")}, ADOPTED)
        return [read_vector(path)]

    def saliency(self, layer: RankedLayer) -> SaliencyResult:
        """Read the saliency that was computed for a layer.

        Raises:
            InputError: it is missing or damaged, or belongs to another run or layer.
        """
        try:
            return SaliencyResult.load(self.saliency_file(layer), mark=f"{self.mark} {layer.name}")
        except InputError as error:
            raise InputError(f"{error} {self.saliency_remedy(layer)}") from error

    def saliency_remedy(self, layer: RankedLayer) -> str:
        """Return how to replace a damaged saliency, for messages."""
        return f"Run `{self._command(layer)}` again."

    def _command(self, layer: RankedLayer) -> str:
        return f"mfh {self.recipe.name} saliency {layer.option}".strip()

    def save_saliency(self, layer: RankedLayer, result: SaliencyResult) -> None:
        """Write a layer's saliency."""
        if self.processes.main:
            result.save(self.saliency_file(layer), mark=f"{self.mark} {layer.name}")
        self.processes.wait()

    def student_file(self, arm: str, ratio: float | None, seed: int) -> Path:
        """Return the path of a finished student."""
        share = "" if ratio is None else f"-{ratio:g}"
        return self.out / "students" / f"{arm}{share}-seed-{seed:04d}.json"

    def save_student(self, student: Student) -> None:
        """Write a finished student."""
        record = student.record
        values = {"record": asdict(record), "settings": student.settings, "correct": student.correct.tolist()}
        if self.processes.main:
            path = self.student_file(record.arm, record.ratio, record.seed)
            write_json(path, values | {"run": self.mark, "file": path.name}, sealed=True)
        self.processes.wait()

    def students(self) -> list[Student]:
        """Read all finished students, sorted by file name; damaged files are skipped."""
        files = sorted((self.out / "students").glob("*.json"))
        return [student for path in files if (student := self.student(path))]

    def student(self, path: Path) -> Student | None:
        """Read a finished student; return None if its file is missing, or damaged, which is logged."""
        try:
            values = read_json(path)
            found = values["run"], values["file"]
            require(found == (self.mark, path.name), f"`{path}` belongs to another student or another run.")
            correct = np.asarray(values["correct"], dtype=bool)
            return Student(Record(**values["record"]), correct, values["settings"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s This student is ignored.", error)
            return None

    def save_teachers(self, records: list[TeacherRecord]) -> None:
        """Add or replace descriptions of teachers, by name and seed."""
        known = {(row.teacher, row.seed): row for row in [*self.teachers(), *records]}
        if self.processes.main:
            rows = [asdict(row) for row in known.values()]
            write_json(self.out / "teachers.json", {"run": self.mark, "teachers": rows}, sealed=True)
        self.processes.wait()

    def teachers(self) -> list[TeacherRecord]:
        """Read the descriptions of all teachers."""
        path = self.out / "teachers.json"
        try:
            values = read_json(path)
            require(values["run"] == self.mark, f"`{path}` belongs to another run.")
            return [TeacherRecord(**row) for row in values["teachers"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s It is ignored: repeat the steps to describe the teachers again.", error)
            return []

    def teacher_record(self, name: str, logits: Tensor, *, temperature: float, seed: int) -> TeacherRecord:
        """Return a teacher's accuracy on each split, and the entropy of its soft labels in training."""
        metric = find_metric("auto", self.data.task)
        return make_teacher_record(
            name, metric, logits, self.data.label, self.split, seed=seed, temperature=temperature
        )

    def training(self, name: str) -> Path:
        """Return the folder of a training's state, which is kept until the training is finished."""
        self.claim()
        return self.out / "training" / name

    def drop_training(self, name: str) -> None:
        """Remove the state of a training whose results are saved; move its curves to `logs`."""
        if not self.processes.main:
            return
        curves, kept = self.training(name) / "logs", self.out / "logs" / name
        if curves.exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(exist_ok=True)
            curves.replace(kept)
        shutil.rmtree(self.training(name), ignore_errors=True)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The group of each test sample; None if the data have no groups."""
        return None if self.data.group is None else self.data.group[self.split.test]
