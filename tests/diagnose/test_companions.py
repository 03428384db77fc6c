"""The companions against closed forms and other libraries."""

import numpy as np
import pytest
from scipy import stats

from mfh._diagnose.companions import (
    agreement_table,
    calibration_error,
    cca,
    cka,
    compare_outputs,
    non_target_divergence,
    wrong_class_correlation,
)

RNG = np.random.default_rng(0)


def test_one_column_each_has_its_correlation() -> None:
    x, y = RNG.normal(size=(2, 60, 1))
    assert cca(x, y) == pytest.approx(abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1]))
    assert cka(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2)


def test_cca_against_the_eigenvalues() -> None:
    x, y = RNG.normal(size=(80, 3)), RNG.normal(size=(80, 2))
    y = y + x[:, :2]
    covariance = np.cov(np.hstack([x, y]).T)
    a, b, c = covariance[:3, :3], covariance[3:, 3:], covariance[:3, 3:]
    squared = np.linalg.eigvals(np.linalg.solve(b, c.T) @ np.linalg.solve(a, c)).real
    assert cca(x, y) == pytest.approx(np.sqrt(squared).mean())


def test_wrong_classes_against_scipy() -> None:
    teacher, student, label = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4)), np.array([0, 1, 2, 3, 0])
    divergence, correlation = [], []
    for t, s, k in zip(teacher, student, label, strict=True):
        t, s = np.delete(t, k), np.delete(s, k)
        divergence.append(stats.entropy(np.exp(t) / np.exp(t).sum(), np.exp(s) / np.exp(s).sum()))
        correlation.append(stats.spearmanr(t, s)[0])
    assert non_target_divergence(teacher, student, label) == pytest.approx(np.mean(divergence))
    assert wrong_class_correlation(teacher, student, label) == pytest.approx(np.mean(correlation))
    assert non_target_divergence(teacher, teacher, label) == pytest.approx(0)


def test_four_cells_add_up() -> None:
    teacher, student, label = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 0, 1]], np.array([0, 2, 2, 2])
    cells = agreement_table(teacher, student, label)
    assert cells == {"both": 25, "only teacher": 25, "only student": 0, "neither": 50}


def test_calibration_of_a_network_that_knows_how_often_it_is_right() -> None:
    p = 0.8
    logits = np.tile([np.log(p), np.log(1 - p)], (1000, 1))
    label = (np.arange(1000) % 10 >= 8).astype(int)
    assert calibration_error(logits, label) == pytest.approx(0, abs=1e-9)
    assert calibration_error(np.tile([50.0, -50.0], (1000, 1)), label) == pytest.approx(20)


def test_outputs_of_one_network_agree_beyond_the_null_and_of_independent_ones_do_not() -> None:
    label = np.arange(300) % 3
    z = np.eye(3)[label] + RNG.normal(size=(300, 3))
    other = np.eye(3)[label] + RNG.normal(size=(300, 3))
    same = {row["name"]: row for row in compare_outputs(z, z, label, generator=np.random.default_rng(0))}
    apart = {row["name"]: row for row in compare_outputs(z, other, label, generator=np.random.default_rng(0))}
    assert same["disagreement"]["value"] == 0 < same["disagreement"]["null_low"]
    assert same["CKA of the logits"]["value"] > same["CKA of the logits"]["null_high"]
    for name in ("disagreement", "wrong-class rank correlation"):
        spread = apart[name]["null_high"] - apart[name]["null_low"]
        assert apart[name]["value"] == pytest.approx(apart[name]["null"], abs=1.5 * spread)


def test_two_classes_leave_out_what_needs_three() -> None:
    rows = compare_outputs(
        RNG.normal(size=(30, 2)), RNG.normal(size=(30, 2)), np.arange(30) % 2,
        generator=np.random.default_rng(0), num_shuffles=2,
    )  # fmt: skip
    none = [row for row in rows if row["value"] is None]
    assert [row["name"] for row in none] == ["non-target divergence", "wrong-class rank correlation"]
    assert {row["note"] for row in none} == {"needs 3 classes or more"}
