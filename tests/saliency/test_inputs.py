"""What the saliency functions refuse, and the warning they give."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mfh._checks import InputError
from mfh._saliency import SaliencyAccumulator, saliency


def given(n=20, channels=4, outputs=3):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, channels, generator=generator)
    head = nn.Linear(channels, outputs)
    head.weight.data = torch.randn(outputs, channels, generator=generator)
    return features, head, torch.randn(n, outputs, generator=generator)


def with_value(x, value, *place):
    x = x.clone()
    x[place] = value
    return x


FEATURES, HEAD, STUDENT = given()
MLP = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("features", "head", "student", "options", "message"),
    [
        (FEATURES, HEAD, STUDENT, {"distance": "kl"}, r"`distance` must be one of `mse`, `l1`\. Got 'kl'"),
        (FEATURES, HEAD, STUDENT, {"score": "gain"}, r"`score` must be one of `increase`, `followed`\."),
        (FEATURES, HEAD, STUDENT, {"num_permutations": 0}, r"whole number of at least 1\. Got 0"),
        (FEATURES, HEAD, STUDENT, {"num_permutations": True}, r"whole number of at least 1\. Got True"),
        (FEATURES, HEAD, STUDENT, {"num_permutations": "all"}, r"must be 'exact' or .* Got 'all'"),
        (FEATURES, HEAD, STUDENT, {"distance": "l1", "score": "followed"}, r"Got 'followed': use distance="),
        (FEATURES, HEAD, STUDENT, {"memory_budget": 0}, "`memory_budget` must be a positive"),
        (FEATURES.long(), HEAD, STUDENT, {}, r"`features` must be floating-point .*int64.*\.float\(\)"),
        (FEATURES, HEAD, STUDENT.long(), {}, r"`student_logits` must be floating-point"),
        (FEATURES[:, 0], HEAD, STUDENT, {}, r"`features` must have the shape \(sample, channel.*Got \(20,\)"),
        (FEATURES, HEAD, STUDENT[:, 0], {}, r"`student_logits` must have the shape \(sample, output\)"),
        (FEATURES[:, :0], HEAD, STUDENT, {}, r"`features` must not be empty\. Got \(20, 0\)"),
        (FEATURES, HEAD, STUDENT[:, :0], {}, r"`student_logits` must not be empty"),
        (FEATURES, HEAD, STUDENT[:19], {}, "the same samples in the same order. Got 20 and 19"),
        (FEATURES[:1], HEAD, STUDENT[:1], {}, r"at least 2 samples.*Got 1"),
        (FEATURES[:0], HEAD, STUDENT[:0], {}, r"at least 2 samples.*Got 0"),
        (with_value(FEATURES, float("nan"), 7, 2), HEAD, STUDENT, {},
         r"`features` must be finite\. Got nan at sample 7, channel 2, and 1 such number in 1 of 20 samples"),
        (FEATURES, HEAD, with_value(STUDENT, float("-inf"), slice(3, 5)), {},
         r"`student_logits` must be finite\. Got -inf at sample 3, output 0, and 6 such numbers in 2 of 20"),
        (FEATURES, HEAD, STUDENT[:, :2], {}, "Got 2 for a head with 3 outputs"),
        (FEATURES, HEAD, STUDENT[:, :1], {"num_permutations": 2}, "Got 1 for a head with 3 outputs"),
        (FEATURES, MLP, STUDENT[:, :1], {"num_permutations": 2}, r"\(20, 1\) here\. Got \(20, 3\)"),
        (FEATURES[:, :3], HEAD, STUDENT, {}, "Got 3 channels for a head that takes 4"),
        (FEATURES, MLP, STUDENT, {}, r"`num_permutations` must be a number, such as num_permutations=100"),
        (FEATURES[:, :, None, None].expand(20, 4, 2, 2), HEAD, STUDENT, {}, "must be a number"),
        (FEATURES[:, :, None].expand(20, 4, 4), HEAD, STUDENT, {"num_permutations": 2}, r"Got \(20, 4, 3\)"),
        (FEATURES, lambda x: x @ x, STUDENT, {"num_permutations": 2}, r"It failed on \(20, 4\) of torch"),
        (FEATURES, lambda x: {"a": x}, STUDENT, {"num_permutations": 2}, "must return logits.*Got dict"),
        (FEATURES, lambda x: x[:, :3] / 0, STUDENT, {"num_permutations": 2}, "must return finite logits"),
    ],
)  # fmt: skip
def test_refusals_name_the_argument_and_the_way_out(features, head, student, options, message):
    with pytest.raises(InputError, match=message):
        saliency(features, head, student, **options)


def test_huge_but_finite_numbers_are_not_refused():
    features = torch.full((4, 3), 3e38)
    features[0] = 1.0
    result = saliency(features, nn.Linear(3, 3), torch.zeros(4, 3), warn=False)
    assert result.num_samples == 4


def opposed():
    """A student that says the opposite of the teacher: every increase is negative."""
    features, head, _ = given(n=200)
    return features, head, -3 * head(features).detach()


@pytest.mark.parametrize("options", [{}, {"num_permutations": 5}])
def test_negative_increases_are_reported_with_their_number_and_a_remedy(options):
    expected = r"4 of 4 channels have a negative increase \([34] of them .*score='followed'.*warn=False"
    with pytest.warns(UserWarning, match=expected):
        saliency(*opposed(), **options)


def test_the_remedy_under_l1_names_the_distance_too():
    with pytest.warns(UserWarning, match="distance='mse', score='followed'"):
        saliency(*opposed(), distance="l1")


def test_the_warning_can_be_silenced():
    features, head, student = opposed()
    saliency(features, head, student, warn=False)
    saliency(features, head, student, score="followed")
    accumulator = SaliencyAccumulator(head.weight, head.bias).update(features, student)
    accumulator.compute(warn=False)
    with pytest.warns(UserWarning, match="4 of 4 channels"):
        accumulator.compute()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have a negative increase")
        saliency(features, head, student)


def test_rounding_alone_warns_of_nothing():
    features, head, _ = given(n=300)
    head.weight.data[:, 1] = 0
    saliency(features, head, head(features).detach())
    saliency(features, lambda x: head(x), head(features).detach(), num_permutations=2)


@pytest.mark.parametrize(
    ("shape", "head", "options"),
    [
        ((4,), lambda: nn.Linear(4, 3), {}),
        ((4,), lambda: nn.Linear(4, 3), {"distance": "l1"}),
        ((4, 2), lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), {}),
        ((4, 2), lambda: nn.Conv1d(4, 3, 1), {}),
        ((4,), lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh()), {"num_permutations": 4}),
        ((4,), lambda: torch.tanh, {"num_permutations": 99, "precision": 0.1}),
    ],
)
def test_features_that_carry_gradients_are_taken_by_their_values(shape, head, options):
    head = head()
    features = torch.randn(30, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        student = 0.5 * head(features).detach() + 0.1
    expected = saliency(features, head, student, warn=False, **options)
    carrying = features.clone().requires_grad_() * 1
    result = saliency(carrying, head, student.clone().requires_grad_(), warn=False, **options)
    np.testing.assert_array_equal(result.increase, expected.increase)
    assert carrying.grad_fn is not None
