"""A killed training goes on to the same last bit; damaged files and those of others are told apart."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import make_paired
from torch import Tensor, nn

from mfh import InputError, PairedDataset, TrainConfig
from mfh.training.batches import epoch_order
from mfh.training.checkpoint import Checkpoint, CheckpointFolder
from mfh.training.loop import LoopResult, fit
from mfh.training.objectives import Batch, Distill

CONFIG = TrainConfig(epochs=3, batch_size=32, device="cpu", lr=0.1)
ADAMW = replace(CONFIG, optimizer="adamw", lr=0.01, clip=0.5, schedule="cosine", patience=2)
TRAIN = torch.arange(150)  # five steps an epoch


def network() -> nn.Module:
    """A network with dropout and running statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )


def mean_of_weights(model: nn.Module) -> float:
    """A score that tells weights apart to the last bit."""
    return sum(p.double().abs().mean().item() for p in model.parameters())


def train(data: PairedDataset, folder: Path | None, **changes: Any) -> LoopResult:
    arguments: dict[str, Any] = {
        "objective": Distill(),
        "modalities": ("audio",),
        "train": TRAIN,
        "config": CONFIG,
        "seed": 5,
        "score": mean_of_weights,
        "save_every": 0.0,
        "checkpoint": folder,
    }
    return fit(changes.pop("model", None) or network(), data, **(arguments | changes))


def interrupted(steps: int) -> Callable[[Tensor, Batch], Tensor]:
    """The usual objective, with a kill in the step after that many."""
    calls = 0

    def objective(outputs: Tensor, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > steps:
            raise KeyboardInterrupt
        return Distill()(outputs, batch)

    return objective


def stop(data: PairedDataset, folder: Path, steps: int, **changes: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(data, folder, objective=interrupted(steps), **changes)


def assert_same(result: LoopResult, expected: LoopResult) -> None:
    assert result.history == expected.history
    assert result.best_epoch == expected.best_epoch
    mine, theirs = result.model.state_dict(), expected.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


# --- going on


@pytest.mark.parametrize("config", [CONFIG, ADAMW, replace(CONFIG, momentum=0.0, micro_batch=9)])
@pytest.mark.parametrize("steps", [1, 5, 7])
def test_goes_on_to_the_last_bit(
    paired: PairedDataset, tmp_path: Path, config: TrainConfig, steps: int
) -> None:
    changes: dict[str, Any] = {"config": config, "objective": interrupted(1000)}
    expected = train(paired, None, **changes)
    per_step = 4 if config.micro_batch else 1
    torch.manual_seed(1)
    stop(paired, tmp_path, steps * per_step, config=config)
    torch.manual_seed(2)
    stop(paired, tmp_path, 2 * per_step, config=config)
    assert_same(train(paired, tmp_path, **changes), expected)


def test_goes_on_from_the_last_checkpoint_where_steps_lie_between(
    paired: PairedDataset, tmp_path: Path
) -> None:
    expected = train(paired, None, objective=interrupted(1000))
    stop(paired, tmp_path, 7)
    stop(paired, tmp_path, 6, save_every=1e9)  # six steps further, and none of them is kept
    assert_same(train(paired, tmp_path, objective=interrupted(15 - 7)), expected)


def test_a_kill_during_evaluation_loses_no_step(paired: PairedDataset, tmp_path: Path) -> None:
    def killed(model: nn.Module) -> float:
        raise KeyboardInterrupt

    expected = train(paired, None, objective=interrupted(1000))
    with pytest.raises(KeyboardInterrupt):
        train(paired, tmp_path, objective=interrupted(5), score=killed)
    assert_same(train(paired, tmp_path, objective=interrupted(10)), expected)


def test_a_finished_training_is_read_not_repeated(paired: PairedDataset, tmp_path: Path) -> None:
    first = train(paired, tmp_path, objective=interrupted(15))
    epochs: list[object] = []
    again = train(paired, tmp_path, objective=interrupted(0), on_epoch=epochs.append)
    assert_same(again, first)
    assert again.seconds == first.seconds
    assert epochs == []
    assert not again.model.training


def test_what_is_left_on_disk(paired: PairedDataset, tmp_path: Path) -> None:
    stop(paired, tmp_path, 12)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"last.safetensors", "previous.safetensors", "best.safetensors"}
    values = iter([1.0, 9.0, 2.0])
    result = train(paired, tmp_path / "new", score=lambda _: next(values))
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"last.safetensors", "best.safetensors"}
    best, last = (load_file(tmp_path / "new" / f"{name}.safetensors") for name in ("best", "last"))
    state = result.model.state_dict()
    assert result.best_epoch == 2
    assert best.keys() == state.keys()
    assert all(torch.equal(best[name], state[name]) for name in state)
    network().load_state_dict(best)
    assert {name.partition("/")[0] for name in last} == {"best"}  # nothing goes on from a finished training


