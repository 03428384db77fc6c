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
from mfh import FitConfig, InputError, PairedDataset, StudyConfig
from mfh._study.design import Design
from mfh._study.few.budget import Budget
from mfh._study.few.fit import visible_data
from mfh._study.few.members import divide_labelled
from mfh._study.networks import Networks
from mfh._study.search.fit import units_per_fit
from mfh._study.search.lessons import make_lessons, prepare_teachers
from mfh._study.seed import run_seed
from mfh._study.task import SeedTask
from mfh.cli import main
from mfh.recipe import Recipe

QUICK = StudyConfig(
    teacher="audio", student="image", repeats=1, folds=3, epochs=2, hidden=(8,), ratio=(0.5,), random_draws=1
)
FROZEN = replace(QUICK, frozen_teacher=True)
LOGITS = replace(QUICK, teacher=None, teacher_logits="soft")
FEW = StudyConfig(
    student="image",
    labelled=("0.2",),
    repeats=1,
    folds=2,
    steps=20,
    hidden=(8,),
    ratio=(0.5,),
    random_draws=1,
)
SEARCH = FitConfig(
    teacher_logits="soft", student="image", labelled=("0.2",), folds=2, budget=20, steps=20, hidden=(8,),
    ratio=(0.0,),
)  # fmt: skip
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


# few labels


def test_with_few_labels_a_given_teacher_is_stacked(data: PairedDataset, teacher: nn.Module) -> None:
    fixed = mfh.study(data, config=replace(FEW, teacher_logits="soft"))
    config = replace(FEW, teacher="audio", frozen_teacher=True)
    frozen = mfh.study(data, lambda: deepcopy(teacher), config=config)
    for arm in ("no-kd", "self", "regular", "stack", "mismatched", "hard", "broken"):
        assert trained(fixed, arm) == trained(frozen, arm) != []
    assert {row.teacher for row in fixed.teachers} == {"regular", "unimodal", "no-kd", "self", "stack"}
    weights = [row.weights for row in fixed.chosen if row.weights is not None]
    assert {name for row in weights for name in row} == {"regular", "unimodal", "no-kd"}
    for result, ranks in ((fixed, False), (frozen, True)):
        names = {arm.name for arm in result.arms}
        assert ({"general", "important", "random"} <= names) == ranks
        assert not names & {"fused", "joint", "softened"}
        (note,) = [text for text in result.verdict.reasons if text.startswith("The teacher is given")]
        assert "`fused`, `joint`" in note
        assert ("`general`" in note) == (not ranks)
        assert "`oracle`" not in note


def test_with_few_labels_an_arm_must_learn_from_the_given_teacher(data: PairedDataset) -> None:
    with pytest.raises(InputError, match="must hold one that learns from the given teacher"):
        mfh.study(data, config=replace(FEW, teacher_logits="soft", arms=("no-kd", "fused")))


# searches


def search_task(data: PairedDataset) -> SeedTask:
    networks = Networks(data, SEARCH.settled())
    split = Design.of(data, networks.config).draw(data, networks.config, 0)
    return SeedTask(networks=networks, seed=0, split=split, threads=1, arms=networks.arms)


def test_a_search_has_the_same_outputs_of_a_given_teacher_in_every_fold(data: PairedDataset) -> None:
    task = search_task(data)
    visible, _ = visible_data(task)
    prepared = prepare_teachers(task, visible, divide_labelled(task, visible), focused=False)
    lessons = make_lessons(task, visible, prepared, Recipe())
    assert len(lessons) == 5
    for lesson in lessons:
        assert torch.equal(lesson.outputs.logits["given"], data.modalities["soft"])
        assert set(lesson.weights) == {"given", "unimodal", "no-kd"}
        assert set(lesson.outputs.logits) == {"given", "unimodal", "no-kd", "self", "stack"}


def test_logits_and_their_network_are_searched_alike(data: PairedDataset, teacher: nn.Module) -> None:
    fixed = mfh.fit(data, config=SEARCH)
    config = replace(SEARCH, teacher_logits=None, teacher="audio", frozen_teacher=True)
    frozen = mfh.fit(data, lambda: deepcopy(teacher), config=config)
    assert fixed.frame("trials").equals(frozen.frame("trials"))
    for arm in ("no-kd", "stack", "searched"):
        assert trained(fixed, arm) == trained(frozen, arm) != []
    assert "given" in set(fixed.frame("trials").teacher) <= {"none", "stack", "given", "self"}
    assert any("recipes have it, `self` or their stack" in text for text in fixed.verdict.reasons)


def test_a_given_teacher_that_is_right_helps(data: PairedDataset) -> None:
    """Its logits are the true labels; with nine labels the student learns much from the other pairs."""
    right = 4 * nn.functional.one_hot(data.label, 3).float()
    known = PairedDataset.from_arrays({"image": data.modalities["image"], "soft": right}, label=data.label)
    found = mfh.fit(known, config=replace(SEARCH, labelled=("3/class",), steps=100, folds=3))
    (gain,) = [row for row in found.comparisons if (row.a, row.b) == ("searched", "no-kd")]
    assert gain.difference > 5
    assert {row["teacher"] for row in found.search["winners"] if row["search"] == "searched"} <= {
        "given",
        "stack",
    }


