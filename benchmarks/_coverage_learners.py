"""The learners of `benchmarks/coverage.py`: random features in closed form, and perceptrons."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks._coverage_populations import BASE, Population, Samples, Treatment
from mfh import PairedDataset, TrainConfig
from mfh.config import StudyConfig
from mfh.data.splits import Split
from mfh.models.mlp import mlp
from mfh.training.objectives import Distill
from mfh.training.students import StudentFit, StudentJob, seeded, train_students

FEATURES = 40
PENALTY = 1.0
TEMPERATURE = 2.0
CONFIG = StudyConfig()
"""Options that the design of a study asks for; K-fold uses none of them."""
Outputs = Mapping[Treatment, tuple[np.ndarray, np.ndarray | None]]
"""By treatment the outputs for the test samples and for the fresh ones, (sample, output)."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """One simulated data set with its fits.

    Attributes:
        number: its number in the population.
        samples: the samples, without those that have no label.
        unlabelled: pairs without labels; None without them.
        fresh: further samples, which no fit sees.
        paired: the samples as a study takes them, for its splits.
        splits: by fit.
        num_fresh: fits whose outputs for the fresh samples are wanted, the first ones.
    """

    number: int
    samples: Samples
    unlabelled: Samples | None
    fresh: Samples
    paired: PairedDataset
    splits: Sequence[Split]
    num_fresh: int = 10

    def seed(self, fit: int, *parts: int) -> int:
        """Return a seed for a fit of this data set."""
        return int(np.random.SeedSequence([self.number, fit, *parts]).generate_state(1)[0] >> 1)


def paired(samples: Samples, task: str) -> PairedDataset:
    """Return samples as the data set of a study."""
    inputs = {name: samples.inputs[name].astype(np.float32) for name in ("teacher", "student")}
    return PairedDataset.from_arrays(inputs, label=samples.label, group=samples.group, task=task)


def fit_all(population: Population, sets: Sequence[DataSet]) -> Iterator[list[Outputs | None]]:
    """Yield for each data set the outputs of each of its fits; None for a fit that diverged."""
    if population.learner == "ridge":
        for data in sets:
            yield [_ridge(population, data, fit) for fit in range(len(data.splits))]
    else:
        yield from _networks(population, sets)


def treatments(population: Population) -> tuple[Treatment, ...]:
    """Return the student that learns from labels alone, and all that are compared with it."""
    return (BASE, *population.treatments.values())


def _ridge(population: Population, data: DataSet, fit: int) -> Outputs:
    """Fit ridge regression on random features for each treatment."""
    samples, split = data.samples, data.splits[fit]
    wanted = data.fresh if fit < data.num_fresh else None
    target = samples.label[split.train].astype(float)
    target = target if population.task == "regression" else 2 * target - 1
    soft = None
    found: dict[Treatment, tuple[np.ndarray, np.ndarray | None]] = {}
    for treatment in treatments(population):
        aim, seed = target, data.seed(fit, 1 + treatment.other_seed)
        if treatment.taught:
            if soft is None:
                teacher = samples.inputs["teacher"]
                soft = Ridge(teacher[split.train], target, data.seed(fit, 0))(teacher[split.train])
            aim = (1 - treatment.taught) * target + treatment.taught * soft
        inputs = samples.inputs[treatment.inputs]
        student = Ridge(inputs[split.train], aim, seed)
        test = student(inputs[split.test])
        fresh = None if wanted is None else student(wanted.inputs[treatment.inputs])
        found[treatment] = _logits(test, population), None if fresh is None else _logits(fresh, population)
    return found


def _logits(values: np.ndarray, population: Population) -> np.ndarray:
    """Return one output for regression, and one for each of two classes else."""
    if population.task == "regression":
        return values[:, None]
    return np.stack([np.zeros_like(values), values], axis=1)


class Ridge:
    """Ridge regression on random features: tanh of random sums, drawn anew for each fit."""

    def __init__(self, inputs: np.ndarray, target: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.weight = rng.normal(size=(inputs.shape[1], FEATURES)) / np.sqrt(inputs.shape[1])
        self.bias = rng.normal(size=FEATURES)
        features = self._features(inputs)
        gram = features.T @ features + PENALTY * np.eye(features.shape[1])
        self.slope = np.linalg.solve(gram, features.T @ target)

    def _features(self, inputs: np.ndarray) -> np.ndarray:
        hidden = np.tanh(inputs @ self.weight + self.bias)
        return np.concatenate([hidden, np.ones((len(inputs), 1))], axis=1)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return self._features(inputs) @ self.slope


def _networks(population: Population, sets: Sequence[DataSet]) -> Iterator[list[Outputs | None]]:
    """Train the perceptrons of several data sets in two calls: all teachers, then all students."""
    config = TrainConfig(epochs=population.epochs, lr=population.lr, device="cpu")
    joined = [_joined(data) for data in sets]
    places = [(k, fit) for k, data in enumerate(sets) for fit in range(len(data.splits))]
    teachers = train_students(
        [_job(population, sets[k], joined[k], fit, Treatment("teacher"), None) for k, fit in places],
        config,
        engine="many",
        tolerant=True,
    )
    jobs, owners = [], []
    for (k, fit), teacher in zip(places, teachers, strict=True):
        if teacher.failure is not None:
            continue
        logits = forward(teacher, joined[k].modalities["teacher"].numpy())  # type: ignore[union-attr]
        for treatment in treatments(population):
            jobs.append(_job(population, sets[k], joined[k], fit, treatment, logits))
            owners.append((k, fit, treatment))
    students = dict(zip(owners, train_students(jobs, config, engine="many", tolerant=True), strict=True))
    for k, data in enumerate(sets):
        yield [_evaluate(population, data, k, fit, students) for fit in range(len(data.splits))]


def _joined(data: DataSet) -> PairedDataset:
    """Return a data set with its pairs without labels behind those with labels."""
    if data.unlabelled is None:
        return data.paired
    inputs = {
        name: np.concatenate([data.samples.inputs[name], data.unlabelled.inputs[name]]).astype(np.float32)
        for name in ("teacher", "student")
    }
    return PairedDataset.from_arrays(
        inputs, label=np.concatenate([data.samples.label, data.unlabelled.label])
    )


def _job(
    population: Population,
    data: DataSet,
    joined: PairedDataset,
    fit: int,
    treatment: Treatment,
    logits: np.ndarray | None,
) -> StudentJob:
    """Return a network to train."""
    split, seed = data.splits[fit], data.seed(fit, 1 + treatment.other_seed)
    width = joined.modalities[treatment.inputs].shape[1]
    rows = split.train
    objective = Distill()
    if treatment.taught:
        assert logits is not None
        rows = np.concatenate([rows, np.arange(len(data.samples), len(joined))])
        objective = Distill(torch.from_numpy(logits), 1 - treatment.taught, treatment.taught, TEMPERATURE)
    model = seeded(lambda: mlp(width, joined.num_classes, hidden=population.hidden), seed)
    train, validation = torch.from_numpy(rows), torch.from_numpy(split.validation)
    return StudentJob(model, objective, joined, treatment.inputs, train, validation, seed)


def _evaluate(
    population: Population,
    data: DataSet,
    k: int,
    fit: int,
    students: Mapping[tuple[int, int, Treatment], StudentFit],
) -> Outputs | None:
    """Return the outputs of the students of a fit; None if one of them diverged."""
    found = {}
    for treatment in treatments(population):
        student = students.get((k, fit, treatment))
        if student is None or student.failure is not None:
            return None
        inputs, test = data.samples.inputs[treatment.inputs], data.splits[fit].test
        fresh = data.fresh.inputs[treatment.inputs] if fit < data.num_fresh else None
        found[treatment] = forward(student, inputs[test]), None if fresh is None else forward(student, fresh)
    return found


def forward(fit: StudentFit, inputs: np.ndarray) -> np.ndarray:
    """Return the outputs of a trained perceptron, (sample, class)."""
    layers = [name.removesuffix(".weight") for name in fit.state if name.endswith(".weight")]
    values = inputs.astype(np.float32)
    for name in layers:
        weight, bias = fit.state[f"{name}.weight"].numpy(), fit.state[f"{name}.bias"].numpy()
        values = values @ weight.T + bias
        values = values if name == layers[-1] else np.maximum(values, 0)
    return values