def test_a_caller_that_keeps_the_network_needs_no_checkpoint(paired: PairedDataset, tmp_path: Path) -> None:
    objective = interrupted(1000)
    expected = train(paired, tmp_path / "kept", objective=objective)
    result = train(paired, tmp_path / "new", objective=objective, save_end=False, save_every=1e6)
    assert_same(result, expected)
    assert list((tmp_path / "new").iterdir()) == []
    stop(paired, tmp_path / "stopped", 12)
    assert_same(train(paired, tmp_path / "stopped", objective=objective, save_end=False), expected)


def test_without_a_score_the_last_epoch_goes_into_best(paired: PairedDataset, tmp_path: Path) -> None:
    expected = train(paired, None, score=None, objective=interrupted(1000))
    stop(paired, tmp_path, 6, score=None)
    assert not (tmp_path / "best.safetensors").exists()
    result = train(paired, tmp_path, score=None, objective=interrupted(1000))
    best, state = load_file(tmp_path / "best.safetensors"), expected.model.state_dict()
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, state[name])
        assert torch.equal(best[name], state[name])
    assert result.best_epoch == expected.best_epoch == 3
    assert [epoch.loss for epoch in result.history] == [epoch.loss for epoch in expected.history]


def test_weights_that_layers_share_are_kept(paired: PairedDataset, tmp_path: Path) -> None:
    def tied() -> nn.Module:
        first, second = nn.Linear(10, 10), nn.Linear(10, 10)
        second.weight = first.weight
        return nn.Sequential(first, nn.ReLU(), second, nn.Linear(10, 3))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tied()
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    stop(paired, tmp_path, 4, model=model)
    result = train(paired, tmp_path, model=tied(), objective=interrupted(11))
    expected = tied()
    expected.load_state_dict(initial)
    assert_same(result, train(paired, None, model=expected))


# --- refusals


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": replace(CONFIG, lr=0.2)}, "`lr` was 0.1, is 0.2"),
        ({"seed": 6}, "`seed` was 5, is 6"),
        ({"train": TRAIN[:100]}, "`train` was 150 rows"),
        ({"objective": Distill(smoothing=0.1)}, "`objective` was "),
        ({"objective": Distill(torch.zeros(240, 3), 0.0, 1.0)}, "`objective` was "),
        ({"model": nn.Linear(10, 3)}, "`network` was Sequential .*, is Linear"),
        ({"score": None}, "`keeps` was best epoch, is last epoch"),
    ],
)
def test_another_training_is_refused(
    paired: PairedDataset, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    train(paired, tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(InputError, match=f"belongs to another training: {named}"):
        train(paired, tmp_path, **changes)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_other_data_and_transforms_are_refused(paired: PairedDataset, tmp_path: Path) -> None:
    train(paired, tmp_path)
    with pytest.raises(InputError, match="another training: `data` was "):
        train(make_paired(seed=1), tmp_path)
    with pytest.raises(InputError, match="another training: `transforms` was "):
        train(paired.with_transforms({"audio": torch.abs}), tmp_path)


def test_how_it_is_computed_may_change(paired: PairedDataset, tmp_path: Path) -> None:
    stop(paired, tmp_path, 6)
    changed = replace(CONFIG, device="auto" if not torch.cuda.is_available() else "cpu", channels_last=True)
    assert_same(train(paired, tmp_path, objective=interrupted(9), config=changed), train(paired, None))


def test_a_file_of_somebody_else_is_refused(paired: PairedDataset, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "last.safetensors")
    with pytest.raises(InputError, match="which training did not write: name another"):
        train(paired, tmp_path)


def test_a_state_that_is_no_tensor_is_refused(paired: PairedDataset, tmp_path: Path) -> None:
    class Counting(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"count": 1}

        def set_extra_state(self, state: object) -> None: ...

    with pytest.raises(InputError, match="`_extra_state` cannot be written: it is a dict"):
        train(paired, tmp_path, model=Counting(10, 3))
    train(paired, None, model=Counting(10, 3))


# --- damage


def damage(path: Path, place: float) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.0, 0.2, 0.7, 1.0])
def test_a_flipped_bit_is_noticed_and_the_state_before_is_taken(
    paired: PairedDataset, tmp_path: Path, caplog: Any, place: float
) -> None:
    stop(paired, tmp_path, 8)
    damage(tmp_path / "last.safetensors", place)
    with caplog.at_level(logging.WARNING, "mfh"):
        result = train(paired, tmp_path, objective=interrupted(15 - 7))
    assert_same(result, train(paired, None))
    assert f"The checkpoint `{tmp_path / 'last.safetensors'}` is damaged" in caplog.text
    assert "previous.safetensors" in caplog.text


