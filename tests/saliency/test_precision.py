"""Stratified permutations: what they are, that they are right, and that few of them do."""

import numpy as np
import pytest
import torch
from scipy.special import stdtrit
from torch import nn

from mfh._checks import InputError
from mfh._saliency import saliency
from mfh._saliency.sampled import SHORT, STRATA, _rounds
from mfh._saliency.tallies import Spread, _widening, _without_own


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def setting():
    generator = seeded(0)
    features = torch.randn(400, 12, generator=generator)
    features = features @ (torch.eye(12) + 0.3 * torch.randn(12, 12, generator=generator))
    head = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 5))
    for parameter in head.parameters():
        parameter.data.normal_(std=0.4, generator=generator)
    with torch.no_grad():
        student = 0.6 * head(features) + 0.5 * torch.randn(400, 5, generator=generator)
    return features, head, student


@pytest.mark.parametrize("count", [400, 83, STRATA, 3])
def test_a_round_permutes_and_gives_each_sample_one_rank_of_every_stratum(count):
    (ranks,) = _rounds(count, 1, seeded(0))
    assert ranks.shape == (STRATA, count)
    for draw in ranks:
        assert sorted(draw.tolist()) == list(range(count))
    strata = (ranks * STRATA // count).sort(dim=0).values
    away = (strata - torch.arange(STRATA)[:, None]).abs().max(dim=0).values
    assert (away <= 1).sum() >= count - count % STRATA  # to the edge of the next stratum at most


def test_every_pair_of_sample_and_rank_is_equally_likely():
    ranks = torch.cat(list(_rounds(20, 1500, seeded(1))))
    shares = torch.stack([torch.bincount(column, minlength=20) for column in ranks.T]) / len(ranks)
    assert (shares - 1 / 20).abs().max() < 0.01


@pytest.mark.parametrize("score", ["increase", "followed"])
def test_agrees_with_the_exact_value(setting, score):
    features, _, student = setting
    head = nn.Linear(12, 5)
    head.weight.data.normal_(generator=seeded(2))
    exact = saliency(features, head, student, score=score, warn=False)
    for seed in range(3):
        found = saliency(
            features, head, student, score=score, num_permutations=64, precision=1e-9,
            generator=seeded(seed), warn=False,
        )  # fmt: skip
        assert found.num_permutations == 64
        z = (found.values - exact.values) / found.stderr_permutation
        assert abs(z).max() < 4
        np.testing.assert_allclose(found.stderr_data, exact.stderr_data, rtol=0.15)


def test_a_third_of_them_err_less_than_independent_ones(setting):
    def drawn(number, seed, **options):
        return saliency(
            *setting, num_permutations=number, generator=seeded(seed), warn=False, **options
        ).increase

    limit = drawn(4000, 99)
    few = [drawn(32, seed, precision=1e-9) - limit for seed in range(6)]
    many = [drawn(96, seed) - limit for seed in range(6)]
    assert np.square(few).mean() < 0.7 * np.square(many).mean()


def test_the_standard_error_covers_the_error(setting):
    limit = saliency(*setting, num_permutations=2000, generator=seeded(99), warn=False).increase
    results = [
        saliency(*setting, num_permutations=16, precision=1e-9, generator=seeded(seed), warn=False)
        for seed in range(6)
    ]
    z = np.array([(r.increase - limit) / r.stderr_permutation for r in results])
    assert z.std() < 1.1
    assert z.std() > 0.2


def test_a_finer_precision_takes_more_and_says_how_many(setting):
    coarse, fine = (
        saliency(*setting, num_permutations=2000, precision=precision, warn=False)
        for precision in (1e-2, 1e-5)
    )
    assert coarse.num_permutations == SHORT
    assert coarse.num_permutations < fine.num_permutations <= 2000
    assert np.corrcoef(coarse.increase, fine.increase)[0, 1] > 0.99


def test_channels_with_positions_and_heads_of_any_kind(setting):
    _, _, student = setting
    maps = torch.randn(400, 4, 3, generator=seeded(3))

    def head(x):
        return (x.square().mean(2) @ torch.ones(4, 5)).sin()

    stratified = saliency(maps, head, student, num_permutations=80, precision=1e-9, warn=False)
    independent = saliency(maps, head, student, num_permutations=400, warn=False)
    error = np.hypot(stratified.stderr_permutation, independent.stderr_permutation)
    assert (abs(stratified.increase - independent.increase) < 4 * error).all()


def test_a_channel_that_cannot_matter_scores_exactly_zero(setting):
    features, head, student = setting
    features = features.clone()
    features[:, 3] = 0.1
    result = saliency(features, head, student, num_permutations=16, precision=0.01, warn=False)
    assert result.increase[3] == 0
    assert result.stderr_permutation[3] == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"precision": 0.0, "num_permutations": 9}, r"`precision` must lie between 0 and 1. Got 0.0"),
        ({"precision": 2.0, "num_permutations": 9}, r"Got 2.0"),
        ({"precision": 0.1}, r"`precision` needs a largest number of permutations"),
    ],
)
def test_what_cannot_be_used_is_refused(setting, options, text):
    with pytest.raises(InputError, match=text):
        saliency(*setting, **options)


