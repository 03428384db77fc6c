import numpy as np
import pytest

from mfh._report.sections.channels import MAX_BARS, MAX_CURVES, MAX_POINTS, summarize_channels
from mfh.results import StudyResult


def study(**channels):
    return StudyResult(config={"score": "increase", "saliency_split": "train"}, channels=channels)


def test_bars_mark_the_least_salient_channels_as_removed():
    result = study(
        increase_train=np.array([[3.0, 1.0, -1.0, 2.0], [0.0, 1.0, 2.0, 3.0]]), seed=np.array([7, 8])
    )
    channels = summarize_channels(result, chosen={7: 0.5}, ratio=0.25)
    assert (channels["seed"], channels["ratio"], channels["num_removed"]) == (7, 0.5, 2)
    assert channels["order"]["value"] == [3.0, 1.0, -1.0, 2.0]
    assert channels["order"]["removed"] == [0.0, 1.0, 1.0, 0.0]
    assert channels["sorted"]["curves"][0] == [1.0, 0.75, 0.5, 0.0]


@pytest.mark.parametrize(("ratio", "removed"), [(0.29, 29), (0.5, 50), (0.999, 99), (0.0, 0)])
def test_number_removed_is_the_floor_of_the_share(ratio, removed):
    result = study(increase_train=np.arange(100.0)[None])
    assert summarize_channels(result, chosen={}, ratio=ratio)["num_removed"] == removed


def test_many_channels_are_joined_and_nothing_is_lost_from_the_mean():
    values = np.random.default_rng(0).random((30, 100_003))
    channels = summarize_channels(study(increase_train=values), chosen={}, ratio=0.5)
    order = channels["order"]
    assert len(order["value"]) <= MAX_BARS
    assert min(order["low"]) == pytest.approx(values[0].min())
    assert max(order["high"]) == pytest.approx(values[0].max(), rel=1e-5)
    sizes = np.full(len(order["value"]), order["per_bar"])
    sizes[-1] = 100_003 - sizes[:-1].sum()
    assert np.average(order["value"], weights=sizes) == pytest.approx(values[0].mean(), rel=1e-5)
    assert np.average(order["removed"], weights=sizes) == pytest.approx(50_001 / 100_003, rel=1e-5)
    assert len(channels["sorted"]["median"]) <= MAX_POINTS
    assert len(channels["sorted"]["curves"]) == MAX_CURVES


def test_errors_become_intervals():
    result = study(increase_train=np.array([[1.0, 2.0]]), stderr_train=np.array([[0.1, 0.5]]))
    order = summarize_channels(result, chosen={}, ratio=0.5)["order"]
    assert order["low"] == pytest.approx([1 - 0.196, 2 - 0.98])
    assert order["high"] == pytest.approx([1 + 0.196, 2 + 0.98])


@pytest.mark.parametrize(
    "channels",
    [
        {},
        {"importance_train": np.ones((2, 3))},
        {"increase_train": np.array([[np.nan, 1.0]])},
        {"increase_train": np.empty((0, 4))},
    ],
)
def test_nothing_to_draw(channels):
    assert summarize_channels(study(**channels), chosen={}, ratio=0.5) is None


def test_constant_channels_and_a_score_of_the_users_choice():
    result = StudyResult(
        saliency={"score": "followed", "split": "validation"},
        channels={"followed_validation": np.full((1, 5), 2.0)},
    )
    channels = summarize_channels(result, chosen={}, ratio=None)
    assert (channels["score"], channels["num_removed"]) == ("followed", 0)
    assert channels["sorted"]["median"] == [0.0] * 5
