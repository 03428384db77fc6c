"""One student from one teacher: networks, tensors, files; equal to a plain loop; resumed; refused."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import make_paired
from torch import nn
from torch.nn import functional

import mfh
from mfh import DistillConfig, DistillResult, FocusedTeacher, InputError, distill
from mfh._export import export_run, files, load_export, write
from mfh._study.task import derived_seed
from mfh.data.splits import draw_split
from mfh.losses import kl_divergence
from mfh.metrics import metric_names
from mfh.training.batches import epoch_order
from mfh.training.calibration import fit_temperature
from mfh.training.teacher_outputs import teacher_logits

CONFIG = DistillConfig(epochs=3, batch_size=32, device="cpu", temperature=2.0, label_weight=0.5)


@pytest.fixture(scope="module")
def data():
    return make_paired(200)


@pytest.fixture
def teacher():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.fixture
def student():
    torch.manual_seed(2)
    return nn.Linear(7, 3)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.student.parameters(), b.student.parameters(), strict=True))


def test_equals_a_plain_loop(data, teacher, student):
    result = distill(teacher, student, data, replace(CONFIG, optimizer="sgd"), seed=3)
    split = draw_split(data, 3)
    train, validation = torch.from_numpy(split.train), torch.from_numpy(split.validation)
    model, best = nn.Linear(7, 3), (-1.0, None)
    model.load_state_dict(student.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with torch.no_grad():
        soft = teacher(data.modalities["audio"])
    for epoch in range(1, 4):
        for rows in train[epoch_order(len(train), derived_seed(3, "batches"), epoch)].split(32):
            logits = model(data.modalities["image"][rows])
            loss = 0.5 * functional.cross_entropy(logits, data.label[rows])
            loss = loss + kl_divergence(logits, soft[rows], temperature=2.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = model(data.modalities["image"][validation]).argmax(1) == data.label[validation]
        if float(right.double().mean()) > best[0]:
            best = (float(right.double().mean()), [p.detach().clone() for p in model.parameters()])
    for got, expected in zip(result.student.parameters(), best[1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    test = torch.from_numpy(split.test)
    right = torch.from_numpy(result.predictions["logits"])[test].argmax(1) == data.label[test]
    assert result.test == pytest.approx(100 * float(right.double().mean()))
    assert result.teachers[0].teacher == "teacher"


def test_the_metric_of_the_config_chooses_and_is_recorded(data, teacher, student):
    result = distill(teacher, student, data, DistillConfig(epochs=6, lr=0.5, device="cpu", metric="Log-Loss"))
    validation = [epoch.validation for epoch in result.history]
    record = result.records[0]
    assert record.best_epoch == 1 + int(np.argmin(validation))
    assert (record.metric, result.teachers[0].metric) == ("log-loss", "log-loss")
    assert record.validation == pytest.approx(min(validation))
    assert set(record.also) == set(metric_names("single-label")) - {"log-loss"}
    with pytest.raises(InputError, match=r"`metric` must be auto or one of `accuracy`.*Got 'mIoU'"):
        distill(teacher, student, data, DistillConfig(device="cpu", metric="mIoU"))


def test_every_form_of_teacher_teaches_the_same(data, teacher, student, tmp_path):
    logits = teacher_logits(teacher, data, "audio", folder=tmp_path / "outputs")
    shuffled = np.random.default_rng(0).permutation(len(data))
    np.savez(tmp_path / "mine.npz", id=data.id[shuffled], logits=logits.numpy()[shuffled])
    whole = FocusedTeacher(teacher, "1", [], "zero")
    expected = distill(teacher, student, data, CONFIG)
    for form in (logits, logits.numpy(), tmp_path / "outputs", str(tmp_path / "mine.npz"), whole):
        assert same(distill(form, student, data, CONFIG), expected)
    focused = FocusedTeacher(teacher, "1", [0, 1, 2, 3, 4, 5], "zero")
    assert not same(distill(focused, student, data, CONFIG), expected)


def test_nothing_of_the_caller_is_changed(data, teacher, student):
    before = [p.detach().clone() for p in (*teacher.parameters(), *student.parameters())]
    state = torch.get_rng_state()
    distill(teacher.train(), student, data, CONFIG)
    assert teacher.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, before, (*teacher.parameters(), *student.parameters())))


def test_without_a_teacher_it_learns_labels_alone(data, student):
    result = distill(None, student, data, CONFIG)
    assert result.records[0].arm == "no-kd"
    assert result.teachers == ()
    changed = DistillConfig(**{**CONFIG.to_dict(), "temperature": 5.0, "label_weight": 1.0})
    assert same(distill(None, student, data, changed), result)


def test_students_that_are_made(data, teacher):
    def make():
        return nn.Linear(7, 3)

    assert same(distill(teacher, make, data, CONFIG), distill(teacher, make, data, CONFIG))
    assert not same(distill(teacher, make, data, CONFIG), distill(teacher, make, data, CONFIG, seed=1))
    default = distill(teacher, None, data, CONFIG)
    assert [name for name, _ in default.student.named_children()][-1] == "output"


def test_saved_and_read_back(data, teacher, student, tmp_path):
    result = distill(teacher, student, data, CONFIG, out=tmp_path)
    read = DistillResult.load(tmp_path, nn.Linear(7, 3))
    assert same(read, result)
    assert read.records == result.records
    assert read.history == result.history
    assert read.frame("history").columns.tolist() == ["number", "loss", "validation"]
    np.testing.assert_array_equal(read.predictions["logits"], result.predictions["logits"])
    assert "distilled" in read._repr_html_()
    again = distill(teacher, student, data, CONFIG, out=tmp_path)
    assert same(again, result)
    predictions = tmp_path / "predictions.npz"
    assert distill(predictions, student, data, CONFIG).teachers[0].test == pytest.approx(result.test)
    with pytest.raises(InputError, match="cannot be read into `student`"):
        DistillResult.load(tmp_path, nn.Linear(7, 4))


def test_any_three_modalities_have_to_be_named(data, student):
    three = mfh.PairedDataset.from_arrays({**data.modalities, "c": np.zeros((200, 2))}, label=data.label)
    with pytest.raises(InputError, match="`teacher_modality` and `student_modality` must be given"):
        distill(None, student, three, CONFIG)
    named = {"teacher_modality": "audio", "student_modality": "image"}
    assert distill(None, student, three, CONFIG, **named).config["student"] == "image"


@pytest.mark.parametrize(
    ("teacher", "student", "text"),
    [
        (torch.zeros(200, 4), nn.Linear(7, 3), r"logits of the shape \(200, 3\).*Got \(200, 4\)"),
        (torch.full((200, 3), torch.nan), nn.Linear(7, 3), "finite logits. Those of 200 samples"),
        (None, nn.Linear(7, 5), r"one logit for each of 3 classes.*Got outputs of the shape \(5,\)"),
        ("nowhere.npz", nn.Linear(7, 3), "`nowhere.npz` does not exist"),
    ],
)
def test_what_is_refused(data, teacher, student, text):
    with pytest.raises(InputError, match=text):
        distill(teacher, student, data, CONFIG)


# --- samples without a label


def hidden(data, count=100, seed=0):
    """Return data of which `count` samples have no label, and the rows of these."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(data))[:count])
    return data.without_labels(rows), rows


