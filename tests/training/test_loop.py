"""The loop against plain PyTorch, and what it promises of seeds, parts of batches, data and errors."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fits import CONFIG, TRAIN, flat, network, on_validation, seeded, train
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mfh import InputError, PairedDataset, TrainConfig
from mfh.data.decoded import SampleSource
from mfh.training.batches import epoch_order, shares
from mfh.training.evaluate import predict
from mfh.training.fitting import Fitting
from mfh.training.loop import fit
from mfh.training.objectives import Batch, Distill, Joint, Pair


def plain_loop(data: PairedDataset, config: TrainConfig, schedule: Any = None) -> tuple[Tensor, list[float]]:
    """The same training written down without the package's loop."""
    model, losses, lr = network(), [], config.peak_rate
    if config.optimizer != "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), lr=lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=config.weight_decay)
    scheduler = schedule(optimizer) if schedule else None
    x = torch.as_tensor(data.modalities["audio"])
    for epoch in range(1, config.epochs + 1):
        order, total = epoch_order(len(TRAIN), 5, epoch), 0.0
        for start in range(0, len(TRAIN), config.batch_size):
            rows = TRAIN[order[start : start + config.batch_size]]
            loss = nn.functional.cross_entropy(model(x[rows]), data.label[rows])
            optimizer.zero_grad()
            loss.backward()
            if config.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            total += loss.item() * len(rows)
        losses.append(total / len(TRAIN))
    return flat(model), losses


# --- against plain PyTorch


@pytest.mark.parametrize(
    ("changes", "schedule"),
    [
        ({}, None),
        ({"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1}, None),
        ({"clip": 0.1, "weight_decay": 0.01}, None),
        ({"schedule": "cosine"}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=15)),
        (
            {"schedule": "step", "step_epochs": 1},
            lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=5, gamma=0.1),
        ),
    ],
)
def test_equals_a_loop_in_plain_pytorch(
    paired: PairedDataset, changes: dict[str, Any], schedule: Any
) -> None:
    config = replace(CONFIG, **changes)
    weights, losses = plain_loop(paired, config, schedule)
    result = train(paired, config=config)
    torch.testing.assert_close(flat(result.model), weights, rtol=1e-5, atol=1e-7)
    assert [epoch.loss for epoch in result.history] == pytest.approx(losses, rel=1e-5)


def test_joint_training_and_distillation_learn(paired: PairedDataset) -> None:
    student = seeded(lambda: nn.Linear(7, 3), 1)
    pair = Pair(network(), student)
    result = train(paired, pair, objective=Joint(), modalities=("audio", "image"))
    assert result.history[-1].loss < 0.8 * result.history[0].loss
    teacher = predict(pair.teacher, paired, "audio", torch.arange(240))
    distilled = train(
        paired,
        seeded(lambda: nn.Linear(7, 3), 2),
        objective=Distill(teacher, label_weight=0.0, distill_weight=1.0),
        modalities=("image",),
    )
    assert distilled.history[-1].loss < 0.8 * distilled.history[0].loss


def test_the_best_epoch_is_the_first_of_equals_and_its_weights_are_kept(paired: PairedDataset) -> None:
    values, weights = iter([1.0, 5.0, 5.0, 2.0]), []

    def score(model: nn.Module) -> float:
        assert not model.training
        weights.append(flat(model))
        return next(values)

    result = train(paired, score=score, config=replace(CONFIG, epochs=4))
    assert result.best_epoch == 2
    assert [epoch.validation for epoch in result.history] == [1.0, 5.0, 5.0, 2.0]
    assert torch.equal(flat(result.model), weights[1])


def test_without_a_score_the_last_epoch_is_kept(paired: PairedDataset) -> None:
    result = train(paired, config=replace(CONFIG, patience=1))
    assert result.best_epoch == len(result.history) == 3
    assert 0 < result.seconds < 60
    assert all(math.isnan(epoch.validation) for epoch in result.history)


