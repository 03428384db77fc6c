"""Populations whose true gains are known, for `benchmarks/coverage.py`.

A population can be sampled again and again. The true gain of a treatment is the mean gain over many data
sets, measured on samples that none of the fits has seen.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from mfh._checks import require
from mfh.data.sources.gaussian import FIGURE_2

FRESH = 1000
"""Further samples that the true gain is measured on, for each data set."""
Half = Literal["settle", "confirm"]


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set, or the further samples of its population.

    Attributes:
        inputs: by name what a network can see, (sample, channel). Every population has `teacher` and
            `student`.
        label: class of each sample, or a number for regression.
        group: group of each sample; None without groups.
    """

    inputs: Mapping[str, np.ndarray]
    label: np.ndarray
    group: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: np.ndarray) -> "Samples":
        """Return some samples."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Samples(inputs, self.label[rows], None if self.group is None else self.group[rows])


@dataclass(frozen=True)
class Treatment:
    """What a student learns from.

    Attributes:
        inputs: what it sees.
        taught: weight of the teacher's outputs, in [0, 1]; labels have the rest.
        other_seed: whether its random numbers differ from those of the student that it is compared with.
        effect: true gain that it was made to have, in points; 0 if that is unknown.
        no_gain: whether its true gain is 0 by construction.
    """

    inputs: str = "student"
    taught: float = 0.0
    other_seed: bool = False
    effect: float = 0.0

    @property
    def no_gain(self) -> bool:
        return self.other_seed


BASE = Treatment()
OTHER_SEED = Treatment(other_seed=True)
Draw = Callable[[np.random.Generator, int], Samples]


@dataclass(frozen=True, eq=False)
class Population:
    """One setting of the simulation.

    Attributes:
        name: as in the table.
        half: whether the formula was settled on it, or confirmed.
        size: samples of a data set.
        draw: draws samples.
        treatments: what is compared with a student that learns from labels alone, by name.
        learner: `ridge`, random features and a closed form; or `network`, perceptrons by gradient descent.
        metric: name of the metric.
        hidden: widths of a network's layers.
        epochs: passes over the training split of a network.
        lr: learning rate of a network.
        unlabelled: further pairs without labels, which taught students learn from in every fit.
        repeats: repeats of five folds that every data set has.
        most_repeats: repeats that one in `every` data sets has.
        every: see `most_repeats`.
    """

    name: str
    half: Half
    size: int
    draw: Draw
    treatments: Mapping[str, Treatment]
    learner: Literal["ridge", "network"] = "ridge"
    metric: str = "accuracy"
    hidden: tuple[int, ...] = ()
    epochs: int = 30
    lr: float = 0.05
    unlabelled: int = 0
    repeats: int = 2
    most_repeats: int = 10
    every: int = 3

    @property
    def task(self) -> str:
        """The task that the metric belongs to."""
        return "regression" if self.metric == "R2" else "single-label"

    def num_repeats(self, number: int) -> int:
        """Return how many repeats a data set has."""
        return self.most_repeats if number % self.every == 0 else self.repeats


WEIGHTS = np.array([1.0, 0.8, 0.6, 0.4, 0.2, 0.1])
SHARPER = {300: (0.930, 0.798), 1000: (0.922, 0.777)}
"""Noise of a student's inputs that gives a true gain of 1 and of 3 points, by number of samples."""


def latent(
    rng: np.random.Generator,
    n: int,
    *,
    noise: float = 1.0,
    cut: float = 0.0,
    clearer: tuple[float, ...] = (),
    regression: bool = False,
    group_size: int = 0,
) -> Samples:
    """Draw six normal numbers; they fix the label, the teacher sees all of them and the student four.

    Args:
        rng: source of randomness.
        n: number of samples.
        noise: standard deviation of the noise of the label.
        cut: value above which a sample is of class 1.
        clearer: standard deviations of the noise of further inputs like the student's, whose noise is 1.
        regression: whether the label is the number itself.
        group_size: samples of a group, which have a random effect on label and inputs in common; 0 for none.
    """
    z = rng.normal(size=(n, len(WEIGHTS)))
    error = rng.normal(size=(n, 4))
    value = z @ WEIGHTS + noise * rng.normal(size=n)
    teacher, student = z + 0.3 * rng.normal(size=z.shape), z[:, :4]
    group = None
    if group_size:
        group = np.arange(n) // group_size
        count = group.max() + 1
        value = value + 0.7 * rng.normal(size=count)[group]
        student = student + 0.7 * rng.normal(size=(count, 4))[group]
    inputs = {"teacher": teacher, "student": student + error}
    inputs |= {f"clearer {number}": student + sd * error for number, sd in enumerate(clearer)}
    return Samples(inputs, value if regression else (value > cut).astype(np.int64), group)


def gaussian(rng: np.random.Generator, n: int, *, share: float) -> Samples:
    """Draw samples of the paper's Gaussian pairs, of whose decisive features both see a share."""
    first = FIGURE_2.seen - round(share * FIGURE_2.seen)
    point = first, first + FIGURE_2.seen
    decisive = rng.normal(size=(n, FIGURE_2.decisive))
    plane = np.random.RandomState(0).randn(FIGURE_2.decisive)
    teacher, student = rng.normal(size=(n, FIGURE_2.width)), rng.normal(size=(n, FIGURE_2.student_width))
    teacher[:, slice(*point)] = decisive[:, slice(*point)]
    student[:, : FIGURE_2.seen] = decisive[:, : FIGURE_2.seen]
    return Samples({"teacher": teacher, "student": student}, (decisive @ plane > 0).astype(np.int64))


