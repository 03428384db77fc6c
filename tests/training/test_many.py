"""Many students at once: compiled code and batches against plain PyTorch, and no student disturbs another."""

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from student_jobs import NUM_CLASSES, NUM_INPUTS, NUM_SAMPLES, TRAIN, make_data, make_jobs, make_objectives
from torch import nn

from mfh import PairedDataset
from mfh._checks import InputError
from mfh._system.compiled import compiled
from mfh._system.signals import stoppable
from mfh.config import TrainConfig
from mfh.models.mlp import mlp
from mfh.training.batches import epoch_order
from mfh.training.device import make_accelerator
from mfh.training.many import epochs, train_many, why_alone, why_not_many
from mfh.training.many.batched import _History, _StackedTraining, train_stacked
from mfh.training.many.kernel import exp
from mfh.training.many.perceptron import Perceptron
from mfh.training.many.product import VECTOR, product
from mfh.training.many.targets import stack_terms, terms
from mfh.training.many.threads import _Data
from mfh.training.objectives import Batch, Distill
from mfh.training.students import StudentJob, seeded, train_students

CPU = torch.device("cpu")


def config(**settings):
    return TrainConfig(**{"device": "cpu", "epochs": 4, **settings})


def stacked(jobs, settings, device=CPU):
    return train_stacked(range(len(jobs)), jobs, settings, device, lambda _: None)


def plain_losses(job, settings):
    """Loss of every step of a loop written out with nothing of ours but the order of the samples."""
    model = seeded(lambda: mlp(NUM_INPUTS, NUM_CLASSES, hidden=(24, 16)), 0).double()
    model.load_state_dict(job.model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.peak_rate, momentum=settings.momentum)
    x, y = job.data.inputs("a", TRAIN), job.data.label[TRAIN]
    soft = torch.softmax(job.objective.teacher_logits[TRAIN], dim=1)
    losses = []
    for epoch in range(1, settings.epochs + 1):
        order, total = epoch_order(len(TRAIN), job.seed, epoch), 0.0
        for rows in order.split(settings.batch_size):
            log_q = torch.log_softmax(model(x[rows]), dim=1)
            kd = nn.functional.kl_div(log_q, soft[rows], reduction="batchmean")
            loss = 0.3 * nn.functional.nll_loss(log_q, y[rows]) + 0.6 * kd
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(TRAIN))
    return losses


@pytest.mark.parametrize("way", [train_many, stacked])
def test_losses_are_those_of_a_plain_loop(way):
    job = make_jobs(torch.float64)[4]
    job = replace(job, objective=replace(job.objective, smoothing=0.0))
    settings = config(epochs=34)
    np.testing.assert_allclose(way([job], settings)[0].loss, plain_losses(job, settings), rtol=0, atol=1e-9)


@pytest.mark.parametrize("settings", [{}, {"patience": 2, "lr": 0.3}, {"optimizer": "adamw", "clip": 0.2}])
def test_both_ways_to_train_perceptrons_agree(settings):
    settings = config(epochs=12, **settings)
    jobs = make_jobs(torch.float64)
    for one, other in zip(train_many(jobs, settings), stacked(jobs, settings), strict=True):
        np.testing.assert_allclose(other.loss, one.loss, rtol=0, atol=1e-9)
        assert other.validation == one.validation
        assert other.best_epoch == one.best_epoch
        for name, value in one.state.items():
            torch.testing.assert_close(other.state[name], value, rtol=0, atol=1e-6)


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.GroupNorm(2, 4),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def pictures(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 1, 6, 6, generator=generator)
    label = torch.randint(0, 3, (60,), generator=generator)
    data = PairedDataset.from_arrays({"a": x, "b": x}, label=label)
    return data.with_transforms({"a": lambda values: values.to(dtype)})


def picture_jobs(dtype=torch.float64):
    data, model = pictures(dtype), seeded(cnn, 0).to(dtype)
    soft = torch.randn(60, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    objectives = [Distill(), Distill(soft, label_weight=0.0, distill_weight=1.0, temperature=2.0)]
    rows = torch.arange(60)
    return [StudentJob(model, o, data, "a", rows[:44], rows[44:], 5) for o in objectives]


@pytest.mark.parametrize("memory", [2**31, 1], ids=["one batch", "one by one"])
def test_other_networks_are_batched_with_the_losses_of_the_loop(memory):
    jobs, settings = picture_jobs(), config(epochs=6, batch_size=16, weight_decay=0.01)
    alone = train_students(jobs, settings, engine="loop")
    together = train_many(jobs, settings, memory=memory)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.loss, one.loss, rtol=0, atol=1e-9)
        assert other.validation == one.validation
        for name, value in one.state.items():
            torch.testing.assert_close(other.state[name], value)


