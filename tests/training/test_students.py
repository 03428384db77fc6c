"""Students trained one by one and many at once: the same losses, the same accuracies, the same errors."""

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from student_jobs import NUM_CLASSES, NUM_INPUTS, VALIDATION, make_data, make_jobs, make_objectives
from torch import nn

from mfh._checks import InputError
from mfh.config import TrainConfig
from mfh.models.mlp import mlp
from mfh.training.many import train_many
from mfh.training.many.batched import train_stacked
from mfh.training.objectives import Distill
from mfh.training.students import seeded, train_students


def both(jobs, **settings):
    config = TrainConfig(**{"device": "cpu", "epochs": 34, **settings})
    return train_students(jobs, config, engine="loop"), train_students(jobs, config, engine="many")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.0, "schedule": "cosine"},
        {"weight_decay": 0.01, "clip": 0.3, "schedule": "step", "step_epochs": 10},
        {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.1},
        {"optimizer": "adamw", "lr": 0.003, "clip": 0.3, "batch_size": 1000, "epochs": 20},
    ],
    ids=["sgd", "plain sgd, cosine", "decay, clip, step", "adamw", "adamw, clip, full batch"],
)
def test_in_float64_both_engines_have_the_same_losses_over_a_hundred_steps(settings):
    for alone, together in zip(*both(make_jobs(torch.float64), **settings), strict=True):
        np.testing.assert_allclose(together.loss, alone.loss, rtol=0, atol=1e-6)
        assert together.validation == alone.validation
        assert together.best_epoch == alone.best_epoch
        assert together.state.keys() == alone.state.keys()
        for name, value in alone.state.items():
            torch.testing.assert_close(together.state[name], value, rtol=0, atol=1e-5)


def test_in_float32_both_engines_end_within_one_sample_of_each_other():
    one = 100 / len(VALIDATION)
    for alone, together in zip(*both(make_jobs()), strict=True):
        np.testing.assert_allclose(together.loss, alone.loss, rtol=0, atol=1e-4)
        assert abs(together.validation[-1] - alone.validation[-1]) <= one + 1e-9
        assert abs(max(together.validation) - max(alone.validation)) <= one + 1e-9


@pytest.mark.parametrize("hidden", [(), (7,), (33, 16, 5)])
def test_other_depths_and_widths_agree_as_well(hidden):
    jobs = make_jobs(torch.float64, hidden)[:3]
    for alone, together in zip(*both(jobs, epochs=5, batch_size=13), strict=True):
        np.testing.assert_allclose(together.loss, alone.loss, rtol=0, atol=1e-7)
        assert together.validation == alone.validation


def test_layers_without_bias_and_inputs_of_several_dimensions_agree():
    data = make_data(dtype=torch.float64)
    fold = data.transforms["a"]
    data = data.with_transforms({"a": lambda values: fold(values)[:, :10].unflatten(1, (2, 5))})
    layers = [nn.Flatten(), nn.Linear(10, 8, bias=False), nn.ReLU(), nn.Identity(), nn.Linear(8, 6)]
    model = seeded(lambda: nn.Sequential(*layers, nn.Linear(6, NUM_CLASSES)), 0).double()
    job = replace(make_jobs(torch.float64)[4], model=model, data=data)
    (alone,), (together,) = both([job], epochs=5)
    np.testing.assert_allclose(together.loss, alone.loss, rtol=0, atol=1e-7)
    for name, value in alone.state.items():
        torch.testing.assert_close(together.state[name], value)


def test_each_student_stops_by_its_own_patience():
    alone, together = both(make_jobs(torch.float64), epochs=60, patience=3, lr=0.2)
    lengths = [len(fit.loss) for fit in together]
    assert lengths == [len(fit.loss) for fit in alone]
    assert len(set(lengths)) > 1, "the students must differ in when they stop"
    for one, other in zip(alone, together, strict=True):
        assert other.validation == one.validation
        assert other.best_epoch == one.best_epoch
        assert len(other.validation) == len(other.loss)


def test_the_best_epoch_is_the_first_of_equals():
    for fits in both(make_jobs()[:3], epochs=15):
        for fit in fits:
            assert fit.best_epoch == int(np.argmax(fit.validation)) + 1


@pytest.mark.parametrize("engine", ["loop", "many", "auto"])
def test_networks_stay_as_they_are_and_results_come_in_the_order_of_the_jobs(engine):
    first, second = make_jobs(), make_jobs(hidden=(9,), data=make_data(1), seed=1)
    jobs = [job for pair in zip(first, second, strict=True) for job in pair]
    before = [deepcopy(job.model.state_dict()) for job in jobs]
    fits = train_students(jobs, TrainConfig(device="cpu", epochs=2), engine=engine)
    for job, state, fit in zip(jobs, before, fits, strict=True):
        for name, value in job.model.state_dict().items():
            assert torch.equal(value, state[name])
            assert fit.state[name].shape == value.shape
            assert not torch.equal(fit.state[name], value)
    again = train_students(jobs[3:4], TrainConfig(device="cpu", epochs=2), engine=engine)
    assert again[0].loss == fits[3].loss


