"""Learning rates: those of networks of one's own, the warm-up, and the range test."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mfh import DistillConfig, InputError, PairedDataset, StudyConfig, TrainConfig, distill, study
from mfh.training.objectives import Distill
from mfh.training.rate import find_rate, rounded_down

ROWS = torch.arange(120)


def line(scale: float = 1.0) -> PairedDataset:
    x = torch.linspace(-1, 1, 200)[torch.randperm(200, generator=torch.Generator().manual_seed(0)), None]
    label = (x[:, 0] > 0).long()
    label[::4] = 1 - label[::4]  # else the loss falls at any rate
    return PairedDataset.from_arrays({"a": scale * x, "b": x.clone()}, label=label)


def rate(scale: float = 1.0, **options: object) -> float:
    torch.manual_seed(0)
    config = TrainConfig(lr="auto", device="cpu", **options)  # type: ignore[arg-type]
    network = nn.Linear(1, 2)
    return find_rate(network, line(scale), Distill(), modalities=["a"], train=ROWS, config=config, seed=0)


def test_options_that_are_left_out_depend_on_the_networks() -> None:
    plain, own = TrainConfig().settled(), TrainConfig().settled(own_networks=True)
    assert (plain.optimizer, plain.lr, plain.warmup, plain.clip) == ("sgd", 0.05, 0.0, None)
    assert (own.optimizer, own.lr, own.warmup, own.clip) == ("adamw", 0.001, 0.1, 1.0)
    assert own.settled() == own


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"lr": 0.3}, ("sgd", 0.3, 0.0, None)),
        ({"optimizer": "sgd"}, ("sgd", 0.05, 0.0, None)),
        ({"optimizer": "adamw"}, ("adamw", 0.001, 0.0, None)),
        ({"clip": 0.0}, ("adamw", 0.001, 0.1, 0.0)),
        ({"warmup": 0.0, "clip": 5.0}, ("adamw", 0.001, 0.0, 5.0)),
        ({"lr": "auto"}, ("adamw", "auto", 0.1, 1.0)),
    ],
)
def test_options_that_are_given_stay(given: dict[str, object], wanted: tuple[object, ...]) -> None:
    config = TrainConfig(**given).settled(own_networks=True)  # type: ignore[arg-type]
    assert (config.optimizer, config.lr, config.warmup, config.clip) == wanted


def test_the_warm_up_rises_in_equal_steps() -> None:
    config = TrainConfig(lr=1.0, epochs=10, warmup=0.2)
    rates = [config.learning_rate(step, 2) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(rates[4:]) == {1.0}


def test_a_larger_input_needs_a_smaller_rate() -> None:
    assert rate(1000.0) < rate(1.0) / 10


def test_the_range_test_repeats_and_does_not_change_the_network() -> None:
    network = nn.Linear(1, 2)
    before = network.weight.detach().clone()
    state = torch.random.get_rng_state()
    options = {"modalities": ["a"], "train": ROWS, "config": TrainConfig(lr="auto", device="cpu"), "seed": 1}
    first, second = (find_rate(network, line(), Distill(), **options) for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    assert torch.equal(network.weight, before)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("size", [1, 7, 119, 500])
def test_any_size_of_batch_will_do(size: int) -> None:
    assert rate(batch_size=size) > 0


def test_a_study_finds_a_rate_beside_a_given_teacher() -> None:
    data = line()
    soft = PairedDataset.from_arrays({**data.modalities, "soft": torch.zeros(200, 2)}, label=data.label)
    config = StudyConfig(
        lr="auto", repeats=1, folds=2, epochs=2, arms=["no-kd", "regular"], hidden=(4,), device="cpu",
        teacher_logits="soft", student="b",
    )  # fmt: skip
    assert len(study(soft, config=config).frame("chosen").dropna(subset="lr")) == 2


def test_rates_are_rounded_down() -> None:
    assert [rounded_down(value) for value in (0.1, 0.0999, 2e-5, 7.0)] == [0.1, 0.05, 2e-5, 5.0]


def test_a_student_alone_is_trained_with_the_rate_that_was_found() -> None:
    done = distill(None, nn.Linear(1, 2), line(), DistillConfig(lr="auto", epochs=10, device="cpu"))
    assert isinstance(done.config["lr"], float)
    assert done.config["optimizer"] == "adamw"


def test_a_study_finds_a_rate_in_each_fit() -> None:
    config = StudyConfig(
        lr="auto", repeats=1, folds=2, epochs=2, arms=["no-kd", "regular"], hidden=(4,), device="cpu"
    )
    result = study(line(), config=config)
    found = result.frame("chosen").dropna(subset="lr")
    assert result.config["lr"] == "auto"
    assert found.seed.tolist() == [0, 1]
    assert (found.lr > 0).all()


def test_training_itself_needs_a_number() -> None:
    config = replace(TrainConfig(device="cpu"), lr="auto")
    with pytest.raises(InputError, match=r"`lr` must be a number here\. Got 'auto'"):
        _ = config.peak_rate
