"""What is known before drawing: its mean over all donors is what it is said to be, and it takes noise out."""

import numpy as np
import pytest
import torch
from torch import nn

from mfh._saliency import saliency, slopes
from mfh._saliency.slopes import factors_of, slopes_of


class Block(nn.Module):
    """A transformer's block on (sample, channel, token), the mean over tokens, logits."""

    def __init__(self, width=8):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(width, 2, 16, dropout=0, batch_first=True)
        self.classifier = nn.Linear(width, 3)

    def forward(self, x):
        return self.classifier(self.block(x.transpose(1, 2)).mean(1))


def setting(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "tokens":
            head, features = Block().double().eval(), torch.randn(40, 8, 3).double()
        else:
            head = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3)).double()
            features = torch.randn(40, 6).double()
        student = torch.randn(40, 3).double()
    return features, head, student


def every_donor(count):
    """Permutations in which each sample meets every other once, and itself."""
    rows = torch.arange(count)
    return torch.stack([rows.roll(-shift) for shift in range(count)])


@pytest.fixture(params=[True, False], ids=["each output", "scores only"])
def each(request, monkeypatch):
    """Whether there is a pass back for each output, and so a quadratic term."""
    monkeypatch.setattr(slopes, "WORTHWHILE", 1 if request.param else 100)
    return request.param


@pytest.mark.parametrize("kind", ["values", "tokens"])
def test_the_mean_over_all_donors_is_zero(kind, each):
    features, head, student = setting(kind)
    with torch.no_grad():
        residual = head(features) - student
    centred = student - student.mean(0)
    known = slopes_of(features, head, None, residual, centred, memory_budget=2**12)
    assert known.num_first_order == 1 + each
    for channel in range(features.shape[1]):
        terms = known.terms(channel, every_donor(40))
        assert [len(found) for found in terms] == [3 + each, 3]
        for found in torch.cat(terms):
            assert found.std() > 1e-4
            assert abs(found.mean(0)).max() < 1e-12


@pytest.mark.parametrize("kind", ["values", "tokens"])
def test_the_first_terms_are_what_small_changes_do(kind, each):
    features, head, student = setting(kind)
    features[:, 1] = features[:, 1].mean() + 1e-5 * features[:, 1]
    with torch.no_grad():
        residual = head(features) - student
        centred = student - student.mean(0)
        known = slopes_of(features, head, None, residual, centred, memory_budget=2**25)
        donors = every_donor(40)[[7, 11]]
        increase, followed = known.terms(1, donors)
        first = increase[: known.num_first_order].sum(0), followed[0]
        for draw, row in enumerate(donors):
            permuted = features.clone()
            permuted[:, 1] = features[row, 1]
            change = head(permuted) - head(features)
            increase = (change * (change + 2 * residual)).mean(1)
            followed = -2 * (change * centred).mean(1)
            for found, real in zip(first, (increase, followed), strict=True):
                gap = found[draw] - found[1 - draw]
                assert abs(real).max() > 1e-7
                other = features.clone()
                other[:, 1] = features[donors[1 - draw], 1]
                change = head(other) - head(features)
                both = {
                    id(increase): (change * (change + 2 * residual)).mean(1),
                    id(followed): -2 * (change * centred).mean(1),
                }
                torch.testing.assert_close(gap, real - both[id(real)], rtol=1e-3, atol=1e-10)


@pytest.mark.parametrize("kind", ["values", "tokens"])
@pytest.mark.parametrize("score", ["increase", "followed"])
def test_few_draws_agree_with_all_permutations(kind, score):
    features, head, student = setting(kind)
    expected = []
    with torch.no_grad():
        residual, centred = head(features) - student, student - student.mean(0)
        for channel in range(features.shape[1]):
            total = 0.0
            for row in every_donor(40):
                permuted = features.clone()
                permuted[:, channel] = features[row, channel]
                change = head(permuted) - head(features)
                other = (change * (change + 2 * residual)) if score == "increase" else -2 * change * centred
                total += float(other.mean()) / 40
            expected.append(total)
    errors = []
    for seed in range(16):
        found = saliency(
            features, head, student, score=score, num_permutations=8, precision=1e-9,
            generator=torch.Generator().manual_seed(seed), warn=False,
        )  # fmt: skip
        assert found.num_permutations == 8
        errors.append((found.values - expected) / found.stderr_permutation)
    assert abs(np.mean(errors)) < 0.5
    assert 0.6 < np.std(errors) < 1.5