def test_what_a_student_becomes_does_not_depend_on_the_others_or_on_threads():
    jobs, settings = make_jobs(), config()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = train_many(jobs, settings)
        torch.set_num_threads(1)
        single = [train_many([job], settings, memory=1)[0] for job in jobs]
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(together, single, strict=True):
        assert one.loss == other.loss
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_epoch_in_pieces_is_the_same_to_the_last_bit(optimizer, monkeypatch):
    jobs, settings = make_jobs(), config(optimizer=optimizer)
    whole = train_many(jobs, settings)
    monkeypatch.setattr(epochs, "PIECE", 1)  # a step each
    for one, other in zip(whole, train_many(jobs, settings), strict=True):
        assert one.loss == other.loss
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)


def test_what_stops_the_call_stops_its_threads(monkeypatch):
    begun = threading.Event()
    ready = _Data.ready
    monkeypatch.setattr(_Data, "ready", lambda data: begun.set() or ready(data))
    jobs, settings = make_jobs()[:2], config(epochs=200_000)  # minutes
    train_many(jobs, config(epochs=1))  # compiles
    begun.clear()
    interrupt = threading.Thread(target=lambda: begun.wait() and os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    try:
        interrupt.start()
        start = time.monotonic()
        with stoppable(signal.SIGINT), pytest.raises(KeyboardInterrupt):
            train_many(jobs, settings)
        assert time.monotonic() - start < 20
        interrupt.join()
    finally:
        signal.signal(signal.SIGINT, before)


def test_ten_seeds_in_one_call_are_the_same_as_ten_calls():
    seeds = [make_jobs(data=make_data(seed), seed=seed)[:2] for seed in range(10)]
    together = train_many([job for jobs in seeds for job in jobs], config())
    apart = [fit for jobs in seeds for fit in train_many(jobs, config())]
    assert [fit.loss for fit in together] == [fit.loss for fit in apart]
    assert len({fit.loss for fit in together}) == 20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "vectors", "depth"), [(1, 1, 1), (8, 2, 5), (19, 3, 7), (64, 1, 64)])
def test_products_are_those_of_numpy(dtype, rows, vectors, depth):
    rng = np.random.default_rng(0)
    lanes = VECTOR // np.dtype(dtype).itemsize
    columns = vectors * lanes
    a, b = rng.normal(size=(rows, depth)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
    tolerance = depth * 10 * np.finfo(dtype).eps
    for rectify in (False, True):
        expected = np.maximum(a @ b, 0) if rectify else a @ b
        for left, a_row, a_step in ((a, depth, 1), (a.T, 1, rows)):
            c = np.full((rows, columns + 3), 7, dtype)
            product(
                rows, columns, depth, np.ascontiguousarray(left).ravel(), 0, a_row, a_step,
                b.ravel(), 0, columns, c.ravel(), 0, columns + 3, lanes, rectify,
            )  # fmt: skip
            np.testing.assert_allclose(c[:, :columns], expected, rtol=0, atol=tolerance)
            assert (c[:, columns:] == 7).all(), "nothing is written beside the columns"


def test_the_exponential_function_is_exact_to_float32():
    @compiled()
    def apply(values):
        for i in range(len(values)):
            values[i] = exp(values[i])

    values = np.linspace(-86, 0, 100_001, dtype=np.float32)
    expected = np.exp(values.astype(np.float64))
    apply(values)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert values[-1] == 1


@pytest.mark.parametrize("name", make_objectives())
def test_loss_and_gradient_in_closed_form_are_those_of_autograd(name):
    objective, label = make_objectives()[name], make_data().label
    rows = torch.arange(40, 60)
    logits = torch.randn(20, NUM_CLASSES, dtype=torch.float64, requires_grad=True)
    loss = objective(logits, Batch((), label[rows], rows))
    (expected,) = torch.autograd.grad(loss, logits)
    found = terms(objective, label[rows], rows, NUM_CLASSES, torch.float64)
    other = terms(make_objectives()["both, hot"], label[rows], rows, NUM_CLASSES, torch.float64)
    gradient = torch.zeros(2, 20, NUM_CLASSES, dtype=torch.float64)
    sums = torch.zeros(2, dtype=torch.float64)
    for term in stack_terms([found, other], CPU):
        sums += term.add(logits.detach().expand(2, -1, -1), torch.arange(20), gradient)
    torch.testing.assert_close(sums[0] / 20, loss.detach())
    torch.testing.assert_close(gradient[0], expected)


def test_what_does_not_fit_the_student_is_refused():
    job = make_jobs()[2]
    wide = replace(job, objective=replace(job.objective, teacher_logits=torch.zeros(NUM_SAMPLES, 9)))
    with pytest.raises(InputError, match=r"as many outputs as the student\. Got 9 for a student with 5"):
        train_many([wide], config())
    narrow = replace(make_jobs()[0], model=mlp(NUM_INPUTS, NUM_CLASSES - 2))
    with pytest.raises(InputError, match=r"one logit per class\. It has 3, and there is a class 4"):
        train_many([narrow], config())


def test_a_weight_that_overflows_with_the_last_step_is_noticed():
    job = make_jobs()[0]
    settings = config(epochs=1, batch_size=len(TRAIN), lr=3e38)
    for way in (train_many, stacked):
        with pytest.raises(InputError, match=r"Student 0: A weight is not finite in epoch 1.*clip 149\b"):
            way([replace(job, data=loud(job.data))], settings)


def test_a_student_that_was_stopped_may_diverge_without_stopping_the_others():
    jobs = make_jobs(torch.float64)[:2]
    training = _StackedTraining(range(2), jobs, config(), CPU)
    training.weights[1] = torch.inf
    history = _History(2, training.metric, patience=1, tolerant=False)
    history.last[1] = 1
    assert history.going().tolist() == [True, False]
    losses = training.epoch(1, history)
    np.testing.assert_allclose(losses[0], train_many(jobs[:1], config())[0].loss[0])
    with pytest.raises(InputError, match="Student 1: The loss is nan in epoch 2"):
        training.epoch(2, _History(2, training.metric, patience=0, tolerant=False))


def loud(data):
    plain = data.transforms["a"]
    return data.with_transforms({"a": lambda values: 100 * plain(values)})


def test_reasons_against_training_together():
    job = make_jobs()[0]
    assert why_not_many(job, config()) is None
    assert "`precision` is bf16" in why_not_many(job, config(precision="bf16"))
    assert "`tracker`" in why_not_many(job, config(tracker="tensorboard"))
    shaky = make_data().with_transforms({"a": lambda values: values + torch.randn_like(values)})
    assert "gives other values each time" in why_not_many(replace(job, data=shaky), config())
    assert "torch.float64, its inputs torch.float32" in why_not_many(
        replace(job, model=mlp(NUM_INPUTS, NUM_CLASSES).double()), config()
    )
    shared = nn.Linear(NUM_INPUTS, NUM_INPUTS)
    tied = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(NUM_INPUTS, NUM_CLASSES))
    assert "share weights" in why_not_many(replace(job, model=tied), config())


