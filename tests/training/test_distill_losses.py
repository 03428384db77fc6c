"""Students that learn by losses of every kind: features, regressors, whole batches, resuming."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fits import CONFIG, TRAIN, VALIDATION, flat, network, train
from samples import make_paired
from torch import Tensor, nn

from mfh import DistillConfig, InputError, PairedDataset
from mfh.losses import DistillLoss, Outputs, build_loss
from mfh.models.mlp import mlp
from mfh.training.evaluate import predict
from mfh.training.objectives import Batch, Distill
from mfh.training.students import StudentJob, train_students
from mfh.training.watched import Watched, pooled

NAMES = ("kl", "dkd", "dist", "hints", "rkd", "crd", "ntdh", "c2kd")
DATA = make_paired()
generator = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.eye(3)[DATA.label] + torch.randn(240, 3, generator=generator)
FEATURES = torch.randn(240, 6, generator=generator)


def objective(name: str, **values: float) -> Distill:
    loss = build_loss(name, DistillConfig(loss_options={name: values}))
    return Distill(LOGITS, 1.0, 1.0, loss=loss, teacher_features=FEATURES if loss.features else None)


def job(name: str, model: nn.Module | None = None, **values: float) -> StudentJob:
    model = model or network()
    return StudentJob(model, objective(name, **values), DATA, "audio", TRAIN, VALIDATION, 5, layer="1")


@pytest.mark.parametrize("name", NAMES)
def test_students_learn_by_every_loss_and_by_each_otherwise(name: str) -> None:
    done, labels = train_students([job(name), replace(job(name), objective=Distill())], CONFIG)
    assert done.state.keys() == network().state_dict().keys()
    assert max(done.validation) > 50
    assert any(not torch.equal(done.state[n], labels.state[n]) for n in done.state)
    again = train_students([job(name)], CONFIG)[0]
    assert again.loss == done.loss


@pytest.mark.parametrize("label_weight", [0.0, 0.4])
@pytest.mark.parametrize("name", ["kl", "dkd", "rkd"])
def test_samples_without_a_teacher_have_the_loss_of_their_label(name: str, label_weight: float) -> None:
    rows = torch.tensor([5, 2, 9, 11, 30, 31])
    taught = torch.zeros(len(DATA), dtype=torch.bool)
    taught[rows[[0, 2, 3, 5]]] = True
    loss = None if name == "kl" else build_loss(name, DistillConfig())
    gaps = torch.where(taught[:, None], LOGITS, torch.nan)
    features = torch.where(taught[:, None], FEATURES, torch.nan)
    student, seen = torch.randn(6, 3, generator=generator), torch.randn(6, 6, generator=generator)
    mine = Distill(gaps, label_weight, 0.7, 2.0, loss=loss, teacher_features=features, taught=taught)
    found = mine(Outputs(student, seen), Batch((), DATA.label[rows], rows))
    known = taught[rows]
    whole = replace(mine, label_weight=0.0, taught=None)
    theirs = whole(Outputs(student[known], seen[known]), Batch((), DATA.label[rows[known]], rows[known]))
    labels = nn.functional.cross_entropy(student, DATA.label[rows], reduction="none")
    from_labels = label_weight * labels.sum() if label_weight else 0.7 * labels[~known].sum()
    assert float(found) == pytest.approx((4 * float(theirs) + float(from_labels)) / 6, rel=1e-5)
    none = Batch((), DATA.label[rows[~known]], rows[~known])
    alone = mine(Outputs(student[~known], seen[~known]), none)
    assert float(alone) == pytest.approx((label_weight or 0.7) * float(labels[~known].mean()), rel=1e-5)


def test_with_a_memory_a_batch_may_be_divided() -> None:
    whole = job("crd", memory=True)
    whole = replace(whole, objective=replace(whole.objective, memory=(TRAIN, DATA.label[TRAIN])))
    one, parts, batch = (
        train_students([j], replace(CONFIG, epochs=2, micro_batch=size))[0]
        for j, size in ((whole, None), (whole, 8), (job("crd"), None))
    )
    assert parts.loss == pytest.approx(one.loss, rel=1e-4)
    assert one.loss[0] > batch.loss[0]  # more negatives
    with pytest.raises(InputError, match="`loss` crd needs a `memory`"):
        train_students([job("crd", memory=True)], CONFIG)


def test_students_that_compare_features_are_trained_alone() -> None:
    with pytest.raises(InputError, match="Student 0 cannot be trained with others: its loss rkd compares"):
        train_students([job("rkd")], CONFIG, engine="many")
    labels = replace(job("rkd"), objective=replace(objective("rkd"), distill_weight=0.0))
    assert train_students([labels], CONFIG, engine="many")[0].loss


@pytest.mark.parametrize("label_weight", [0.0, 1.0])
def test_both_engines_agree_on_losses_of_logits(label_weight: float) -> None:
    data = DATA.with_transforms({"audio": lambda x: x.double()})
    jobs = []
    for name in ("dkd", "dist", "ntdh", "c2kd", "own"):
        loss = DistillLoss("own", picky) if name == "own" else objective(name).loss
        for sharper in (1.0, 2.0):
            taught = Distill(sharper * LOGITS.double(), label_weight, 0.7, loss=loss)
            student = StudentJob(network().double(), taught, data, "audio", TRAIN, VALIDATION, 5)
            jobs.append(student)
    config = replace(CONFIG, epochs=6)
    one = train_students(jobs, config, engine="loop")
    many = train_students(jobs, config, engine="many")
    for alone, together in zip(one, many, strict=True):
        assert together.loss == pytest.approx(alone.loss, abs=1e-9)
        assert together.validation == alone.validation


def picky(student: Outputs, teacher: Outputs, label: Tensor) -> Tensor:
    """A loss that cannot be batched: it branches on a value."""
    gap = (student.logits - teacher.logits).square().mean()
    return gap if gap > 1 else 2 * gap


@pytest.mark.parametrize("name", ["dist", "rkd", "crd"])
def test_a_loss_of_whole_batches_refuses_parts(paired: PairedDataset, name: str) -> None:
    watched = Watched(network(), "1", 6 if name == "crd" else None, torch.zeros(2, 10))
    with pytest.raises(InputError, match=f"The loss {name} compares the samples of a batch with each other"):
        train(paired, watched, objective=objective(name), config=replace(CONFIG, micro_batch=8))
    train(paired, watched, objective=objective(name), config=replace(CONFIG, micro_batch=32))


@pytest.mark.parametrize("name", ["dkd", "hints", "ntdh", "c2kd"])
def test_a_mean_over_samples_may_be_taken_in_parts(paired: PairedDataset, name: str) -> None:
    def weights(micro_batch: int | None) -> torch.Tensor:
        model = Watched(network(), "1", None, torch.zeros(2, 10)).double()
        model.regressor = nn.Linear(16, 6).double()
        with torch.no_grad():
            model.regressor.weight.fill_(0.1)
            model.regressor.bias.zero_()
        data = paired.with_transforms({"audio": lambda x: x.double()})
        config = replace(CONFIG, micro_batch=micro_batch)
        return flat(train(data, model, objective=objective(name), config=config).model)

    assert torch.allclose(weights(None), weights(5), rtol=0, atol=1e-9)


def test_the_regressor_is_trained_and_resumed(paired: PairedDataset, tmp_path: Path) -> None:
    def fresh() -> Watched:
        torch.manual_seed(0)
        return Watched(network(), "1", 6, torch.zeros(2, 10))

    before = fresh().regressor.weight.detach().clone()
    whole = train(paired, fresh(), objective=objective("hints"))
    assert not torch.equal(whole.model.regressor.weight, before)

    def stop(epoch: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            paired, fresh(), objective=objective("hints"), checkpoint=tmp_path, save_every=0.0, on_epoch=stop
        )
    resumed = train(paired, fresh(), objective=objective("hints"), checkpoint=tmp_path)
    assert torch.equal(flat(resumed.model), flat(whole.model))


def test_a_checkpoint_of_another_loss_is_refused(paired: PairedDataset, tmp_path: Path) -> None:
    train(paired, objective=objective("dkd"), checkpoint=tmp_path)
    with pytest.raises(InputError, match="`objective` was "):
        train(paired, objective=objective("dkd", beta=2.0), checkpoint=tmp_path)


def test_watched_answers_as_the_network_does() -> None:
    model = network()
    watched = Watched(model, "1", None, DATA.inputs("audio", TRAIN[:2]))
    outputs = watched(DATA.inputs("audio", TRAIN))
    assert torch.equal(outputs.logits, model(DATA.inputs("audio", TRAIN)))
    assert torch.equal(outputs.features, model[1](model[0](DATA.inputs("audio", TRAIN))))
    assert torch.equal(predict(watched, DATA, "audio", TRAIN), predict(model, DATA, "audio", TRAIN))
    assert watched.student_state(watched.state_dict()).keys() == model.state_dict().keys()


def test_pooled_features_of_pictures() -> None:
    maps = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(pooled(maps), maps.mean(dim=(2, 3)))
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    watched = Watched(network, "1", 5, torch.zeros(2, 1, 8, 8))
    assert network[1].num_batches_tracked.item() == 0  # looking at an example changes nothing
    assert watched(torch.zeros(3, 1, 8, 8)).features.shape == (3, 5)


def test_what_is_missing_is_named(paired: PairedDataset) -> None:
    with pytest.raises(InputError, match="`loss` rkd compares features: give `teacher_features`"):
        train(paired, objective=objective("rkd"))
    with pytest.raises(InputError, match=r"`layer` of `student_layer` must name a submodule\. Got 'no'"):
        Watched(network(), "no", None, torch.zeros(2, 10))
    with pytest.raises(InputError, match="`layer` of a student must be named for the loss rkd"):
        train_students([replace(job("rkd"), layer=None)], CONFIG)


def test_a_loss_that_is_not_finite_tells_which(paired: PairedDataset) -> None:
    bad = job("dkd", mlp(10, 3, hidden=(8,)), beta=1e30)
    with pytest.raises(InputError, match="A student with the loss dkd: The loss is"):
        train_students([bad], CONFIG, engine="loop")
