"""The temperature that calibrates outputs: it is found, it is the best, and it is finite."""

import numpy as np
import pytest
import torch
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
