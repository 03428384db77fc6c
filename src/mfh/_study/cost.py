"""What a study will cost: measured on one teacher and one student before the training, and put in words."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from mfh._checks import InputError
from mfh._study.few.budget import Budget, members
from mfh._study.given import GIVEN
from mfh._study.live import units_per_seed
from mfh._study.networks import Build, Networks
from mfh._study.task import teachers_needed
from mfh._system.progress import about, write_line
from mfh.arms import FUSED
from mfh.config import FitConfig
from mfh.training.device import make_accelerator
from mfh.training.many.perceptron import Perceptron
from mfh.training.objectives import Distill, Fused, Pair
from mfh.training.pairs import train_pair
from mfh.training.students import StudentJob, seeded, train_students

BATCHES = 4
"""Batches that a network is measured on, unless it is small."""
TRAINING = 0.6
"""Share of the samples in a training split."""
ENOUGH, LONG = 0.3, 10.0
"""Seconds after which a measurement is good enough, and those that it should not take."""


def announce(networks: Networks, *, fits: int, left: int, workers: int, threads: int) -> Mapping[str, float]:
    """Write to stderr what a study will cost, measured on one teacher and one student.

    Args:
        networks: the networks, arms and design of the study.
        fits: number of its fits.
        left: number of fits that are not finished.
        workers: fits that run side by side.
        threads: threads that a fit may use.

    Returns:
        Seconds of a unit of work by stage (see `units_per_seed`); empty if they could not be measured.
    """
    cost: Mapping[str, float] = {}
    if isinstance(networks.config, FitConfig) and networks.config.minutes is not None:
        time_left = about(60 * networks.config.minutes * left / fits)
        write_line(f"{left if left == fits else f'{left} of {fits}'} fits: {time_left} for their searches")
        return cost
    with suppress(InputError):  # the training raises it again, and names the network
        cost = measure(networks, threads)
    epochs = 1 if networks.few_labels else networks.config.epochs
    write_line(describe(units_per_seed(networks), cost, epochs, fits, left, workers))
    return cost


def describe(
    units: Mapping[str, int], cost: Mapping[str, float], epochs: int, fits: int, left: int, workers: int
) -> str:
    """Return the cost of a study in words.

    >>> units = {"teachers": 120, "saliency": 1, "students": 840}
    >>> describe(units, {"teachers": 0.01, "students": 0.04}, 60, 10, 10, 1)
    '14 students and 2 teachers x 10 fits, about 6 minutes (measured on one of each)'
    >>> describe(units | {"teachers": 0}, {}, 60, 10, 4, 1)
    '14 students x 4 of 10 fits'
    >>> describe(units | {"students": 0}, {}, 60, 10, 10, 1)
    '2 networks x 10 fits'
    """
    students, teachers = units["students"] // epochs, units["teachers"] // epochs
    counts = [f"{students} student{'s' * (students != 1)}"] if students else []
    name = "teacher" if students else "network"  # of labels alone, and its trials
    counts += [f"{teachers} {name}{'s' * (teachers != 1)}"] if teachers else []
    text = f"{' and '.join(counts)} x {left if left == fits else f'{left} of {fits}'} fit{'s' * (fits != 1)}"
    if not cost:
        return text
    seconds = left / workers * sum(cost[stage] * units[stage] for stage in cost)
    return f"{text}, about {about(seconds)} (measured on one{' of each' if teachers else ''})"


def measure(networks: Networks, threads: int) -> dict[str, float]:
    """Return the seconds of a unit of work by stage: an epoch, or with few labels the training of a network.

    Compiled code is made, or loaded, before anything is timed: that happens once, not in each fit.
    Networks are trained on labels for a few batches and then forgotten. The samples are the first ones of the
    data: which they are does not matter for the time.

    Raises:
        InputError: a network cannot be trained; see `train_students`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if networks.small() else threads)
    try:
        if networks.small():
            _load_code(networks)
        given = networks.config.given_teacher
        teacher = 0.0 if given else _teacher_seconds(networks)
        student = _epoch_seconds(networks, networks.build_student, str(networks.config.student), "student")
    finally:
        torch.set_num_threads(before)
    count = units_per_seed(networks)["students"] // (1 if networks.few_labels else networks.config.epochs)
    side_by_side = min(threads, max(count, 1)) if _in_threads(networks) else 1
    if networks.few_labels:  # one teacher of each side, and pairs of both
        count = Budget.of(networks).teachers
        return {
            "teachers": student if given else (count - 1) / count * (teacher + student),
            "students": student / side_by_side,
        }
    needed = teachers_needed(networks.arms, networks.config.teacher_source)
    trained = [name for name in needed if not (given and name == GIVEN)]
    each = [
        {"regular": teacher, FUSED: teacher, "unimodal": student}.get(name, teacher + student)
        for name in trained
    ]
    ranks = any(arm.ranking is not None for arm in networks.arms)
    each += [student] if ranks and networks.config.teacher_source != "joint" else []
    return {"teachers": sum(each) / max(len(each), 1), "students": student / side_by_side}


