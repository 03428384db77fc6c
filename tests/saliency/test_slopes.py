"""The first order of a head: its mean over all donors is what it is said to be, and it takes noise out."""

import numpy as np
import pytest
import torch
from torch import nn

from mfh._saliency import saliency
from mfh._saliency.slopes import slopes_of


class Block(nn.Module):
    """A transformer's block on (sample, channel, token), the mean over tokens, logits."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)
        self.classifier = nn.Linear(8, 3)

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


@pytest.mark.parametrize("kind", ["values", "tokens"])
def test_the_mean_over_all_donors_is_zero(kind):
    features, head, student = setting(kind)
    with torch.no_grad():
        residual = head(features) - student
    centred = student - student.mean(0)
    slopes = slopes_of(features, head, None, residual, centred, memory_budget=2**12)
    for channel in range(features.shape[1]):
        for found in slopes.first_order(channel, every_donor(40)):
            assert found.std() > 1e-4
            assert abs(found.mean(0)).max() < 1e-12


@pytest.mark.parametrize("kind", ["values", "tokens"])
def test_it_is_what_small_changes_do(kind):
    features, head, student = setting(kind)
    features[:, 1] = features[:, 1].mean() + 1e-5 * features[:, 1]
    with torch.no_grad():
        residual = head(features) - student
        centred = student - student.mean(0)
        slopes = slopes_of(features, head, None, residual, centred, memory_budget=2**25)
        donors = every_donor(40)[[7, 11]]
        first = slopes.first_order(1, donors)
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
