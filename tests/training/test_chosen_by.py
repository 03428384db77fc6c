"""Any metric chooses the best epoch, in every engine alike."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from student_jobs import NUM_CLASSES, NUM_INPUTS, TRAIN, VALIDATION, make_data, make_jobs, make_objectives
from torch import Tensor

from mfh import InputError, TrainConfig
from mfh.metrics import Metric, find_metric, metric_names
from mfh.models.mlp import mlp
from mfh.training.many.batched import train_stacked
from mfh.training.objectives import Pair
from mfh.training.pairs import PairFit, train_pair
from mfh.training.students import StudentFit, StudentJob, seeded, train_students

CONFIG = TrainConfig(epochs=8, lr=0.2, device="cpu")
CPU = torch.device("cpu")
ENGINES = ("loop", "many", "batched")


def train(engine: str, metric: Metric | None, config: TrainConfig = CONFIG) -> list[StudentFit]:
    """Train two students of one seed."""
    objectives = {name: make_objectives()[name] for name in ("labels", "both, hot")}
    jobs = [replace(job, metric=metric) for job in make_jobs(torch.float64, objectives=objectives)]
    if engine == "batched":
        return train_stacked(range(2), jobs, config, CPU, lambda _: None)
    return train_students(jobs, config, engine=engine)


def pair(engine: str, metric: Metric | None) -> PairFit:
    """Train a pair."""
    teacher = seeded(lambda: mlp(NUM_INPUTS, NUM_CLASSES, hidden=(12,)), 0)
    student = seeded(lambda: mlp(2, NUM_CLASSES, hidden=(12,)), 1)
    return train_pair(
        Pair(teacher, student), make_data(), modalities=("a", "b"), train=TRAIN, validation=VALIDATION,
        config=CONFIG, seed=0, metric=metric, engine=engine,
    )  # fmt: skip


@pytest.mark.parametrize("name", metric_names("single-label"))
def test_all_engines_choose_the_same_epoch(name: str) -> None:
    metric = find_metric(name, "single-label")
    loop, many, batched = (train(engine, metric) for engine in ENGINES)
    for one, two, three in zip(loop, many, batched, strict=True):
        np.testing.assert_allclose(one.validation, two.validation, rtol=1e-4)
        np.testing.assert_allclose(one.validation, three.validation, rtol=1e-4)
        merits = [metric.merit(value) for value in one.validation]
        assert one.best_epoch == two.best_epoch == three.best_epoch == 1 + int(np.argmax(merits))
        for weight, value in one.state.items():
            torch.testing.assert_close(value, two.state[weight])
            torch.testing.assert_close(value, three.state[weight])


@pytest.mark.parametrize("name", ["accuracy", "auroc", "log-loss"])
def test_a_pair_chooses_by_the_mean_of_both(name: str) -> None:
    metric = find_metric(name, "single-label")
    loop, compiled = (pair(engine, metric) for engine in ("loop", "many"))
    np.testing.assert_allclose(loop.validation, compiled.validation, rtol=2e-2)
    for done in (loop, compiled):
        assert done.best_epoch == 1 + int(np.argmax([metric.merit(value) for value in done.validation]))


def test_the_loss_that_falls_and_rises_is_chosen_at_its_bottom() -> None:
    metric = find_metric("log-loss", "single-label")
    for engine in ENGINES:
        labels, _ = train(engine, metric, replace(CONFIG, epochs=30, patience=4))
        assert labels.validation[labels.best_epoch - 1] == min(labels.validation)
        assert len(labels.validation) == labels.best_epoch + 4 < 30


def sometimes(logits: Tensor, label: Tensor) -> float:
    """A metric that is undefined while the first sample is predicted right."""
    right = logits.argmax(dim=1) == label
    return math.nan if right[0] else float(right.double().mean())


def never(logits: Tensor, label: Tensor) -> float:
    """A metric that is never defined."""
    return math.nan


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_is_never_chosen_over_a_number(engine: str) -> None:
    metric = Metric(name="sometimes", function=sometimes, tasks=("single-label",))
    defined, undefined = 0, 0
    for fit in train(engine, metric):
        values = np.array(fit.validation)
        defined, undefined = defined + np.isfinite(values).sum(), undefined + np.isnan(values).sum()
        assert fit.best_epoch == 1 + int(np.nanargmax(values))
    assert defined
    assert undefined


@pytest.mark.parametrize("engine", ENGINES)
def test_a_metric_that_is_never_defined_is_an_error(engine: str) -> None:
    with pytest.raises(InputError, match=r"`never` must be defined .* NaN in all 8: choose another metric"):
        train(engine, Metric(name="never", function=never, tasks=("single-label",)))


def test_a_pair_whose_metric_is_never_defined_is_an_error() -> None:
    for engine in ("loop", "many"):
        with pytest.raises(InputError, match="`never` must be defined"):
            pair(engine, Metric(name="never", function=never, tasks=("single-label",)))


def test_without_a_metric_the_tasks_own_chooses() -> None:
    job = make_jobs()[0]
    assert job.chosen_by == find_metric("accuracy", "single-label")
    assert train("loop", None)[0].validation == train("loop", job.chosen_by)[0].validation


def test_a_checkpoint_of_another_metric_is_refused(tmp_path: Path) -> None:
    def checkpointed(name: str) -> StudentFit:
        job: StudentJob = replace(make_jobs()[0], metric=find_metric(name, "single-label"))
        return train_students([job], CONFIG, engine="loop", folders=[tmp_path / "student"])[0]

    first = checkpointed("brier")
    assert checkpointed("brier").validation == first.validation
    with pytest.raises(InputError, match="`keeps` was best epoch by brier, is best epoch by auroc"):
        checkpointed("auroc")
