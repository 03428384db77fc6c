"""A partial study: an experiment whose steps are commands that fill one folder.

The folder has the layout of a study's. What a study does for each seed at once, the commands do one by one:

- `run.json`: the configuration and data that the folder belongs to.
- `checkpoints/seed-0000/`: trained networks of the first seed. Other seeds have those of their students, if
  they are not large.
- `state/seed-0000.json` and `.npz`: records of the students and teachers of a seed.
- `state/seed-0000/`: trainings that are not finished.

Training samples without a label teach the students of a teacher, and the distance of Algorithm 1's pair. All
other networks learn from labelled samples alone, and all are validated and tested on labelled samples.

Teachers and split are those of the first seed. All seeds differ in their students alone. Beside these files
are `saliency-<layer>.npz`, the list `supplied.json` (see `supplied.py`), the outputs of teachers in
`teacher-outputs/`, and the curves that trackers wrote in `logs/`. If several processes train together, only
the main one writes.
"""

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import InputError, require
from mfh._study.kept import STUDENTS, keep
from mfh._study.outcome import SeedResult, Student
from mfh._study.outputs import StudentKey
from mfh._study.resume import Store, checkpoint
from mfh._study.task import derived_seed
from mfh._system.files import bytes_writer, plain, read_json, write_atomic
from mfh.data.paired import PairedDataset
from mfh.data.splits import draw_pairs
from mfh.experiments._steps.parts import in_parts
from mfh.experiments._steps.recipe import Recipe
from mfh.experiments._steps.supplied import supplied_files
from mfh.metrics import find_metric, metrics_of
from mfh.models.weights import require_sealed, sealed_weights
from mfh.training.device import Processes, make_accelerator
from mfh.training.fingerprint import short
from mfh.training.scores import make_teacher_record
from mfh.training.students import seeded

