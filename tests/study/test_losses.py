"""A study of several distillation losses: the same arms, seeds and statistics under each."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from samples import make_paired

import mfh
from mfh import InputError, StudyConfig
from mfh._study.networks import Networks
from mfh._study.outputs import StudentKey, TeacherOutputs, taught_features
from mfh._study.parts import Parts, Ranked
from mfh._study.ranking import rank
from mfh._study.task import SeedTask
from mfh._study.teachers import train_teachers
from mfh.arms import ARMS
from mfh.data.splits import draw_split
from mfh.loss_options import LOSSES
from mfh.losses import DistillLoss, Outputs, register_loss
from mfh.results import StudyResult

QUICK = StudyConfig(
    resampling="splits",
    teacher="audio",
    student="image",
    seeds=2,
    epochs=3,
    ratio=(0.5,),
    random_draws=1,
    hidden=(12, 8),
    smoothing=(0.1,),
    label_weight=1.0,
    losses=("kl", "dkd", "rkd"),
)
TAUGHT = {
    "regular", "joint", "general", "specific", "random", "important", "mismatched", "self", "softened",
    "softened-regular",
}  # fmt: skip


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return mfh.study(make_paired(), config=QUICK)


def test_every_loss_has_every_arm_that_means_something(result: StudyResult) -> None:
    frame = result.frame()
    assert set(frame[frame.loss.isna()].arm) == {"no-kd", "no-kd-smoothed"}
    assert set(frame[frame.loss == "kl"].arm) == TAUGHT
    assert set(frame[frame.loss == "dkd"].arm) == TAUGHT
    assert set(frame[frame.loss == "rkd"].arm) == TAUGHT - {"softened", "softened-regular"}
    assert not frame.duplicated(["arm", "ratio", "seed", "draw", "loss"]).any()


def test_kl_is_the_same_whatever_stands_beside_it(result: StudyResult) -> None:
    alone = mfh.study(make_paired(), config=replace(QUICK, losses=("kl",))).frame()
    beside = result.frame()
    beside = beside[beside.loss.isna() | (beside.loss == "kl")]
    assert beside.test.tolist() == alone.test.tolist()


def test_the_first_loss_is_the_declared_one(result: StudyResult) -> None:
    frame = result.frame("comparisons")
    declared = frame[frame.question.notna()]
    assert set(declared.loss) == {"kl"}
    controls = ["joint", "important (chosen)", "softened (chosen)"]
    assert declared.b.tolist() == ["no-kd", "self", "mismatched", *controls]
    assert frame[frame.loss != "kl"].shown.isna().all()
    rest = frame[frame.loss_b.isna()]
    counts = rest.groupby("loss").size()
    assert counts["kl"] == counts["dkd"] > counts["rkd"]  # without `softened`
    assert result.verdict == mfh.study(make_paired(), config=replace(QUICK, losses=("kl",))).verdict


def test_losses_are_compared_arm_by_arm(result: StudyResult) -> None:
    rows = [row for row in result.comparisons if row.loss_b is not None]
    assert {(row.loss, row.loss_b) for row in rows} == {("dkd", "kl"), ("rkd", "kl")}
    assert all(row.a == row.b for row in rows)
    frame = result.frame()
    joint = frame[frame.arm == "joint"].pivot_table(index="seed", columns="loss", values="test")
    row = next(row for row in rows if row.a == "joint" and row.loss == "dkd")
    assert row.difference == pytest.approx((joint["dkd"] - joint["kl"]).mean())


def test_summary_names_the_loss(result: StudyResult) -> None:
    summary = result.frame("summary").query("metric == 'accuracy'")
    assert len(summary[summary.arm == "no-kd"]) == 1
    general = summary[summary.arm == "general (chosen)"]
    assert set(general.loss) == {"kl", "dkd", "rkd"}


def test_a_loss_of_features_first_has_no_softened_control() -> None:
    result = mfh.study(make_paired(), config=replace(QUICK, losses=("hints",)))
    assert result.verdict is not None
    assert any("no `softened` arm" in reason for reason in result.verdict.reasons)
    declared = {row.b for row in result.comparisons if row.question}
    assert declared == {"no-kd", "self", "mismatched", "joint", "important (chosen)"}


def test_features_of_the_arms() -> None:
    whole, focused = torch.arange(8.0).view(4, 2), torch.zeros(4, 2)
    general, arms = StudentKey("general", 0.5), [ARMS[name] for name in ("joint", "general", "mismatched")]
    outputs = TeacherOutputs(1.0, {}, features={"joint": whole}, focused_features={general: focused})
    shuffled = torch.tensor([1, 0, 2, 3])
    taught = taught_features(outputs, arms, "joint", shuffled)
    assert set(taught) == {StudentKey("joint"), StudentKey("mismatched"), general}
    assert torch.equal(taught[StudentKey("mismatched")], whole[[1, 0, 2, 3]])
    other = TeacherOutputs(1.0, {}, features={"joint": -whole}, focused_features={general: focused + 1})
    mixed = outputs.with_rows_of(other, torch.tensor([2]))
    assert mixed.features["joint"][2].tolist() == [-4.0, -5.0]
    assert mixed.focused_features[general].sum().item() == 2
    assert outputs.focused_features[general].sum().item() == 0
    assert taught_features(TeacherOutputs(1.0, {}), arms, "joint", torch.arange(4)) == {}


def test_what_a_seed_keeps_holds_the_features(tmp_path: Path) -> None:
    key = StudentKey("general", 0.5)
    outputs = TeacherOutputs(
        1.0,
        logits={"joint": torch.ones(4, 3)},
        focused={key: torch.zeros(4, 3)},
        features={"joint": torch.arange(8.0).view(4, 2)},
        focused_features={key: torch.ones(4, 2)},
    )
    Parts(tmp_path).save("ranked", Ranked(outputs, {}, {}, "relu2", "relu1"))
    kept = Parts(tmp_path).load("ranked")
    assert kept is not None
    assert kept.student_layer == "relu1"
    assert torch.equal(kept.outputs.features["joint"], outputs.features["joint"])
    assert torch.equal(kept.outputs.focused_features[key], outputs.focused_features[key])


def test_students_keep_apart_by_their_loss() -> None:
    names = [StudentKey("joint", loss=loss).name for loss in ("kl", "dkd", "mine.losses:focal")]
    assert names == ["joint", "joint-by-dkd", "joint-by-mine.losses-focal"]


def test_removed_channels_are_constant_in_the_features_that_teach() -> None:
    data, config = make_paired(), replace(QUICK, losses=("hints",), epochs=2)
    made = Networks(data, config)
    task = SeedTask(made, 0, draw_split(data, 0), threads=1, arms=made.arms)
    ranked = rank(task, train_teachers(task, task.train))
    focused = ranked.outputs.focused_features[StudentKey("general", 0.5)]
    gone = (focused == focused[0]).all(dim=0)
    assert gone.sum() >= 4  # half of eight; a dead channel is constant by itself
    assert torch.equal(focused[:, ~gone], ranked.outputs.features["joint"][:, ~gone])
    assert ranked.student_layer == "relu2"


def test_cross_fit_and_the_regular_teacher_as_source() -> None:
    for change in ({"teacher_outputs": "cross-fit", "cross_fit_folds": 2}, {"teacher_source": "regular"}):
        config = replace(QUICK, seeds=1, epochs=2, losses=("kl", "crd"), **change)
        assert set(mfh.study(make_paired(), config=config).frame().loss.dropna()) == {"kl", "crd"}


def test_a_loss_of_ones_own(tmp_path: Path) -> None:
    def opposite(student: Outputs, teacher: Outputs, label: torch.Tensor) -> torch.Tensor:
        return (student.logits + teacher.logits).square().mean()

    register_loss("opposite", opposite)
    try:
        config = replace(QUICK, seeds=1, losses=("kl", "opposite"), label_weight=0.0, epochs=25)
        frame = mfh.study(make_paired(), config=config, out=tmp_path).frame()
    finally:
        del LOSSES["opposite"]
    tests = frame[frame.arm == "joint"].set_index("loss").test
    assert tests["opposite"] < 33 < 45 < tests["kl"]
    assert json.loads((tmp_path / "run.json").read_text())["losses"] == ["kl", "opposite"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"label_weight": 0.0}, "`label_weight` must be above 0 for `rkd`: .* Got 0.0: use, for example, 1."),
        ({"micro_batch": 8}, "`micro_batch` must be left out for `rkd`: .* Got 8 for batches of 64."),
        ({"engine": "many"}, "`engine` must be `auto` or `loop` for `rkd`"),
        ({"losses": ("a.b:c",)}, "`loss` a.b:c cannot be imported"),
    ],
)
def test_what_a_loss_asks_for_is_said_before_anything_is_trained(change: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        mfh.study(make_paired(), config=replace(QUICK, epochs=10_000, **change))


def test_results_survive_the_disk(result: StudyResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    read = mfh.load_results(tmp_path)
    assert read.records == result.records
    assert read.comparisons == result.comparisons
    values = json.loads((tmp_path / "results.json").read_text())
    del values["checksum"]
    for name in ("records", "summary", "comparisons"):  # what was written before losses could be chosen
        for row in values[name]:
            row.pop("loss"), row.pop("loss_b", None)
    (tmp_path / "results.json").write_text(json.dumps(values))
    assert "loss" not in mfh.load_results(tmp_path).frame()


def always(student: Outputs, teacher: Outputs, _: torch.Tensor) -> torch.Tensor:
    return (student.logits - teacher.logits).square().mean() * torch.nan


def with_weak_teachers(student: Outputs, teacher: Outputs, label: torch.Tensor) -> torch.Tensor:
    right = (teacher.logits.argmax(dim=1) == label).float().mean()
    loss = (student.logits - teacher.logits).square().mean()
    return torch.where(right < 0.45, torch.nan, loss)


@pytest.fixture
def losses_that_diverge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, loss in (("always", always), ("weak", with_weak_teachers)):
        monkeypatch.setitem(LOSSES, name, DistillLoss(name, loss, batchwise=False))


@pytest.mark.usefixtures("losses_that_diverge")
@pytest.mark.parametrize("engine", ["auto", pytest.param("loop", marks=pytest.mark.slow)])
def test_a_loss_that_diverges_is_left_out_and_changes_nothing_else(
    engine: str, result: StudyResult, tmp_path: Path
) -> None:
    config = replace(QUICK, losses=("kl", "always", "dkd", "rkd"), engine=engine)
    beside = mfh.study(make_paired(), config=config, out=tmp_path)
    assert {row.loss for row in beside.failed} == {"always"}
    assert {row.arm for row in beside.failed} == TAUGHT
    assert len(beside.failed) == 10 * 2
    first = beside.failed[0]
    assert first.reason.startswith(
        "The student of arm `regular`, with the loss `always`, in fit 0: The loss is nan in epoch 1, in the"
    )
    assert first.epoch == 1
    if engine == "auto":
        assert beside.records == tuple(
            replace(a, seconds=b.seconds) for a, b in zip(result.records, beside.records, strict=True)
        )
        assert beside.summary == result.summary
        assert beside.comparisons == result.comparisons
    assert beside.verdict is not None
    assert beside.verdict.reasons[-1].startswith("20 students with the loss `always` diverged")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["failed"][0]["reason"] == first.reason
    assert mfh.load_results(tmp_path).failed == beside.failed  # type: ignore[attr-defined]
    assert mfh.study(make_paired(), config=config, out=tmp_path).failed == beside.failed  # from the state
    page = mfh.report(beside, tmp_path).read_text()
    assert "MFH114" in page
    assert "Students that diverged" in page


@pytest.mark.usefixtures("losses_that_diverge")
def test_students_that_diverge_leave_the_other_arms_of_their_loss() -> None:
    config = replace(QUICK, losses=("weak", "kl"), epochs=6)
    found = mfh.study(make_paired(), config=config)
    lost = {(row.arm, row.seed) for row in found.failed}
    assert lost
    assert {row.loss for row in found.failed} == {"weak"}
    kept = {(row.arm, row.seed) for row in found.records if row.loss == "weak"}
    assert kept
    assert not lost & kept
    for row in found.summary:
        seeds = {seed for arm, seed in kept if arm == row.arm}
        if row.loss == "weak" and seeds:
            assert row.n == len(seeds)
    assert found.verdict is not None
    assert found._repr_html_()


@pytest.mark.usefixtures("losses_that_diverge")
def test_a_declared_loss_that_diverges_leaves_no_verdict(tmp_path: Path) -> None:
    found = mfh.study(make_paired(), config=replace(QUICK, losses=("always", "kl")))
    assert found.verdict is not None
    assert found.verdict.verdict == "abstain"
    assert "with the declared loss diverged" in found.verdict.sentence
    assert not any(row.question for row in found.comparisons)
    assert mfh.report(found, tmp_path).exists()


@pytest.mark.usefixtures("losses_that_diverge")
def test_what_all_others_are_compared_with_may_not_diverge() -> None:
    with pytest.raises(
        InputError, match=r"^The student of arm `regular`, with the loss `always`, in fit 0: The"
    ):
        mfh.study(make_paired(), config=replace(QUICK, losses=("always",)))
    with pytest.raises(InputError, match=r"^The network `teacher` of fit 0: "):
        mfh.study(make_paired(), config=replace(QUICK, lr=1e30))