def test_unlabelled_samples_train_with_soft_labels_alone(data, teacher, student):
    few, rows = hidden(data)
    found = distill(teacher, student, few, CONFIG, seed=3).predictions
    assert set(found["split"][rows]) == {"train"}
    assert {"train", "validation", "test"} == set(np.delete(found["split"], rows))
    labels = few.label.clone()
    labels[rows] = -1
    assert found["label"].tolist() == labels.tolist()


def test_labels_that_are_missing_are_not_used(data, teacher, student):
    few, rows = hidden(data)
    one = distill(teacher, student, few, CONFIG, seed=3)
    shuffled = data.label.clone()
    shuffled[rows] = (shuffled[rows] + 1) % 3
    other = distill(teacher, student, hidden(replace(data, label=shuffled))[0], CONFIG, seed=3)
    assert same(one, other)


def test_without_a_teacher_unlabelled_samples_are_left_out(data, student):
    few, rows = hidden(data)
    result = distill(None, student, few, CONFIG, seed=3)
    assert set(result.predictions["split"][rows]) == {""}
    assert same(result, distill(None, student, data.rows(np.setdiff1d(np.arange(200), rows)), CONFIG, seed=3))


def test_pairs_help_where_labels_are_few():
    data = make_paired(600, seed=1)
    few, _ = hidden(data, 550)
    config = replace(CONFIG, epochs=10, temperature=1.0, label_weight=0.0)
    truth = 8 * functional.one_hot(data.label, 3).float()
    taught, alone = (distill(logits, None, few, config, seed=0).records[0].also for logits in (truth, None))
    assert taught["log-loss"] < alone["log-loss"]


