"""Metrics against scikit-learn, classes for which a metric is undefined, names, registration."""

import math
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn import metrics as sk
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

import mfh
from mfh import DistillConfig, InputError, register_metric
from mfh._formulas import auroc, average_precision, balanced_accuracy, log_loss, macro_f1, miou, r2
from mfh.metrics import METRICS, OWN_METRIC, find_metric, merit, metric_names, metrics_of, scores

NAN = pytest.approx(math.nan, nan_ok=True)


@pytest.fixture
def registered() -> Iterator[None]:
    """Forget what a test registers."""
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Logits, some of them equal, classes of which the last may be absent, and the number of outputs."""
    rng = np.random.default_rng(seed)
    count, outputs = rng.integers(2, 50), rng.integers(2, 6)
    logits = np.round(2 * rng.normal(size=(count, outputs)), rng.integers(0, 4)).astype(np.float32)
    return logits, rng.integers(0, rng.integers(1, outputs + 1), count), outputs


def mean_of_defined(values: list[float]) -> float:
    return 100 * float(np.mean(values)) if values else math.nan


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_of_one_class_all_are_those_of_scikit_learn() -> None:
    for seed in range(150):
        logits, label, outputs = draw(seed)
        p = softmax(logits.astype(np.float64), axis=1)
        ranked, told, truth = np.round(p, 11), logits.argmax(axis=1), np.eye(outputs)[label]
        present = [k for k in range(outputs) if truth[:, k].any()]
        mixed = [k for k in present if not truth[:, k].all()]
        brier = (truth, p) if outputs > 2 else (label, p[:, 1])
        assert scores(metrics_of("single-label"), torch.tensor(logits), torch.tensor(label)) == {
            "accuracy": pytest.approx(100 * sk.accuracy_score(label, told)),
            "balanced-accuracy": pytest.approx(100 * sk.balanced_accuracy_score(label, told)),
            "macro-f1": pytest.approx(100 * sk.f1_score(label, told, average="macro")),
            "auroc": pytest.approx(
                mean_of_defined([sk.roc_auc_score(truth[:, k], ranked[:, k]) for k in mixed]), nan_ok=True
            ),
            "average-precision": pytest.approx(
                mean_of_defined([sk.average_precision_score(truth[:, k], ranked[:, k]) for k in present])
            ),
            "log-loss": pytest.approx(sk.log_loss(label, p, labels=range(outputs))),
            "brier": pytest.approx(
                sk.brier_score_loss(*brier, **({} if outputs > 2 else {"labels": [0, 1]}))
            ),
            "calibration-error": pytest.approx(
                100 * float(multiclass_calibration_error(torch.tensor(p), torch.tensor(label), int(outputs))),
                rel=1e-5,
            ),
        }, seed


def test_of_several_labels_all_are_those_of_scikit_learn() -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        logits = np.round(2 * rng.normal(size=(rng.integers(2, 40), 4)), rng.integers(0, 3))
        truth = (rng.random(logits.shape) < [0.5, 0.3, 0.1, 0.02]).astype(np.float32)
        told, p, labels = logits > 0, expit(logits), range(4)
        positive = [k for k in labels if truth[:, k].any()]
        mixed = [k for k in positive if not truth[:, k].all()]
        told_or_true = [k for k in labels if (truth[:, k] + told[:, k]).any()]
        assert scores(metrics_of("multi-label"), torch.tensor(logits), torch.tensor(truth)) == {
            "mAP": pytest.approx(
                mean_of_defined([sk.average_precision_score(truth[:, k], logits[:, k]) for k in positive]),
                nan_ok=True,
            ),
            "macro-f1": pytest.approx(
                mean_of_defined([sk.f1_score(truth[:, k], told[:, k]) for k in told_or_true]), nan_ok=True
            ),
            "auroc": pytest.approx(
                mean_of_defined([sk.roc_auc_score(truth[:, k], logits[:, k]) for k in mixed]), nan_ok=True
            ),
            "log-loss": pytest.approx(
                np.mean([sk.log_loss(truth[:, k], p[:, k], labels=[0, 1]) for k in labels])
            ),
            "brier": pytest.approx(
                np.mean([sk.brier_score_loss(truth[:, k], p[:, k], labels=[0, 1]) for k in labels])
            ),
        }, seed


def test_of_maps_and_numbers_all_are_those_of_scikit_learn() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        logits, label = rng.normal(size=(5, 4, 3, 2)), rng.integers(0, rng.integers(2, 5), (5, 3, 2))
        truth, told = label.reshape(-1), logits.argmax(axis=1).reshape(-1)
        assert scores(metrics_of("dense"), torch.tensor(logits), torch.tensor(label)) == {
            "mIoU": pytest.approx(100 * sk.jaccard_score(truth, told, average="macro")),
            "accuracy": pytest.approx(100 * sk.accuracy_score(truth, told)),
        }
        numbers, targets = rng.normal(size=(2, 9, 3)) * 1e-4
        assert r2(torch.tensor(numbers), torch.tensor(targets)) == pytest.approx(
            100 * sk.r2_score(targets, numbers)
        )


def test_classes_without_a_value_are_left_out() -> None:
    logits = torch.tensor([[3.0, -3, -1], [-3, 3, -2], [2, 2, -1]])
    label = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert average_precision(logits, label) == auroc(logits, label) == macro_f1(logits, label) == 100.0
    told = logits.clone()
    told[0, 2] = 1.0  # a false positive: F1 of the third label is 0 / 1
    assert macro_f1(told, label) == pytest.approx(200 / 3)
    one_class, ones = torch.tensor([[2.0, 1, 0], [3, 0, 0]]), torch.tensor([0, 0])
    assert balanced_accuracy(one_class, ones) == macro_f1(one_class, ones) == 100.0
    assert average_precision(one_class, ones) == 100.0
    assert miou(torch.tensor([[[2.0, 1]], [[0, 3]]]).movedim(0, 1), torch.tensor([[0, 1]])) == 100.0
    targets = torch.tensor([[1.0, 5], [2, 5], [3, 5]])
    assert r2(targets + torch.tensor([0.0, 1]), targets) == 100.0


@pytest.mark.parametrize(
    ("function", "logits", "label"),
    [
        (auroc, torch.tensor([[2.0, 1], [3, 0]]), torch.tensor([0, 0])),
        (average_precision, torch.ones(3, 2), torch.zeros(3, 2)),
        (macro_f1, -torch.ones(3, 2), torch.zeros(3, 2)),
        (r2, torch.ones(3, 1), torch.ones(3, 1)),
    ],
)
def test_nothing_defined_is_nan(function, logits: Tensor, label: Tensor) -> None:
    assert function(logits, label) == NAN


def test_equal_scores_share_a_rank_even_at_zero_and_by_rounding() -> None:
    label = torch.tensor([[1.0], [0], [1], [0]])
    for zero in (torch.zeros(4, 1), torch.tensor([[0.0], [-0.0], [-0.0], [0.0]])):
        assert auroc(zero, label) == average_precision(zero, label) == 50.0
    permuted = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.3, 0.2]])  # the first class is as probable in both
    assert auroc(permuted, torch.tensor([0, 1])) == pytest.approx((50 + 100) / 2)


def test_log_loss_of_sure_outputs_is_not_clipped() -> None:
    logits = torch.tensor([[0.0, 1000.0]])
    assert log_loss(logits, torch.tensor([0])) == 1000.0
    assert log_loss(logits, torch.tensor([[1.0, 0.0]])) == pytest.approx((math.log(2) + 1000) / 2)


def test_merits_order_values_and_put_nan_last() -> None:
    values = [0.3, math.nan, 0.1]
    assert max(values, key=find_metric("auroc", "single-label").merit) == 0.3
    assert max(values, key=find_metric("brier", "single-label").merit) == 0.1
    assert merit(math.nan) < merit(-1e300)


def test_every_task_has_its_own_metric_first() -> None:
    for task, name in OWN_METRIC.items():
        own = find_metric("auto", task)
        assert metrics_of(task)[0] == own
        assert own.name == name
        assert own.info().unit == ("" if task == "regression" else "%")
    brier = find_metric("brier", "single-label")
    names = [metric.name for metric in metrics_of("single-label", brier)]
    assert names[0] == "brier"
    assert sorted(names) == sorted(metric_names("single-label"))


@pytest.mark.parametrize("name", ["macro-F1", "Macro F1", "macro_f1"])
def test_names_are_found_in_any_spelling(name: str) -> None:
    assert find_metric(name, "multi-label").name == "macro-f1"


def test_an_unknown_or_unfitting_metric_is_one_line_with_those_that_fit() -> None:
    with pytest.raises(InputError, match=r"`metric` must be auto or one of `mIoU`|`accuracy`") as error:
        find_metric("auroc", "dense")
    assert str(error.value) == (
        "`metric` must be auto or one of `accuracy`, `mIoU` for the task dense. Got 'auroc'."
    )
    with pytest.raises(InputError, match=r"`metric` must be auto or one of `accuracy`, .*Got 'f2'"):
        DistillConfig(metric="f2")
    with pytest.raises(InputError, match=r"one of `R2` for the task regression. Got 'accuracy'"):
        DistillConfig(metric="accuracy", task="regression")
    assert DistillConfig(metric="AUROC").metric == "AUROC"


def first_class(logits: Tensor, label: Tensor) -> Tensor:
    """Share of the samples of class 0 that are right."""
    return (logits.argmax(dim=1) == 0)[label == 0].float().mean()


@pytest.mark.usefixtures("registered")
def test_a_registered_metric_is_found_and_recorded() -> None:
    metric = register_metric("first-class", first_class)
    assert (metric.unit, metric.margin, metric.points) == ("", 0.01, "first-class")
    assert find_metric("First_Class", "single-label") is metric
    assert DistillConfig(metric="first-class").metric == "first-class"
    logits = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    assert scores(metrics_of("single-label", metric), logits, torch.tensor([0, 0, 1]))["first-class"] == 0.5
    again = register_metric("first-class", first_class, unit="%", higher_is_better=False)
    assert (again.margin, METRICS["first-class"]) == (1.0, again)
    with pytest.raises(InputError, match="for the task dense"):
        find_metric("first-class", "dense")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "AUROC"}, "must not be auto or that of a metric that comes with mfh. Got 'AUROC'"),
        ({"name": "a b"}, "letters, digits, dots, hyphens and underscores. Got 'a b'"),
        ({"tasks": ["ranking"]}, r"`tasks` of a metric must be names of `single-label`.* Got \('ranking',\)"),
        ({"tasks": ()}, r"`tasks` of a metric must be .* Got \(\)"),
        ({"margin": 0.0}, "`margin` of a metric must be above 0. Got 0.0"),
    ],
)
@pytest.mark.usefixtures("registered")
def test_a_registration_that_breaks_a_rule_is_refused(arguments: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        register_metric(**{"name": "mine", "function": first_class, **arguments})


def test_importing_metrics_leaves_torch_and_numpy_alone() -> None:
    code = "import sys, mfh.metrics, mfh.config; sys.exit(len({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert mfh.Metric is type(find_metric("auto", "dense"))


def test_sure_outputs_are_ranked() -> None:
    """Probabilities that round to 1, or to 0, still have an order."""
    score = torch.tensor([97.0, 98.5, 98.0, 99.0, 5000.0, 4000.0])
    label = torch.tensor([0, 1, 0, 1, 1, 0])
    logits = torch.stack([torch.zeros(6), score], 1)
    expected = 100 * sk.roc_auc_score(label, score)
    assert auroc(logits, label) == pytest.approx(expected)
    assert auroc(-logits, 1 - label) == pytest.approx(expected)
    third = torch.cat([logits, torch.full((6, 1), -1e5)], 1)
    assert auroc(third, label) == pytest.approx(expected)
    halves = [sk.average_precision_score(label == k, (2 * k - 1) * score) for k in (0, 1)]
    assert average_precision(logits, label) == pytest.approx(mean_of_defined(halves))


def test_infinite_logits_are_the_largest() -> None:
    logits = torch.tensor([[0.0, math.inf], [0.0, 1.0], [0.0, -math.inf]])
    assert auroc(logits, torch.tensor([1, 0, 0])) == 100.0
    labels = torch.tensor([[1.0], [0], [0]])
    assert auroc(logits[:, 1:], labels) == average_precision(logits[:, 1:], labels) == 100.0
    assert auroc(-logits[:, 1:], labels) == 0.0


@pytest.mark.parametrize("task", list(OWN_METRIC))
def test_a_logit_that_is_nan_makes_every_metric_nan(task: str) -> None:
    shape, label = {
        "single-label": ((4, 2), torch.tensor([0, 0, 1, 1])),
        "multi-label": ((4, 2), torch.tensor([[0.0, 1], [0, 1], [1, 0], [1, 0]])),
        "regression": ((4, 1), torch.arange(4.0)[:, None]),
        "dense": ((1, 2, 4), torch.tensor([[0, 0, 1, 1]])),
    }[task]
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    logits.view(-1)[3] = math.nan
    assert all(value == NAN for value in scores(metrics_of(task), logits, label).values())


def test_bfloat16_logits() -> None:
    logits, label = torch.tensor([[1.0, 2], [3, 1], [0, 4]]), torch.tensor([1, 0, 0])
    half = scores(metrics_of("single-label"), logits.bfloat16(), label)
    assert half == scores(metrics_of("single-label"), logits, label)


def outputs_of(task: str, count: int) -> tuple[Tensor, Tensor]:
    """Outputs with some equal scores, and labels, of a task."""
    rng = torch.Generator().manual_seed(count)
    shape = (count, 3, 2) if task == "dense" else (count, 3)
    logits = torch.randn(shape, generator=rng, dtype=torch.float64).round(decimals=1)
    label = {
        "single-label": torch.randint(0, 3, (count,), generator=rng),
        "multi-label": (torch.rand(count, 3, generator=rng) < 0.4).float(),
        "regression": torch.randn(count, 3, generator=rng),
        "dense": torch.randint(-1, 3, (count, 2), generator=rng),
    }[task]
    return logits, label


@pytest.mark.parametrize("task", list(OWN_METRIC))
def test_a_weight_counts_how_often_a_sample_is_there(task: str) -> None:
    logits, label = outputs_of(task, 40)
    times = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(1))
    for metric in metrics_of(task, weighted=True):
        repeated = metric(logits.repeat_interleave(times, dim=0), label.repeat_interleave(times, dim=0))
        assert metric(logits, label, times.double()) == pytest.approx(repeated), metric.name
        assert metric(logits, label, 0.3 * times) == pytest.approx(repeated), metric.name


def test_weighted_metrics_are_those_of_scikit_learn() -> None:
    logits, label = outputs_of("single-label", 60)
    weight = np.random.default_rng(0).random(60)
    p, told = softmax(logits.numpy(), axis=1), logits.argmax(dim=1)
    found = scores(metrics_of("single-label"), logits, label, torch.from_numpy(weight))
    each = {"sample_weight": weight}
    truth, odds = np.eye(3)[label], np.round(np.log(p / (1 - p)), 10)
    assert found["accuracy"] == pytest.approx(100 * sk.accuracy_score(label, told, **each))
    assert found["balanced-accuracy"] == pytest.approx(100 * sk.balanced_accuracy_score(label, told, **each))
    assert found["macro-f1"] == pytest.approx(100 * sk.f1_score(label, told, average="macro", **each))
    assert found["log-loss"] == pytest.approx(sk.log_loss(label, p, **each))
    assert found["auroc"] == pytest.approx(
        mean_of_defined([sk.roc_auc_score(truth[:, k], odds[:, k], **each) for k in range(3)])
    )
    assert found["average-precision"] == pytest.approx(
        mean_of_defined([sk.average_precision_score(truth[:, k], odds[:, k], **each) for k in range(3)])
    )


def test_what_has_no_weight_is_undefined() -> None:
    for task in OWN_METRIC:
        logits, label = outputs_of(task, 9)
        assert all(value == NAN for value in scores(metrics_of(task), logits, label, torch.zeros(9)).values())


def weighted_first_class(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Share of the samples of class 0 that are right."""
    right = (logits.argmax(dim=1) == label).double()[label == 0]
    return right.mean() if weight is None else (right * weight[label == 0]).sum() / weight[label == 0].sum()


@pytest.mark.usefixtures("registered")
def test_a_metric_of_the_users_must_take_weights_where_there_are_some() -> None:
    plain = register_metric("first-class", first_class)
    both = register_metric("first-class-weighted", weighted_first_class)
    assert (plain.takes_weights, both.takes_weights) == (False, True)
    names = [metric.name for metric in metrics_of("single-label", weighted=True)]
    assert "first-class" not in names
    assert "first-class-weighted" in names
    with pytest.raises(InputError, match=r"must take weights .* first-class has no argument `weight`"):
        metrics_of("single-label", plain, weighted=True)
    logits, label = torch.tensor([[1.0, 0], [0, 1], [1, 0]]), torch.tensor([0, 0, 1])
    assert both(logits, label, torch.tensor([3.0, 1, 9])) == 0.75
