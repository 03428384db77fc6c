"""A teacher that sees the student's modality too: its arms, its channels, its engines, its exports."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import Namespace
from samples import make_paired
from torch import Tensor, nn
from torch.nn import functional

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._export import write
from mfh._study.networks import Networks, with_modalities
from mfh.cli import main
from mfh.commands._sources import _modalities

QUICK = StudyConfig(
    teacher="audio+image", student="image", repeats=1, folds=2, epochs=3, hidden=(8,), ratio=(0.5,),
    random_draws=1, smoothing=(0.1,), device="cpu",
)  # fmt: skip
ARMS = [
    "no-kd", "no-kd-smoothed", "fused", "general", "important", "softened", "mismatched", "random",
    "specific", "self",
]  # fmt: skip


class Joined(nn.Module):
    """A network of both with functions in its code; only its last layer sees both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(10, 6), nn.Linear(7, 6)
        self.head = nn.Linear(12, 3)

    def forward(self, audio: Tensor, image: Tensor) -> Any:
        return self.head(functional.relu(torch.cat([self.a(audio), self.b(image)], dim=1)))


class JoinedDict(Joined):
    def forward(self, batch: dict[str, Tensor]) -> Any:  # type: ignore[override]
        return super().forward(batch["audio"], batch["image"])


