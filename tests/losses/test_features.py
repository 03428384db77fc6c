"""Hints, RKD and CRD against formulas in numpy."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from mfh.losses import crd, hints, mse, rkd


@pytest.fixture
def features() -> tuple[Tensor, Tensor]:
    """Student's and teacher's features of 6 samples."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    return student, teacher


def huber(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)


def distances(x: np.ndarray) -> np.ndarray:
    d = np.array([np.linalg.norm(x[i] - x[j]) for i, j in permutations(range(len(x)), 2)])
    return d / d.mean()


def angles(x: np.ndarray) -> np.ndarray:
    cosines = []
    for i, j, k in permutations(range(len(x)), 3):
        a, b = x[i] - x[j], x[k] - x[j]
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return np.array(cosines)


def test_hints_are_the_mean_squared_difference(features: tuple[Tensor, Tensor]) -> None:
    student, teacher = features
    expected = ((student - teacher) ** 2).mean().item()
    assert hints(student, teacher).item() == pytest.approx(expected)
    assert hints(student, teacher, weight=3.0).item() == pytest.approx(3 * expected)


def test_rkd_by_hand(features: tuple[Tensor, Tensor]) -> None:
    student, teacher = features[0], torch.cat([features[1], features[1] ** 2], dim=1)
    s, t = student.numpy(), teacher.numpy()
    expected = 2 * huber(distances(s) - distances(t)).mean() + 3 * huber(angles(s) - angles(t)).mean()
    assert rkd(student, teacher, distance=2.0, angle=3.0).item() == pytest.approx(expected)


def test_rkd_sees_neither_rotation_nor_shift_nor_scale(features: tuple[Tensor, Tensor]) -> None:
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double()).Q
    assert rkd(3 * features[0] @ rotation + 5, features[0]).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [1, 2])
def test_rkd_of_few_samples_is_zero_with_a_gradient(count: int) -> None:
    student = torch.randn(count, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = rkd(student, torch.ones(count, 4) * torch.arange(count)[:, None])
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)  # the one distance of two samples is its own mean
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("equal", [2, 4])
def test_rkd_of_equal_samples_has_a_moderate_gradient(equal: int) -> None:
    student = torch.arange(12.0).view(4, 3) ** 2
    student[:equal] = 1.0
    student.requires_grad_()
    rkd(student, torch.arange(12.0).view(4, 3) ** 1.5).backward()
    assert student.grad.abs().max() < 100


def test_crd_by_hand(features: tuple[Tensor, Tensor]) -> None:
    student, teacher = features
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    s, t = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in features)
    scores = np.exp(s @ t.T / 0.5)
    rows = []
    for i in range(6):
        negatives = [scores[i, j] for j in range(6) if label[j] != label[i]]
        rows.append(-np.log(scores[i, i] / (scores[i, i] + sum(negatives))))
    assert crd(student, teacher, label, temperature=0.5).item() == pytest.approx(np.mean(rows))


def test_crd_takes_its_negatives_from_a_memory(features: tuple[Tensor, Tensor]) -> None:
    student, teacher = features
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    whole = crd(student, teacher, label, memory=(teacher, label))
    assert whole.item() == pytest.approx(crd(student, teacher, label).item())
    pairs = [slice(start, start + 2) for start in (0, 2, 4)]
    parts = [crd(student[two], teacher[two], label[two], memory=(teacher, label)) for two in pairs]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item())
    far, one = torch.cat([teacher, -teacher[:1]]), torch.cat([label, torch.tensor([7])])
    s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student.numpy(), far.numpy()))
    scores = np.exp(s @ t.T / 0.07)
    mine = [scores[i, i] + sum(scores[i, j] for j in range(7) if one[j] != one[i]) for i in range(6)]
    expected = np.mean([-np.log(scores[i, i] / mine[i]) for i in range(6)])
    assert crd(student, teacher, label, memory=(far, one)).item() == pytest.approx(expected)


def test_crd_without_negatives_is_zero(features: tuple[Tensor, Tensor]) -> None:
    assert crd(*features, torch.zeros(6, dtype=torch.int64)).item() == pytest.approx(0, abs=1e-12)


def test_crd_is_least_where_samples_point_to_their_own(features: tuple[Tensor, Tensor]) -> None:
    label = torch.arange(6)
    assert crd(features[1], features[1], label).item() < crd(features[0], features[1], label).item()


@pytest.mark.parametrize("loss", [hints, rkd, lambda s, t: crd(s, t, torch.tensor([0, 0, 1, 1, 2, 2]))])
def test_gradients(loss, features: tuple[Tensor, Tensor]) -> None:
    assert torch.autograd.gradcheck(lambda s: loss(s, features[1]), features[0].requires_grad_())


@pytest.mark.parametrize("loss", [hints, rkd])
def test_equals_lose_nothing(loss, features: tuple[Tensor, Tensor]) -> None:
    assert loss(features[0], features[0]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", [hints, rkd, mse])
def test_a_student_in_double_learns_of_a_teacher_in_float(loss, features: tuple[Tensor, Tensor]) -> None:
    student, teacher = (values.detach().double() for values in features)
    wide, mixed = (values.clone().requires_grad_() for values in (student, student))
    loss(wide, teacher.float().double()).backward()
    loss(mixed, teacher.float()).backward()
    assert torch.allclose(wide.grad, mixed.grad, rtol=1e-4)
