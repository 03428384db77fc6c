"""Step 1 of Algorithm 1 in compiled code against the loop."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from student_jobs import NUM_CLASSES, NUM_INPUTS, TRAIN, VALIDATION, make_data
from torch import nn

from mfh._checks import InputError
from mfh.config import TrainConfig
from mfh.models.mlp import mlp
from mfh.training.batches import training_order
from mfh.training.many import epochs
from mfh.training.objectives import Fused, Pair
from mfh.training.pairs import train_pair
from mfh.training.students import seeded


def make_pair(dtype=torch.float64, hidden=(24, 16)):
    def build():
        return Pair(mlp(NUM_INPUTS, NUM_CLASSES, hidden=hidden), mlp(2, NUM_CLASSES, hidden=(9,)))

    return seeded(build, 0).to(dtype)


def trained(pair, engine, folder=None, dtype=torch.float64, **settings):
    data = make_data(dtype=dtype)
    data = data.with_transforms({name: lambda values: values.to(dtype) for name in ("a", "b")})
    told = []
    done = train_pair(
        pair,
        data,
        modalities=("a", "b"),
        train=TRAIN,
        validation=VALIDATION,
        config=TrainConfig(**{"device": "cpu", "epochs": 12, **settings}),
        seed=3,
        engine=engine,
        on_progress=told.append,
        folder=folder,
    )
    return done, sum(told)


def test_an_epoch_in_pieces_is_the_same_to_the_last_bit(monkeypatch):
    pairs = [make_pair(), make_pair()]
    whole, _ = trained(pairs[0], "many")
    monkeypatch.setattr(epochs, "PIECE", 1)  # a step each
    assert trained(pairs[1], "many")[0].loss == whole.loss
    states = [pair.state_dict() for pair in pairs]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(
    "settings",
    [{"epochs": 34}, {"patience": 2, "lr": 0.3}, {"optimizer": "adamw", "clip": 0.2}, {"weight_decay": 0.1}],
)
def test_compiled_code_agrees_with_the_loop(settings):
    pairs = [make_pair(), make_pair()]
    (ours, told), (loop, told_by_loop) = (
        trained(pair, engine, **settings) for pair, engine in zip(pairs, ("many", "loop"), strict=True)
    )
    np.testing.assert_allclose(ours.loss, loop.loss, rtol=0, atol=1e-9)
    assert ours.validation == pytest.approx(loop.validation, abs=1e-9)
    assert ours.best_epoch == loop.best_epoch
    assert told == told_by_loop == settings.get("epochs", 12)
    states = [pair.state_dict() for pair in pairs]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-9)


def test_single_precision_agrees_to_its_rounding():
    ours, loop = (
        trained(make_pair(torch.float32), engine, dtype=torch.float32)[0] for engine in ("auto", "loop")
    )
    np.testing.assert_allclose(ours.loss, loop.loss, rtol=0, atol=1e-4)


def test_other_networks_go_through_the_loop(tmp_path):
    pair = make_pair()
    pair.student = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, NUM_CLASSES)).double()
    before = deepcopy(pair.student.state_dict())
    trained(pair, "auto", tmp_path, epochs=1)
    assert any(tmp_path.iterdir()), "the loop keeps a checkpoint"
    assert not torch.equal(pair.student.state_dict()["0.weight"], before["0.weight"])


def test_a_loss_that_is_not_finite_names_the_batch():
    with pytest.raises(InputError, match=r"trained together.* epoch \d+, in the batch of samples `clip"):
        trained(make_pair(), "many", lr=1e200)


STEPS = {"steps": 40, "batch_size": 30, "schedule": "linear", "clip": 5.0}


def both_engines(make, **arguments):
    """Train a pair with a fixed number of steps by both engines; return both and their losses."""
    data = arguments.pop("data", make_data())
    found = []
    for engine in ("many", "loop"):
        pair = make()
        done = train_pair(
            pair, data, modalities=("a", "b"), config=TrainConfig(device="cpu", **STEPS), seed=3,
            validation=TRAIN[:20], engine=engine, **arguments,
        )  # fmt: skip
        found.append((pair, done))
    return found


def test_unlabelled_samples_train_a_pair_alike_in_compiled_code_and_the_loop():
    labelled = torch.arange(0, len(TRAIN), 5)
    hidden = np.setdiff1d(np.arange(len(make_data())), TRAIN[labelled].numpy())
    data = make_data().without_labels(hidden)

    def make():
        return make_pair(torch.float32)

    (ours, compiled), (theirs, loop) = both_engines(make, data=data, train=TRAIN, labelled=labelled)
    assert len(compiled.loss) == 1
    np.testing.assert_allclose(compiled.loss, loop.loss, rtol=0, atol=1e-4)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-3)


def test_a_fused_pair_is_one_network_in_compiled_code_and_the_loop():
    def make():
        pair = make_pair(torch.float32)
        return Fused(pair.teacher, pair.student)

    (ours, compiled), (theirs, loop) = both_engines(make, train=TRAIN)
    np.testing.assert_allclose(compiled.loss, loop.loss, rtol=0, atol=1e-4)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-3)


def test_a_third_of_each_step_has_labels_and_every_labelled_sample_is_used_as_often():
    config = TrainConfig(steps=20, batch_size=9)
    labelled = torch.tensor([1, 4, 6, 7, 11])
    order = training_order(30, 0, 1, config, labelled).view(20, 9)
    assert torch.isin(order[:, :3], labelled).all()
    counts = torch.bincount(order[:, :3].flatten(), minlength=30)[labelled]
    assert counts.tolist() == [12] * 5
    everywhere = torch.bincount(order[:, 3:].flatten(), minlength=30)
    assert everywhere.tolist() == [4] * 30