def _teacher_seconds(networks: Networks) -> float:
    """Return the seconds of one epoch of the teacher; of default networks of several modalities the sum."""
    sees = networks.sees if networks.teacher is None else (str(networks.config.teacher),)
    builds = (
        partial(networks.build_default, name) if networks.teacher is None else networks.build_teacher
        for name in sees
    )
    return sum(
        _epoch_seconds(networks, build, name, "teacher") for build, name in zip(builds, sees, strict=True)
    )


def _steps(networks: Networks) -> tuple[int, int]:
    """Return the steps of a training with few labels, and the samples of a step."""
    budget = Budget.of(networks)
    return budget.steps(networks, int(TRAINING * len(networks.data))), budget.batch_size(networks)


def _load_code(networks: Networks) -> None:
    """Train small pairs on one batch and score them: pairs and metrics have compiled code of their own."""
    config = networks.config
    config = replace(config, patience=0, epochs=1, steps=None, lr=0.001 if config.lr == "auto" else config.lr)
    data = networks.prepared(torch.arange(len(networks.data)))
    both = networks.present["both"] & networks.data.labelled
    rows = torch.from_numpy(np.flatnonzero(both))[: config.batch_size]
    sides = str(config.teacher), str(config.student)
    if networks.few_labels:
        needed = set(members(networks)) if any(arm.teacher for arm in networks.arms) else set()
    else:
        needed = set(teachers_needed(networks.arms, config.teacher_source))
    pairs = {"joint": Pair} | ({} if networks.both else {FUSED: Fused})
    for kind in (kind for name, kind in pairs.items() if name in needed and not config.given_teacher):
        pair = kind(seeded(networks.build_teacher, 0), seeded(networks.build_student, 0))
        train_pair(
            pair, data, modalities=sides, train=rows, validation=rows, config=config, seed=0,
            metric=networks.metrics[0], engine=config.engine,
        )  # fmt: skip
    outputs = torch.zeros(len(rows), *data.output_shape)
    for metric in networks.metrics:
        metric(outputs, data.label[rows], data.weight_of(rows))


def _few_seconds(networks: Networks, build: Build, modality: str, side: str) -> float:
    """Return the seconds of a training with few labels, all of whose steps see full batches.

    Samples without a label get one for this: which labels are learnt does not matter for the time.
    """
    steps, size = _steps(networks)
    config = networks.config
    config = replace(config, epochs=1, batch_size=size, lr=0.001 if config.lr == "auto" else config.lr)
    data = networks.prepared(torch.arange(len(networks.data)))
    label = data.label.nan_to_num() if data.label.is_floating_point() else data.label.clamp(min=0)
    data, rows = replace(data, label=label), networks.having(torch.arange(len(data)), side)

    def seconds(count: int) -> float:
        job = StudentJob(seeded(build, 0), Distill(task=data.task), data, modality, rows, rows[:1], 0)
        start = time.perf_counter()
        train_students([job], replace(config, steps=count), engine=config.engine, tolerant=True)
        return time.perf_counter() - start

    if (first := seconds(1)) > LONG and (first := seconds(1)) > LONG:
        return first * steps
    count = min(BATCHES, steps)
    while (spent := seconds(count)) < ENOUGH and count < steps:
        count = min(4 * count, steps)
    if spent < 2 * ENOUGH:  # a short measurement may have been disturbed
        spent = min(spent, seconds(count))
    return spent / count * steps


def _epoch_seconds(networks: Networks, build: Build, modality: str, side: str) -> float:
    """Return the seconds of one epoch of a network on the training samples of a side.

    With few labels they are those of a whole training.
    """
    if networks.few_labels:
        return _few_seconds(networks, build, modality, side)
    config = networks.config
    config = replace(config, patience=0, lr=0.001 if config.lr == "auto" else config.lr)
    rows = networks.having(torch.from_numpy(np.flatnonzero(networks.data.labelled)), side)
    full = max(1, int(TRAINING * len(rows)))
    data = networks.prepared(torch.arange(len(networks.data)))

    def seconds(samples: int, epochs: int) -> float:
        train, validation = rows[:samples], rows[samples : samples + samples // 3 + 1]
        job = StudentJob(seeded(build, 0), Distill(task=data.task), data, modality, train, validation, 0)
        start = time.perf_counter()
        train_students([job], replace(config, epochs=epochs), engine=config.engine, tolerant=True)
        return time.perf_counter() - start

    samples = full if networks.small() else min(full, BATCHES * config.batch_size)
    one = min(samples, config.batch_size)
    first, epochs = seconds(one, 1), 1  # loads compiled code and libraries
    if first > LONG and (spent := seconds(one, 1)) * samples / one > LONG:
        return spent * full / one
    while (spent := seconds(samples, epochs)) < ENOUGH and epochs < config.epochs:
        epochs = min(4 * epochs, config.epochs)
    if spent < 2 * ENOUGH:  # a short measurement may have been disturbed
        spent = min(spent, seconds(samples, epochs))
    return spent / epochs * full / samples


def _in_threads(networks: Networks) -> bool:
    """Return whether students are trained side by side, in compiled code."""
    config = networks.config
    shape = networks.data.shape(str(config.student))
    compiled = config.engine != "loop" and config.precision == "no" and networks.data.task == "single-label"
    on_cpu = make_accelerator(config).device.type == "cpu"
    return compiled and on_cpu and Perceptron.of(networks.build_student(), shape) is not None
