"""Exact saliency against its definition, invariants, and what it cannot be fooled by."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mfh._checks import InputError
from mfh._saliency import SaliencyAccumulator, SaliencyResult, saliency

ARRAYS = ("mean", "increase", "followed", "importance", "stderr_data")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(channels, outputs, seed=1, positions=1):
    head = nn.Linear(channels * positions, outputs, dtype=torch.float64)
    head.weight.data = draw(outputs, channels * positions, seed=seed)
    head.bias.data = draw(outputs, seed=seed + 1)
    return head


def setting(n, channels, outputs, *positions, offset=0.0, seed=0):
    """Correlated, skewed features, a head, and a student that follows the teacher in part and is biased."""
    flat = draw(n, channels * int(np.prod(positions)), seed=seed)
    mixing = torch.eye(flat.shape[1], dtype=torch.float64) + 0.3 * draw(*[flat.shape[1]] * 2, seed=seed + 7)
    flat = flat @ mixing + 0.2 * flat**2 + offset
    head = linear(channels, outputs, seed=seed + 3, positions=int(np.prod(positions)))
    with torch.no_grad():
        student = 0.5 * head(flat) + draw(n, outputs, seed=seed + 5) + 0.7
    return flat.reshape(n, channels, *positions), head, student


@torch.no_grad()
def over_all_permutations(features, head, student, distance):
    """The definition: every one of the n! permutations, nothing else."""
    size = {"mse": lambda x: x.square().mean(), "l1": lambda x: x.abs().mean()}[distance]
    values = torch.zeros(features.shape[1], dtype=torch.float64)
    permutations = list(itertools.permutations(range(len(features))))
    for channel in range(features.shape[1]):
        for permutation in permutations:
            permuted = features.clone()
            permuted[:, channel] = features[list(permutation), channel]
            values[channel] += size(head(permuted.flatten(1)) - student)
    return values.numpy() / len(permutations)


@pytest.mark.parametrize("positions", [(), (1,), (4,), (2, 3)])
@pytest.mark.parametrize("distance", ["mse", "l1"])
def test_equals_the_average_over_all_permutations(distance, positions):
    features, head, student = setting(5, 4, 3, *positions)
    result = saliency(features, head, student, distance=distance, warn=False)
    expected = over_all_permutations(features, head, student, distance)
    np.testing.assert_allclose(result.mean, expected, rtol=1e-10)
    np.testing.assert_allclose(result.increase, result.mean - result.baseline, rtol=1e-10, atol=1e-12)
    assert result.num_permutations == "exact"
    assert not result.stderr_permutation.any()


def test_l1_with_ties_and_one_sided_weights_equals_the_average_over_all_permutations():
    features = torch.tensor([[0.0, 1], [0, 1], [1, 1], [1, 2], [3, 2]], dtype=torch.float64)
    head = linear(2, 3)
    head.weight.data = torch.tensor([[1.0, 0], [-2, 0], [0, 1e-300]], dtype=torch.float64)
    student = torch.tensor([[0.0, 1, 0]], dtype=torch.float64).expand(5, 3)
    result = saliency(features, head, student, distance="l1", warn=False)
    np.testing.assert_allclose(result.mean, over_all_permutations(features, head, student, "l1"), rtol=1e-10)


@pytest.mark.parametrize("score", ["increase", "followed"])
def test_fields_agree_with_their_formulas(score):
    features, head, student = setting(60, 5, 3)
    result = saliency(features, head, student, score=score, warn=False)
    h, w, k = (features - features.mean(0)).numpy(), head.weight.detach().numpy(), 3
    r = (head(features).detach() - student).numpy()
    cov_r = np.einsum("ik,ic,kc->c", r, h, w) / 60
    cov_s = np.einsum("ik,ic,kc->c", student.numpy(), h, w) / 60
    power = (w**2).sum(0) * h.var(0)
    np.testing.assert_allclose(result.increase, 2 * (power - cov_r) / k, rtol=1e-10)
    np.testing.assert_allclose(result.followed, 2 * cov_s / k, rtol=1e-10)
    np.testing.assert_allclose(result.importance, 2 * power / k, rtol=1e-10)
    np.testing.assert_allclose(result.baseline, (r**2).mean(), rtol=1e-10)
    np.testing.assert_array_equal(result.values, getattr(result, score))


def test_one_position_is_the_same_as_none():
    features, head, student = setting(80, 6, 3)
    flat = saliency(features, head, student, warn=False)
    for head_ in (head, nn.Sequential(nn.Flatten(), head)):
        one = saliency(features[:, :, None, None], head_, student, warn=False)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(one, name), getattr(flat, name))


@pytest.mark.parametrize("score", ["increase", "followed"])
def test_positions_of_which_one_matters_equal_a_flat_channel(score):
    features, head, student = setting(80, 4, 3)
    maps = draw(80, 4, 5, seed=11)
    maps[:, :, 2] = features
    wide = linear(4, 3, positions=5)
    wide.weight.data.zero_()
    wide.weight.data.view(3, 4, 5)[:, :, 2] = head.weight.data
    wide.bias.data = head.bias.data
    spatial = saliency(maps, wide, student, score=score, warn=False)
    flat = saliency(features, head, student, score=score, warn=False)
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(spatial, name), getattr(flat, name), rtol=1e-9, atol=1e-13)


def test_global_average_pooling_before_the_head_is_linear_too():
    features, head, student = setting(50, 4, 3)
    maps = features[:, :, None, None] + torch.tensor([[-1.0, 1], [2, -2]], dtype=torch.float64)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), head)
    result = saliency(maps, pooled, student, warn=False)
    np.testing.assert_allclose(result.mean, saliency(features, head, student, warn=False).mean, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("distance", ["mse", "l1"])
@pytest.mark.parametrize("num_permutations", ["exact", 3])
def test_a_channel_without_weight_or_variance_has_an_increase_of_exactly_zero(
    distance, shape, num_permutations
):
    features, head, student = setting(30, 4, 3, *shape)
    features[:, 1] = 1.0 / 3.0 + torch.arange(3) if shape else 1.0 / 3.0
    head.weight.data.view(3, 4, -1)[:, 2] = 0
    result = saliency(
        features, head, student, distance=distance, num_permutations=num_permutations, warn=False
    )
    assert result.increase[1] == 0
    assert result.increase[2] == 0
    assert result.stderr_data[1] == 0
    np.testing.assert_array_equal(result.mean[1:3], result.baseline)
    if distance == "mse":
        assert result.followed[1] == 0
        assert result.followed[2] == 0
        assert result.importance[1] == 0
        assert not np.signbit(result.increase[1:3]).any()


def test_a_constant_channel_stays_exactly_zero_over_batches():
    features, head, student = setting(70, 3, 2)
    features[:, 0] = 0.1
    accumulator = SaliencyAccumulator(head.weight, head.bias)
    for begin in range(0, 70, 9):
        accumulator.update(features[begin : begin + 9], student[begin : begin + 9])
    assert accumulator.compute(warn=False).increase[0] == 0


@pytest.mark.parametrize("positions", [(), (3,)])
def test_a_student_that_copies_the_teacher_leaves_plain_importance(positions):
    features, head, _ = setting(200, 6, 3, *positions)
    result = saliency(features, head, head(features.flatten(1)))
    np.testing.assert_allclose(result.increase, result.importance, rtol=1e-10)
    np.testing.assert_allclose(result.followed, result.importance + _cross(features, head), rtol=1e-9)
    if not positions:
        expected = 2 * (head.weight**2).sum(0) * features.var(0, correction=0) / 3
        np.testing.assert_allclose(result.increase, expected.detach(), rtol=1e-10)
    assert result.baseline < 1e-20


def _cross(features, head):
    """2 Cov of a channel's response with the response to all others, over K."""
    maps = features.flatten(2) if features.ndim > 2 else features[:, :, None]
    weight = head.weight.detach().reshape(3, features.shape[1], -1)
    response = torch.einsum("icp,kcp->ick", maps - maps.mean(0), weight)
    others = response.sum(1, keepdim=True) - response
    return (2 * (response * others).mean(0).sum(1) / 3).numpy()


