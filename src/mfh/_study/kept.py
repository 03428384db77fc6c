"""What a study keeps of its students, so that they can be exported without the data of the study.

Each fit keeps one set of tensors. In a folder they are `checkpoints/seed-0000/students.safetensors`:

- `students/NAME/...`: the weights of the best student of each arm and loss, by the names of its state dict;
- `standardize/mean`, `standardize/sd`: of the inputs of a default network, fitted on the training samples;
  `standardize/fill` takes the place of missing values;
- `targets/mean`, `targets/sd`: of the targets of a regression;
- `example`: some test samples as the data have them, with which an export is checked.
"""

import functools
import importlib
import json
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mfh._checks import InputError, one_line, require
from mfh._study.networks import Build, Networks, label_scale
from mfh._study.outputs import StudentKey
from mfh._study.resume import checkpoint, written_weights
from mfh._study.task import SeedTask
from mfh._system.files import require_files
from mfh._system.import_paths import ClassSpec
from mfh.arms import BASELINE, HEADLINE, STACK
from mfh.comparing import source_arm
from mfh.data.paired import PairedDataset
from mfh.data.prepared import fit_inputs
from mfh.data.standardize import Standardize
from mfh.models.mlp import HIDDEN
from mfh.models.weights import read_state
from mfh.results import fit_name, fit_words
from mfh.training.students import StudentFit

STUDENTS = "students"
"""Name of the checkpoint."""
DISTILLED = "distilled-"
"""How the names of checkpoints begin in a partial study, which has one for each student of its first seed."""
ALWAYS = 3
"""Students of each fit that are kept, however large they are: of `no-kd`, the headline and one other arm."""
MOST_BYTES = 2**25
"""Bytes of weights of each fit above which the students of other arms are not kept."""
NUM_EXAMPLES, EXAMPLE_BYTES = 32, 2**22
"""Most test samples that are kept, and about how many bytes they may take."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The students that a run kept: in memory, in its folder, or both.

    Attributes:
        folder: the folder of the run; None for a run in memory.
        tensors: seed -> what the fit keeps, for a run in memory.
        networks: data and networks of the run, in the process that made it; else None.
    """

    folder: Path | None = None
    tensors: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)
    networks: Networks | None = field(default=None, repr=False)

    @classmethod
    def in_memory(
        cls, weights: Mapping[int, Mapping[str, Mapping[str, Tensor]]], networks: Networks | None = None
    ) -> "Kept":
        """Return the students of a run without a folder; those of large networks are left out.

        Args:
            weights: seed -> name of a checkpoint -> tensors.
            networks: data and networks of the run, if a study of `mfh.study` made them.
        """
        kept = {seed: named[STUDENTS] for seed, named in weights.items() if STUDENTS in named}
        size = {s: sum(v.numel() * v.element_size() for v in t.values()) for s, t in kept.items()}
        return cls(None, {s: t for s, t in kept.items() if size[s] <= MOST_BYTES}, networks)

    def of(self, seed: int) -> Mapping[str, Tensor]:
        """Return the tensors of a fit.

        Raises:
            InputError: they are missing or damaged.
        """
        if seed in self.tensors:
            return self.tensors[seed]
        require(
            self.folder is not None,
            f"No student of {fit_words(seed)} was kept in memory, as they are large: repeat the study with "
            "`out`.",
        )
        assert self.folder is not None  # noqa: S101 - was just required
        name = checkpoint(seed, STUDENTS)
        path = self.folder / name
        try:
            known = written_weights(self.folder, seed)
            require(name in known, "no students were kept in this folder")
            require_files(self.folder, {name: known[name]}, f"{fit_name(seed)}.json")
            tensors = read_state(path)
            for file in sorted(path.parent.glob(f"{DISTILLED}*.safetensors")):
                student = file.stem.removeprefix(DISTILLED)
                tensors |= {f"students/{student}/{n}": value for n, value in read_state(file).items()}
            return tensors
        except (OSError, InputError) as error:
            raise InputError(
                f"`{path}` cannot be read: {one_line(error)}. Repeat the run in another folder."
            ) from error


