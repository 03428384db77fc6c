"""The draws of the Gaussian experiments against NumPy's and torch's own streams."""

import numpy as np
import pytest
import torch

from mfh._checks import InputError
from mfh.data.sources.gaussian import (
    FIGURE_2,
    FIGURE_3,
    TABLE_SHARED,
    Design,
    TorchStream,
    check_seed,
    draw_figure,
    draw_table,
)


@pytest.mark.parametrize("seed", [0, 1, 42, 12345, 2**32 - 1])
def test_initial_weights_are_those_of_torch(seed):
    stream, generator = TorchStream(seed), torch.random.fork_rng()
    with generator:
        torch.manual_seed(seed)
        for num_inputs in (5, 10, 25, 30, 50, 200):
            layer = torch.nn.Linear(num_inputs, 2)
            ours = stream.linear(num_inputs)
            # One unit in the last place is left to processors without fused multiply-add.
            np.testing.assert_allclose(ours[:, :-1], layer.weight.detach().numpy(), rtol=0, atol=3e-8)
            np.testing.assert_allclose(ours[:, -1], layer.bias.detach().numpy(), rtol=0, atol=3e-8)


def released_figure_split(stream, a, n, design, point):
    """One split of Figure 2 or 3, drawn in the released order."""
    xs = stream.randn(n, design.decisive)
    x2 = stream.randn(n, 50)
    x2[:, :10] = xs[:, :10]
    x1 = stream.randn(n, design.width)
    x1[:, point[0] : point[1]] = xs[:, point[0] : point[1]]
    return x1, x2, xs @ a[: design.decisive] > 0


@pytest.mark.parametrize("design", [FIGURE_2, FIGURE_3], ids=["fig2", "fig3"])
@pytest.mark.parametrize("seed", [0, 7])
def test_figures_draw_the_released_numbers(design, seed):
    draw = draw_figure(design, seed=seed)
    for point in design.points:
        stream, test_stream = np.random.RandomState(seed), np.random.RandomState(seed + 1)
        a = stream.randn(500)
        expected = [
            released_figure_split(stream, a, 200, design, point),
            released_figure_split(test_stream, a, 1000, design, point),
        ]
        pairs = zip((draw.train, draw.test), draw.teacher_inputs(point), expected, strict=True)
        for split, ours_x1, (x1, x2, label) in pairs:
            np.testing.assert_array_equal(ours_x1, x1.T.astype(np.float32))
            np.testing.assert_array_equal(split.x2, x2.T.astype(np.float32))
            np.testing.assert_array_equal(split.label, label)


def released_table_split(stream, n, shared):
    xs = stream.randn(n, 10 + shared)
    x1 = stream.randn(n, 50)
    x1[:, : 10 + shared] = xs
    x2 = stream.randn(n, 50)
    x2[:, :shared] = xs[:, :shared]
    return x1, x2, xs.sum(axis=1) > 0


def test_table_draws_the_released_numbers():
    draws = list(draw_table(seed=43))
    assert [draw.shared for draw in draws] == list(TABLE_SHARED)
    for draw in draws:
        stream = np.random.RandomState(43)
        for split, n in ((draw.a, 200), (draw.test, 1000), (draw.b, 200)):
            x1, x2, label = released_table_split(stream, n, draw.shared)
            np.testing.assert_array_equal(split.x1, x1.T.astype(np.float32))
            np.testing.assert_array_equal(split.x2, x2.T.astype(np.float32))
            np.testing.assert_array_equal(split.label, label)
        np.testing.assert_array_equal(draw.random_channels, stream.randint(0, 50, draw.shared))


def test_no_global_state_is_touched():
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_before = torch.get_rng_state()
    draw_figure(FIGURE_2, seed=3).weights.linear(50)
    list(draw_table(seed=3))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_shares_of_the_figures():
    gammas = [FIGURE_2.shares(point)[2] for point in FIGURE_2.points]
    np.testing.assert_allclose(gammas, [o / (20 - o) for o in (0, 2, 4, 6, 8, 10)])
    assert FIGURE_2.teacher_share((4, 14)) == pytest.approx(0.6)
    for k, point in zip((0, 10, 20, 30, 40), FIGURE_3.points, strict=True):
        alpha, beta, gamma = FIGURE_3.shares(point)
        assert (alpha, beta) == pytest.approx((k / (k + 10), 0))
        # Where the student holds nothing of its own, both shares are one.
        assert FIGURE_3.teacher_share(point) == pytest.approx(gamma)


def test_a_design_sets_the_sizes():
    design = Design(decisive=8, width=12, points=[(0, 4)], seen=3, student_width=5, num_train=7, num_test=9)
    draw = draw_figure(design, seed=0)
    assert (draw.train.x2.shape, draw.test.x2.shape) == ((5, 7), (5, 9))
    assert [x.shape for x in draw.teacher_inputs((0, 4))] == [(12, 7), (12, 9)]
    np.testing.assert_array_equal(draw.train.x2[:3], draw.decisive[0][:3])


def test_labels_follow_decisive_features_and_nothing_else():
    draw = next(draw_table(seed=1))
    x1 = draw.test.x1.astype(np.float64)
    assert np.array_equal(x1[:15].sum(axis=0) > 0, draw.test.label > 0)
    # A channel of noise cannot matter: 3 standard errors of a correlation of 1,000 samples.
    assert np.abs([np.corrcoef(channel, draw.test.label)[0, 1] for channel in x1[15:]]).max() < 0.11


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "0"])
def test_seeds_outside_the_streams_are_refused(seed):
    with pytest.raises(InputError, match="`seed` must be a whole number from 0 to 4294967295"):
        check_seed(seed)
