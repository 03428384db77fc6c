"""The loop against plain PyTorch, and what it promises of seeds, precision, parts, processes and errors."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import make_paired
from torch import Tensor, nn

from mfh import InputError, PairedDataset, TrainConfig
from mfh.training import monitor
from mfh.training.batches import epoch_order, shares
from mfh.training.device import Processes, make_accelerator, synchronised
from mfh.training.evaluate import accuracy, predict
from mfh.training.loop import FitResult, fit
from mfh.training.objectives import Batch, Distill, Pair, joint
from mfh.training.run import Run

CONFIG = TrainConfig(epochs=3, batch_size=32, device="cpu")
TRAIN, VALIDATION = torch.arange(0, 150), torch.arange(150, 240)


def seeded(build: Callable[[], nn.Module], seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def network(*, dropout: float = 0.0) -> nn.Sequential:
    middle = [nn.Dropout(dropout)] if dropout else []
    return seeded(lambda: nn.Sequential(nn.Linear(10, 16), nn.ReLU(), *middle, nn.Linear(16, 3)), 0)


def train(data: PairedDataset, model: nn.Module | None = None, **changes: Any) -> FitResult:
    arguments: dict[str, Any] = {"modalities": ("audio",), "train": TRAIN, "config": CONFIG, "seed": 5}
    objective = changes.pop("objective", Distill())
    return fit(network() if model is None else model, data, objective, **(arguments | changes))


def on_validation(data: PairedDataset) -> Callable[[nn.Module], float]:
    labels = data.label[VALIDATION]
    return lambda model: accuracy(predict(model, data, "audio", VALIDATION), labels)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def plain_loop(data: PairedDataset, config: TrainConfig, schedule: Any = None) -> tuple[Tensor, list[float]]:
    """The same training written down without the package's loop."""
    model, losses = network(), []
    if config.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
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
    result = train(paired, pair, objective=joint, modalities=("audio", "image"))
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
    monkeypatch.setattr("mfh.training.batches._reads_ahead", lambda _device, size: size > 0)
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
        both.append(train(data, pair, objective=joint, modalities=("audio", "image")))
    assert [epoch.loss for epoch in both[0].history] == [epoch.loss for epoch in both[1].history]
    assert torch.equal(flat(both[0].model), flat(both[1].model))


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


# --- device and precision


def test_fits_of_one_process_may_differ_in_precision(paired: PairedDataset) -> None:
    seen: list[torch.dtype] = []
    model = network()
    model[2].register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    before = train(paired)
    half = train(paired, model, config=replace(CONFIG, precision="bf16"))
    after = train(paired)
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert before.history[-1].loss == after.history[-1].loss
    assert 0 < abs(half.history[-1].loss - before.history[-1].loss) < 0.02
    seen.clear()
    predict(half.model, paired, "audio", VALIDATION)
    assert set(seen) == {torch.float32}, "the network itself computes as it did before"