def test_unlabelled_samples_of_a_group_with_test_samples_are_left_out(teacher, student):
    data = make_paired(200, num_groups=10)
    few, rows = hidden(data)
    split = distill(teacher, student, few, CONFIG, seed=3).predictions["split"]
    held = set(data.group[np.isin(split, ["validation", "test"])])
    assert all((split[row] == "") == (data.group[row] in held) for row in rows)


def test_a_loss_that_reads_labels_is_refused_where_some_are_missing(data, teacher, student):
    few, _ = hidden(data)
    with pytest.raises(
        InputError, match=r"`loss` must not be `dkd` where samples have no label.*Use kl or dist"
    ):
        distill(teacher, student, few, replace(CONFIG, loss="dkd"), seed=3)
    assert distill(teacher, student, few, replace(CONFIG, loss="dist"), seed=3).test > 0


class Small(nn.Module):
    """A network with an import path."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, inputs):
        return self.layers(inputs)


@pytest.mark.parametrize("made", ["default", "network", "class"])
@pytest.mark.parametrize("where", ["memory", "folder"])
def test_the_student_is_exported_with_its_recorded_outputs(
    data, student, teacher, tmp_path, monkeypatch, made, where
):
    if (made, where) != ("default", "memory"):  # one file of ONNX is enough, as it takes seconds
        monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    monkeypatch.setitem(sys.modules, "small", sys.modules[__name__])
    monkeypatch.setattr(Small, "__module__", "small")
    network = {"default": None, "network": student, "class": Small}[made]
    out = tmp_path / "out" if where == "folder" else None
    result = distill(teacher, network, data, CONFIG, out=out)
    given = {"student": lambda: nn.Linear(7, 3)} if (made, where) == ("network", "folder") else {}
    export_run(result if out is None else out, tmp_path / "to", **given)
    tested = result.predictions["split"] == "test"
    inputs, recorded = data.modalities["image"][tested], result.predictions["logits"][tested]
    found = [files.read_program(tmp_path / "to" / "model.pt2")(inputs).detach()]
    if made != "network":
        found.append(load_export(tmp_path / "to", imports=True).student(inputs).detach())
    if (made, where) == ("default", "memory"):
        found.append(torch.from_numpy(files.onnx_scores(tmp_path / "to" / "model.onnx", inputs.numpy())))
    for scores in found:
        np.testing.assert_allclose(scores, recorded, atol=1e-5)
    card = (tmp_path / "to" / "README.md").read_text()
    assert "it learned from the outputs of a given teacher" in card
    assert f"This student alone: {result.test:.2f}%" in card


def test_a_distilled_student_is_calibrated_on_validation_samples(data, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])
    result = distill(teacher, None, data, CONFIG)
    result.export(tmp_path, calibrate="temperature")
    held = result.predictions["split"] == "validation"
    fitted = fit_temperature(torch.from_numpy(result.predictions["logits"][held]), data.label[held])
    assert load_export(tmp_path).student.temperature.item() == pytest.approx(fitted)


@pytest.mark.parametrize(
    ("given", "text"),
    [({"refit": True}, "`refit` needs a study or a search"),
     ({"with_teacher": True}, "`with_teacher` needs a study"),
     ({"arm": "joint"}, "`arm` must be one of the arms of the run, `distilled`")],
)  # fmt: skip
def test_what_one_distilled_student_has_not_is_refused(data, teacher, tmp_path, given, text):
    result = distill(teacher, None, data, CONFIG)
    with pytest.raises(InputError, match=text):
        result.export(tmp_path / "to", **given)


def test_a_folder_cannot_make_a_network_that_was_given_as_an_object(data, student, teacher, tmp_path):
    distill(teacher, student, data, CONFIG, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"no import path.*or pass `student`"):
        export_run(tmp_path / "out", tmp_path / "to")