def keep_students(
    task: SeedTask, fits: Mapping[StudentKey, StudentFit], merit: Callable[[StudentKey], float]
) -> dict[str, Tensor]:
    """Return what a fit keeps of its students.

    Args:
        task: the fit.
        fits: its trained students.
        merit: from a student to a number that is larger for better ones.
    """
    data = task.networks.data
    drawn = {arm.name for arm in task.arms if arm.is_drawn}
    states = {}
    for key in _chosen(task, fits, merit):
        shown = replace(key, draw=key.draw if key.arm in drawn else None)  # as its record names it
        states[shown.name] = fits[key].state
    inputs = fit_inputs(data, task.train, task.networks.standardized).get(task.student)
    scale = label_scale(data, task.labelled)
    targets = scale if isinstance(scale, Standardize) else None
    return keep(data, task.student, states, task.test, inputs=inputs, targets=targets)


def keep(
    data: PairedDataset,
    modality: str,
    states: Mapping[str, Mapping[str, Tensor]],
    test: Tensor,
    *,
    inputs: Standardize | None = None,
    targets: Standardize | None = None,
) -> dict[str, Tensor]:
    """Return what an export needs of some students of one fit, and of the data.

    Args:
        data: the samples, as they were given.
        modality: what the students see.
        states: name of a student (`StudentKey.name`) -> its weights.
        test: rows, the first of which become `example`.
        inputs: what standardised the inputs, or filled them in; None where the students take them as they
            are.
        targets: the same for the targets of a regression.
    """
    kept = {f"students/{name}/{part}": v for name, state in states.items() for part, v in state.items()}
    for name, fit in (("standardize", inputs), ("targets", targets)):
        kept |= {} if fit is None else {f"{name}/{part}": value for part, value in fit.tensors.items()}
    return kept | {"example": example_inputs(data, modality, test)}