def test_an_accelerator_made_before_keeps_its_settings(paired: PairedDataset) -> None:
    mine = make_accelerator(replace(CONFIG, precision="bf16"))
    train(paired)
    assert mine.mixed_precision == "bf16"
    assert make_accelerator(CONFIG).mixed_precision == "no"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"precision": "fp16"}, "`precision` fp16 needs an accelerator"),
        ({"device": "nonsense"}, "`device` 'nonsense' cannot be used here"),
        ({"tracker": "tensorboard"}, "`tracker` `tensorboard` needs a folder"),
    ],
)
def test_what_is_not_here_is_refused(paired: PairedDataset, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        train(paired, config=replace(CONFIG, **changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_an_absent_accelerator_is_refused(paired: PairedDataset) -> None:
    with pytest.raises(InputError, match="`device` 'cuda' cannot be used here"):
        train(paired, config=replace(CONFIG, device="cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_trains_on_an_accelerator(paired: PairedDataset, precision: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no accelerator")
    config = replace(CONFIG, device="cuda", precision=precision, clip=1.0)
    result = train(paired, config=config, score=on_validation(paired))
    expected = train(paired, config=replace(CONFIG, clip=1.0), score=on_validation(paired))
    assert result.history[-1].loss == pytest.approx(expected.history[-1].loss, rel=0.03)


def test_batch_normalisation_is_synchronised_on_cuda_and_given_back() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), nn.BatchNorm2d(2))
    layers = list(model.modules())
    with synchronised(model, Processes(0, 2, torch.device("cpu"))):
        assert list(model.modules()) == layers
    with synchronised(model, Processes(0, 2, torch.device("cuda"))):
        assert [type(m) for m in model.modules()].count(nn.SyncBatchNorm) == 2
        assert model[1].weight is layers[-1].weight
    assert list(model.modules()) == layers


# --- errors


def at_row(row: int, value: float) -> Callable[[Any, Batch], Tensor]:
    """An objective that is multiplied by a value where a batch holds a row."""

    def objective(outputs: Tensor, batch: Batch) -> Tensor:
        return Distill()(outputs, batch) * (value if row in batch.rows else 1.0)

    return objective


def looking(every: int) -> Callable[[Run], None]:
    """What makes the loop look at its losses now and then only, as it does on accelerators."""
    original = Run.__post_init__

    def changed(run: Run) -> None:
        original(run)
        run.look_every = every

    return changed


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("look_every", [1, 20])
def test_a_loss_that_is_not_finite_names_its_batch(
    paired: PairedDataset, monkeypatch: Any, look_every: int, micro_batch: int | None
) -> None:
    monkeypatch.setattr(Run, "__post_init__", looking(look_every))
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


def test_a_score_must_be_a_number(paired: PairedDataset) -> None:
    with pytest.raises(InputError, match=r"`score` must give a number\. Got NaN after epoch 1"):
        train(paired, score=lambda _: math.nan)


def test_nothing_to_train_is_refused(paired: PairedDataset) -> None:
    with pytest.raises(InputError, match="`train` must hold one row"):
        train(paired, train=torch.arange(0))
    with pytest.raises(InputError, match="no parameters to train"):
        train(paired, nn.Sequential(network().requires_grad_(False)))


# --- what it shows


def test_progress_shows_loss_and_rate(paired: PairedDataset, monkeypatch: Any, capsys: Any) -> None:
    train(paired, progress=True)
    assert capsys.readouterr().err == "", "a quick training shows nothing"
    monkeypatch.setattr(monitor, "PATIENCE", 0.0)
    monkeypatch.setattr(monitor, "BAR_EVERY", 0.0)
    train(paired, progress=True, score=lambda _: time_passes())
    shown = capsys.readouterr().err
    assert "loss 0." in shown or "loss 1." in shown
    assert "sample/s" in shown
    train(paired)
    assert capsys.readouterr().err == ""


def time_passes() -> float:
    """Longer than a bar waits between two updates."""
    import time

    time.sleep(0.15)
    return 0.0


def test_trackers_are_named(paired: PairedDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`tracker` must hold names of `aim`, .*Got 'abacus'"):
        train(paired, config=replace(CONFIG, tracker="abacus"), checkpoint=tmp_path)
    from accelerate.utils import is_clearml_available

    if not is_clearml_available():
        with pytest.raises(InputError, match="'clearml' is not installed: `pip install clearml`"):
            train(paired, config=replace(CONFIG, tracker=["clearml"]), checkpoint=tmp_path)


def test_tensorboard_gets_the_curves(paired: PairedDataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(CONFIG, tracker="tensorboard")
    result = train(paired, config=config, score=on_validation(paired), checkpoint=tmp_path)
    events = EventAccumulator(str(tmp_path / "logs" / "mfh"))
    events.Reload()
    for name in ("loss", "validation"):
        curve = [(event.step, event.value) for event in events.Scalars(name)]
        wanted = [(5 * epoch.number, getattr(epoch, name)) for epoch in result.history]
        np.testing.assert_allclose(curve, wanted, rtol=1e-6)


# --- several processes

SCRIPT = """
import json, sys
import torch
from dataclasses import replace
sys.path[:0] = {paths!r}
from test_loop import CONFIG, TRAIN, VALIDATION, network
from samples import make_paired
from mfh.training.device import Processes
from mfh.training.evaluate import accuracy, predict
from mfh.training.loop import fit
from mfh.training.objectives import Distill

data = make_paired()
labels = data.label[VALIDATION]
def score(model):
    return accuracy(predict(model, data, "audio", VALIDATION, shared=True), labels)
config = replace(CONFIG, batch_size=37, epochs=4, micro_batch={micro}, device={device!r})
result = fit(network(), data, Distill(), modalities=("audio",), train=TRAIN, config=config, seed=5,
             score=score, checkpoint={folder!r}, save_every=0.0)
processes = Processes.on(torch.device("cpu"))
told = dict(loss=[e.loss for e in result.history], validation=[e.validation for e in result.history],
            weights=torch.cat([p.detach().flatten() for p in result.model.parameters()]).tolist(),
            count=processes.count)
open({out!r} + str(processes.rank), "w").write(json.dumps(told))
if processes.count > 1:
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def launch(tmp_path: Path, count: int, micro: int | None, device: str) -> list[dict[str, Any]]:
    here = Path(__file__).parent
    script, out = tmp_path / f"{count}.py", str(tmp_path / f"told-{count}-")
    paths = [str(here), str(here.parent)]
    folder = str(tmp_path / f"checkpoint-{count}")
    script.write_text(SCRIPT.format(paths=paths, micro=micro, folder=folder, out=out, device=device))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count)]
    command += ["--master_port", str(29500 + os.getpid() % 1000), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(Path(f"{out}{rank}").read_text()) for rank in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(("micro", "device"), [(None, "cpu"), (7, "auto")])
def test_two_processes_train_as_one(tmp_path: Path, micro: int | None, device: str) -> None:
    if device == "auto" and torch.cuda.is_available():
        pytest.skip("auto takes accelerators here")
    data = make_paired()
    config = replace(CONFIG, batch_size=37, epochs=4)  # the last batch of an epoch holds 2 samples
    alone = train(data, config=config, score=on_validation(data))
    told = launch(tmp_path, 2, micro, device)
    assert [one["count"] for one in told] == [2, 2]
    for one in told:
        assert one["loss"] == pytest.approx([epoch.loss for epoch in alone.history], abs=1e-5)
        assert one["validation"] == [epoch.validation for epoch in alone.history]
        torch.testing.assert_close(torch.tensor(one["weights"]), flat(alone.model), rtol=0, atol=1e-5)
    assert sorted(p.name for p in (tmp_path / "checkpoint-2").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
    ]
    again = launch(tmp_path, 2, micro, device)
    assert again == told, "a finished training is read, by every process"
