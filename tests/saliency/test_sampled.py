"""Sampled saliency: against the exact one, and its shortcuts against plain runs of the head."""

import types

import numpy as np
import pytest
import torch
from torch import nn

from mfh._saliency import saliency


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def double(*modules, seed=4):
    """A sequence with weights of a fixed seed."""
    sequence = nn.Sequential(*modules).double()
    for i, parameter in enumerate(sequence.parameters()):
        parameter.data = 0.5 * draw(*parameter.shape, seed=seed + i)
    return sequence


def student_of(head, features, seed=3):
    with torch.no_grad():
        logits = head(features)
    return 0.6 * logits + 0.5 * draw(*logits.shape, seed=seed) + 0.4


HEADS = {
    "linear": lambda: (double(nn.Linear(24, 3)), ()),
    "spatial": lambda: (double(nn.Flatten(), nn.Linear(24 * 4, 3)), (2, 2)),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    ("distance", "score"), [("mse", "increase"), ("mse", "followed"), ("l1", "increase")]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_lies_within_four_standard_errors_of_the_exact_value(kind, distance, score, seed):
    head, positions = HEADS[kind]()
    features = draw(150, 24, *positions) + 0.3 * draw(150, 1, *positions, seed=8)
    student = student_of(head, features)
    options = {"distance": distance, "score": score, "warn": False}
    exact = saliency(features, head, student, **options)
    result = saliency(features, head, student, num_permutations=100, generator=seeded(seed), **options)
    z = (result.values - exact.values) / result.stderr_permutation
    assert abs(z).max() < 4
    assert 0.6 < z.std() < 1.6  # neither too wide nor too narrow
    np.testing.assert_allclose(result.baseline, exact.baseline, rtol=1e-12)
    np.testing.assert_allclose(result.stderr_data, exact.stderr_data, rtol=0.15)
    if distance == "mse":
        np.testing.assert_allclose(result.importance, exact.importance, rtol=1e-10)


SHORTCUTS = {
    "linear": ((), lambda: double(nn.Linear(7, 3))),
    "linear on positions": ((2, 3), lambda: double(nn.Flatten(), nn.Linear(42, 3))),
    "perceptron": ((), lambda: double(nn.Linear(7, 9), nn.ReLU(inplace=True), nn.Linear(9, 3))),
    "perceptron on positions": (
        (5,), lambda: double(nn.Flatten(), nn.Dropout(), nn.Linear(35, 9), nn.GELU(), nn.Linear(9, 3)),
    ),
    "perceptron after pooling": (
        (2, 3),
        lambda: double(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHORTCUTS)
@pytest.mark.parametrize(
    ("distance", "score"), [("mse", "increase"), ("mse", "followed"), ("l1", "increase")]
)
@pytest.mark.parametrize("memory_budget", [1, 30_000, None])
def test_the_shortcut_equals_plain_runs_of_the_head(name, distance, score, memory_budget):
    positions, make = SHORTCUTS[name]
    head = make().eval()
    features = draw(40, 7, *positions)
    student = student_of(head, features)
    options = {"distance": distance, "score": score, "num_permutations": 5, "warn": False}
    short = saliency(features, head, student, memory_budget=memory_budget, **options)
    plain = saliency(features, lambda x: head(x), student, **options)
    for field in ("mean", "increase", "stderr_data", "stderr_permutation"):
        np.testing.assert_allclose(getattr(short, field), getattr(plain, field), rtol=1e-8, atol=1e-12)
    if distance == "mse":
        np.testing.assert_allclose(short.followed, plain.followed, rtol=1e-8, atol=1e-12)


def test_plain_runs_equal_a_loop_over_channels_and_permutations():
    head = double(nn.Conv1d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(9, 2))
    features = draw(20, 4, 4)
    student = student_of(head, features)
    result = saliency(features, head, student, num_permutations=6, generator=seeded(5), warn=False)
    generator = seeded(5)
    permutations = [torch.randperm(20, generator=generator) for _ in range(6)]
    for channel in range(4):
        values = []
        for permutation in permutations:
            permuted = features.clone()
            permuted[:, channel] = features[permutation, channel]
            with torch.no_grad():
                values.append(float((head(permuted) - student).square().mean()))
        np.testing.assert_allclose(result.mean[channel], np.mean(values), rtol=1e-12)
        spread = np.std([value - result.baseline for value in values], ddof=1) / 6**0.5
        np.testing.assert_allclose(result.stderr_permutation[channel], spread, rtol=1e-9)


@pytest.mark.parametrize("memory_budget", [1, 3_000, 40_000, None])
def test_the_memory_budget_does_not_show_even_for_heads_that_work_in_place(memory_budget):
    net = double(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(20, 8), nn.Sigmoid(), nn.Linear(8, 2))
    features = draw(30, 5, 4)
    kept = features.clone()
    student = draw(30, 2, seed=3)
    careful = nn.Sequential(nn.ReLU(), *list(net)[1:])
    expected = saliency(features, careful, student, num_permutations=7, warn=False)
    result = saliency(features, net, student, num_permutations=7, memory_budget=memory_budget, warn=False)
    for field in ("mean", "followed", "stderr_data", "stderr_permutation"):
        np.testing.assert_allclose(getattr(result, field), getattr(expected, field), rtol=1e-9)
    assert torch.equal(features, kept)


def test_an_object_that_exposes_its_first_layer_takes_the_shortcut():
    net = double(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    class Exposed:
        first_linear, calls = net[0], 0

        def after_linear(self, activation):
            self.calls += 1
            return net[2](activation.relu())

        def __call__(self, features):
            raise AssertionError("the whole head must not be run")

    features = draw(50, 6)
    student = student_of(net, features)
    exposed = Exposed()
    result = saliency(features, exposed, student, num_permutations=4, warn=False)
    assert exposed.calls
    np.testing.assert_allclose(
        result.mean, saliency(features, net, student, num_permutations=4, warn=False).mean, rtol=1e-12
    )


def test_followed_is_the_increase_less_that_with_a_student_that_does_not_vary():
    head = double(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    features = draw(120, 6)
    student = student_of(head, features)
    fixed = student.mean(0).expand_as(student)
    result = saliency(features, head, student, num_permutations=4, score="followed")
    still = saliency(features, head, fixed, num_permutations=4, warn=False)
    np.testing.assert_allclose(result.followed, result.increase - still.increase, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(still.followed, 0, atol=1e-12)
    np.testing.assert_array_equal(result.values, result.followed)
    assert result.importance is None


@pytest.mark.parametrize("score", ["increase", "followed"])
def test_standard_errors_of_a_nonlinear_head_agree_with_a_bootstrap(score):
    head = double(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    features = draw(200, 3) + 0.5
    student = student_of(head, features)
    options = {"score": score, "num_permutations": 20, "warn": False}
    analytic = saliency(features, head, student, **(options | {"num_permutations": 100})).stderr_data
    generator, values, noise = seeded(0), [], []
    for _ in range(250):
        rows = torch.randint(200, (200,), generator=generator)
        again = saliency(features[rows], head, student[rows], generator=generator, **options)
        values.append(again.values)
        noise.append(again.stderr_permutation)
    spread = np.sqrt(np.var(values, axis=0) - np.mean(np.square(noise), axis=0))
    np.testing.assert_allclose(analytic, spread, rtol=0.2)


def test_same_seed_same_result_and_no_global_random_state():
    head = double(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    features = draw(40, 5)
    student = student_of(head, features)
    state = torch.get_rng_state()
    run = [
        saliency(features, head, student, num_permutations=3, generator=generator, warn=False).mean
        for generator in (None, None, seeded(0), seeded(1))
    ]
    np.testing.assert_array_equal(run[0], run[1])
    np.testing.assert_array_equal(run[0], run[2])
    assert (run[0] != run[3]).all()
    assert torch.equal(state, torch.get_rng_state())


def test_a_single_permutation_says_that_its_error_is_unknown():
    head = double(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    features = draw(40, 5)
    with pytest.warns(UserWarning, match="have a negative increase: permuting"):
        result = saliency(features, head, -student_of(head, features), num_permutations=1)
    assert np.isnan(result.stderr_permutation).all()
    assert np.isfinite(result.stderr_data).all()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: (z, "features"),
        lambda z: [z],
        lambda z: types.SimpleNamespace(logits=z),
        lambda z: z,
    ],
)
def test_heads_may_return_more_than_logits(wrap):
    head = double(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    features = draw(40, 5)
    student = student_of(head, features)
    result = saliency(features, lambda x: wrap(head(x)), student, num_permutations=3, warn=False)
    expected = saliency(features, head, student, num_permutations=3, warn=False)
    np.testing.assert_allclose(result.mean, expected.mean, rtol=1e-12)


def test_modules_run_in_evaluation_mode_and_get_their_own_mode_back():
    head = double(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))
    head[1].eval()
    modes = [module.training for module in head.modules()]
    statistics = head[1].running_mean.clone()
    features = draw(40, 5)
    results = [
        saliency(features, head, draw(40, 2, seed=1), num_permutations=3, warn=False).mean for _ in range(2)
    ]
    np.testing.assert_array_equal(*results)
    assert [module.training for module in head.modules()] == modes
    assert True in modes
    assert False in modes
    assert torch.equal(head[1].running_mean, statistics)

    def broken(_):
        raise RuntimeError("no such layer")

    head[3].forward = broken
    with pytest.raises(ValueError, match="no such layer"):
        saliency(features, head, draw(40, 2, seed=1), num_permutations=3)
    assert [module.training for module in head.modules()] == modes


@pytest.mark.parametrize("num_permutations", ["exact", 3])
def test_the_callers_inference_mode_makes_no_difference(num_permutations):
    net = double(nn.Linear(5, 2)) if num_permutations == "exact" else double(nn.ReLU(True), nn.Linear(5, 2))
    features, student = draw(40, 5), draw(40, 2, seed=3)
    expected = saliency(features, net, student, num_permutations=num_permutations, warn=False)
    with torch.inference_mode():
        result = saliency(
            features.clone(), net, student.clone(), num_permutations=num_permutations, warn=False
        )
    np.testing.assert_array_equal(result.mean, expected.mean)


def test_a_hook_on_the_first_layer_is_obeyed():
    head = double(nn.Linear(5, 2))
    features = draw(40, 5)
    student = student_of(head, features)
    doubled = double(nn.Linear(5, 2))
    doubled[0].register_forward_hook(lambda module, args, output: 2 * output)
    result = saliency(features, doubled, student, num_permutations=3, warn=False)
    expected = saliency(features, lambda x: 2 * head(x), student, num_permutations=3, warn=False)
    np.testing.assert_allclose(result.mean, expected.mean, rtol=1e-12)
    with pytest.raises(ValueError, match="without hooks"):
        saliency(features, doubled, student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_stay_close(dtype):
    head = double(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    features = draw(200, 5)
    student = student_of(head, features)
    wide = saliency(features, head, student, num_permutations=5, warn=False)
    narrow = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    narrow.load_state_dict(head.state_dict())
    result = saliency(features.to(dtype), narrow.to(dtype), student.to(dtype), num_permutations=5, warn=False)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    np.testing.assert_allclose(result.increase, wide.increase, atol=tolerance * wide.increase.max())
    assert result.mean.dtype == np.float64
