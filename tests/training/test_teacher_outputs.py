"""Teacher outputs: computed once a sample, kept by id, computed again for another teacher, data or damage."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from samples import make_paired
from torch import Tensor, nn

from mfh import FocusedTeacher, InputError, PairedDataset, TrainConfig
from mfh.data.standardize import Standardize
from mfh.training.loop import fit
from mfh.training.objectives import Distill
from mfh.training.teacher_outputs import layer_features, teacher_logits

NAME = "teacher-audio-logits.npz"


class Teacher(nn.Module):
    """Counts the samples that it sees; with dropout, to tell evaluation from training."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.hidden = nn.Linear(10, 8)
            self.output = nn.Linear(8, 3)
        self.dropout = nn.Dropout(0.5)
        self.seen = 0

    def forward(self, values: Tensor) -> Any:
        self.seen += len(values)
        return SimpleNamespace(logits=self.output(self.dropout(self.hidden(values).relu())))


@pytest.fixture
def teacher() -> Teacher:
    return Teacher()


def expected(teacher: Teacher, data: PairedDataset) -> Tensor:
    x = torch.as_tensor(data.modalities["audio"])
    return (teacher.hidden(x).relu() @ teacher.output.weight.T + teacher.output.bias).detach()


def test_equals_the_teacher_in_evaluation_mode(paired: PairedDataset, teacher: Teacher) -> None:
    logits = teacher_logits(teacher, paired, "audio")
    torch.testing.assert_close(logits, expected(teacher, paired))
    assert teacher.training
    assert teacher.seen == 240


def test_each_sample_is_computed_once(paired: PairedDataset, teacher: Teacher, tmp_path: Path) -> None:
    first = teacher_logits(teacher, paired, "audio", folder=tmp_path)
    again = teacher_logits(teacher, paired, "audio", folder=tmp_path)
    assert torch.equal(first, again)
    assert teacher.seen == 240
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    same = Teacher()  # another object with the same weights
    assert torch.equal(teacher_logits(same, paired, "audio", folder=tmp_path), first)
    assert same.seen == 0


def test_samples_that_are_missing_are_added(paired: PairedDataset, teacher: Teacher, tmp_path: Path) -> None:
    rows = torch.tensor([7, 3, 100])
    few = teacher_logits(teacher, paired, "audio", folder=tmp_path, rows=rows)
    assert teacher.seen == 3
    assert few[rows].isfinite().all()
    assert few.isnan().any(dim=1).sum() == 237
    every = teacher_logits(teacher, paired, "audio", folder=tmp_path)
    assert teacher.seen == 240
    torch.testing.assert_close(every, expected(teacher, paired))
    assert torch.equal(teacher_logits(teacher, paired, "audio", folder=tmp_path), every)


def test_outputs_belong_to_ids_not_to_places(paired: PairedDataset, teacher: Teacher, tmp_path: Path) -> None:
    ids = np.array([f"clip {number:03d}" for number in np.random.default_rng(0).permutation(240)])
    data = replace(paired, id=ids)
    rows = torch.randperm(240, generator=torch.Generator().manual_seed(1))[:200]
    teacher_logits(teacher, data, "audio", folder=tmp_path, rows=rows)
    with np.load(tmp_path / NAME) as file:
        stored = dict(zip(file["id"].tolist(), file["outputs"], strict=True))
    whole = expected(teacher, data)
    assert len(stored) == 200
    for row in rows.tolist():
        np.testing.assert_allclose(stored[ids[row]], whole[row], rtol=1e-5, atol=1e-6)
    found = teacher_logits(teacher, data, "audio", folder=tmp_path, rows=rows)
    torch.testing.assert_close(found[rows], whole[rows])


@pytest.mark.parametrize("what", ["weights", "data", "transform", "structure"])
def test_a_stale_file_is_computed_anew(
    paired: PairedDataset, teacher: Teacher, tmp_path: Path, caplog: Any, what: str
) -> None:
    data = paired.with_transforms({"audio": Standardize(torch.zeros(1, 10), torch.ones(1, 10))})
    teacher_logits(teacher, data, "audio", folder=tmp_path)
    if what == "weights":
        with torch.no_grad():
            teacher.output.bias[0] += 1e-6
    elif what == "data":
        data = make_paired(seed=1)
    elif what == "transform":
        data = data.with_transforms({"audio": Standardize(torch.zeros(1, 10), 2 * torch.ones(1, 10))})
    else:
        teacher.dropout = nn.Identity()  # type: ignore[assignment]
    teacher.seen = 0
    with caplog.at_level(logging.INFO, "mfh"):
        fresh = teacher_logits(teacher, data, "audio", folder=tmp_path)
    assert teacher.seen == 240
    assert f"`{tmp_path / NAME}` belong to another teacher or other data: computed again" in caplog.text
    assert torch.equal(fresh, teacher_logits(teacher, data, "audio"))