def test_fitted_factors_take_out_more_than_the_first_order():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head, features, student = Block(32).eval(), torch.randn(200, 32, 3), torch.randn(200, 3)
    with torch.no_grad():
        logits = head(features)
        residual = logits - student
        known = slopes_of(features, head, None, residual, student - student.mean(0), memory_budget=2**25)
        left = []
        for channel in range(0, 32, 4):
            donors = every_donor(200)[torch.arange(1, 21) * 9]
            permuted = features.expand(len(donors), *features.shape).clone()
            permuted[:, :, channel] = features[donors, channel]
            change = head(permuted.flatten(0, 1)).unflatten(0, donors.shape) - logits
            drawn = (change * (change + 2 * residual)).mean(2).double()
            terms, _ = known.terms(channel, donors)
            factors = factors_of(drawn[:2], terms[:, :2], known.num_first_order)
            assert float(factors.leverage.sum()) == pytest.approx(4, rel=1e-6)
            left.append(
                [
                    float((drawn - part)[2:].var(0).mean())
                    for part in (0, terms[:2].sum(0), factors.times(terms))
                ]
            )
    nothing, first, fitted = np.mean(left, axis=0)
    assert first < 0.2 * nothing
    assert fitted < 0.75 * first


def test_too_few_samples_to_fit_take_the_first_order_or_nothing():
    terms = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0)).double()
    helps = factors_of(0.9 * terms[0], terms, 1)
    assert helps.values.tolist() == [1, 0, 0]
    misleads = factors_of(-terms[0], terms, 1)
    assert misleads.values.tolist() == [0, 0, 0]


def test_terms_that_say_the_same_are_no_harm():
    terms = torch.randn(1, 2, 90, generator=torch.Generator().manual_seed(0)).double().expand(3, 2, 90)
    factors = factors_of(0.9 * terms[0], terms, 1)
    assert float(factors.values.sum()) == pytest.approx(0.9)
    assert factors_of(terms[0], 0 * terms, 1).values.tolist() == [0, 0, 0]


@pytest.mark.parametrize("score", ["increase", "followed"])
def test_the_error_of_a_single_round_is_told_by_pilots(score):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head, student = Block(64).eval(), torch.randn(120, 3)
        features = torch.randn(120, 64, 3) + torch.randn(120, 64, 1)
    found = [
        saliency(
            features, head, student, score=score, num_permutations=1000, precision=1.8e-3,
            generator=torch.Generator().manual_seed(seed), warn=False,
        )
        for seed in range(8)
    ]  # fmt: skip
    assert {result.num_permutations for result in found} == {2}
    values = np.array([result.values for result in found])
    errors = np.array([result.stderr_permutation for result in found])
    z = (values - values.mean(0)) / np.sqrt(errors.mean(0) ** 2 * 7 / 8)
    assert 0.8 < z.std() < 1.2


def test_a_head_that_autograd_cannot_follow_is_drawn_as_before():
    features, head, student = setting("values")

    def closed(x):
        return torch.from_numpy(head(x.detach()).detach().numpy())

    residual = closed(features) - student
    assert slopes_of(features, closed, None, residual, student, memory_budget=2**20) is None
    found = saliency(features, closed, student, num_permutations=64, precision=0.05, warn=False)
    assert found.num_permutations % 8 == 0


def test_a_first_order_that_misleads_is_left_aside():
    features, _, student = setting("values")

    def rough(x):  # its slope says nothing about what an exchange of values does
        return (x + 0.5 * (60 * x).sin())[:, :3]

    found = saliency(features, rough, student, num_permutations=400, precision=1e-9, warn=False)
    plain = saliency(features, rough, student, num_permutations=400, warn=False)
    error = np.hypot(found.stderr_permutation, plain.stderr_permutation)[:3]
    assert (abs(found.increase - plain.increase)[:3] < 5 * error).all()
    assert (found.stderr_permutation[:3] <= plain.stderr_permutation[:3]).all()