def test_channels_of_a_network_alone_are_searched(data: PairedDataset, teacher: nn.Module) -> None:
    config = replace(SEARCH, teacher_logits=None, teacher="audio", frozen_teacher=True, ratio=(0.5,))
    found = mfh.fit(data, lambda: deepcopy(teacher), config=replace(config, labelled=(), budget=40))
    trials = found.frame("trials")
    assert set(trials[trials.focus != ""].teacher) == {"given"}
    assert "given, general 0.5" in {row.teacher for row in found.teachers}
    logits = mfh.fit(data, config=replace(SEARCH, ratio=(0.5,))).frame("trials")
    assert not logits.focus.any()


def test_a_large_network_that_is_given_leaves_the_search_as_it_is(data: PairedDataset) -> None:
    large = nn.Sequential(nn.Linear(10, 60_000), nn.Linear(60_000, 3))
    config = replace(SEARCH, teacher_logits=None, teacher="audio", budget=None)
    budgets = [
        Budget.of(Networks(data, replace(config, frozen_teacher=frozen).settled(), lambda: large))
        for frozen in (True, False)
    ]
    assert [(budget.students, budget.large) for budget in budgets] == [(100, False), (12, True)]


def test_the_work_of_a_search_with_a_given_teacher_is_announced(data: PairedDataset) -> None:
    counts = dict.fromkeys(("teachers", "students", "saliency"), 0)

    def count(stage: str, more: int) -> None:
        counts[stage] += more

    networks = search_task(data).networks
    run_seed(networks, 0, count)
    units = units_per_fit(networks)
    assert counts["teachers"] == units["teachers"] == (1 + 3) * 11
    assert counts["students"] <= units["students"]


@pytest.fixture
def module(data: PairedDataset, teacher: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of a network, in the working folder, with its weights `t.pt` and the data `d.npz`."""
    monkeypatch.chdir(tmp_path)
    name = f"given_{tmp_path.name}".replace("-", "_")
    Path(f"{name}.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.save(teacher.state_dict(), "t.pt")
    np.savez("d.npz", label=data.label, **data.modalities)
    return name


def test_fit_takes_a_given_teacher_on_the_command_line(
    data: PairedDataset, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--student", "image", "--labelled", "0.2", "--folds", "2", "--budget", "20", "--steps", "20"]
    quick += ["--hidden", "8", "--ratio", "0", "--device", "cpu", "--quiet", "--data", "d.npz"]
    given = ["--teacher", "audio", "--teacher-network", f"{module}.network"]
    given += ["--teacher-network.checkpoint=t.pt"]
    frozen = [*given, "--teacher-network.frozen", "true"]
    assert main(["fit", *quick, *frozen, "--out", "o"]) == 0
    plain = mfh.fit(data, config=SEARCH)
    assert trained(mfh.load_results("o"), "searched") == trained(plain, "searched")  # type: ignore[arg-type]
    capsys.readouterr()
    assert main(["fit", *quick, "--teacher-logits", "audio", "--out", "p"]) == 2
    assert "`teacher_logits` audio must hold" in capsys.readouterr().err
    assert main(["diagnose", "--data", "d.npz", *frozen, "--student", "image", "--out", "q"]) == 2
    assert "`diagnose` trains its teachers" in capsys.readouterr().err


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
    with pytest.raises(InputError, match="`losses` must not hold `hints` with `teacher_logits`"):
        mfh.study(data, config=replace(LOGITS, losses=("kl", "hints"), label_weight=1.0))
    with pytest.raises(InputError, match="must hold one that learns from the given teacher"):
        mfh.study(data, config=replace(LOGITS, arms=("no-kd", "joint")))
    with pytest.raises(InputError, match="`diagnose` trains its teachers"):
        mfh.diagnose(data, config=mfh.DiagnoseConfig(teacher_logits="soft", student="image"))


def test_a_checkpoint_and_frozen_in_a_file_and_as_flags(
    data: PairedDataset, teacher: nn.Module, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = "student: image\nrepeats: 1\nfolds: 3\nepochs: 2\nhidden: [8]\narms: [no-kd, regular]\nout: o\n"
    spec = f"{{class_path: {module}.network, checkpoint: t.pt, frozen: true}}"
    Path("f.yaml").write_text(f"data: d.npz\nteacher: audio\nteacher_network: {spec}\n{common}")
    assert main(["study", "--config", "f.yaml"]) == 0
    config = replace(FROZEN, arms=("no-kd", "regular"))
    plain = mfh.study(data, lambda: deepcopy(teacher), config=config)
    result: Any = mfh.load_results("o")
    assert trained(result, "regular") == trained(plain, "regular")
    assert result.config["frozen_teacher"] is True

    words = ["study", "--config", "f.yaml", "--out", "p", "--teacher-network", f"{module}.network"]
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
