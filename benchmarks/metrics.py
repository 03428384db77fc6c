"""How much longer training takes if another metric than accuracy chooses the best epoch.

Four kinds of training are timed. The first two use the RAVDESS features, or arrays of their shapes:

- `metrics_threads`: perceptrons in threads, as in a study,
- `metrics_pair`: a teacher and a student trained together, step 1 of Algorithm 1,
- `metrics_batched`: convolutional students on generated images, batched in torch,
- `metrics_loss`: perceptrons batched in torch, because they learn by the loss `dkd`.

Perceptrons have the default hidden layers of 128 and 64 units, convolutions 32 channels. Records that end in
`_small` have one hidden layer of 16 units, or 16 channels: there the metric takes the largest share.

A round trains the same students once with each metric, in random order. The figure of a metric is the median
over rounds of its CPU time divided by that of accuracy in the same round, so that other work on the machine
affects both alike. `baseline` is accuracy, `ours` the slowest of the other metrics, and `times_as_long` has
all of them. None should be above 1.5.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks import _common
from benchmarks._common import record
from benchmarks.many import CONFIG, cpu_time, generated, ravdess_features, students
from mfh import DistillConfig, PairedDataset
from mfh.losses import build_loss
from mfh.metrics import Metric, metrics_of
from mfh.models.mlp import mlp
from mfh.training.objectives import Pair
from mfh.training.pairs import train_pair
from mfh.training.students import seeded, train_students

ROUNDS = 9
SIDE = 8
"""Height and width of the images."""

Train = Callable[[Metric], object]


def run() -> None:
    """Time every metric of single-label data on one thread; fewer rounds where little time shall pass."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        _compare_all()
    finally:
        torch.set_num_threads(threads)


def _compare_all() -> None:
    ravdess, where = ravdess_features()
    pixels = generated(1440, {"image": SIDE * SIDE, "rest": 1}, 8)
    images = replace(
        pixels, modalities={"image": pixels.inputs("image", slice(None)).reshape(-1, 1, SIDE, SIDE)}
    )
    for ending, hidden, channels in (("", (128, 64), 32), ("_small", (16,), 16)):
        build = perceptron(ravdess, "au", hidden)
        compare(f"metrics_threads{ending}", together(ravdess, "au", build), data=where, hidden=hidden)
        compare(f"metrics_pair{ending}", pair(ravdess, hidden), data=where, hidden=hidden)
        by_loss = together(ravdess, "au", build, loss="dkd", epochs=5)
        compare(f"metrics_loss{ending}", by_loss, data=where, hidden=hidden)
        network = partial(convolutional, channels, images.num_classes)
        batched = together(images, "image", network, epochs=2)
        compare(f"metrics_batched{ending}", batched, data="generated", channels=channels)


def compare(name: str, train: Train, **notes: object) -> None:
    """Time all metrics in rounds, and record the slowest beside accuracy.

    Args:
        name: of the record.
        train: trains the students; the metric that it is given chooses their best epoch.
        notes: kept in the record.
    """
    metrics = metrics_of("single-label")
    for metric in metrics:
        train(metric)  # compiles
    rng, rounds = np.random.default_rng(0), []
    for _ in range(ROUNDS if _common.FULL else 5):
        order = rng.permutation(len(metrics))
        rounds.append({metrics[k].name: cpu_time(partial(train, metrics[k])) for k in order})
    times = {
        metric.name: statistics.median(seconds[metric.name] / seconds["accuracy"] for seconds in rounds)
        for metric in metrics[1:]
    }
    baseline = statistics.median(seconds["accuracy"] for seconds in rounds)
    slowest = baseline * max(times.values())
    record(name, baseline, slowest, times_as_long=times, rounds=len(rounds), **notes)
    print(f"{name}: {', '.join(f'{metric} {times[metric]:.2f}' for metric in times)}")


def together(
    data: PairedDataset,
    modality: str,
    build: Callable[[], nn.Module],
    *,
    loss: str | None = None,
    epochs: int = CONFIG.epochs,
) -> Train:
    """Return a function that trains four distilled students of one seed together.

    Args:
        data: the samples.
        modality: what the students see.
        build: makes their network.
        loss: what they learn by, if not KL.
        epochs: of each training.
    """
    model = seeded(build, 0)
    own = None if loss is None else build_loss(loss, DistillConfig())
    jobs = [
        replace(job, model=model, objective=replace(job.objective, loss=own))
        for job in students(data, modality, seed=0)[-4:]
    ]
    config = replace(CONFIG, epochs=epochs)
    return lambda metric: train_students([replace(job, metric=metric) for job in jobs], config, engine="many")


def pair(data: PairedDataset, hidden: tuple[int, ...]) -> Train:
    """Return a function that trains a teacher that hears and a student that sees together."""
    jobs = {name: students(data, name, seed=0)[0] for name in ("mfcc", "au")}
    seen = data.with_transforms({name: job.data.transforms[name] for name, job in jobs.items()})
    rows = jobs["au"]

    def train(metric: Metric) -> object:
        sides = [seeded(perceptron(data, name, hidden), seed) for seed, name in enumerate(jobs)]
        return train_pair(
            Pair(*sides), seen, modalities=("mfcc", "au"), train=rows.train, validation=rows.validation,
            config=CONFIG, seed=0, metric=metric, engine="many",
        )  # fmt: skip

    return train


def perceptron(data: PairedDataset, modality: str, hidden: tuple[int, ...]) -> Callable[[], nn.Module]:
    """Return a function that builds a perceptron for a modality."""
    return lambda: mlp(int(np.prod(data.shape(modality))), data.num_classes, hidden=hidden)


def convolutional(channels: int, classes: int) -> nn.Module:
    """Build two convolutions with ReLU, the mean over the image, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, classes),
    )