logger = logging.getLogger(__name__)


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
        self.recipe, self.data, self.config = recipe, data, config.settled()
        self.metrics = metrics_of(data.task, find_metric(config.metric, data.task))
        self.device = make_accelerator(replace(config, tracker=())).device
        self.processes = Processes.on(self.device)
        self.split = draw_pairs(data, config.seed)
        self.train, self.validation = map(torch.from_numpy, (self.split.train, self.split.validation))
        self.labelled = torch.from_numpy(self.split.learnt)
        self.out = Path(out)
        inputs = short({"transforms": data.transforms, "augment": data.augment})
        settings = {name: getattr(config, name) for name in recipe.identity}
        identity = {"experiment": recipe.name, **settings, "data": data.fingerprint, "inputs": inputs}
        self.store = Store(self.out, plain(identity), partial=True)
        self._seeds: dict[int, SeedResult] = {}
        if any((self.out / name).exists() for name in ("run.json", "results.json")):
            self.claim()

    @property
    def mark(self) -> str:
        """What identifies the run in its files."""
        return self.store.mark

    def claim(self) -> None:
        """Record in the folder which run it belongs to; raise `InputError` if it belongs to another one.

        This is called just before the first file is written, so that a run that fails earlier leaves nothing.
        """
        store = Store.open(self.out, self.store.identity, partial=True)
        old = [name for name in ("students", "teachers.json") if (self.out / name).exists()]
        require(
            not old,
            f"`out` {self.out} was written by an earlier version of mfh, which this version cannot continue. "
            "Name another `out`.",
        )
        if self.processes.main:
            store.claim()

    def train_config(self, *modalities: str) -> Any:
        """Return the config to train with; batches are split into parts if the recipe allows it."""
        return in_parts(self.config, self.data, *modalities) if self.recipe.separable else self.config

    def network(self, side: str, role: str, seed: int | None = None) -> nn.Module:
        """Make a new network for the `teacher` or the `student`; seed and role alone fix its weights."""
        return seeded(
            self.recipe.networks(self.config, self.data.num_classes)[side],
            derived_seed(self.config.seed if seed is None else seed, role),
        )

    def checkpoint(self, name: str, seed: int | None = None) -> Path:
        """Return the path of a trained network's weights; by default of the first seed."""
        return self.out / checkpoint(self.config.seed if seed is None else seed, name)

    def save_weights(self, name: str, network: nn.Module, seed: int | None = None) -> None:
        """Write a trained network's weights."""
        self.claim()
        state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        if self.processes.main:
            content = sealed_weights(state, run=self.mark, network=name)
            write_atomic(self.checkpoint(name, seed), bytes_writer(content))
        self.processes.wait()

    def has(self, name: str, seed: int | None = None) -> bool:
        """Return whether a network is there and undamaged; a damaged one is logged, to be trained again.

        Raises:
            InputError: a network that the user supplied is damaged.
        """
        try:
            return self.is_intact(name, seed)
        except InputError as error:
            files = supplied_files(self.out, self.mark)
            require(
                self.checkpoint(name).name not in files,
                f"{error} You supplied this network: supply it again.",
            )
            logger.warning("%s It is trained again.", error)
            return False

    def is_intact(self, name: str, seed: int | None = None) -> bool:
        """Return whether a network is there.

        Raises:
            InputError: it is there, but damaged.
        """
        path = self.checkpoint(name, seed)
        if not path.exists():
            return False
        require_sealed(path, run=self.mark, network=name)
        return True

    def trained(self, name: str) -> nn.Module:
        """Load a network of `Recipe.remedies`, in evaluation mode, on the device.

        Raises:
            InputError: it is missing or damaged; the text says how to get it.
        """
        remedy = self.recipe.remedies[name]
        try:
            require(self.is_intact(name), f"`{self.out}` contains no {name}.")
        except InputError as error:
            raise InputError(f"{error} {remedy}") from error
        network = self.network(name.split("-", maxsplit=1)[0], name)
        self.recipe.load_weights(network, self.checkpoint(name))
        return network.to(self.device).eval()

    def seed(self, seed: int) -> SeedResult:
        """Return the results of a seed so far; without any if there are none, or damaged ones (logged)."""
        if seed not in self._seeds:
            self._seeds[seed] = self.store.load(seed) or SeedResult(seed, self.split, repeat=seed)
        return self._seeds[seed]

    def seeds(self) -> list[SeedResult]:
        """Return the results of all seeds that have any, in the order of the seeds."""
        names = [path.stem for path in (self.out / "state").glob("seed-*.json")]
        numbers = sorted(int(name[5:]) for name in names if re.fullmatch(r"seed-\d+", name))
        return [self.seed(number) for number in numbers]

    def add_student(self, student: Student) -> None:
        """Save a finished student; it replaces one of the same arm, ratio and seed."""
        known = self.seed(student.record.seed)
        by_name = {name_of(other): other for other in (*known.students, student)}
        students = tuple(by_name[name] for name in sorted(by_name))  # in an order that no command decides
        self._save(replace(known, students=students))

    def add_teacher(self, name: str, logits: Tensor, *, seed: int) -> None:
        """Save a teacher's metric on each split, and the entropy of its soft labels in training."""
        record = make_teacher_record(
            name, self.metrics[0], logits, self.data.label, self.split,
            seed=seed, temperature=self.config.temperature,
        )  # fmt: skip
        known = self.seed(seed)
        by_name = {row.teacher: row for row in (*known.teachers, record)}
        teachers = tuple(by_name[name] for name in sorted(by_name))
        if teachers != known.teachers:
            self._save(replace(known, teachers=teachers))

    def _save(self, result: SeedResult) -> None:
        self._seeds[result.seed] = result
        self.claim()
        if self.processes.main:
            # the networks are in files of their own
            kept = keep(self.data, self.config.student, {}, torch.from_numpy(self.split.test))
            self.store.save(replace(result, weights={STUDENTS: kept}))
        self.processes.wait()

    def training(self, name: str, seed: int) -> Path:
        """Return the folder of a training's state, which is kept until the training is finished."""
        self.claim()
        return self.store.base(seed) / name

    def drop_training(self, name: str, seed: int) -> None:
        """Remove the state of a training whose results are saved; move its curves to `logs`."""
        if not self.processes.main:
            return
        folder = self.training(name, seed)
        curves, kept = folder / "logs", self.out / "logs" / folder.parent.name / name
        if curves.exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            curves.replace(kept)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.parent.exists() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def name_of(student: Student) -> str:
    """Return the name of a student in its seed, by its arm, ratio and loss."""
    return StudentKey(student.record.arm, student.record.ratio, loss=student.record.loss).name


def stored_config(out: Path | str, recipe: Recipe) -> dict[str, Any]:
    """Return the configuration that `run.json` of a folder records; empty for a new folder."""
    try:
        values = read_json(Path(out) / "run.json")
    except (OSError, InputError):  # a damaged file is refused later, when the folder is opened
        return {}
    if values.get("experiment") != recipe.name:
        return {}
    return {name: values[name] for name in recipe.identity if name in values}