def over_all_pairs(features, head, student, score):
    """The score of every channel from all n^2 pairs of receiver and donor."""
    features, student, count = features.double(), student.double(), len(features)
    with torch.no_grad():
        logits = head.double()(features)
        values = []
        for channel in range(features.shape[1]):
            given = features.repeat(count, *([1] * features.ndim))
            given[:, :, channel] = features[:, None, channel]
            change = head(given.flatten(0, 1)).view(count, count, -1) - logits
            toward = change + 2 * (logits - student)
            if score == "followed":
                toward = -2 * (student - student.mean(0)).expand_as(change)
            values.append(float((change * toward).mean()))
    return np.array(values)


def outlying(times, seed, *, where="features", shape=(), samples=1):
    torch.manual_seed(seed)
    features, student = torch.randn(120, 8, *shape), torch.randn(120, 3)
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * features[0, 0].numel(), 16), nn.ReLU(), nn.Linear(16, 3))
    if where == "channel":
        features[:samples, 3] *= times
    else:
        (features if where == "features" else student)[:samples] *= times
    return features, head, student


@pytest.mark.parametrize(
    ("times", "options"),
    [
        (1, {}),
        (30, {}),
        (100, {}),
        (1e4, {}),
        (100, {"samples": 2}),
        (100, {"shape": (4,)}),
        (1e3, {"where": "student"}),
        (1e3, {"where": "channel"}),
    ],
)
@pytest.mark.parametrize("score", ["increase", "followed"])
def test_the_standard_error_covers_the_error_where_samples_are_outliers(times, options, score):
    outside = []
    for seed in range(4):
        features, head, student = outlying(times, seed, **options)
        found = saliency(
            features, head, student, score=score, num_permutations=48, precision=1e-3, warn=False
        )
        error = found.values - over_all_pairs(features, head, student, score)
        outside += list(abs(error) > 1.96 * found.stderr_permutation)
    assert np.mean(outside) <= 0.16  # of 32 errors: 5% and what chance may add


def test_light_tails_need_no_more_draws(setting):
    assert saliency(*setting, num_permutations=1000, precision=1e-2, warn=False).num_permutations == SHORT


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("precision", [1e-1, 1e-3])
def test_features_of_zeros_and_ones(seed, precision):
    torch.manual_seed(seed)
    features, student = (torch.randn(120, 6) > 1.28).float(), torch.randn(120, 3)
    head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    found = saliency(features, head, student, num_permutations=300, precision=precision, warn=False)
    assert np.isfinite(found.stderr_permutation).all()
    exact = over_all_pairs(features, head, student, "increase")
    assert np.corrcoef(found.increase, exact)[0, 1] > (0.8 if precision > 0.01 else 0.99)


def test_spreads_join_and_are_never_negative():
    values = 1e8 + torch.rand(9, 5, generator=seeded(0), dtype=torch.float64) * 1e-8
    joined = Spread.of(values[:4]).plus(Spread.of(values[4:]))
    np.testing.assert_allclose(joined.mean, values.mean(0), rtol=1e-15)
    assert (joined.noise() >= 0).all()
    wide = torch.randn(9, 5, generator=seeded(1), dtype=torch.float64)
    joined = Spread.of(wide[:1]).plus(Spread.of(wide[1:]))
    np.testing.assert_allclose(joined.noise(), wide.var(0) / 9, rtol=1e-12)


def test_a_draw_that_hands_a_sample_its_own_value_changes_nothing_in_expectation():
    generator = seeded(0)
    row, column = torch.randn(2, 40, generator=generator, dtype=torch.float64)
    table = row[:, None] + column  # effects of receiver and donor, no interaction
    table.fill_diagonal_(0)
    draws = torch.stack([torch.randperm(40, generator=generator) for _ in range(8)])
    values = table[torch.arange(40), draws]
    assert (draws == torch.arange(40)).any()
    assert abs(values.mean() - table.mean()) > 1e-3
    free = _without_own(values, draws, 0.0).mean()
    assert abs(free - table.mean()) < abs(values.mean() - table.mean()) / 3


@pytest.mark.parametrize("freedom", [1.0, 2.0, 4.0, 10.0, 100.0, np.inf])
def test_the_widening_is_that_of_students_t(freedom):
    expected = 1.0 if np.isinf(freedom) else stdtrit(freedom, 0.975) / 1.959964
    np.testing.assert_allclose(_widening(freedom), expected, rtol=0.25 if freedom < 2 else 0.04)
