"""A teacher that exists: logits in the data, or a network that stays as it is."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import make_paired
from torch import nn

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh.cli import main

QUICK = StudyConfig(
    teacher="audio", student="image", repeats=1, folds=3, epochs=2, hidden=(8,), ratio=(0.5,), random_draws=1
)
FROZEN = replace(QUICK, frozen_teacher=True)
LOGITS = replace(QUICK, teacher=None, teacher_logits="soft")
NETWORK = """
from torch import nn


def network(width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 3))
"""


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.fixture(scope="module")
def data(teacher: nn.Module) -> PairedDataset:
    made = make_paired(120)
    with torch.no_grad():
        soft = teacher(made.modalities["audio"])
    return PairedDataset.from_arrays({**made.modalities, "soft": soft}, label=made.label)


def trained(result: mfh.StudyResult, arm: str) -> list[tuple[float, int]]:
    return [(record.test, record.best_epoch) for record in result.records if record.arm == arm]


def test_logits_and_their_network_teach_the_same(data: PairedDataset, teacher: nn.Module) -> None:
    fixed = mfh.study(data, config=LOGITS)
    frozen = mfh.study(data, lambda: deepcopy(teacher), config=FROZEN)
    for arm in ("no-kd", "regular", "self", "mismatched"):
        assert trained(fixed, arm) == trained(frozen, arm) != []


def test_nothing_of_a_frozen_teacher_is_trained(
    data: PairedDataset, teacher: nn.Module, tmp_path: Path
) -> None:
    result = mfh.study(data, lambda: deepcopy(teacher), config=FROZEN, out=tmp_path)
    logits = teacher(data.modalities["audio"]).argmax(dim=1)
    right = 100 * float((logits == data.label).double().mean())
    found = [row.test for row in result.teachers if row.teacher == "regular"]
    sizes = [len(result.predictions[f"rows/{seed}"]) for seed in range(3)]
    assert np.average(found, weights=sizes) == pytest.approx(right)  # each sample is tested once
    assert "regular_loss" not in result.curves
    assert {"general", "random", "specific"} <= {record.arm for record in result.records}
    assert "joint" not in {row.teacher for row in result.teachers}


@pytest.mark.parametrize(
    ("config", "absent"),
    [
        (FROZEN, {"joint", "softened"}),
        (LOGITS, {"joint", "general", "important", "softened", "softened-regular", "random", "specific"}),
    ],
)
def test_arms_that_are_left_out_are_named(
    config: StudyConfig, absent: set[str], data: PairedDataset, teacher: nn.Module
) -> None:
    build = (lambda: deepcopy(teacher)) if config.frozen_teacher else None
    result = mfh.study(data, build, config=config)
    assert {arm.name for arm in result.arms} == set(config.arms) - absent
    (note,) = [text for text in result.verdict.reasons if text.startswith("The teacher is given")]
    assert all(f"`{name}`" in note for name in absent)
    mismatched = next(arm for arm in result.arms if arm.name == "mismatched")
    assert mismatched.words == "the given teacher, its outputs shuffled among samples of the same class"


def test_a_default_student_is_trained_as_ever(data: PairedDataset, teacher: nn.Module) -> None:
    config = replace(FROZEN, arms=("no-kd", "regular"))
    given = mfh.study(data, lambda: deepcopy(teacher), config=config)
    plain = mfh.study(data, config=replace(QUICK, arms=("no-kd", "regular")))
    assert given.config["optimizer"] == "sgd"
    assert trained(given, "no-kd") == trained(plain, "no-kd")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"teacher": "audio", "teacher_logits": "soft"}, "`teacher` must be left out with `teacher_logits`"),
        (
            {"frozen_teacher": True, "teacher": None, "teacher_logits": "soft"},
            "`frozen_teacher` must be left out",
        ),
        ({"frozen_teacher": True, "teacher_outputs": "cross-fit"}, "`teacher_outputs` must be in-sample"),
    ],
)
def test_options_that_contradict_each_other(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        replace(QUICK, **changes)


def test_teachers_that_cannot_be_used(data: PairedDataset, teacher: nn.Module) -> None:
    with pytest.raises(InputError, match=r"`teacher_logits` image must hold .* Got shape \(120, 7\)"):
        mfh.study(data, config=replace(LOGITS, student="audio", teacher_logits="image", teacher=None))
    with pytest.raises(InputError, match="the same weights each time"):
        mfh.study(data, lambda: nn.Linear(10, 3), config=FROZEN)
    with pytest.raises(InputError, match="need a label for every sample"):
        mfh.study(data, config=replace(LOGITS, labelled=("0.5",)))
    with pytest.raises(InputError, match="`losses` must not hold `hints` with `teacher_logits`"):
        mfh.study(data, config=replace(LOGITS, losses=("kl", "hints"), label_weight=1.0))
    with pytest.raises(InputError, match="must hold one that learns from the given teacher"):
        mfh.study(data, config=replace(LOGITS, arms=("no-kd", "joint")))
    with pytest.raises(InputError, match="`diagnose` trains its teachers"):
        mfh.diagnose(data, config=mfh.DiagnoseConfig(teacher_logits="soft", student="image"))


def test_a_checkpoint_and_frozen_in_a_file_and_as_flags(
    data: PairedDataset,
    teacher: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"given_{tmp_path.name}".replace("-", "_")
    Path(f"{name}.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.save(teacher.state_dict(), "t.pt")
    np.savez("d.npz", label=data.label, **data.modalities)
    common = "student: image\nrepeats: 1\nfolds: 3\nepochs: 2\nhidden: [8]\narms: [no-kd, regular]\nout: o\n"
    spec = f"{{class_path: {name}.network, checkpoint: t.pt, frozen: true}}"
    Path("f.yaml").write_text(f"data: d.npz\nteacher: audio\nteacher_network: {spec}\n{common}")
    assert main(["study", "--config", "f.yaml"]) == 0
    config = replace(FROZEN, arms=("no-kd", "regular"))
    plain = mfh.study(data, lambda: deepcopy(teacher), config=config)
    result: Any = mfh.load_results("o")
    assert trained(result, "regular") == trained(plain, "regular")
    assert result.config["frozen_teacher"] is True

    words = ["study", "--config", "f.yaml", "--out", "p", "--teacher-network", f"{name}.network"]
    given = ["--teacher-network.checkpoint=t.pt", "--teacher-network.frozen", "true"]
    assert main([*words, *given, "--quiet"]) == 0
    assert trained(mfh.load_results("p"), "regular") == trained(plain, "regular")  # type: ignore[arg-type]
    assert main([*words, "--teacher-network.frozen", "maybe"]) == 2
    assert "`frozen` must be true or false. Got 'maybe'" in capsys.readouterr().err
    Path("f.yaml").write_text(Path("f.yaml").read_text().replace("t.pt, frozen: true", "3, frozen: 7"))
    assert main(["study", "--config", "f.yaml"]) == 2
    error = capsys.readouterr().err
    assert "line 3: `checkpoint` must be the path of a file of weights. Got 3." in error
    assert "line 3: `frozen` must be true or false. Got 7." in error

    logits = ["study", "--data", "d.npz", "--teacher-logits", "soft", "--student", "image", "--out", "q"]
    quick = ["--repeats", "1", "--folds", "3", "--epochs", "2", "--hidden", "8", "--arms", "no-kd", "regular"]
    assert main([*logits, *quick, "--quiet"]) == 0
    assert trained(mfh.load_results("q"), "regular") == trained(plain, "regular")  # type: ignore[arg-type]


def test_a_checkpoint_outside_of_the_folder_is_refused_in_a_file_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = "{class_path: torch.nn.Linear, init_args: {in_features: 3, out_features: 2}, checkpoint: /x/t.pt}"
    Path("f.yaml").write_text(f"data: d.npz\nout: o\nteacher_network: {spec}\n")
    assert main(["study", "--config", "f.yaml", "--no-imports"]) == 2
    assert "`checkpoint` is refused in a file (--no-imports): /x/t.pt is outside" in capsys.readouterr().err
