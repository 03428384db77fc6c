"""Compiled training of small linear models against autograd and closed forms."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from mfh._checks import InputError
from mfh.experiments.gaussian import linear
from mfh.experiments.gaussian.linear import accuracy, fit, fit_pair, logits, probability


def problem(num_channels=13, n=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((num_channels, n)).astype(np.float32)
    label = (x[0] + 0.5 * rng.standard_normal(n) > 0).astype(np.float32)
    initial = rng.uniform(-0.3, 0.3, (2, num_channels + 1)).astype(np.float32)
    return x, label, initial


def torch_model(initial):
    model = torch.nn.Linear(initial.shape[1] - 1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(initial[:, :-1]))
        model.bias.copy_(torch.from_numpy(initial[:, -1]))
    return model


def weights_of(model):
    return torch.cat([model.weight, model.bias[:, None]], dim=1).detach().numpy()


@pytest.mark.parametrize("num_channels", [1, 13, 50])
@pytest.mark.parametrize(("distill_weight", "momentum"), [(None, 0.0), (0.5, 0.0), (2.0, 0.9)])
def test_fit_meets_torch(num_channels, distill_weight, momentum):
    x, label, initial = problem(num_channels)
    teacher = np.random.default_rng(1).uniform(0, 1, label.size).astype(np.float32)
    model, inputs = torch_model(initial), torch.from_numpy(x.T.copy())
    target = torch.from_numpy(np.stack([1 - teacher, teacher], axis=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    for _ in range(200):
        z = model(inputs)
        loss = functional.cross_entropy(z, torch.from_numpy(label).long())
        if distill_weight is not None:
            kl = functional.kl_div(functional.log_softmax(z, 1), target, reduction="batchmean")
            loss = loss + distill_weight * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if distill_weight is None:
        ours = fit(x, label, initial, momentum=momentum, steps=200)
    else:
        ours = fit(
            x, label, initial, teacher=teacher, distill_weight=distill_weight, momentum=momentum, steps=200
        )
    np.testing.assert_allclose(ours, weights_of(model), atol=2e-5)
    np.testing.assert_allclose(logits(x, ours), model(inputs).detach().numpy(), atol=2e-4)


def test_default_distill_weight_is_the_released_mean_over_elements():
    x, label, initial = problem()
    teacher = np.full(label.size, 0.7, np.float32)
    model, inputs = torch_model(initial), torch.from_numpy(x.T.copy())
    target = torch.tensor([[0.3, 0.7]]).expand(label.size, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    log_q = functional.log_softmax(model(inputs), 1)
    loss = functional.nll_loss(log_q, torch.from_numpy(label).long())
    loss = loss + functional.kl_div(log_q, target, reduction="none").mean()
    loss.backward()
    optimizer.step()
    np.testing.assert_allclose(fit(x, label, initial, teacher=teacher, steps=1), weights_of(model), atol=1e-6)


def test_pair_meets_torch():
    xa, label, initial_a = problem(7)
    xb, _, initial_b = problem(11, seed=3)
    a, b = torch_model(initial_a), torch_model(initial_b)
    optimizer = torch.optim.SGD([*a.parameters(), *b.parameters()], lr=0.01, momentum=0.9)
    inputs, y = [torch.from_numpy(x.T.copy()) for x in (xa, xb)], torch.from_numpy(label).long()
    for _ in range(300):
        z, s = a(inputs[0]), b(inputs[1])
        loss = functional.cross_entropy(z, y) + functional.cross_entropy(s, y) + functional.mse_loss(z, s)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ours = fit_pair(xa, xb, label, initial_a, initial_b, steps=300)
    for weights, model in zip(ours, (a, b), strict=True):
        np.testing.assert_allclose(weights, weights_of(model), atol=2e-5)


def test_a_teacher_that_repeats_the_labels_only_scales_the_step():
    x, label, initial = problem()
    distilled = fit(x, label, initial, teacher=label, distill_weight=0.5, lr=0.1)
    alone = fit(x, label, initial, lr=0.15)
    np.testing.assert_allclose(distilled, alone, atol=2e-5)


def test_sum_of_the_outputs_never_moves():
    x, label, initial = problem()
    np.testing.assert_allclose(fit(x, label, initial).sum(axis=0), initial.sum(axis=0), atol=1e-6)


def test_no_step_leaves_the_initial_weights_and_no_call_changes_them():
    x, label, initial = problem()
    before = initial.copy()
    np.testing.assert_allclose(fit(x, label, initial, steps=0), initial, atol=1e-7)
    fit(x, label, initial)
    fit_pair(x, x, label, initial, initial, steps=5)
    np.testing.assert_array_equal(initial, before)


def test_a_silent_channel_keeps_its_weight():
    x, label, initial = problem()
    x[4] = 0
    np.testing.assert_allclose(fit(x, label, initial)[:, 4], initial[:, 4], atol=1e-7)


def test_sigmoid_is_as_exact_as_its_argument_and_saturates():
    z = np.linspace(-200, 200, 4001).astype(np.float32)
    ours = np.array([linear._sigmoid(value) for value in z], dtype=np.float64)
    exact = 1 / (1 + np.exp(-z.astype(np.float64)))
    # A float32 z is known to one part in 2^24, which moves e^z by |z| / 2^24.
    assert np.all(np.abs(ours - exact) <= (np.abs(z) + 4) * 2.0**-23 * exact + 2e-35)
    assert np.all(np.diff(ours) >= -1e-7)


def test_probability_is_the_softmax_of_the_logits():
    x, _, weights = problem()
    softmax = torch.softmax(torch.from_numpy(logits(x, weights)), dim=1)[:, 1].numpy()
    np.testing.assert_allclose(probability(x, weights), softmax, atol=1e-6)
    assert probability(x * 1e4, weights).min() >= 0
    assert probability(x * 1e4, weights).max() <= 1


def test_accuracy_counts_ties_as_class_0():
    x, label = np.zeros((1, 4), np.float32), np.array([0, 0, 0, 1], np.float32)
    assert accuracy(x, label, np.ones((2, 2), np.float32)) == 75.0


def test_same_input_same_weights():
    x, label, initial = problem()
    np.testing.assert_array_equal(fit(x, label, initial), fit(x, label, initial))


def test_shapes_that_do_not_fit_are_refused():
    x, label, initial = problem()
    with pytest.raises(
        InputError, match=r"`x` must have the shape \(channel, sample\) and `label` one value per sample"
    ):
        linear._check_shapes(x, label[:-1], initial)
    with pytest.raises(InputError, match=r"Weights must have the shape \(2, channels \+ 1\), here \(2, 14\)"):
        linear._check_shapes(x, label, initial[:, :-1])