def test_a_channel_that_nothing_depends_on_scores_zero_within_error():
    features = draw(4000, 5)
    head = linear(5, 3)
    student = head(features * torch.tensor([1.0, 1, 0, 1, 1])).detach() + draw(4000, 3, seed=9)
    for score in ("increase", "followed"):
        result = saliency(features, head, student, score=score, warn=False)
        assert abs(result.values[2]) < 4 * result.stderr_data[2]
        assert result.values[0] > 10 * result.stderr_data[0]


@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_score_does_not_change_when_outputs_or_features_are_shifted(shape):
    features, head, student = setting(100, 4, 3, *shape)
    result = saliency(features, head, student, warn=False)
    shifted = saliency(features + 5, head, student - 3, warn=False)
    for name in ("increase", "followed", "importance", "stderr_data"):
        np.testing.assert_allclose(getattr(shifted, name), getattr(result, name), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=6),
    order=st.randoms(use_true_random=False),
    offset=st.sampled_from([0.0, -3.0, 1e6]),
    score=st.sampled_from(["increase", "followed"]),
    nested=st.booleans(),
)
def test_batches_in_any_order_equal_one_shot(cuts, order, offset, score, nested):
    features, head, student = setting(60, 4, 3, offset=offset)
    features[20:] += draw(4, seed=2)  # batches whose means differ
    once = saliency(features, head, student, score=score, warn=False)
    cuts = [0, *sorted(cuts), 60]
    spans = [(a, b) for a, b in itertools.pairwise(cuts) if a < b]
    order.shuffle(spans)
    parts = [SaliencyAccumulator(head.weight, head.bias, score=score) for _ in spans]
    for part, (a, b) in zip(parts, spans, strict=True):
        part.update(features[a:b], student[a:b])
    while nested and len(parts) > 2:
        parts = [*parts[2:], parts[0].merge(parts[1])]
    total = SaliencyAccumulator(head.weight, head.bias, score=score)
    for part in parts:
        total.merge(part)
    result = total.compute(warn=False)
    assert result.num_samples == 60
    scale = once.importance.max()
    for name in ("increase", "followed", "importance", "stderr_data"):
        np.testing.assert_allclose(getattr(result, name), getattr(once, name), rtol=1e-8, atol=1e-9 * scale)
    np.testing.assert_allclose(result.baseline, once.baseline, rtol=1e-6)