def test_every_damage_of_the_file_is_noticed(paired: PairedDataset, tmp_path: Path) -> None:
    store = CheckpointFolder(tmp_path, {"seed": 0})
    store.save(Checkpoint({"step": 3, "loss": float("nan")}, {"model": {"w": torch.arange(3.0)}}))
    content = (tmp_path / "last.safetensors").read_bytes()
    intact = CheckpointFolder(tmp_path, {"seed": 0}).load()
    assert intact is not None
    assert intact.values["step"] == 3
    unnoticed = []
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "last.safetensors").write_bytes(changed)
        try:
            found = CheckpointFolder(tmp_path, {"seed": 0}).load()
        except InputError:  # the words that say whose file it is have changed
            continue
        if found is not None:
            same = found.values["step"] == 3 and torch.equal(found.groups["model"]["w"], torch.arange(3.0))
            unnoticed += [] if same else [place]
    assert unnoticed == []


@pytest.mark.parametrize("keep", [0, 3000])
def test_a_truncated_file_is_noticed(paired: PairedDataset, tmp_path: Path, caplog: Any, keep: int) -> None:
    stop(paired, tmp_path, 8)
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:keep])
    assert_same(train(paired, tmp_path, objective=interrupted(8)), train(paired, None))
    assert "is damaged" in caplog.text


def test_the_good_state_outlives_the_next_kill(paired: PairedDataset, tmp_path: Path) -> None:
    stop(paired, tmp_path, 8)
    good = (tmp_path / "previous.safetensors").read_bytes()
    damage(tmp_path / "last.safetensors", 0.5)
    stop(paired, tmp_path, 1, save_every=0.0)
    assert (tmp_path / "previous.safetensors").read_bytes() == good


def test_with_everything_damaged_training_starts_over(
    paired: PairedDataset, tmp_path: Path, caplog: Any
) -> None:
    stop(paired, tmp_path, 8)
    for name in ("last", "previous"):
        damage(tmp_path / f"{name}.safetensors", 0.5)
    assert_same(train(paired, tmp_path, objective=interrupted(15)), train(paired, None))
    assert "training starts over" in caplog.text


def test_a_kill_between_two_renames_is_no_damage(paired: PairedDataset, tmp_path: Path, caplog: Any) -> None:
    stop(paired, tmp_path, 8)
    (tmp_path / "last.safetensors").replace(tmp_path / "previous.safetensors")
    assert_same(train(paired, tmp_path, objective=interrupted(7)), train(paired, None))
    assert caplog.text == ""


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(paired: PairedDataset, tmp_path: Path) -> None:
    rows = TRAIN[epoch_order(150, 5, 2)].split(32)[1]
    row = int(rows[0])

    def objective(outputs: Tensor, batch: Batch) -> Tensor:
        loss = Distill()(outputs, batch)
        return loss * float("inf") if second_epoch and row in batch.rows else loss

    second_epoch = False

    def on_epoch(_: object) -> None:
        nonlocal second_epoch
        second_epoch = True

    with pytest.raises(InputError) as caught:
        train(paired, tmp_path, objective=objective, on_epoch=on_epoch)
    kept = f"The last good state, epoch 2 after 1 of 5 steps, is in `{tmp_path / 'last.safetensors'}`."
    assert kept in str(caught.value)
    assert f"`{row}`" in str(caught.value)
    assert all(value.isfinite().all() for value in load_file(tmp_path / "last.safetensors").values())
    second_epoch = False
    assert_same(train(paired, tmp_path, objective=objective), train(paired, None))


# --- a real kill

SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from test_checkpoint import ADAMW, flat, train
from mfh.training.objectives import Distill
from samples import make_paired

def slow(outputs, batch):
    time.sleep(0.05)
    return Distill()(outputs, batch)

result = train(make_paired(), Path({folder!r}), objective=slow, config=ADAMW, save_every=0.1)
Path({out!r}).write_text(flat(result))
"""


def flat(result: LoopResult) -> str:
    """Weights and history as text, to the last bit."""
    weights = {name: value.double().tolist() for name, value in result.model.state_dict().items()}
    return json.dumps([weights, [[e.number, e.loss, e.validation] for e in result.history]])


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    here, out, folder = Path(__file__).parent, tmp_path / "out.json", tmp_path / "folder"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(paths=[str(here), str(here.parent)], folder=str(folder), out=str(out)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(20):
        before = written(folder)
        process = subprocess.Popen([sys.executable, str(script)], env=environment)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if kills < 2 and written(folder) > before:
                time.sleep(0.13)
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            time.sleep(0.01)
        if out.exists():
            break
    assert kills == 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = flat(train(make_paired(), None, config=ADAMW))
    torch.set_num_threads(threads)
    assert out.read_text() == expected


def written(folder: Path) -> int:
    """When the newest checkpoint was written; 0 before the first, and while one takes the other's place."""
    try:
        return (folder / "last.safetensors").stat().st_mtime_ns
    except FileNotFoundError:
        return 0
