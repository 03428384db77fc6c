"""The temperature that calibrates outputs: it is found, it is the best, and it is finite."""

import numpy as np
import pytest
import torch
from scipy import optimize
from torch.nn import functional

from mfh.training.calibration import fit_temperature


def drawn(count: int, temperature: float, *, several: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times those that their labels were drawn from."""
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, 4, generator=rng)
    if several:
        label = torch.bernoulli(logits.sigmoid(), generator=rng)
    else:
        label = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    return temperature * logits, label


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [0.25, 1.0, 6.0])
def test_the_temperature_of_the_logits_is_found(temperature: float, several: bool) -> None:
    found = fit_temperature(*drawn(20_000, temperature, several=several))
    assert found == pytest.approx(temperature, rel=0.05)


def test_it_minimises_the_log_loss() -> None:
    logits, label = drawn(3_000, 3.0)
    best = fit_temperature(logits, label)
    losses = [float(functional.cross_entropy(logits / (best * f), label)) for f in (0.97, 1.0, 1.03)]
    assert np.argmin(losses) == 1


def test_samples_that_are_all_right_do_not_ask_for_a_temperature_of_0() -> None:
    logits = torch.eye(3)[torch.arange(30) % 3]
    found = fit_temperature(logits, torch.arange(30) % 3)
    p = (logits / found).softmax(1).max(1).values
    assert p[0].item() == pytest.approx(31 / 33, rel=1e-3)


def test_outputs_that_are_all_equal_keep_their_temperature() -> None:
    assert fit_temperature(torch.zeros(5, 3), torch.arange(5) % 3) == 1.0


@pytest.mark.parametrize("several", [False, True])
def test_a_ridge_pulls_the_temperature_to_1(several: bool) -> None:
    logits, label = drawn(60, 6.0, several=several)
    weight = torch.linspace(0.5, 1.5, 60)

    def objective(temperature: float, ridge: float) -> float:
        scaled = logits.double() / temperature
        if several:
            of_each = functional.binary_cross_entropy_with_logits(scaled, label.double(), reduction="none")
            loss = of_each.sum(1)
        else:
            loss = functional.cross_entropy(scaled, label, reduction="none")
        return float((weight * loss).sum()) + ridge * (1 / temperature - 1) ** 2

    found = []
    for ridge in (0.0, 4.0, 1000.0):
        independent = optimize.minimize_scalar(
            objective, bounds=(0.1, 20), args=(ridge,), method="bounded", options={"xatol": 1e-9}
        )
        found.append(fit_temperature(logits, label, weight, ridge=ridge))
        assert found[-1] == pytest.approx(independent.x, rel=1e-4)
    assert found[0] > found[1] > found[2] > 1


def test_few_samples_of_many_classes_do_not_raise_the_temperature_with_a_ridge() -> None:
    rng = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(100, 10, generator=rng)
    label = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    assert fit_temperature(logits, label) > 1.2
    assert fit_temperature(logits, label, ridge=4.0) == pytest.approx(1, abs=0.1)


def test_a_ridge_keeps_samples_that_are_all_right_from_a_temperature_of_0() -> None:
    logits = 9 * torch.eye(3)[torch.arange(30) % 3]
    assert 0.5 < fit_temperature(logits, torch.arange(30) % 3, ridge=4.0) <= 1