class Samples:
    """A data set whose samples are dicts of tensors."""

    def __init__(self, data: PairedDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if row >= len(self):
            raise IndexError(row)
        values = {name: torch.as_tensor(v[row]) for name, v in self.data.modalities.items()}
        return values | {"label": int(self.data.label[row])}


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_paired(120)


@pytest.fixture(scope="module")
def finished(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[mfh.StudyResult, Path]:
    folder = tmp_path_factory.mktemp("both") / "out"
    return mfh.study(data, config=QUICK, out=folder), folder


def outcomes(result: mfh.StudyResult) -> list[tuple[Any, ...]]:
    return [(r.arm, r.ratio, r.seed, r.test, r.best_epoch) for r in result.records]


def test_fused_is_the_source_and_takes_the_place_of_regular(
    finished: tuple[mfh.StudyResult, Path],
) -> None:
    result, _ = finished
    assert [arm.name for arm in result.arms] == ARMS
    names = {teacher.teacher for teacher in result.teachers}
    assert names == {
        "fused",
        "unimodal",
        *(f"{arm}@0.5" for arm in ("general", "important", "random", "specific")),
    }
    assert result.config["teacher"] == "audio+image"
    assert (result.config["teacher_source"], result.config["score"]) == ("fused", "followed")
    assert result.saliency["layer"] == "features"
    assert result.saliency["num_channels"] == 16
    told = "The teacher sees image too, so `fused` takes the place of `regular`. `joint`, `softened-regular`"
    assert any(reason.startswith(told) for reason in result.verdict.reasons)


def test_a_list_is_the_same_teacher(data: PairedDataset, finished: tuple[mfh.StudyResult, Path]) -> None:
    named = replace(QUICK, teacher=["audio", "image"], arms=("no-kd", "fused"))
    result = mfh.study(data, config=named)
    kept = {arm: [row for row in outcomes(finished[0]) if row[0] == arm] for arm in ("no-kd", "fused")}
    assert outcomes(result) == [row for pair in zip(*kept.values(), strict=True) for row in pair]


def test_both_engines_train_the_same_teacher(data: PairedDataset) -> None:
    quick = replace(QUICK, arms=("fused",), seeds=1, repeats=None, resampling="splits")
    one, other = (mfh.study(data, config=replace(quick, engine=engine)) for engine in ("many", "loop"))
    for mine, theirs in zip(one.teachers, other.teachers, strict=True):
        assert mine.train == pytest.approx(theirs.train, abs=0.5)
        assert mine.entropy == pytest.approx(theirs.entropy, abs=1e-3)


def test_channels_of_a_modality_of_noise_are_not_general() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(300) % 3
    clear = np.eye(3)[label] + 0.4 * rng.normal(size=(300, 3))
    data = PairedDataset.from_arrays({"noise": rng.normal(size=(300, 3)), "clear": clear}, label=label)
    quick = replace(
        QUICK, teacher="noise+clear", student="clear", epochs=20, arms=("no-kd", "fused", "general")
    )
    result = mfh.study(data, config=quick)
    for values in result.channels["followed_validation"]:
        assert values[8:].sum() > 5 * np.abs(values[:8]).sum()


@pytest.mark.parametrize("source", ["fused", "joint"])
def test_a_network_of_both_gets_positional_inputs_or_a_dict(data: PairedDataset, source: str) -> None:
    quick = replace(QUICK, teacher_source=source, arms=("no-kd", "fused", "general"))
    by_place = mfh.study(data, Joined, config=quick)
    read = PairedDataset.from_torch(Samples(data))
    by_name = mfh.study(read, JoinedDict, config=quick)
    assert by_place.saliency["layer"] == "head:input"
    assert outcomes(by_place) == outcomes(by_name)
    assert {t.teacher.partition("@")[0] for t in by_name.teachers} == {"fused", "general"} | {source} - {
        "fused"
    }


def test_three_modalities(data: PairedDataset) -> None:
    rng = np.random.default_rng(0)
    more = PairedDataset.from_arrays(
        {**data.modalities, "third": rng.normal(size=(len(data), 2))}, label=data.label
    )
    quick = replace(QUICK, teacher="audio+image+third", arms=("no-kd", "fused", "general"))
    result = mfh.study(more, config=quick)
    assert result.saliency["num_channels"] == 24


def test_few_labels_stack_the_teachers_that_are_there(data: PairedDataset) -> None:
    arms = ("no-kd", "self", "fused", "stack", "general")
    quick = replace(QUICK, labelled=("0.5",), arms=arms, label_tuning="none", label_folds=2, steps=20)
    result = mfh.study(data, config=quick)
    (weights, *_) = [row.weights for row in result.chosen if row.arm == "stack"]
    assert set(weights or {}) == {"unimodal", "fused", "no-kd"}
    assert tuple(arm.name for arm in result.arms) == arms
    assert "`audio`" in result.verdict.sentence or result.verdict.verdict == "abstain"
    assert "`audio+image`" not in result.verdict.sentence


def test_the_focused_teacher_is_exported_with_its_standardisation(
    data: PairedDataset,
    finished: tuple[mfh.StudyResult, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])  # it takes a second a file
    result, folder = finished
    mfh.load_results(folder).export(
        tmp_path / "out", arm="general", seed=0, data=data, with_teacher=True, ratio=0.5
    )
    teacher = mfh.load_export(tmp_path / "out").teacher
    assert teacher is not None
    test = torch.from_numpy(result.predictions["rows/0"])
    with torch.no_grad():
        logits = teacher(*data.inputs_of("audio+image", test))
    mine = 100 * float((logits.argmax(1) == data.label[test]).double().mean())
    (record,) = [t for t in result.teachers if t.teacher == "general@0.5" and t.seed == 0]
    assert mine == pytest.approx(record.test)


def test_a_student_is_distilled_from_a_network_of_both(data: PairedDataset, tmp_path: Path) -> None:
    network = JoinedDict()
    sides: dict[str, Any] = {"teacher_modality": ["audio", "image"], "student_modality": "image"}
    taught = mfh.distill(network, None, data, mfh.DistillConfig(epochs=1), out=tmp_path, **sides)
    with torch.no_grad():
        soft = network({name: data.inputs(name, slice(None)) for name in ("audio", "image")})
    again = mfh.distill(soft, None, data, mfh.DistillConfig(epochs=1), **sides)
    assert taught.test == again.test
    assert taught.config["teacher"] == "audio+image"


def test_a_diagnosis_is_about_the_teacher_of_both() -> None:
    quick = mfh.DiagnoseConfig(
        teacher="audio+image", student="image", folds=3, epochs=2, hidden=(8,), num_bootstrap=20,
        num_shuffles=1, device="cpu",
    )  # fmt: skip
    found = mfh.diagnose(make_paired(150), config=quick)
    assert {teacher.teacher for teacher in found.teachers} == {"fused", "unimodal"}
    assert {row.arm for row in found.summary} >= {"no-kd", "fused", "general (chosen)"}
    assert found.channels["contribution"].shape == (3, 16)
    of_teacher = found.diagnosis["gamma"]["venn"]["student_share"]
    assert of_teacher > 0.5  # nothing that the student sees is hidden from this teacher


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"teacher": "audio+audio"}, "names a modality twice"),
        ({"teacher": "audio+video"}, "no modality `video`"),
        ({"teacher": "audio+other"}, r"must contain the student's modality, image.*Name audio\+other\+image"),
        ({"student": None}, "`student` must be named with a teacher of several modalities"),
        ({"teacher": "audio", "teacher_source": "fused"}, r"must not be fused.*`teacher` audio\+image"),
        ({"teacher": ["audio", "image"], "student": "audio+image"}, "no modality `audio[+]image`"),
    ],
)
def test_bad_teachers_are_refused(data: PairedDataset, changed: dict[str, Any], text: str) -> None:
    more = PairedDataset.from_arrays({**data.modalities, "other": data.modalities["audio"]}, label=data.label)
    with pytest.raises(InputError, match=text):
        mfh.study(more, config=replace(QUICK, **changed))