@pytest.mark.parametrize("place", [0.05, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_a_damaged_file_is_computed_anew(
    paired: PairedDataset, teacher: Teacher, tmp_path: Path, caplog: Any, kind: str, place: float
) -> None:
    first = teacher_logits(teacher, paired, "audio", folder=tmp_path)
    content = bytearray((tmp_path / NAME).read_bytes())
    at = int(place * len(content))
    content[at] ^= 0xFF
    (tmp_path / NAME).write_bytes(content if kind == "flipped" else content[:at])
    again = teacher_logits(teacher, paired, "audio", folder=tmp_path)
    assert torch.equal(first, again)
    if teacher.seen == 480:
        assert "are damaged and computed again" in caplog.text
    else:
        assert kind == "flipped", "bytes that hold no value, such as a date in the archive, do no harm"


def focused(removed: list[int], fill: float = 0.0) -> Callable[[Teacher], nn.Module]:
    return lambda teacher: FocusedTeacher(teacher, "hidden", removed, fill)


def test_focused_teachers_differ_by_what_is_removed_and_its_fill(
    paired: PairedDataset, teacher: Teacher, tmp_path: Path
) -> None:
    kinds = [focused([0, 1]), focused([0, 2]), focused([0, 1], 1.0), focused([])]
    found = [teacher_logits(kind(teacher), paired, "audio", folder=tmp_path) for kind in kinds]
    for number, logits in enumerate(found):
        assert not any(torch.equal(logits, other) for other in found[:number])
    torch.testing.assert_close(found[3], expected(teacher, paired))
    teacher.seen = 0
    teacher_logits(kinds[3](teacher), paired, "audio", folder=tmp_path)
    assert teacher.seen == 0
    teacher_logits(kinds[0](teacher), paired, "audio", folder=tmp_path, name="general")
    assert {path.name for path in tmp_path.iterdir()} == {NAME, "general-audio-logits.npz"}


def test_features_of_a_layer(paired: PairedDataset, teacher: Teacher, tmp_path: Path) -> None:
    x = torch.as_tensor(paired.modalities["audio"])
    for _ in range(2):
        features = layer_features(teacher, "hidden", paired, "audio", folder=tmp_path)
        torch.testing.assert_close(features, teacher.hidden(x).detach())
    assert teacher.seen == 240
    assert teacher.training
    assert [path.name for path in tmp_path.iterdir()] == ["teacher-audio-hidden.npz"]
    other = layer_features(teacher, "output", paired, "audio", folder=tmp_path)
    torch.testing.assert_close(other, expected(teacher, paired))


def test_students_learn_from_them(paired: PairedDataset, teacher: Teacher, tmp_path: Path) -> None:
    rows = torch.arange(150)
    logits = teacher_logits(teacher, paired, "audio", folder=tmp_path, rows=rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = nn.Linear(7, 3)
    result = fit(
        student, paired, Distill(logits, label_weight=0.0, distill_weight=1.0),
        modalities=("image",), train=rows, config=TrainConfig(epochs=5, device="cpu"), seed=0,
    )  # fmt: skip
    assert teacher.seen == 150
    assert result.history[-1].loss < 0.5 * result.history[0].loss


def test_bad_input_is_refused(paired: PairedDataset, teacher: Teacher, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no modality `sound`"):
        teacher_logits(teacher, paired, "sound")
    with pytest.raises(InputError, match="`rows` must name one sample"):
        teacher_logits(teacher, paired, "audio", rows=torch.arange(0))
    with pytest.raises(InputError, match="`layer` of `layer_features` must name a submodule"):
        layer_features(teacher, "nonsense", paired, "audio")
    with torch.no_grad():
        teacher.output.bias[1] = torch.inf
    with pytest.raises(InputError, match=r"must be finite\. Those of 240 samples are not, the first is `0`"):
        teacher_logits(teacher, paired, "audio", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
