"""The folder of an experiment in steps: what one command leaves there for the next.

`run.json` says whose it is; `checkpoints` holds the networks, `saliency-<site>.npz` (or `.npy`, where it was
handed in) the saliency, `students` one file per student, `teacher-outputs` what teachers answer, `training`
the state of what is being trained, `logs` what trackers wrote. Of several processes that train together the
main one writes.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._files import plain, read_npy, write_atomic, write_json, write_npy
from mfh._saliency import SaliencyResult
from mfh._study.resume import Store
from mfh._study.teachers import Scores, accuracies, derived_seed, describe_teacher
from mfh.data.paired import PairedDataset
from mfh.data.splits import draw_split
from mfh.experiments._steps.parts import in_parts
from mfh.experiments._steps.recipe import Recipe, Site
from mfh.results import Record, TeacherRecord
from mfh.training.device import Processes, make_accelerator
from mfh.training.fingerprint import short
from mfh.training.students import seeded


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
            write_atomic(self.checkpoint(name), lambda file: file.write(safetensors_bytes(state)))
        self.processes.wait()

    def trained(self, name: str) -> nn.Module:
        """A network of `Recipe.ways`, as it was trained or handed in, on the device and in evaluation mode.

        Raises:
            InputError: it is not there; the text says how to come by it.
        """
        path = self.checkpoint(name)
        require(path.exists(), f"`{self.out}` holds no {name}. {self.recipe.ways[name]}")
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
        if self.checkpoint(name).exists():
            held = self.trained(name).cpu().state_dict()
            same = all(torch.equal(held[key], value) for key, value in network.state_dict().items())
            require(
                same,
                f"`{self.out}` holds another {name.replace('-', ' (')}) than `{path}`. Name another `out`.",
            )
        self.save_weights(name, network)

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
        if found := self._saliency_values(site):
            require(
                np.array_equal(found[0], values),
                f"`{self.out}` holds another saliency of {site.told} than `{path}`. Name another `out`.",
            )
            return
        self.claim()
        if self.processes.main:
            write_npy(self.saliency_file(site, ".npy"), values)
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
        files = (self.saliency_file(site, suffix) for suffix in (".npz", ".npy"))
        return [read_vector(path) for path in files if path.exists()][:1]

    def student_file(self, arm: str, ratio: float | None, seed: int) -> Path:
        """Where a finished student stands."""
        share = "" if ratio is None else f"-{ratio:g}"
        return self.out / "students" / f"{arm}{share}-seed-{seed:04d}.json"

    def save_student(self, student: Student) -> None:
        """Write a finished student."""
        record = student.record
        values = {"record": asdict(record), "settings": student.settings, "correct": student.correct.tolist()}
        if self.processes.main:
            write_json(self.student_file(record.arm, record.ratio, record.seed), values)
        self.processes.wait()

    def students(self) -> list[Student]:
        """All finished students, in the order of their names; a damaged file counts as absent."""
        return [s for path in sorted((self.out / "students").glob("*.json")) if (s := read_student(path))]

    def save_teachers(self, records: list[TeacherRecord]) -> None:
        """Write or replace what is known of teachers, by name and seed."""
        known = {(row.teacher, row.seed): row for row in [*self.teachers(), *records]}
        if self.processes.main:
            write_json(self.out / "teachers.json", [asdict(row) for row in known.values()])
        self.processes.wait()

    def teachers(self) -> list[TeacherRecord]:
        """What is known of teachers."""
        try:
            rows = json.loads((self.out / "teachers.json").read_text(encoding="utf-8"))
            return [TeacherRecord(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return []

    def accuracies(self, logits: Float[Tensor, "sample output"]) -> Scores:
        """Accuracy on each split, in percent."""
        return accuracies(logits, self.data.label, self.split)

    def teacher_record(self, name: str, logits: Tensor, *, temperature: float, seed: int) -> TeacherRecord:
        """How good a teacher is, and how soft its soft labels are on the training split."""
        return describe_teacher(name, seed, logits, self.data.label, self.split, temperature=temperature)

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


def saliency_file(out: Path | str, site: Site, suffix: str = ".npz") -> Path:
    """Where a site's saliency stands in a folder."""
    return Path(out) / f"saliency-{site.name}{suffix}"


def read_vector(path: Path | str) -> Float[np.ndarray, " channel"]:
    """A saliency vector from a `.npy`, as the authors', or a `.npz`, as `SaliencyResult.save` writes.

    Raises:
        InputError: the file is absent or damaged, or does not hold finite numbers, one per channel.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return SaliencyResult.load(path).values
    try:
        values = read_npy(path)
    except FileNotFoundError:
        raise InputError(f"`{path}` does not exist: `saliency` must be a .npy or .npz file.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read as a saliency vector: {error}.") from error
    require(
        isinstance(values, np.ndarray)
        and values.dtype.kind in "fiu"
        and values.ndim == 1
        and values.size > 0,
        f"`{path}` must hold one number per channel. It holds {getattr(values, 'dtype', 'several arrays')}"
        f"{list(getattr(values, 'shape', []))}.",
    )
    require(bool(np.isfinite(values).all()), f"`{path}` must hold finite numbers. It has NaN or infinity.")
    return values.astype(np.float64)


def read_student(path: Path) -> Student | None:
    """A finished student; None where the file is absent or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        correct = np.asarray(values["correct"], dtype=bool)
        return Student(Record(**values["record"]), correct, values["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stored_config(out: Path | str, recipe: Recipe) -> dict[str, Any]:
    """The configuration that a folder belongs to, as far as `run.json` holds it; empty for a new folder."""
    try:
        values = json.loads((Path(out) / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict) or values.get("experiment") != recipe.name:
        return {}
    return {name: values[name] for name in recipe.identity if name in values}


def same_settings(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs between the settings of two students, in words."""
    mine, theirs = plain(mine), plain(theirs)
    return [
        f"`{name}` was {theirs[name]}, is {mine[name]}"
        for name in sorted(mine.keys() & theirs.keys())
        if mine[name] != theirs[name]
    ]