def test_a_network_that_takes_other_inputs_is_told_how_it_was_called(data: PairedDataset) -> None:
    with pytest.raises(InputError, match=r"samples of `image\+audio`.*\(7,\) and \(10,\), as positional"):
        mfh.study(data, lambda: nn.Bilinear(10, 7, 3), config=replace(QUICK, teacher="image+audio"))


def test_a_modality_whose_name_has_a_plus_is_one_modality(data: PairedDataset) -> None:
    renamed = PairedDataset.from_arrays(
        {"a+b": data.modalities["audio"], "image": data.modalities["image"]}, label=data.label
    )
    config = with_modalities(renamed, replace(QUICK, teacher="a+b"))
    assert Networks(renamed, config).sees == ("a+b",)
    assert config.teacher_source == "joint"
    both = with_modalities(renamed, replace(QUICK, teacher=["a+b", "image"]))
    assert Networks(renamed, both).sees == ("a+b", "image")


def test_the_command_line_reads_what_the_teacher_sees(
    data: PairedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "data.npz")
    values = {name: np.asarray(v) for name, v in data.modalities.items()}
    np.savez(path, **values, unused=np.zeros((120, 2)), label=data.label.numpy())
    (tmp_path / "mine.yaml").write_text(f"data: {path}\nteacher: [audio, image]\nstudent: image\n")
    common = ["--data", path, "--student", "image"]
    shown = []
    for sees in (["--config", str(tmp_path / "mine.yaml")], [*common, "--teacher", "audio+image"]):
        assert main(["layers", *sees]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[0].startswith("teacher (audio+image): SideBySide, ")
    assert "ranked unless --layer names another: features" in shown[0]
    assert main(["study", *common, "--teacher", "audio+video", "--out", str(tmp_path / "bad")]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("mfh: The data hold no modality `video`. They hold `audio`, `image`, `unused`")


def test_only_the_modalities_of_both_sides_are_read(data: PairedDataset, tmp_path: Path) -> None:
    path = str(tmp_path / "data.npz")
    np.savez(
        path, **{"a+b": np.zeros((4, 2)), "a": np.zeros((4, 2)), "b": np.zeros((4, 2)), "c": [0, 1, 0, 1]}
    )
    for sees, names in (("a+b", ["a+b", "b"]), ("b + a", ["b", "a"]), (["a", "b"], ["a", "b"])):
        options = Namespace(modalities=None, data=path, teacher=sees, student="b", teacher_logits=None)
        assert _modalities(options) == names
