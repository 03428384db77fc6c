"""KL, cross-entropy, MSE and entropy against independent implementations and closed forms."""

import pytest
import torch
from torch.nn import functional

from mfh.losses import cross_entropy, kl_divergence, mse, soft_label_entropy


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 50, 7, generator=generator, dtype=torch.float64) * 3
    return student, teacher


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_torchs(logits: tuple[torch.Tensor, torch.Tensor], temperature: float) -> None:
    student, teacher = logits
    reference = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    ours = kl_divergence(student, teacher, temperature=temperature)
    assert ours.item() == pytest.approx(temperature**2 * reference.item())


def test_kl_of_equals_is_exactly_zero(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert kl_divergence(logits[0], logits[0]).item() == 0.0


def test_kl_by_hand() -> None:
    teacher = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    student = torch.log(torch.tensor([[0.9, 0.1]], dtype=torch.float64))
    expected = 0.5 * (torch.log(torch.tensor(0.5 / 0.9)) + torch.log(torch.tensor(0.5 / 0.1)))
    assert kl_divergence(student, teacher).item() == pytest.approx(expected.item())


def test_kl_survives_saturated_logits() -> None:
    teacher = torch.tensor([[1e4, 0.0]])
    assert torch.isfinite(kl_divergence(-teacher, teacher))


def test_soft_label_entropy_has_its_bounds() -> None:
    assert soft_label_entropy(torch.zeros(1, 8)).item() == pytest.approx(torch.log(torch.tensor(8.0)).item())
    assert soft_label_entropy(torch.tensor([[1e4, 0.0]])).item() == 0.0


def test_cross_entropy_and_mse(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    student, teacher = logits
    label = teacher.argmax(dim=1)
    picked = -functional.log_softmax(student, dim=1)[torch.arange(50), label]
    assert cross_entropy(student, label).item() == pytest.approx(picked.mean().item())
    spread = -functional.log_softmax(student, dim=1).mean(dim=1)
    assert cross_entropy(student, label, smoothing=0.2).item() == pytest.approx(
        (0.8 * picked + 0.2 * spread).mean().item()
    )
    assert mse(student, teacher).item() == pytest.approx(((student - teacher) ** 2).mean().item())