def mnist(rng: np.random.Generator, n: int) -> Samples:
    """Draw images: the teacher sees 40 principal components, the student 10 noisy ones of the lower part."""
    teacher, student, label = _mnist_components()
    rows = rng.choice(len(label), size=n, replace=False)
    noisy = student[rows] + rng.normal(size=(n, student.shape[1]))
    return Samples({"teacher": teacher[rows], "student": noisy}, label[rows])


@cache
def _mnist_components() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 40 components of all images, 10 of their lower part, and the digits."""
    path = Path(os.environ.get("MFH_DATA", "data")) / "avmnist" / "mnist.npz"
    require(path.exists(), f"`MFH_DATA` must be a folder with avmnist/mnist.npz. Got {path.parent.parent}.")
    with np.load(path) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])
        label = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64)
    return _components(images, 40), _components(images[:, 14:], 10), label


def _components(images: np.ndarray, count: int) -> np.ndarray:
    """Return the first principal components, each with mean 0 and standard deviation 1."""
    some = images[::7].reshape(len(images[::7]), -1).astype(np.float32)
    _, vectors = np.linalg.eigh(np.cov(some, rowvar=False))
    axes = vectors[:, ::-1][:, :count].astype(np.float32)
    blocks = np.array_split(images.reshape(len(images), -1), 20)
    found = np.concatenate([block.astype(np.float32) @ axes for block in blocks])
    return (found - found.mean(axis=0)) / found.std(axis=0)


def known_gains(n: int, half: Half) -> Population:
    """Return a population with treatments whose true gains are 1 and 3 points, and 0."""
    sharper = SHARPER[n]
    return Population(
        f"true gains, n = {n:,}",
        half,
        n,
        lambda rng, count: latent(rng, count, clearer=sharper),
        {
            "other seed": OTHER_SEED,
            "gain of 1": Treatment("clearer 0", effect=1.0),
            "gain of 3": Treatment("clearer 1", effect=3.0),
        },
        most_repeats=20,
        every=1,
    )


def grouped(count: int, size: int, half: Half) -> Population:
    """Return a population whose samples come in groups with a random effect."""
    return Population(
        f"{count} groups of {size}",
        half,
        count * size,
        lambda rng, n: latent(rng, n, group_size=size),
        {"other seed": OTHER_SEED, "soft labels": Treatment(taught=0.7)},
        most_repeats=20 if count == 24 else 10,
        every=1 if count == 24 else 3,
    )


def by_metric(metric: str, n: int, half: Half, **options: float | bool) -> Population:
    """Return a population for another metric than accuracy."""
    return Population(
        f"{metric}, n = {n:,}",
        half,
        n,
        lambda rng, count: latent(rng, count, **options),  # type: ignore[arg-type]
        {"other seed": OTHER_SEED, "soft labels": Treatment(taught=0.7)},
        metric=metric,
    )


def gaussian_pairs(n: int, share: float, half: Half) -> Population:
    """Return a population of the paper's Gaussian pairs."""
    return Population(
        f"Gaussian, n = {n}, share {share:g}",
        half,
        n,
        lambda rng, count: gaussian(rng, count, share=share),
        {"other seed": OTHER_SEED, "soft labels": Treatment(taught=1.0)},
        learner="network",
        hidden=(32,),
    )


def digits(name: str, n: int, half: Half, *, most_repeats: int = 10, **options: object) -> Population:
    """Return a population of MNIST's images."""
    return Population(
        f"MNIST, {name}n = {n:,}",
        half,
        n,
        mnist,
        {"other seed": OTHER_SEED, "soft labels": Treatment(taught=1.0)},
        learner="network",
        most_repeats=most_repeats,
        **{"hidden": (64, 32), **options},  # type: ignore[arg-type]
    )


POPULATIONS: tuple[Population, ...] = (
    known_gains(300, "settle"),
    known_gains(1000, "confirm"),
    grouped(8, 25, "settle"),
    grouped(24, 15, "confirm"),
    grouped(100, 5, "settle"),
    by_metric("AUROC", 200, "confirm"),
    by_metric("AUROC", 600, "settle", cut=2.0),
    by_metric("R2", 150, "settle", regression=True),
    by_metric("R2", 500, "confirm", regression=True),
    gaussian_pairs(100, 0.0, "settle"),
    gaussian_pairs(100, 0.5, "confirm"),
    gaussian_pairs(100, 1.0, "settle"),
    gaussian_pairs(400, 0.0, "confirm"),
    gaussian_pairs(400, 0.5, "settle"),
    gaussian_pairs(400, 1.0, "confirm"),
    digits("", 300, "settle"),
    digits("", 1000, "confirm"),
    digits("unstable learner, ", 300, "confirm", lr=0.3, epochs=5),
    digits("800 unlabelled pairs, ", 200, "settle", hidden=(32,), unlabelled=800),
)
