"""DKD, DIST, NTDH's mask and C2KD's selection against formulas in numpy, scipy and torchmetrics."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from scipy.stats import kendalltau, pearsonr
from torch import Tensor
from torchmetrics.functional import kendall_rank_corrcoef

from mfh.losses import c2kd, dist, dkd, kendall_tau, kl_divergence, ntdh

TEMPERATURES = [1.0, 3.0]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Student's and teacher's logits, and labels: 12 samples of 5 classes."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 12, 5, generator=generator, dtype=torch.float64) * 2
    return student, teacher, torch.randint(5, (12,), generator=generator)


def non_target_kl_by_hand(student: Tensor, teacher: Tensor, label: Tensor, temperature: float) -> np.ndarray:
    rows = []
    for s, t, k in zip(student.numpy(), teacher.numpy(), label.tolist(), strict=True):
        p, q = (softmax(np.delete(z, k) / temperature) for z in (t, s))
        rows.append(rel_entr(p, q).sum())
    return np.array(rows)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_dkd_by_hand(batch: tuple[Tensor, Tensor, Tensor], temperature: float) -> None:
    student, teacher, label = batch
    index = np.arange(12), label.numpy()
    p_t, q_t = (softmax(z.numpy() / temperature, axis=1)[index] for z in (teacher, student))
    target = rel_entr(p_t, q_t) + rel_entr(1 - p_t, 1 - q_t)
    others = non_target_kl_by_hand(student, teacher, label, temperature)
    expected = temperature**2 * (1.5 * target + 4 * others).mean()
    ours = dkd(student, teacher, label, alpha=1.5, beta=4.0, temperature=temperature)
    assert ours.item() == pytest.approx(expected)


def test_dkd_takes_kl_apart(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, label = batch
    p_t = torch.softmax(teacher, dim=1)[torch.arange(12), label].numpy()
    others = non_target_kl_by_hand(student, teacher, label, 1.0)
    target = dkd(student, teacher, label, alpha=1.0, beta=0.0).item()
    assert kl_divergence(student, teacher).item() == pytest.approx(target + ((1 - p_t) * others).mean())


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_dist_by_hand(batch: tuple[Tensor, Tensor, Tensor], temperature: float) -> None:
    student, teacher, _ = batch
    p, q = (softmax(z.numpy() / temperature, axis=1) for z in (teacher, student))
    between = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p, q, strict=True)])
    within = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p.T, q.T, strict=True)])
    ours = dist(student, teacher, inter=2.0, intra=0.5, temperature=temperature)
    assert ours.item() == pytest.approx(temperature**2 * (2 * between + 0.5 * within))


def test_dist_along_the_batch_depends_on_who_shares_it(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, _ = batch
    rows = [slice(0, 6), slice(6, 12)]
    inter = [dist(student[r], teacher[r], intra=0.0).item() for r in rows]
    intra = [dist(student[r], teacher[r], inter=0.0).item() for r in rows]
    assert np.mean(inter) == pytest.approx(dist(student, teacher, intra=0.0).item())
    assert abs(np.mean(intra) - dist(student, teacher, inter=0.0).item()) > 1e-3


def test_ntdh_masks_what_the_teacher_gets_wrong_and_the_student_sees_otherwise() -> None:
    teacher = torch.tensor([[3.0, 0.0, 1.0], [3.0, 0.0, 1.0], [3.0, 0.0, 1.0]], dtype=torch.float64)
    student = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [2.9, 0.1, 1.0]], dtype=torch.float64)
    label = torch.tensor([0, 1, 1])  # right; wrong and unlike; wrong but alike
    rows = [kl_divergence(student[i : i + 1], teacher[i : i + 1]).item() for i in range(3)]
    t, s = teacher[2].numpy(), student[2].numpy()
    cosine = float(t @ s / np.linalg.norm(t) / np.linalg.norm(s))
    assert cosine > 0.996
    omega = (1 + cosine) / 2
    alike = kl_divergence(student[2:] * omega, teacher[2:] * omega).item()
    assert ntdh(student, teacher, label).item() == pytest.approx((rows[0] + 0 + alike) / 3)
    assert ntdh(student, teacher, label, similarity=1.0).item() == pytest.approx(rows[0] / 3)


def test_ntdh_is_kl_where_the_teacher_is_right(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, _ = batch
    ours = ntdh(student, teacher, teacher.argmax(dim=1), temperature=2.0)
    assert ours.item() == pytest.approx(kl_divergence(student, teacher, temperature=2.0).item())


def test_kendalls_tau_is_scipys_and_torchmetrics(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, _ = batch
    teacher = teacher.round()  # ties
    ours = kendall_tau(student, teacher)
    assert ours.tolist() == pytest.approx(
        [kendalltau(a, b).statistic for a, b in zip(student.numpy(), teacher.numpy(), strict=True)]
    )
    theirs = kendall_rank_corrcoef(student.T.float(), teacher.T.float(), variant="b")
    assert torch.allclose(ours.float(), theirs)
    assert kendall_tau(torch.ones(1, 4), torch.arange(4.0)[None]).item() == 0.0


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.4])
def test_c2kd_by_hand(batch: tuple[Tensor, Tensor, Tensor], threshold: float) -> None:
    student, teacher, label = batch
    tau = np.array(
        [kendalltau(a, b).statistic for a, b in zip(student.numpy(), teacher.numpy(), strict=True)]
    )
    expected = 9 * ((tau > threshold) * non_target_kl_by_hand(student, teacher, label, 3.0)).mean()
    ours = c2kd(student, teacher, label, threshold=threshold, temperature=3.0)
    assert ours.item() == pytest.approx(expected)
    assert threshold < 0 or 0 < (tau > threshold).sum() < 12


def test_c2kd_says_nothing_of_the_label(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, label = batch
    student = teacher.clone()
    student[torch.arange(12), label] += 0.1
    assert c2kd(student, teacher, label).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", [dkd, ntdh, c2kd, lambda s, t, _: dist(s, t)])
def test_equals_lose_nothing_and_others_something(loss, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, label = batch
    assert loss(teacher, teacher, label).item() == pytest.approx(0, abs=1e-12)
    assert loss(student, teacher, label).item() > 0.01


@pytest.mark.parametrize("loss", [dkd, ntdh, c2kd, lambda s, t, _: dist(s, t)])
def test_gradients(loss, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    student, teacher, label = batch
    # c2kd's selection and ntdh's weight are constants: they must not change within the step of the check
    assert torch.autograd.gradcheck(
        lambda z: loss(z, teacher, teacher.argmax(dim=1) if loss is ntdh else label),
        student.requires_grad_(),
    )


@pytest.mark.parametrize("loss", [dkd, ntdh, c2kd, lambda s, t, _: dist(s, t)])
def test_saturated_logits_and_a_batch_of_one_stay_finite(loss) -> None:
    teacher = torch.tensor([[1e4, 0.0, -1e4]])
    student = (-teacher).requires_grad_()
    value = loss(student, teacher, torch.tensor([1]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()