def test_patience_stops_early(paired: PairedDataset) -> None:
    values = iter([1.0, 3.0, 2.0, 3.0, 9.0])
    result = train(paired, score=lambda _: next(values), config=replace(CONFIG, epochs=5, patience=2))
    assert (result.best_epoch, len(result.history)) == (2, 4)


# --- seeds


def test_dropout_is_fixed_by_the_seed_and_leaves_the_global_generator_alone(paired: PairedDataset) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(paired, network(dropout=0.5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = train(paired, network(dropout=0.5))
    other = train(paired, network(dropout=0.5), seed=6)
    assert torch.equal(flat(first.model), flat(second.model))
    assert not torch.equal(flat(first.model), flat(other.model))


def test_dropout_differs_from_step_to_step(paired: PairedDataset) -> None:
    masks: list[Tensor] = []
    model = network(dropout=0.5)
    model[2].register_forward_hook(lambda _m, _i, output: masks.append((output == 0).float().mean(dim=0)))
    train(paired, model, config=replace(CONFIG, epochs=1))
    assert len({tuple(mask.tolist()) for mask in masks}) == len(masks) == 5


# --- parts of a batch


@given(st.integers(1, 40), st.integers(1, 4), st.one_of(st.none(), st.integers(1, 9)))
def test_shares_divide_a_batch(size: int, count: int, largest: int | None) -> None:
    rows = torch.arange(100, 100 + size)
    dealt = [shares(rows, rank=rank, count=count, largest=largest) for rank in range(count)]
    assert len({len(parts) for parts in dealt}) == 1
    real = [(part, weight) for parts in dealt for part, weight in parts if weight]
    assert torch.equal(torch.cat([part for part, _ in real]).sort().values, rows)
    assert sum(weight for _, weight in real) == pytest.approx(1)
    assert all(weight == len(part) / size for part, weight in real)
    assert all(len(part) <= (largest or size) for parts in dealt for part, _ in parts)
    assert all(len(part) == 1 for parts in dealt for part, weight in parts if not weight)


@pytest.mark.parametrize("size", [1, 5, 32, 64])
def test_micro_batches_add_up_to_the_batch(paired: PairedDataset, size: int) -> None:
    sizes: list[int] = []
    model = network()
    model.register_forward_pre_hook(lambda _m, inputs: sizes.append(len(inputs[0])))
    whole, parts = train(paired), train(paired, model, config=replace(CONFIG, micro_batch=size, clip=None))
    assert max(sizes) <= size
    torch.testing.assert_close(flat(parts.model), flat(whole.model), rtol=1e-4, atol=1e-6)
    expected = [epoch.loss for epoch in whole.history]
    assert [epoch.loss for epoch in parts.history] == pytest.approx(expected, rel=1e-5)


# --- data


def test_memory_mapped_data_train_the_same(paired: PairedDataset, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("mfh.training.batches._copies_ahead", lambda _device, size: size > 0)
    np.save(tmp_path / "audio.npy", torch.as_tensor(paired.modalities["audio"]).numpy())
    mapped = replace(
        paired, modalities={**paired.modalities, "audio": np.load(tmp_path / "audio.npy", mmap_mode="r")}
    )

    def noisy(values: Tensor) -> Tensor:  # draws from the generator that dropout draws from
        return values + 0.1 * torch.randn_like(values)

    both = []
    for data in (paired, mapped):
        pair = Pair(network(dropout=0.3), seeded(lambda: nn.Linear(7, 3), 1))
        data = data.with_transforms({"audio": noisy})
        both.append(train(data, pair, objective=Joint(), modalities=("audio", "image")))
    assert [epoch.loss for epoch in both[0].history] == [epoch.loss for epoch in both[1].history]
    assert torch.equal(flat(both[0].model), flat(both[1].model))


@pytest.mark.parametrize("workers", [0, 2])
def test_decoded_data_train_and_answer_the_same(paired: PairedDataset, workers: int) -> None:
    values = {name: torch.as_tensor(paired.modalities[name]) for name in ("audio", "image")}
    source = SampleSource(
        len(paired),
        lambda row, names: {name: values[name][row] for name in names},
        {name: tuple(value.shape[1:]) for name, value in values.items()},
        dict.fromkeys(values, np.dtype(np.float32)),
        identity="",
        workers=workers,
    )
    both = []
    for data in (paired, replace(paired, modalities=source.rows())):
        pair = Pair(network(), seeded(lambda: nn.Linear(7, 3), 1))
        result = train(data, pair, objective=Joint(), modalities=("audio", "image"))
        both.append((result.history, predict(result.model.teacher, data, "audio", TRAIN)))
    assert both[0][0] == both[1][0]
    assert torch.equal(both[0][1], both[1][1])


class Wrapped(nn.Module):
    """Returns an object with `.logits`, as Hugging Face's models do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: Tensor) -> Any:
        return SimpleNamespace(logits=self.model(values))


def test_networks_may_return_objects_with_logits(paired: PairedDataset) -> None:
    result = train(paired, Wrapped(network()), score=on_validation(paired))
    plain = train(paired, score=on_validation(paired))
    assert result.history == plain.history


def test_predict_keeps_order_and_modes_and_bounds_its_batches(
    paired: PairedDataset, monkeypatch: Any
) -> None:
    sizes: list[int] = []
    model = network(dropout=0.5)
    model[2].eval()
    model.register_forward_pre_hook(lambda _m, inputs: sizes.append(len(inputs[0])))
    rows = torch.tensor([7, 3, 200])
    outputs = predict(model, paired, "audio", rows, batch_size=2)
    assert model.training
    assert not model[2].training
    assert sizes == [2, 1]
    alone = torch.cat([predict(model, paired, "audio", row[None]) for row in rows])
    torch.testing.assert_close(outputs, alone)
    monkeypatch.setattr("mfh.training.evaluate.EVALUATION_VALUES", 25)
    sizes.clear()
    predict(model, paired, "audio", torch.arange(5))
    assert sizes == [2, 2, 1]


def test_channels_last_changes_the_layout_only() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(24, 3, 8, 8, generator=generator)
    label = torch.arange(24) % 2
    data = PairedDataset.from_arrays({"a": pictures, "b": pictures.flatten(1)}, label=label)
    results, layouts = [], []
    for channels_last in (False, True):
        model = seeded(
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)), 0
        )
        config = replace(CONFIG, batch_size=8, channels_last=channels_last)
        model.register_forward_pre_hook(
            lambda _m, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
        results.append(
            fit(model, data, Distill(), modalities=("a",), train=torch.arange(24), config=config, seed=0)
        )
    assert layouts == 9 * [False] + 9 * [True]
    torch.testing.assert_close(flat(results[0].model), flat(results[1].model), rtol=1e-4, atol=1e-5)
    assert all(p.is_contiguous() for p in results[1].model.parameters())


# --- errors


def at_row(row: int, value: float) -> Callable[[Any, Batch], Tensor]:
    """An objective that is multiplied by a value where a batch holds a row."""

    def objective(outputs: Tensor, batch: Batch) -> Tensor:
        return Distill()(outputs, batch) * (value if row in batch.rows else 1.0)

    return objective


def looking(every: int) -> Callable[[Fitting], None]:
    """What makes the loop look at its losses now and then only, as it does on accelerators."""
    original = Fitting.__post_init__

    def changed(run: Fitting) -> None:
        original(run)
        run.look_every = every

    return changed


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("look_every", [1, 20])
def test_a_loss_that_is_not_finite_names_its_batch(
    paired: PairedDataset, monkeypatch: Any, look_every: int, micro_batch: int | None
) -> None:
    monkeypatch.setattr(Fitting, "__post_init__", looking(look_every))
    rows = TRAIN[epoch_order(150, 5, 1)].split(32)[2]
    with pytest.raises(InputError) as caught:
        train(
            paired,
            objective=at_row(int(rows[3]), math.nan),
            config=replace(CONFIG, micro_batch=micro_batch),
        )
    text = str(caught.value)
    assert "The loss is nan in epoch 1" in text
    assert f"samples {', '.join(f'`{row}`' for row in rows.tolist())}: lower `lr`" in text


def test_weights_that_overflow_are_never_called_the_best(paired: PairedDataset) -> None:
    # The last batch's gradient overflows, so that no loss is left to show it.
    rows = TRAIN[epoch_order(150, 5, 1)].split(32)[-1]

    def overflow(outputs: Tensor, batch: Batch) -> Tensor:
        loss = Distill()(outputs, batch)
        return loss + (torch.sqrt(0 * outputs).sum() if int(rows[0]) in batch.rows else 0)

    with pytest.raises(InputError, match=f"A weight is not finite in epoch 1.*`{int(rows[0])}`"):
        train(paired, objective=overflow, score=lambda _: 1.0, config=replace(CONFIG, epochs=1))


def test_a_score_must_be_a_number_in_one_epoch(paired: PairedDataset) -> None:
    with pytest.raises(InputError, match=r"`score` must be defined .* It was NaN in all 3: choose"):
        train(paired, score=lambda _: math.nan)
    values = iter([math.nan, 1.0, math.nan])
    assert train(paired, score=lambda _: next(values)).best_epoch == 2


def test_nothing_to_train_is_refused(paired: PairedDataset) -> None:
    with pytest.raises(InputError, match="`train` must hold one row"):
        train(paired, train=torch.arange(0))
    with pytest.raises(InputError, match="no parameters to train"):
        train(paired, nn.Sequential(network().requires_grad_(False)))


class Jitter:
    """Adds what was drawn, so that a loss tells which numbers a sample got."""

    num_draws = 10

    def __call__(self, batch: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        return batch + draws


def test_augmentation_is_each_samples_own_and_for_training_alone(paired: PairedDataset) -> None:
    data = paired.with_augment({"audio": Jitter()})
    plain, once, parts = train(paired), train(data), train(data, config=replace(CONFIG, micro_batch=5))
    assert [e.loss for e in once.history] == pytest.approx([e.loss for e in parts.history], abs=1e-6)
    assert once.history[0].loss != pytest.approx(plain.history[0].loss, abs=1e-3)
    logits = predict(once.model, data, "audio", torch.arange(20))
    assert torch.equal(logits, predict(once.model, paired, "audio", torch.arange(20)))


def test_an_augmented_training_goes_on_to_the_last_bit(paired: PairedDataset, tmp_path: Path) -> None:
    data = paired.with_augment({"audio": Jitter()})
    whole = train(data)
    calls = 0

    def interrupted(outputs: Any, batch: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return Distill()(outputs, batch)

    def plain(outputs: Any, batch: Any) -> torch.Tensor:
        return Distill()(outputs, batch)

    interrupted.__qualname__ = plain.__qualname__
    with pytest.raises(KeyboardInterrupt):
        train(data, objective=interrupted, checkpoint=tmp_path, save_every=0.0)
    resumed = train(data, objective=plain, checkpoint=tmp_path)
    assert torch.equal(flat(resumed.model), flat(whole.model))
    with pytest.raises(InputError, match="`augment` was"):
        train(paired, objective=plain, checkpoint=tmp_path)


def test_a_last_batch_too_small_for_batch_normalisation_says_what_to_do(paired: PairedDataset) -> None:
    model = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"two samples or more, .* leaves 1\. Change `batch_size`, now 149"):
        train(paired, model, config=replace(CONFIG, batch_size=149))
