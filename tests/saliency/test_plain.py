"""Shortcuts around a head are taken only where the head runs the code that they stand for."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, parametrize

from mfh._checks import InputError
from mfh._saliency import saliency
from mfh._saliency.dense import pointwise
from mfh._saliency.heads import linear_start
from mfh._saliency.plain import is_plain


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class SquaredLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x).square()


class SquaredConv(nn.Conv1d):
    def forward(self, x):
        return super().forward(x).square()


class ScaledConv(nn.Conv1d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, 3 * weight, bias)


class CalledLinear(nn.Linear):
    def __call__(self, x):
        return super().__call__(x).square()


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def hooked(layer, register, hook):
    getattr(layer, register)(hook)
    return layer


def replaced(layer):
    plain = layer.forward
    layer.forward = lambda x: plain(x).square()
    return layer


def parametrized(layer):
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


LAYERS = {"linear": (nn.Linear, (40, 4)), "dense": (lambda i, o: nn.Conv1d(i, o, 1), (40, 4, 3))}
CHANGES = {
    "subclass": lambda layer: SquaredLinear(4, 3) if isinstance(layer, nn.Linear) else SquaredConv(4, 3, 1),
    "forward of the object": replaced,
    "forward hook": lambda layer: hooked(layer, "register_forward_hook", lambda m, i, out: out.square()),
    "forward pre-hook": lambda layer: hooked(layer, "register_forward_pre_hook", lambda m, x: x[0].square()),
    "backward hook": lambda layer: hooked(layer, "register_full_backward_hook", lambda m, i, o: None),
    "parametrization": parametrized,
    "weight_norm by parametrization": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "dropout around it": lambda layer: nn.Sequential(nn.Dropout(), layer, nn.Identity()),
    "container with a hook": lambda layer: hooked(
        nn.Sequential(layer), "register_forward_hook", lambda m, i, out: out.square()
    ),
    "container with a forward of its own": lambda layer: replaced(nn.Sequential(layer)),
    "compiled": lambda layer: torch.compile(layer, backend="eager"),
}


@torch.no_grad()
def over_all_pairs(features, head, student):
    """Baseline and increases from runs of the head itself, every sample with every donor's channel."""
    head.eval()
    baseline = float((head(features) - student).square().mean())
    n, increases = len(features), []
    for channel in range(features.shape[1]):
        changed = features.repeat(n, *([1] * (features.ndim - 1)))
        changed[:, channel] = features[:, channel].repeat_interleave(n, dim=0)
        moved = head(changed) - student.repeat(n, *([1] * (student.ndim - 1)))
        increases.append(float(moved.square().mean()) - baseline)
    return baseline, np.array(increases)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("change", CHANGES)
def test_exact_is_right_or_refused(kind, change):
    build, shape = LAYERS[kind]
    torch.manual_seed(0)
    head = CHANGES[change](build(shape[1], 3)).train()
    features, student = draw(*shape), draw(shape[0], 3, *shape[2:], seed=1)
    state = {name: value.clone() for name, value in head.state_dict().items()}
    try:
        result = saliency(features, head, student, warn=False)
    except InputError:
        result = saliency(features, head, student, num_permutations=400, warn=False)
        tolerance = 4 * result.stderr_permutation.max()
    else:
        tolerance = 1e-5
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())
    assert head.training
    baseline, increases = over_all_pairs(features, head, student)
    np.testing.assert_allclose(result.baseline, baseline, rtol=1e-5)
    np.testing.assert_allclose(result.increase, increases, atol=tolerance)


@pytest.mark.parametrize("change", ["backward hook", "parametrization", "spectral_norm", "dropout around it"])
@pytest.mark.parametrize("kind", LAYERS)
def test_what_leaves_outputs_linear_stays_exact(kind, change):
    build, shape = LAYERS[kind]
    head = CHANGES[change](build(shape[1], 3))
    result = saliency(draw(*shape), head, draw(shape[0], 3, *shape[2:], seed=1), warn=False)
    assert result.num_permutations == "exact"


def test_a_hook_for_all_modules_counts():
    layer = nn.Linear(4, 3)
    handle = register_module_forward_hook(lambda module, inputs, output: None)
    try:
        assert not is_plain(layer, nn.Linear)
        assert linear_start(layer, draw(5, 4)) is None
    finally:
        handle.remove()
    assert is_plain(layer, nn.Linear)


@pytest.mark.parametrize("layer", [ScaledConv(4, 3, 1), SquaredConv(4, 3, 1), nn.Conv1d(4, 3, 3, padding=1)])
def test_other_convolutions_are_not_pointwise(layer):
    assert pointwise(layer) is None
    assert pointwise(nn.Sequential(nn.Sequential(layer))) is None


def test_layers_around_the_linear_one_count_too():
    for squared in (replaced(nn.Flatten()), replaced(nn.Identity()), replaced(nn.Dropout())):
        assert linear_start(nn.Sequential(squared, nn.Linear(12, 3)), draw(5, 4, 3)) is None
    pool = replaced(nn.AdaptiveAvgPool1d(1))
    assert linear_start(nn.Sequential(pool, nn.Flatten(), nn.Linear(4, 3)), draw(5, 4, 3)) is None
    assert linear_start(CalledLinear(4, 3), draw(5, 4)) is None


def test_a_module_that_names_its_first_layer_must_run_its_own_code():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.first_linear, self.after_linear = nn.Linear(4, 8), nn.ReLU()

        def forward(self, x):
            return self.after_linear(self.first_linear(x))

    assert linear_start(Named(), draw(5, 4)) is not None
    assert linear_start(replaced(Named()), draw(5, 4)) is None
    assert linear_start(hooked(Named(), "register_forward_hook", lambda m, i, o: 2 * o), draw(5, 4)) is None


def test_a_dense_head_of_other_channels_is_refused():
    with pytest.raises(InputError, match="must have 3 dimensions and 4 channels for this `head`, Conv1d"):
        saliency(draw(9, 5, 3), nn.Conv1d(4, 3, 1), draw(9, 3, 3))
    with pytest.raises(InputError, match=r"must have 4 dimensions .* Got shape \(9, 4, 3\)"):
        saliency(draw(9, 4, 3), nn.Conv2d(4, 3, 1), draw(9, 3, 3))


@pytest.mark.parametrize("wrap", [lambda z: (z, None), lambda z: {"logits": z}])
def test_dense_heads_may_return_more_than_logits(wrap):
    head = nn.Conv1d(4, 3, 1)
    features, student = draw(40, 4, 3), draw(40, 3, 3, seed=1)
    expected = saliency(features, head, student, num_permutations=3, warn=False)
    result = saliency(features, lambda x: wrap(head(x)), student, num_permutations=3, warn=False)
    np.testing.assert_allclose(result.increase, expected.increase, rtol=1e-4)