def example_inputs(data: PairedDataset, modality: str, rows: Tensor) -> Tensor:
    """Return some samples as an exported network takes them: see `describe_input`."""
    first = data.read([modality], rows[:1])[modality]
    count = max(1, min(NUM_EXAMPLES, EXAMPLE_BYTES // max(1, first.numel() * first.element_size())))
    if describe_transform(data.transforms.get(modality)) == UNKNOWN:
        return data.inputs(modality, rows[:count])
    return data.read([modality], rows[:count])[modality]


def _chosen(
    task: SeedTask, fits: Mapping[StudentKey, StudentFit], merit: Callable[[StudentKey], float]
) -> list[StudentKey]:
    """Return the best student of each arm and loss, the least focused of equals.

    If they are large, some of the worse ones are left out; see `ALWAYS` and `MOST_BYTES`.
    """
    best: dict[tuple[str, str | None], StudentKey] = {}
    for key in sorted(fits, key=lambda key: (-merit(key), key.ratio or 0)):
        best.setdefault((key.arm, key.loss), key)
    plain = source_arm(task.arms, task.source)
    first = (BASELINE, STACK, HEADLINE, *([plain.name] if plain else []))
    keys = sorted(
        best.values(), key=lambda key: first.index(key.arm) if key.arm in first else len(first)
    )  # the others stay in their order, the best first
    kept: list[StudentKey] = []
    size = 0
    for key in keys:
        size += sum(value.numel() * value.element_size() for value in fits[key].state.values())
        if len(kept) < ALWAYS or size <= MOST_BYTES:
            kept.append(key)
    return kept


UNKNOWN = "unknown"
"""A transform that cannot be named by an import path; exported networks take what it returns."""


def describe_networks(networks: Networks) -> dict[str, dict[str, Any]]:
    """Return what makes the networks of both sides, and what they take, as plain values."""
    data, config = networks.data, networks.config
    sides = (
        ("teacher", str(config.teacher), networks.teacher),
        ("student", str(config.student), networks.student),
    )
    return {
        side: _describe_inputs(data, modality)
        | {
            "network": describe_build(
                build, data, modality, hidden=config.hidden, standardized=networks.standardized
            )
        }
        for side, modality, build in sides
    }


def _describe_inputs(data: PairedDataset, modality: str) -> dict[str, Any]:
    """Return what a network takes: see `describe_input`, with `inputs` for several modalities."""
    parts = data.parts(modality)
    if len(parts) == 1:
        return describe_input(data, modality)
    return {"modality": modality, "inputs": [describe_input(data, part) for part in parts]}


def describe_input(data: PairedDataset, modality: str) -> dict[str, Any]:
    """Return what a network of a modality takes: `modality`, `shape`, `dtype`, `transform`.

    A modality of a table also has `columns`, the names of the values.

    `transform` is None for values that only become floats, `long` for token ids, an import path with
    arguments, or `UNKNOWN`: then shape and dtype are those after the transform.
    """
    transform = describe_transform(data.transforms.get(modality))
    first = data.read([modality], torch.arange(1))[modality]
    if transform == UNKNOWN:
        first = data.inputs(modality, torch.arange(1))
    features = data.features.get(modality)
    return {
        "modality": modality,
        "shape": list(first.shape[1:]),
        "dtype": str(first.dtype).removeprefix("torch."),
        "transform": transform,
        **({} if features is None else {"columns": list(features.names)}),
    }


def describe_transform(transform: Any) -> Any:
    """Return a transform as plain values; see `describe_input`."""
    if transform is None:
        return None
    if transform is Tensor.long:
        return "long"
    if is_dataclass(transform) and not isinstance(transform, type):
        given = {spec.name: getattr(transform, spec.name) for spec in fields(transform)}
        made = _import_path(type(transform))
        return {"class_path": made, "init_args": given} if made and _is_plain(given) else UNKNOWN
    path = _import_path(transform)
    return {"function": path} if path else UNKNOWN


def describe_build(
    build: Build | None,
    data: PairedDataset,
    modality: str,
    *,
    hidden: Sequence[int] = HIDDEN,
    standardized: Collection[str] = (),
) -> dict[str, Any] | None:
    """Return what makes a network, as plain values; None if it has no import path.

    A default network is described by its sizes; `fills` tells that it fills in missing values. A class, a
    function of a module, a `ClassSpec` and a `functools.partial` of one of them with keyword arguments have
    an import path; `prepared` is there if values of a table are prepared for it. A network of several
    modalities has `inputs`, their names, and `prepared` for each of them.
    """
    parts = data.parts(modality)
    shapes = [list(data.shape(part)) for part in parts]
    tables = [data.features.get(part) for part in parts]
    fills = [table is not None and table.gaps for table in tables]
    ready = [table is not None and table.is_prepared for table in tables]
    outputs = {"outputs": data.num_classes, "hidden": list(hidden)}
    prepared: dict[str, Any] = {}
    if len(parts) > 1:
        asked = [done or part in standardized for part, done in zip(parts, ready, strict=True)]
        each = [{"shape": shape, "fills": gaps} for shape, gaps in zip(shapes, fills, strict=True)]
        prepared = {
            "inputs": list(parts),
            "prepared": [one if wanted else None for one, wanted in zip(each, asked, strict=True)],
        }
        if build is None:
            return {"side_by_side": [math.prod(shape) for shape in shapes]} | outputs | prepared
    elif build is None:
        return {"mlp": shapes[0]} | outputs | ({"fills": True} if fills[0] else {})
    elif ready[0]:
        prepared = {"prepared": {"shape": shapes[0], "fills": fills[0]}}
    if isinstance(build, ClassSpec):
        return build.to_dict() | prepared
    target: Any = build
    given: Mapping[str, Any] = {}
    if isinstance(build, functools.partial):
        if build.args:
            return None
        target, given = build.func, build.keywords
    path = _import_path(target)
    return {"class_path": path, "init_args": dict(given)} | prepared if path and _is_plain(given) else None


def _import_path(target: Any) -> str | None:
    """Return the path by which a class or function can be imported; None if there is none."""
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", "")
    if not module or module == "__main__" or not name.isidentifier() or module not in sys.modules:
        return None
    found = getattr(importlib.import_module(module), name, None)
    return f"{module}.{name}" if found is target else None


def _is_plain(values: Mapping[str, Any]) -> bool:
    """Return whether values survive being written as JSON."""
    try:
        return bool(json.loads(json.dumps(values)) == dict(values))
    except (TypeError, ValueError):
        return False


def student_names(tensors: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the students among the tensors of a fit."""
    return tuple(dict.fromkeys(name.split("/")[1] for name in tensors if name.startswith("students/")))