def test_memory_mapped_data_go_through_the_loop(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((NUM_SAMPLES, NUM_INPUTS), np.float32))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    data = PairedDataset.from_arrays({"a": mapped, "b": mapped}, label=make_data().label)
    assert "is not in memory" in why_not_many(replace(make_jobs()[0], data=data), config())


def test_networks_whose_batches_keep_a_cpu_busy_are_trained_alone_unless_asked():
    job = picture_jobs(torch.float32)[0]
    assert why_alone([job], config()) == [None]
    large = nn.Sequential(nn.Conv2d(1, 900, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(900, 3))
    large_job = replace(job, model=large)
    assert why_alone([job, large_job], config()) == [None, "one of its batches keeps the CPU busy"]
    assert why_not_many(large_job, config()) is None


@pytest.mark.parametrize(
    ("model", "shape", "known"),
    [
        (mlp(6, 3), (6,), True),
        (mlp(6, 3), (2, 3), True),
        (nn.Sequential(nn.Linear(3, 2)), (3,), True),
        (nn.Sequential(nn.Linear(3, 2)), (5, 3), False),
        (nn.Sequential(nn.Linear(3, 2), nn.GELU(), nn.Linear(2, 2)), (3,), False),
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU()), (3,), False),
        (nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), (3,), False),
        (nn.Sequential(nn.Linear(3, 2)).half(), (3,), False),
        (nn.Linear(3, 2), (3,), False),
    ],
)
def test_perceptrons_are_recognised(model, shape, known):
    assert (Perceptron.of(model, shape) is not None) == known


def test_weights_survive_the_order_of_the_compiled_code():
    job = make_jobs()[0]
    (fit,) = train_many([job], config(lr=1e-30, momentum=0.0))
    for name, value in job.model.state_dict().items():
        torch.testing.assert_close(fit.state[name], value, rtol=0, atol=0)


@pytest.mark.gpu
def test_on_an_accelerator_the_losses_are_those_of_the_cpu():
    settings = TrainConfig(epochs=5)
    device = make_accelerator(settings).device
    if device.type == "cpu":
        pytest.skip("no accelerator here")
    for jobs in (make_jobs(), picture_jobs(torch.float32)):
        for one, other in zip(stacked(jobs, settings), train_many(jobs, settings), strict=True):
            np.testing.assert_allclose(other.loss, one.loss, rtol=0, atol=1e-3)
            assert all(value.device.type == "cpu" for value in other.state.values())