def test_large_means_cost_no_digits():
    features, head, student = setting(300, 4, 3)
    features = (features * 2**20).round() / 2**20  # so that adding the offset rounds nothing
    near = saliency(features, head, student, warn=False)
    far = saliency(features + 2.0**20, head, student, warn=False)
    for name in ("increase", "followed", "importance", "stderr_data"):
        np.testing.assert_allclose(getattr(far, name), getattr(near, name), rtol=1e-9)


def test_blocks_do_not_show(monkeypatch):
    features, head, student = setting(700, 4, 3)
    maps, wide, teacher = setting(300, 4, 3, 5)
    whole = [saliency(*x, warn=False) for x in ((features, head, student), (maps, wide, teacher))]
    l1 = saliency(features, head, student, distance="l1", warn=False)
    monkeypatch.setattr("mfh._saliency.linear.row_blocks.__defaults__", (100,))
    monkeypatch.setattr("mfh._saliency.spatial._RESPONSE_ELEMENTS", 1)
    monkeypatch.setattr("mfh._saliency.l1._ELEMENTS", 1)
    cut = [saliency(*x, warn=False) for x in ((features, head, student), (maps, wide, teacher))]
    for one, other in zip(whole, cut, strict=True):
        for name in ARRAYS:
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-10)
    other = saliency(features, head, student, distance="l1", warn=False)
    np.testing.assert_allclose(other.stderr_data, l1.stderr_data, rtol=1e-10)


@pytest.mark.parametrize(
    ("distance", "score", "positions"),
    [("mse", "increase", ()), ("mse", "followed", ()), ("mse", "increase", (3,)), ("mse", "followed", (3,)),
     ("l1", "increase", ()), ("l1", "increase", (3,))],
)  # fmt: skip
def test_standard_errors_agree_with_a_bootstrap(distance, score, positions):
    features, head, student = setting(300, 3, 2, *positions)
    analytic = saliency(features, head, student, distance=distance, score=score, warn=False).stderr_data
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(200):
        rows = torch.randint(300, (300,), generator=generator)
        again = saliency(features[rows], head, student[rows], distance=distance, score=score, warn=False)
        values.append(again.values)
    np.testing.assert_allclose(analytic, np.std(values, axis=0), rtol=0.15)


def test_float32_features_give_what_their_float64_values_give():
    features, head, student = setting(400, 5, 3)
    narrow = saliency(features.float(), head, student.float(), warn=False)
    wide = saliency(features.float().double(), head, student.float().double(), warn=False)
    for name in ARRAYS:
        assert getattr(narrow, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(narrow, name), getattr(wide, name))