@pytest.mark.parametrize("engine", ["loop", "many"])
@pytest.mark.parametrize("patience", [0, 1])
def test_progress_adds_up_to_all_epochs_of_all_students(engine, patience):
    counts = []
    config = TrainConfig(device="cpu", epochs=9, patience=patience, lr=0.5)
    train_students(make_jobs(), config, engine=engine, on_progress=counts.append)
    assert sum(counts) == len(make_objectives()) * 9


@pytest.mark.parametrize("engine", ["loop", "many"])
def test_a_loss_that_is_not_finite_names_epoch_and_samples(engine):
    objectives = make_objectives()
    jobs = make_jobs(objectives={"labels": objectives["labels"], "teacher": objectives["teacher"]})
    broken = objectives["teacher"].teacher_logits.clone()
    broken[17, 2] = torch.nan
    jobs[1] = replace(jobs[1], objective=replace(jobs[1].objective, teacher_logits=broken))
    with pytest.raises(InputError, match=r"loss is nan in epoch 1, in the batch .*clip 17\b") as caught:
        train_students(jobs, TrainConfig(device="cpu", epochs=2, batch_size=16), engine=engine)
    assert engine == "loop" or str(caught.value).startswith("Student 1: ")


def one_by_one(jobs, config, **options):
    return train_students(jobs, config, engine="loop", **options)


def stacked(jobs, config, **options):
    return train_stacked(range(len(jobs)), jobs, config, torch.device("cpu"), lambda _: None, **options)


@pytest.mark.parametrize("way", [one_by_one, train_many, stacked])
def test_a_student_may_diverge_and_leave_its_reason_and_the_others_alone(way):
    objectives = make_objectives()
    jobs = make_jobs(objectives={name: objectives[name] for name in ("labels", "teacher", "both")})
    broken = objectives["teacher"].teacher_logits.clone()
    broken[17, 2] = torch.nan
    jobs[1] = replace(jobs[1], name="The second", objective=replace(jobs[1].objective, teacher_logits=broken))
    config = TrainConfig(device="cpu", epochs=3, batch_size=16)
    done = way(jobs, config, tolerant=True)
    failure = done[1].failure
    assert failure is not None
    assert failure.epoch == 1
    assert str(failure).startswith("The second: The loss is nan in epoch 1, in the batch of samples ")
    assert "clip 17" in failure.ids
    assert str(pickle.loads(pickle.dumps(failure))) == str(failure)
    assert done[1].state == {}
    for number in (0, 2):
        (alone,) = way(jobs[number : number + 1], config)
        assert done[number].failure is None
        assert done[number].loss == pytest.approx(alone.loss, rel=1e-6)
        assert done[number].validation == alone.validation


def test_both_engines_name_the_same_batch():
    texts = []
    for engine in ("loop", "many"):
        config = TrainConfig(device="cpu", epochs=50, lr=1e6, batch_size=16)
        with pytest.raises(InputError) as caught:
            train_students(make_jobs()[:1], config, engine=engine)
        texts.append(str(caught.value).partition("in epoch")[2])
    assert texts[0] == texts[1]


class Noisy(nn.Module):
    """Draws random numbers, which no look at its layers can tell."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(NUM_INPUTS, NUM_CLASSES)

    def forward(self, x):
        return self.linear(x + torch.randn_like(x))


ALONE = {
    "running statistics": nn.Sequential(
        nn.Linear(NUM_INPUTS, 8), nn.BatchNorm1d(8), nn.Linear(8, NUM_CLASSES)
    ),
    "cannot be batched": nn.Sequential(nn.Dropout(0.5), nn.Linear(NUM_INPUTS, NUM_CLASSES)),
    "random": Noisy(),
    "frozen": mlp(NUM_INPUTS, NUM_CLASSES),
}
ALONE["frozen"].linear1.weight.requires_grad_(False)


@pytest.mark.parametrize("reason", ALONE)
def test_a_network_that_must_be_trained_alone_goes_through_the_loop(reason):
    jobs = [*make_jobs()[:1], replace(make_jobs()[1], model=ALONE[reason])]
    config = TrainConfig(device="cpu", epochs=2)
    with pytest.raises(
        InputError, match=rf"Student 1 cannot be trained with others: .*{reason}.*Use engine `loop`"
    ):
        train_students(jobs, config, engine="many")
    auto = train_students(jobs, config, engine="auto")
    assert auto[0].loss == train_students(jobs[:1], config, engine="many")[0].loss
    assert auto[1].loss == train_students(jobs[1:], config, engine="loop")[0].loss


def test_what_a_student_needs_is_checked_before_any_training():
    job = make_jobs()[0]
    config = TrainConfig(device="cpu", epochs=1)
    idle = replace(job, objective=Distill(label_weight=0.0, distill_weight=1.0))
    with pytest.raises(InputError, match="Student 1 has nothing to learn from"):
        train_students([job, idle], config)
    with pytest.raises(InputError, match="It has none for `validation`"):
        train_students([replace(job, validation=torch.arange(0))], config)
    with pytest.raises(InputError, match="`engine` must be one of `auto`, `loop`, `many`"):
        train_students([job], config, engine="quick")
    assert train_students([], config) == []


def test_initial_weights_depend_on_their_seed_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = (seeded(lambda: mlp(4, 3), 7) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.output.weight, two.output.weight)
    assert not torch.equal(one.output.weight, seeded(lambda: mlp(4, 3), 8).output.weight)
