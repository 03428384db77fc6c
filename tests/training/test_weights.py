"""Weights of samples and classes in the loss: closed forms, and the same losses in both engines."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from student_jobs import NUM_CLASSES, NUM_SAMPLES, TRAIN, VALIDATION, make_data, make_jobs, make_objectives
from torch import Tensor

from mfh import InputError, PairedDataset, TrainConfig
from mfh.config import DistillConfig
from mfh.losses import build_loss, mse
from mfh.metrics import find_metric
from mfh.models.mlp import mlp
from mfh.tasks import TASKS
from mfh.training.many.batched import train_stacked
from mfh.training.objectives import Batch, Fused, Joint, Pair
from mfh.training.pairs import train_pair
from mfh.training.students import StudentFit, StudentJob, seeded, train_students
from mfh.training.weights import class_weights, loss_weights

WEIGHT = torch.from_numpy(np.random.default_rng(3).integers(0, 5, NUM_SAMPLES)).double()
OF_CLASS = (1.0, 4.0, 0.5, 2.0, 0.0)


def weighted(dtype: torch.dtype = torch.float64) -> PairedDataset:
    return replace(make_data(dtype=dtype), weight=WEIGHT, class_weight=OF_CLASS)


def trained(jobs: list[StudentJob], way: str, **settings: object) -> list[StudentFit]:
    config = TrainConfig(**{"device": "cpu", "epochs": 3, **settings})  # type: ignore[arg-type]
    if way == "stacked":
        return train_stacked(range(len(jobs)), jobs, config, torch.device("cpu"), lambda _: None)
    return train_students(jobs, config, engine=way)


def assert_same(one: StudentFit, other: StudentFit, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(other.loss, one.loss, rtol=0, atol=tolerance)
    np.testing.assert_allclose(other.validation, one.validation, rtol=0, atol=tolerance)
    for name, value in one.state.items():
        torch.testing.assert_close(other.state[name], value, rtol=0, atol=100 * tolerance)


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_both_engines_have_the_same_losses_with_weights(metric: str) -> None:
    jobs = [
        replace(job, metric=find_metric(metric, "single-label"))
        for job in make_jobs(torch.float64, data=weighted())
    ]
    alone = trained(jobs, "loop", clip=0.3, optimizer="adamw", lr=0.01)
    for way in ("many", "stacked"):
        for one, other in zip(alone, trained(jobs, way, clip=0.3, optimizer="adamw", lr=0.01), strict=True):
            assert_same(one, other)
    plain = trained(make_jobs(torch.float64), "loop", clip=0.3, optimizer="adamw", lr=0.01)
    assert all(one.loss != other.loss for one, other in zip(alone, plain, strict=True))


@pytest.mark.parametrize("kind", [Pair, Fused])
def test_both_engines_have_the_same_losses_of_pairs_with_weights(kind: type[Pair]) -> None:
    data = weighted().with_transforms(dict.fromkeys("ab", Tensor.double))
    hidden = np.arange(60, 150)
    joint = kind is Pair
    data = data.without_labels(hidden) if joint else data
    config = TrainConfig(device="cpu", epochs=4, **({"steps": 12} if joint else {}))
    found = []
    for engine in ("loop", "many"):
        pair = seeded(lambda: kind(mlp(11, NUM_CLASSES, hidden=(8,)), mlp(2, NUM_CLASSES, hidden=(8,))), 0)
        fit = train_pair(
            pair.double(), data, modalities=("a", "b"), train=TRAIN, validation=VALIDATION, config=config,
            seed=1, engine=engine, labelled=torch.arange(60) if joint else None,
        )  # fmt: skip
        found.append((fit, pair.state_dict()))
    (one, first), (other, second) = found
    np.testing.assert_allclose(other.loss, one.loss, rtol=0, atol=1e-9)
    np.testing.assert_allclose(other.validation, one.validation, rtol=0, atol=1e-9)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=1e-7)


def doubled(job: StudentJob, rows: Tensor) -> StudentJob:
    """The same student, for which some training samples are there twice, without weights."""
    twice = torch.cat([job.train, rows])
    return replace(job, data=replace(job.data, weight=None), train=twice)


@pytest.mark.parametrize("way", ["loop", "many", "stacked"])
def test_a_sample_of_weight_two_is_two_samples(way: str) -> None:
    """Full batches: the order of the samples in a batch changes rounding alone."""
    rows, settings = TRAIN[::7], {"batch_size": 1000, "epochs": 8, "lr": 0.3, "momentum": 0.0}
    weight = torch.ones(NUM_SAMPLES, dtype=torch.float64)
    weight[rows] = 2
    weight[TRAIN] *= 0.7  # the size of weights does not matter
    data = make_data(dtype=torch.float64)
    jobs = make_jobs(torch.float64, data=replace(data, weight=weight))
    twice = [doubled(job, rows) for job in jobs]
    metric = {"metric": find_metric("log-loss", "single-label")}
    judged = torch.cat([VALIDATION, VALIDATION[:10]])  # validation samples of weight 2
    weight[VALIDATION[:10]] = 2
    jobs = [replace(job, **metric) for job in jobs]  # type: ignore[arg-type]
    twice = [replace(job, validation=judged, **metric) for job in twice]  # type: ignore[arg-type]
    for one, other in zip(trained(jobs, way, **settings), trained(twice, way, **settings), strict=True):
        assert_same(one, other, 1e-8)  # weights are float32


@pytest.mark.parametrize("way", ["loop", "many", "stacked"])
def test_a_sample_of_weight_zero_teaches_nothing(way: str) -> None:
    settings = {"batch_size": 1000, "epochs": 5}
    weight = torch.ones(NUM_SAMPLES, dtype=torch.float64)
    weight[TRAIN[:50]] = 0
    data = make_data(dtype=torch.float64)
    jobs = make_jobs(torch.float64, data=replace(data, weight=weight))
    fewer = [replace(job, data=data, train=TRAIN[50:]) for job in jobs]
    for one, other in zip(trained(jobs, way, **settings), trained(fewer, way, **settings), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("way", ["loop", "many", "stacked"])
def test_weights_that_are_all_equal_are_none_to_the_last_bit(way: str) -> None:
    data = make_data()
    for equal in (1.0, 0.1):
        alike = replace(data, weight=torch.full((NUM_SAMPLES,), equal, dtype=torch.float64))
        alike = replace(alike, class_weight=(2.0,) * NUM_CLASSES)
        for one, other in zip(
            trained(make_jobs(data=data), way), trained(make_jobs(data=alike), way), strict=True
        ):
            assert one.loss == other.loss
            assert other.validation == pytest.approx(one.validation)
            assert all(torch.equal(value, other.state[name]) for name, value in one.state.items())


def test_class_weights_are_weights_of_samples_in_the_loss_alone() -> None:
    data = make_data()
    by_class = make_jobs(data=replace(data, class_weight=OF_CLASS))
    by_sample = make_jobs(data=replace(data, weight=torch.tensor(OF_CLASS, dtype=torch.float64)[data.label]))
    for one, other in zip(trained(by_class, "many"), trained(by_sample, "many"), strict=True):
        assert one.loss == other.loss
        assert one.validation != other.validation, "metrics have the weights of samples alone"


def test_balanced_weights_are_those_of_scikit_learn_by_the_training_labels() -> None:
    data = make_data()
    found = class_weights("balanced", data, TRAIN)
    label = data.label[TRAIN].numpy()
    expected = compute_class_weight("balanced", classes=np.arange(NUM_CLASSES), y=label)
    assert found == pytest.approx(expected)
    hidden = data.without_labels(TRAIN[10:].numpy())
    few = hidden.label[TRAIN[:10]].numpy()
    present = np.unique(few)
    found = np.array(class_weights("balanced", hidden, TRAIN))
    assert found[present] == pytest.approx(compute_class_weight("balanced", classes=present, y=few))
    assert (np.delete(found, present) == 1).all(), "a class without training samples"


def test_hidden_labels_have_no_class_weight() -> None:
    data = replace(make_data(), class_weight=OF_CLASS)
    weight = loss_weights(data.without_labels(TRAIN[75:].numpy()), TRAIN)
    assert weight is not None
    assert float(weight[TRAIN].mean()) == pytest.approx(1)
    assert len(weight[TRAIN[75:]].unique()) == 1


def test_classes_have_weights_by_name() -> None:
    data = make_data()
    assert class_weights({"1": 3, "4": 0}, data, TRAIN) == (1.0, 3.0, 1.0, 1.0, 0.0)
    assert class_weights(None, data, TRAIN) is None
    with pytest.raises(InputError, match=r"`class_weight` must name classes of the data, `0`.* Got `ill`"):
        class_weights({"ill": 2}, data, TRAIN)
    numbers = PairedDataset.from_arrays({"a": np.eye(4), "b": np.eye(4)}, label=[0.5, 1, 2, 3])
    with pytest.raises(InputError, match="left out for the task regression, where a sample has no single"):
        class_weights("balanced", numbers, torch.arange(4))


def test_something_must_count() -> None:
    weight = torch.ones(NUM_SAMPLES, dtype=torch.float64)
    weight[TRAIN] = 0
    with pytest.raises(InputError, match=r"must leave training samples that count\. All 150 of a fit have"):
        loss_weights(replace(make_data(), weight=weight), TRAIN)


# --- other tasks


RNG = torch.Generator().manual_seed(0)
LOGITS, TEACHER = torch.randn(2, 12, 4, generator=RNG, dtype=torch.float64)
MAPS, TEACHER_MAPS = torch.randn(2, 12, 4, 3, 2, generator=RNG, dtype=torch.float64)
CASES = {
    "single-label": (LOGITS, TEACHER, torch.randint(4, (12,), generator=RNG)),
    "multi-label": (LOGITS, TEACHER, (torch.rand(12, 4, generator=RNG) < 0.5).float()),
    "regression": (LOGITS, TEACHER, torch.randn(12, 4, generator=RNG)),
    "dense": (MAPS, TEACHER_MAPS, torch.randint(4, (12, 3, 2), generator=RNG)),
}


@pytest.mark.parametrize("task", list(CASES))
def test_losses_of_every_task_count_samples_by_their_weight(task: str) -> None:
    logits, teacher, label = CASES[task]
    kind = TASKS[task]
    times = torch.tensor([0, 2, 1, 1, 3, 0, 1, 2, 1, 1, 1, 4])
    weight = times.double() / times.double().mean()
    many = [values.repeat_interleave(times, dim=0) for values in (logits, teacher, label)]
    torch.testing.assert_close(
        kind.label_loss(logits, label, weight=weight), kind.label_loss(many[0], many[2])
    )
    torch.testing.assert_close(
        kind.soft_loss(logits, teacher, temperature=2.0, weight=weight),
        kind.soft_loss(many[0], many[1], temperature=2.0),
    )
    rows = torch.arange(12)
    joint = Joint(task)((logits, teacher), Batch((), label, rows, weight=weight))
    by_hand = Joint(task)((many[0], many[1]), Batch((), many[2], torch.arange(len(many[2]))))
    torch.testing.assert_close(joint, by_hand)
    torch.testing.assert_close(mse(logits, teacher, weight=weight), mse(many[0], many[1]))


def test_classes_of_positions_have_weights() -> None:
    logits, _, label = CASES["dense"]
    label = label.clone()
    label[0] = -1
    label[3, 1] = -1
    values = torch.zeros(12, 2)
    data = PairedDataset.from_arrays({"a": values, "b": values}, label=label.numpy(), ignore_index=-1)
    data = replace(data, class_weight=(1.0, 3.0, 1.0, 0.5))
    weight = loss_weights(data, torch.arange(12))
    assert weight is not None
    found = TASKS["dense"].label_loss(logits, data.label, weight=weight)
    expected = torch.nn.functional.cross_entropy(
        logits, label, ignore_index=-1, weight=torch.tensor(data.class_weight, dtype=torch.float64)
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(weight[0], weight[3, 1, 0].expand(3, 2), msg="ignored positions have weight 1")


def test_other_losses_than_kl_take_all_samples_alike() -> None:
    objective = make_objectives()["teacher"]
    config = DistillConfig(loss="dkd", label_weight=1.0)
    loss = replace(objective, loss=build_loss("dkd", config))
    fits = [
        trained(make_jobs(data=data, objectives={"dkd": loss}), way)[0]
        for data in (make_data(), weighted(torch.float32))
        for way in ("loop", "many")
    ]
    np.testing.assert_allclose([fit.loss for fit in fits], [fits[0].loss] * 4, rtol=1e-3)
