"""gamma_hat against truths that are known, shuffled pairs, and other ways to compute its parts."""

import numpy as np
import pytest

from mfh import InputError
from mfh._diagnose.basis import make_basis, principal_components
from mfh._diagnose.gamma import align, contributions, decompose, estimate_gamma, shuffle_within
from mfh._diagnose.regression import Choice, Regression


def linear_teacher(
    seed: int, *, n: int = 1500, shared: int = 3, only: int = 2, noise: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Logits of a linear teacher of independent channels, modality b, labels, the true share."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, shared + only))
    weight = rng.normal(size=(2, shared + only))
    centred = weight - weight.mean(axis=0)
    truth = float((centred[:, :shared] ** 2).sum() / (centred**2).sum())
    logits = x @ weight.T
    b = np.hstack([x[:, :shared], rng.normal(size=(n, noise))])
    return logits, b, logits.argmax(axis=1), truth


def estimate(logits: np.ndarray, b: np.ndarray, label: np.ndarray, **settings: object):
    rng = np.random.default_rng(1)
    folds = rng.permutation(len(b)) % 5
    quick = {"num_bootstrap": 40, "num_shuffles": 4} | settings
    return estimate_gamma(logits, b, label, folds, generator=rng, **quick)


@pytest.mark.parametrize("seed", range(3))
def test_the_share_of_a_linear_teacher_is_found(seed: int) -> None:
    logits, b, label, truth = linear_teacher(seed)
    found = estimate(logits, b, label)
    assert found.estimate == pytest.approx(truth, abs=0.04)
    assert found.low - 0.02 < truth < found.high + 0.02
    assert found.low < found.estimate < found.high
    weighted = found.weight * found.between + (1 - found.weight) * found.within
    assert found.estimate == pytest.approx(weighted, abs=1e-12)


def test_rotating_the_student_s_modality_changes_nothing_much() -> None:
    logits, b, label, truth = linear_teacher(0)
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(b.shape[1],) * 2))[0]
    assert estimate(logits, b @ rotation, label).estimate == pytest.approx(truth, abs=0.04)


def test_shuffled_pairs_share_nothing() -> None:
    logits, b, label, _ = linear_teacher(0)
    rows = np.random.default_rng(2).permutation(len(b))
    found = estimate(logits[rows], b, label[rows])
    assert abs(found.estimate) < 0.05
    assert abs(found.null).max() < 0.05


def test_a_modality_that_is_the_class_and_noise_shares_nothing_within_classes() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(1500) % 3
    centers = rng.normal(size=(3, 4)) * 2
    a, b = (centers[label] + rng.normal(size=(1500, 4)) for _ in range(2))
    found = estimate(a @ rng.normal(size=(4, 3)), b, label)
    assert found.between > 0.5
    assert found.estimate > 0.3
    assert abs(found.within) < 0.05
    assert abs(found.null_within).max() < 0.05


def test_what_is_not_linear_is_found_by_a_kernel() -> None:
    rng = np.random.default_rng(0)
    b = rng.normal(size=(900, 2))
    curved = np.abs(b[:, :1]) - np.abs(b[:, 1:])
    own = rng.normal(size=(900, 1)) * curved.std()
    logits = (curved + own) * np.array([-1.0, 1.0])
    found = estimate(logits, b, logits.argmax(axis=1))
    assert found.linear == 0
    assert found.estimate == pytest.approx(0.5, abs=0.08)


def test_noise_in_the_regression_bends_r2_but_not_gamma() -> None:
    errors = []
    for seed in range(6):
        logits, b, label, truth = linear_teacher(seed, n=150, noise=20)
        found = estimate(logits, b, label, num_bootstrap=20)
        errors.append((found.estimate - truth, found.r2 - truth))
    gamma, r2 = np.mean(errors, axis=0)
    assert abs(gamma) < 0.05
    assert r2 < -0.05


def test_groups_widen_the_interval() -> None:
    logits, b, label, _ = linear_teacher(0, n=600)
    group = np.arange(600) // 100
    rng = np.random.default_rng(0)
    own = rng.normal(size=(6, 1))[group] * logits.std() * 2  # each group has an offset of its own
    folds = group % 3
    widths = []
    for of in (None, group):
        found = estimate_gamma(
            logits + own * [1, -1], b, label, folds, group=of, generator=np.random.default_rng(1),
            num_shuffles=1,
        )  # fmt: skip
        widths.append(found.high - found.low)
    assert widths[1] > 1.2 * widths[0]


def test_contributions_add_up_and_survive_a_rotation() -> None:
    rng = np.random.default_rng(0)
    h, weight, s = rng.normal(size=(50, 6)), rng.normal(size=(3, 6)), rng.normal(size=(50, 3))
    z = h @ weight.T
    found = contributions(weight, h, s, z)
    z_centred = z - z.mean(axis=1, keepdims=True)
    s_centred = s - s.mean(axis=1, keepdims=True)
    total = decompose(s_centred, z_centred, np.zeros(50))[0]
    assert found.sum() == pytest.approx(total)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert contributions(weight @ rotation, h @ rotation, s, z).sum() == pytest.approx(total)
    assert contributions(weight, np.where(np.arange(6) == 2, 1.0, h), s, z)[2] == 0  # a constant channel


