"""The folder of an experiment in steps: what one command leaves there for the next.

`run.json` says whose it is; `checkpoints` holds the networks, `saliency-<site>.npz` (or `.npy`, where it was
handed in) the saliency, `adopted.json` what was handed in, `students` one file per student, `teacher-outputs`
what teachers answer, `training` the state of what is being trained, `logs` what trackers wrote. Of several
processes that train together the main one writes.
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
from mfh.experiments._steps.recipe import Recipe, Site
from mfh.metrics import find_metric
from mfh.models.weights import require_sealed, sealed_weights
from mfh.results import Record, TeacherRecord
from mfh.training.device import Processes, make_accelerator
from mfh.training.fingerprint import short
from mfh.training.scores import SplitScores, make_teacher_record, score_splits
from mfh.training.students import seeded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Student:
    """One finished student: its record, whether it is right about each test sample, and what made it."""

    record: Record
    correct: np.ndarray
    settings: Mapping[str, Any]


class Run:
    """An open folder, with the data and the configuration it belongs to.

    Args:
        recipe: of the experiment.
        data: with the modalities that the config names.
        out: the folder; made if it is absent.
        config: how networks are built and trained; see `Recipe`.

    Raises:
        InputError: the folder is another run's (the text says what differs), or cannot be written.
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
        """Write into the folder whose it is, or refuse it; what fails before that leaves nothing there."""
        store = Store.open(self.out, self.identity)
        if self.processes.main:
            store.claim()

    def train_config(self, *modalities: str) -> Any:
        """The config to train with, taken in parts where the recipe allows it."""
        return in_parts(self.config, self.data, *modalities) if self.recipe.separable else self.config

    def network(self, side: str, role: str, seed: int | None = None) -> nn.Module:
        """A new network for the `teacher` or the `student`, whose weights depend on seed and role alone."""
        modality = self.config.teacher if side == "teacher" else self.config.student
        return seeded(
            lambda: self.recipe.build(self.config, modality, self.data.num_classes),
            derived_seed(self.config.seed if seed is None else seed, role),
        )

    def checkpoint(self, name: str) -> Path:
        """The file of a trained network's weights."""
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
        """Whether a network is there and whole; a damaged one, which the log names, is to be trained again.

        Raises:
            InputError: a network that was handed in is damaged.
        """
        path = self.checkpoint(name)
        if not path.exists():
            return False
        try:
            require_sealed(path, run=self.mark, network=name)
        except InputError as error:
            require(path.name not in self.adopted(), f"{error} It was handed in: hand it in again.")
            logger.warning("%s It is trained again.", error)
            return False
        return True

    def adopted(self) -> dict[str, str]:
        """Files that hold what was handed in -> their checksums, or empty where they have one of their own.

        Raises:
            InputError: the list of them is damaged, or of another run.
        """
        return adopted(self.out, self.mark)

    def _adopt(self, file: str, content: str = "") -> None:
        if self.processes.main:
            files = self.adopted() | {file: content}
            write_json(self.out / ADOPTED, {"run": self.mark, "files": files}, sealed=True)

    def trained(self, name: str) -> nn.Module:
        """A network of `Recipe.ways`, as it was trained or handed in, on the device and in evaluation mode.

        Raises:
            InputError: it is not there; the text says how to come by it.
        """
        path = self.checkpoint(name)
        require(path.exists(), f"`{self.out}` holds no {name}. {self.recipe.ways[name]}")
        try:
            require_sealed(path, run=self.mark, network=name)
        except InputError as error:
            raise InputError(f"{error} {self.recipe.ways[name]}") from error
        network = self.network(name.split("-", maxsplit=1)[0], name)
        self.recipe.load_weights(network, path)
        return network.to(self.device).eval()

    def adopt_network(self, name: str, path: Path | str | None) -> None:
        """Take a checkpoint that was handed in as a network of `Recipe.ways`.

        Raises:
            InputError: it does not fit the network, or the folder holds another one already.
        """
        if path is None:
            return
        network = self.network(name.split("-", maxsplit=1)[0], name)
        self.recipe.load_weights(network, path)
        if self._whole(name):
            held = self.trained(name).cpu().state_dict()
            same = all(torch.equal(held[key], value) for key, value in network.state_dict().items())
            require(
                same,
                f"`{self.out}` holds another {name.replace('-', ' (')}) than `{path}`. Name another `out`.",
            )
        self.claim()
        self._adopt(self.checkpoint(name).name)
        self.save_weights(name, network)

    def _whole(self, name: str) -> bool:
        """Whether a network is there and whole, whoever made it."""
        if not self.checkpoint(name).exists():
            return False
        try:
            require_sealed(self.checkpoint(name), run=self.mark, network=name)
        except InputError as error:
            logger.warning("%s It is written again.", error)
            return False
        return True

    def saliency_file(self, site: Site, suffix: str = ".npz") -> Path:
        """Where a site's saliency stands."""
        return saliency_file(self.out, site, suffix)

    def adopt_saliency(self, site: Site, path: Path | str | None) -> None:
        """Take a saliency vector that was handed in: the authors' `.npy`, or a `.npz` of `saliency`.

        Raises:
            InputError: it is no vector of finite numbers, or the folder holds another one already.
        """
        if path is None:
            return
        values = read_vector(path)
        try:
            found = self._saliency_values(site)
        except InputError as error:
            logger.warning("%s It is written again.", error)
            found = []
        if found:
            require(
                np.array_equal(found[0], values),
                f"`{self.out}` holds another saliency of {site.told} than `{path}`. Name another `out`.",
            )
            return
        self.claim()
        path, content = self.saliency_file(site, ".npy"), npy_bytes(values)
        self._adopt(path.name, checksum(content))
        if self.processes.main:
            write_atomic(path, bytes_writer(content))
        self.processes.wait()

    def saliency_values(self, site: Site) -> Float[np.ndarray, " channel"]:
        """The saliency that channels are ranked by.

        Raises:
            InputError: there is none yet.
        """
        if found := self._saliency_values(site):
            return found[0]
        command = f"mfh {self.recipe.name} saliency {site.option}".strip()
        raise InputError(
            f"`{self.out}` holds no saliency of {site.told}. Run `{command}` with the same --data and --out "
            "first, or hand a vector in with --saliency."
        )

    def _saliency_values(self, site: Site) -> list[np.ndarray]:
        if self.saliency_file(site).exists():
            return [self.saliency(site).values]
        path = self.saliency_file(site, ".npy")
        if not path.exists():
            return []
        require_files(self.out, {path.name: self.adopted().get(path.name, "")}, ADOPTED)
        return [read_vector(path)]

    def saliency(self, site: Site) -> SaliencyResult:
        """The saliency that was computed.

        Raises:
            InputError: it is absent or damaged, or of another run or site.
        """
        try:
            return SaliencyResult.load(self.saliency_file(site), mark=f"{self.mark} {site.name}")
        except InputError as error:
            raise InputError(f"{error} {self.way_to_saliency(site)}") from error

    def way_to_saliency(self, site: Site) -> str:
        """What is to be done for a saliency of this run."""
        command = f"mfh {self.recipe.name} saliency {site.option}".strip()
        return f"Run `{command}` again."

    def save_saliency(self, site: Site, result: SaliencyResult) -> None:
        """Write a site's saliency."""
        if self.processes.main:
            result.save(self.saliency_file(site), mark=f"{self.mark} {site.name}")
        self.processes.wait()

    def student_file(self, arm: str, ratio: float | None, seed: int) -> Path:
        """Where a finished student stands."""
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
        """All finished students, in the order of their names; a damaged file counts as absent."""
        files = sorted((self.out / "students").glob("*.json"))
        return [student for path in files if (student := self.student(path))]

    def student(self, path: Path) -> Student | None:
        """A finished student; None where its file is absent, or not what was written, which the log says."""
        try:
            values = read_json(path)
            told = values["run"], values["file"]
            require(told == (self.mark, path.name), f"`{path}` is another student's or another run's.")
            correct = np.asarray(values["correct"], dtype=bool)
            return Student(Record(**values["record"]), correct, values["settings"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s The student counts as absent.", error)
            return None

    def save_teachers(self, records: list[TeacherRecord]) -> None:
        """Write or replace what is known of teachers, by name and seed."""
        known = {(row.teacher, row.seed): row for row in [*self.teachers(), *records]}
        if self.processes.main:
            rows = [asdict(row) for row in known.values()]
            write_json(self.out / "teachers.json", {"run": self.mark, "teachers": rows}, sealed=True)
        self.processes.wait()

    def teachers(self) -> list[TeacherRecord]:
        """What is known of teachers."""
        try:
            values = read_json(self.out / "teachers.json")
            require(values["run"] == self.mark, f"`{self.out / 'teachers.json'}` is of another run.")
            return [TeacherRecord(**row) for row in values["teachers"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s It is left aside: repeat the steps to describe the teachers again.", error)
            return []

    def score_splits(self, logits: Float[Tensor, "sample output"]) -> SplitScores:
        """Accuracy on each split, in percent."""
        return score_splits(find_metric("auto", self.data.task), logits, self.data.label, self.split)

    def teacher_record(self, name: str, logits: Tensor, *, temperature: float, seed: int) -> TeacherRecord:
        """How good a teacher is, and how soft its soft labels are on the training split."""
        metric = find_metric("auto", self.data.task)
        return make_teacher_record(
            name, metric, logits, self.data.label, self.split, seed=seed, temperature=temperature
        )

    def training(self, name: str) -> Path:
        """Where the state of a training is kept until it is finished."""
        self.claim()
        return self.out / "training" / name

    def drop_training(self, name: str) -> None:
        """Remove the state of a training whose outcome is written elsewhere; move its curves to `logs`."""
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
        """The group of each test sample."""
        return None if self.data.group is None else self.data.group[self.split.test]
