"""Values by sample: their mean is the metric, and they are its derivative by the weight of each sample."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mfh.influence import MOST_LEFT_OUT, sample_values
from mfh.metrics import METRICS, Metric, find_metric

COUNT = 60
CASES = [(metric, task) for metric in METRICS.values() for task in metric.tasks]
SMOOTH = [(m, t) for m, t in CASES if m.name not in {"accuracy", "log-loss", "brier", "calibration-error"}]


def case(task: str, count: int = COUNT) -> tuple[Tensor, Tensor]:
    """Outputs that know something of the labels, with some equal scores."""
    rng = torch.Generator().manual_seed(0)
    if task == "single-label":
        label = torch.randint(0, 3, (count,), generator=rng)
        return (torch.randn(count, 3, generator=rng) + torch.eye(3)[label]).round(decimals=1), label
    if task == "multi-label":
        label = torch.randint(0, 2, (count, 3), generator=rng).float()
        return (torch.randn(count, 3, generator=rng) + label - 0.5).round(decimals=1), label
    if task == "regression":
        label = torch.randn(count, 2, generator=rng)
        return label + torch.randn(count, 2, generator=rng), label
    label = torch.randint(0, 3, (count, 2, 2), generator=rng)
    return torch.randn(count, 3, 2, 2, generator=rng), label


def ids(value: object) -> str:
    return value.name if isinstance(value, Metric) else str(value)


@pytest.mark.parametrize(("metric", "task"), CASES, ids=ids)
def test_the_mean_of_the_values_is_the_metric(metric: Metric, task: str) -> None:
    logits, label = case(task)
    values = sample_values(metric, logits, label)
    assert values is not None
    assert values.shape == (COUNT,)
    assert values.mean() == pytest.approx(metric(logits, label))


@pytest.mark.parametrize(("metric", "task"), SMOOTH, ids=ids)
def test_values_are_the_change_of_the_metric_by_the_weight_of_a_sample(metric: Metric, task: str) -> None:
    """Copies of every sample, and one more of one of them, change the metric by its value."""
    logits, label = case(task)
    copies, values = 200, sample_values(metric, logits, label)
    assert values is not None
    many = logits.repeat(copies, *[1] * (logits.ndim - 1)), label.repeat(copies, *[1] * (label.ndim - 1))
    base = metric(*many)
    for row in (0, 7, 31):
        more = metric(torch.cat([many[0], logits[row : row + 1]]), torch.cat([many[1], label[row : row + 1]]))
        slope = (more - base) * (copies * COUNT + 1)
        assert values[row] - base == pytest.approx(slope, rel=0.03, abs=0.2)


def test_accuracy_by_sample_is_right_or_wrong() -> None:
    logits, label = torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0])
    found = sample_values(find_metric("accuracy", "single-label"), logits, label)
    assert found is not None
    assert found.tolist() == [100.0, 0.0]


def test_auroc_has_the_variance_of_delong() -> None:
    rng = np.random.default_rng(0)
    hit = np.arange(80) < 30
    score = rng.normal(size=80) + hit
    logits = torch.from_numpy(np.stack([np.zeros(80), score], axis=1))
    found = sample_values(find_metric("auroc", "single-label"), logits, torch.from_numpy(hit.astype(int)))
    assert found is not None
    above = (score[hit][:, None] > score[~hit][None]).astype(float)
    area = above.mean()
    variance = ((above.mean(axis=1) - area) ** 2).mean() / 30 + ((above.mean(axis=0) - area) ** 2).mean() / 50
    assert found.var() / 80 == pytest.approx(100**2 * variance)


def test_outputs_that_know_nothing_of_the_label_have_the_area_of_chance() -> None:
    label = torch.arange(40) % 2
    found = sample_values(find_metric("auroc", "single-label"), torch.zeros(40, 2), label)
    assert found is not None
    assert found == pytest.approx(np.full(40, 50.0))


def mean_margin(logits: Tensor, label: Tensor) -> float:
    return float((logits[:, 0] - label).mean())


def test_a_metric_of_the_users_is_differentiated_by_leaving_samples_out() -> None:
    metric = Metric(name="margin", function=mean_margin, tasks=("single-label",))
    logits, label = case("single-label")
    found = sample_values(metric, logits, label)
    assert found is not None
    assert found == pytest.approx((logits[:, 0] - label).numpy(), abs=1e-4)


def test_a_metric_of_the_users_may_have_no_values() -> None:
    metric = Metric(name="margin", function=mean_margin, tasks=("single-label",))
    assert sample_values(metric, *case("single-label", MOST_LEFT_OUT + 1)) is None
    undefined = Metric(name="one", function=_needs_all, tasks=("single-label",))
    assert sample_values(undefined, *case("single-label")) is None


def _needs_all(logits: Tensor, label: Tensor) -> float:
    return 1.0 if len(label) == COUNT else float("nan")


def test_every_built_in_metric_has_values_of_its_own() -> None:
    for metric, task in CASES:
        assert sample_values(metric, *case(task, MOST_LEFT_OUT + 1)) is not None, metric.name


WEIGHT = torch.from_numpy(np.random.default_rng(1).uniform(0.2, 3.0, COUNT))


@pytest.mark.parametrize(("metric", "task"), CASES, ids=ids)
def test_values_of_weighted_samples(metric: Metric, task: str) -> None:
    """Their mean is the weighted metric, and each is weight x derivative by the weight, times the samples."""
    logits, label = case(task)
    values = sample_values(metric, logits, label, WEIGHT)
    assert values is not None
    whole = metric(logits, label, WEIGHT)
    assert values.mean() == pytest.approx(whole)
    step = 1e-4 * torch.eye(COUNT, dtype=torch.float64)
    for row in (0, 7, 31):
        more, less = (metric(logits, label, WEIGHT + sign * step[row]) for sign in (1, -1))
        slope = (more - less) / 2e-4 * float(WEIGHT[row]) * COUNT
        assert values[row] - whole == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_weights_that_are_equal_change_no_value() -> None:
    for metric, task in CASES:
        logits, label = case(task)
        values = sample_values(metric, logits, label)
        assert sample_values(metric, logits, label, torch.full((COUNT,), 7.0)) == pytest.approx(values)


def weighted_margin(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> float:
    each = torch.ones(len(label)) if weight is None else weight
    return float(((logits[:, 0] - label) * each).sum() / each.sum())


def test_a_weighted_metric_of_the_users_is_differentiated_too() -> None:
    metric = Metric(name="margin", function=weighted_margin, tasks=("single-label",))
    logits, label = case("single-label")
    found = sample_values(metric, logits, label, WEIGHT)
    assert found is not None
    mean, margin = metric(logits, label, WEIGHT), (logits[:, 0] - label).double()
    expected = mean + WEIGHT / WEIGHT.mean() * (margin - mean)
    assert found.mean() == pytest.approx(mean)
    assert found == pytest.approx(expected.numpy(), rel=0.05, abs=0.1)