def test_predictions_are_least_squares_on_the_other_folds() -> None:
    rng = np.random.default_rng(0)
    x, z, folds = rng.normal(size=(90, 4)), rng.normal(size=(90, 2)), np.arange(90) % 3
    regression = Regression(make_basis(x, generator=rng), folds)
    found = regression.predict(z, [Choice(None, 1.0)] * 3)
    columns = np.hstack([np.ones((90, 1)), x])
    for fold in range(3):
        slopes = np.linalg.lstsq(columns[folds != fold], z[folds != fold], rcond=None)[0]
        np.testing.assert_allclose(found[folds == fold], columns[folds == fold] @ slopes, atol=1e-6)


def test_a_weight_of_two_is_a_sample_twice() -> None:
    rng = np.random.default_rng(0)
    x, z, folds = rng.normal(size=(60, 30)), rng.normal(size=(60, 2)), np.arange(60) % 3
    basis = make_basis(x, generator=rng)
    regression = Regression(basis, folds)
    assert not regression.free
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    twice = np.concatenate([np.arange(60), np.arange(20)])
    doubled = Regression(type(basis)(basis.linear[twice], ()), folds[twice])
    one = regression.predict(z, [Choice(None, 0.1)] * 3, weights)
    two = doubled.predict(z[twice], [Choice(None, 0.1)] * 3)[:60]
    # the scale of the columns is taken over other samples, which moves the penalty a little
    np.testing.assert_allclose(one, two, atol=0.05)


def test_large_arrays_get_the_same_components() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1100, 8)) @ rng.normal(size=(8, 1050)) + 0.01 * rng.normal(size=(1100, 1050))
    values -= values.mean(axis=0)
    found = principal_components(values, 8, generator=rng)
    size = np.linalg.svd(values, compute_uv=False)[:8]
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), size, rtol=1e-3)


def test_align_gives_every_teacher_the_same_weight() -> None:
    rng = np.random.default_rng(0)
    folds = np.arange(80) % 2
    z = align(rng.normal(size=(2, 80, 3)) * np.array([1.0, 50.0])[:, None, None] + 7, folds)
    for fold in range(2):
        assert z[fold, folds == fold].var(axis=0).sum() == pytest.approx(1)
    np.testing.assert_allclose(z.sum(axis=-1), 0, atol=1e-9)


def own_teachers(
    shared: int, *, n: int = 300, channels: int = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Linear teachers by least squares, one without each fold: logits, b, labels, folds, true share."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, n, channels))
    b[:, :shared] = a[:, :shared]
    label = (a[:, :4].sum(axis=1) + rng.normal(size=n) > 0).astype(int)
    folds = rng.permutation(n) % 5
    logits, shares = [], []
    for fold in range(5):
        fitted = folds != fold
        slopes = np.linalg.lstsq(a[fitted], 2.0 * label[fitted] - 1, rcond=None)[0]
        logits.append((a @ slopes)[:, None] * [-1.0, 1.0])
        shares.append((slopes[:shared] ** 2).sum() / (slopes**2).sum())
    return np.stack(logits), b, label, folds, float(np.mean(shares))


@pytest.mark.parametrize("shared", [2, 20])
def test_what_teachers_of_folds_differ_in_counts_as_theirs(shared: int) -> None:
    logits, b, label, folds, truth = own_teachers(shared)
    rng = np.random.default_rng(1)
    found = estimate_gamma(logits, b, label, folds, generator=rng, num_bootstrap=20, num_shuffles=4)
    assert found.estimate == pytest.approx(truth, abs=1e-6 if shared == 20 else 0.05)
    assert abs(found.null).max() < 0.15


def test_a_common_regression_misses_what_teachers_differ_in() -> None:
    logits, b, label, folds, truth = own_teachers(20)
    rng = np.random.default_rng(1)
    common = estimate_gamma(logits[folds, np.arange(300)], b, label, folds, generator=rng, num_bootstrap=20)
    assert truth == 1
    assert common.estimate < 0.99


def test_one_table_for_every_fold_is_one_table() -> None:
    logits, b, _, _ = linear_teacher(0, n=200, noise=70)
    folds = np.arange(200) % 4
    regression = Regression(make_basis(b, generator=np.random.default_rng(0)), folds)
    z = logits - logits.mean(axis=1, keepdims=True)
    tables = np.stack([z] * 4)
    assert regression.choose(tables) == regression.choose(z)
    choices = regression.choose(z)
    np.testing.assert_allclose(regression.predict(tables, choices), regression.predict(z, choices))


def test_shuffling_within_classes_keeps_the_class() -> None:
    label = np.arange(40) % 4
    rows = shuffle_within(label, np.random.default_rng(0))
    assert (label[rows] == label).all()
    assert sorted(rows) == list(range(40))
    assert (rows != np.arange(40)).any()


@pytest.mark.parametrize(
    ("n", "folds", "text"),
    [(30, 2, "three or more"), (20, 5, "50 samples are needed")],
)
def test_too_few_samples_are_counted(n: int, folds: int, text: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=text):
        estimate_gamma(
            rng.normal(size=(n, 2)), rng.normal(size=(n, 2)), np.arange(n) % 2, np.arange(n) % folds,
            generator=rng,
        )  # fmt: skip


def test_a_constant_teacher_is_refused() -> None:
    with pytest.raises(InputError, match="gives the same output for all"):
        estimate(
            np.tile([1.0, 2.0], (60, 1)), np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
        )