def test_nothing_that_comes_in_is_changed():
    features, head, student = setting(30, 4, 3)
    features.requires_grad_(True)
    kept = features.clone(), head.weight.clone(), student.clone()
    head.train()
    saliency(features, head, student, warn=False)
    saliency(features, head, student, num_permutations=2, warn=False)
    assert head.training
    for before, after in zip(kept, (features, head.weight, student), strict=True):
        assert torch.equal(before, after)


def test_accumulators_travel_between_processes():
    features, head, student = setting(40, 3, 2)
    first = SaliencyAccumulator(head.weight, head.bias).update(features[:10], student[:10])
    second = pickle.loads(pickle.dumps(SaliencyAccumulator(head.weight, head.bias)))
    second.update(features[10:], student[10:])
    merged = first.merge(pickle.loads(pickle.dumps(second))).compute(warn=False)
    np.testing.assert_allclose(merged.mean, saliency(features, head, student, warn=False).mean, rtol=1e-12)


def test_accumulator_refuses_what_does_not_fit():
    features, head, student = setting(40, 3, 2)
    accumulator = SaliencyAccumulator(head.weight, head.bias)
    with pytest.raises(InputError, match="at least 2 samples"):
        accumulator.update(features[:1], student[:1]).compute()
    with pytest.raises(InputError, match=r"3 channels.*\(40, 3, 1\).*positions"):
        accumulator.update(features[:, :, None], student)
    with pytest.raises(InputError, match="Got 1 for a head with 2 outputs"):
        accumulator.update(features, student[:, :1])
    with pytest.raises(InputError, match="same weight, bias and score"):
        accumulator.merge(SaliencyAccumulator(head.weight, head.bias, score="followed"))
    with pytest.raises(InputError, match="same weight, bias and score"):
        accumulator.merge(SaliencyAccumulator(head.weight, head.bias + 1))
    with pytest.raises(InputError, match="`weight` and `bias` must be finite"):
        SaliencyAccumulator(head.weight * float("nan"))
    with pytest.raises(InputError, match="`bias` must be"):
        SaliencyAccumulator(head.weight, head.weight[0])
    with pytest.raises(InputError, match="`weight` must be"):
        SaliencyAccumulator(head.weight[0])
    assert accumulator.num_samples == 1


def test_scaled_and_ranking():
    features, head, student = setting(50, 6, 3)
    head.weight.data[:, 4] = 0
    head.weight.data[:, 1] = 0
    result = saliency(features, head, student, warn=False)
    assert result.scaled.min() == 0
    assert result.scaled.max() == 1
    order = result.ranking.tolist()
    assert sorted(order) == list(range(6))
    assert (np.diff(result.values[order]) <= 0).all()
    assert order.index(4) == order.index(1) + 1  # equal values stand in the order of their index
    head.weight.data.zero_()
    flat = saliency(features, head, student)
    np.testing.assert_array_equal(flat.scaled, 0)
    assert flat.ranking.tolist() == list(range(6))


@pytest.mark.parametrize(
    "options", [{}, {"distance": "l1"}, {"num_permutations": 3, "score": "followed"}, {"num_permutations": 1}]
)
def test_save_and_load_give_the_same(tmp_path, options):
    features, head, student = setting(50, 4, 3)
    result = saliency(features, head, student, warn=False, **options)
    path = result.save(tmp_path / "deep" / "saliency.npz")
    again = SaliencyResult.load(path)
    assert vars(again).keys() == vars(result).keys()
    for name, value in vars(result).items():
        loaded = getattr(again, name)
        assert type(loaded) is type(value)
        np.testing.assert_array_equal(loaded, value)
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_load_refuses_other_files(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.npz"):
        saliency(*setting(9, 2, 2), warn=False).save(tmp_path / "saliency")
    with pytest.raises(InputError, match="does not exist"):
        SaliencyResult.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    with pytest.raises(InputError, match="not a saliency"):
        SaliencyResult.load(tmp_path / "other.npz")


def test_frame_and_html_show_the_ranking():
    result = saliency(*setting(50, 12, 3), warn=False)
    frame = result.frame()
    assert frame.sort_values("rank")["channel"].tolist() == result.ranking.tolist()
    np.testing.assert_array_equal(frame["increase"], result.increase)
    assert "followed" not in saliency(*setting(9, 2, 2), distance="l1", warn=False).frame()
    html = result._repr_html_()
    assert html.count("<tr>") == 11
    assert "rank correlation with importance" in html
    assert f"negative increase: {(result.increase < 0).sum()}<" in html
    assert "array" not in repr(result)
