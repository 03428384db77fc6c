"""The study: arms, pairing, controls, resume and statistics, run for real on small generated data."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import make_paired
from torch import nn

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study import experiment, networks, ranking
from mfh._study.networks import Networks, with_modalities
from mfh._study.outputs import StudentKey, TeacherOutputs, soft_labels
from mfh._study.ranking import last_hidden, rank
from mfh._study.students import shuffle_within_classes, student_jobs
from mfh._study.task import SeedTask
from mfh._study.teachers import train_teachers
from mfh.arms import ARMS, DEFAULT
from mfh.data.splits import draw_split
from mfh.losses import soft_label_entropy
from mfh.results import StudyResult
from mfh.training import students
from mfh.training.fitting import Fitting
from mfh.training.jobs import StudentFit, StudentJob

QUICK = StudyConfig(
    resampling="splits",
    teacher="audio",
    student="image",
    seeds=2,
    epochs=4,
    ratio=(0.25, 0.5),
    random_draws=2,
    hidden=(16, 12),
)


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return mfh.study(make_paired(), config=QUICK)


def seed_task(data: PairedDataset, config: StudyConfig = QUICK, seed: int = 0) -> SeedTask:
    made = Networks(data, config)
    return SeedTask(made, seed, draw_split(data, seed), threads=1, arms=made.arms)


def test_every_arm_of_the_design_is_there(result: StudyResult) -> None:
    frame = result.frame()
    assert set(frame.arm) == set(DEFAULT)
    per_seed = 6 + 2 * (5 + 2)
    assert frame.groupby("seed").size().tolist() == [per_seed, per_seed]
    assert set(frame[frame.arm == "random"].draw) == {0, 1}
    assert frame[["train", "validation", "test"]].stack().between(0, 100).all()


def test_students_learn(result: StudyResult) -> None:
    summary = result.frame("summary")
    means = summary[summary.metric == "accuracy"].set_index(["arm", "ratio"])["mean"]
    assert means["no-kd", np.nan].item() > 55  # three classes: chance is 33


def test_teachers_are_described(result: StudyResult) -> None:
    teachers = result.frame("teachers")
    assert {
        "regular",
        "joint",
        "unimodal",
        "general@0.5",
        "important@0.5",
        "specific@0.5",
        "random@0.25",
    } <= set(teachers.teacher)
    assert teachers.entropy.between(0, np.log(3)).all()
    assert teachers.saturated.between(0, 1).all()


def test_declared_comparisons_are_marked(result: StudyResult) -> None:
    comparisons = result.frame("comparisons")
    primary = comparisons[comparisons.question.notna()]
    assert primary.a.tolist() == ["general (chosen)"] * 6
    controls = ["joint", "important (chosen)", "softened (chosen)"]
    assert primary.b.tolist() == ["no-kd", "self", "mismatched", *controls]
    assert primary.question.tolist() == [1, 2, 3, 4, 4, 4]
    assert {("general", "important", 0.25), ("general", "important", 0.5)} <= {
        tuple(row) for row in comparisons[["a", "b", "ratio"]].itertuples(index=False)
    }


def test_differences_are_those_of_the_records(result: StudyResult) -> None:
    frame = result.frame()
    tests = frame[frame.ratio.eq(0.5)].groupby(["arm", "seed"]).test.mean()
    expected = (tests["general"] - tests["random"]).mean()
    row = next(c for c in result.comparisons if (c.a, c.b, c.ratio) == ("general", "random", 0.5))
    assert row.difference == pytest.approx(expected)


def test_same_seed_same_result(result: StudyResult) -> None:
    again = mfh.study(make_paired(), config=QUICK)
    columns = [c for c in result.frame().columns if c != "seconds"]
    assert again.frame()[columns].equals(result.frame()[columns])


def test_both_engines_agree() -> None:
    one = mfh.study(make_paired(), config=replace(QUICK, engine="loop"))
    many = mfh.study(make_paired(), config=replace(QUICK, engine="many"))
    gap = (one.frame().test - many.frame().test).abs().max()
    assert gap <= 100 / 48 + 1e-9  # one sample of the test split


@pytest.mark.slow
def test_two_processes_agree_with_one(result: StudyResult) -> None:
    two = mfh.study(make_paired(), config=replace(QUICK, jobs=2))
    assert two.frame().test.tolist() == result.frame().test.tolist()


def test_arms_of_a_seed_share_student_and_batches() -> None:
    run = seed_task(make_paired())
    teachers = train_teachers(run, run.train)
    jobs = list(student_jobs(run, teachers.data, rank(run, teachers)).values())
    assert len({job.seed for job in jobs}) == 1
    weights = [torch.cat([p.flatten() for p in job.model.parameters()]) for job in jobs]
    assert all(torch.equal(weights[0], other) for other in weights)


def test_mismatched_outputs_come_from_the_same_class_of_the_training_split() -> None:
    run, data = seed_task(make_paired()), make_paired()
    order, label = shuffle_within_classes(data, run.split.train, run.derived("mismatched")), data.label
    assert torch.equal(label[order], label)
    assert sorted(order.tolist()) == list(range(len(label)))
    assert (order[run.train] != run.train).float().mean() > 0.9
    held = torch.cat([run.validation, run.test])
    assert torch.equal(order[held], held)


def test_softened_has_the_entropy_it_should() -> None:
    generator = torch.Generator().manual_seed(0)
    sharp = 8 * torch.randn(60, 5, generator=generator)
    general = torch.randn(60, 5, generator=generator)
    train = torch.arange(40)
    outputs = TeacherOutputs(2.0, logits={"joint": sharp, "regular": 3 * sharp, "unimodal": sharp})
    outputs.focused[StudentKey("general", 0.5)] = general
    arms = soft_labels(outputs, ARMS.values(), "joint", train=train, shuffled=torch.arange(60))
    wanted = soft_label_entropy(general[train], temperature=2.0).mean().item()
    for arm in ("softened", "softened-regular"):
        soft = arms[StudentKey(arm, 0.5)]
        assert soft_label_entropy(soft[train], temperature=2.0).mean().item() == pytest.approx(
            wanted, abs=1e-4
        )
        assert torch.equal(soft.argmax(dim=1), sharp.argmax(dim=1))


def test_removed_channels_take_their_training_mean() -> None:
    run = seed_task(make_paired())
    teachers = train_teachers(run, run.train)
    outputs = rank(run, teachers).outputs
    trunk, head = mfh.split(teachers.networks["joint"], "relu2")
    with torch.no_grad():
        features = trunk(teachers.data.inputs("audio", torch.arange(len(teachers.data))))
    ranked = mfh.saliency(
        features[run.train], head, outputs.logits["joint"][run.train], num_permutations="exact", warn=False
    )
    removed = mfh.select(ranked.importance, 0.5, "important")
    features[:, removed] = features[run.train].mean(0)[removed]
    with torch.no_grad():
        expected = head(features)
    assert torch.allclose(outputs.focused[StudentKey("important", 0.5)], expected, atol=1e-5)


def test_a_group_stays_on_one_side() -> None:
    data = make_paired(num_groups=8)
    result = mfh.study(data, config=QUICK)
    assert result.data["num_groups"] == 8
    assert all(c.low_boot is not None and c.low_boot <= c.high_boot for c in result.comparisons)


def test_one_seed_gets_no_p_value() -> None:
    result = mfh.study(make_paired(), config=replace(QUICK, seeds=1))
    assert result.verdict is not None
    assert result.verdict.verdict == "abstain"
    assert result.verdict.focusing is None
    assert all(c.p is None and c.low is None for c in result.comparisons)


def test_regular_teacher_as_source() -> None:
    result = mfh.study(
        make_paired(), config=replace(QUICK, teacher_source="regular", seeds=1, score="followed")
    )
    assert set(result.frame().arm) == set(DEFAULT)


def test_cross_fitting_teaches_with_teachers_that_did_not_see_the_sample() -> None:
    config = replace(QUICK, teacher_outputs="cross-fit", cross_fit_folds=2, seeds=1)
    plain = mfh.study(make_paired(), config=replace(QUICK, seeds=1)).frame("teachers").set_index("teacher")
    crossed = mfh.study(make_paired(), config=config).frame("teachers").set_index("teacher")
    assert (plain.test == crossed.test).all()
    assert (plain.train != crossed.train).any()


def test_own_networks_and_a_layer_in_their_midst() -> None:
    def teacher() -> nn.Module:
        return nn.Sequential(nn.Linear(10, 14), nn.Tanh(), nn.Linear(14, 9), nn.ReLU(), nn.Linear(9, 3))

    config = replace(QUICK, seeds=1, layer="1", num_permutations=3)
    result = mfh.study(make_paired(), teacher, lambda: nn.Linear(7, 3), config=config)
    assert result.saliency["num_channels"] == 14
    assert result.channels["increase_train"].shape == (1, 14)


def test_results_survive_the_disk(result: StudyResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    read = mfh.load_results(tmp_path)
    assert isinstance(read, StudyResult)
    assert read.records == result.records
    assert read.verdict == result.verdict
    assert read.comparisons == result.comparisons
    assert np.array_equal(read.channels["increase_train"], result.channels["increase_train"])


def test_networks_of_finished_seeds_do_not_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    assemble = experiment.assemble

    def look(networks: object, config: object, seeds: list, **rest: float) -> StudyResult:
        held.extend(seed.weights for seed in seeds)
        return assemble(networks, config, seeds, **rest)

    monkeypatch.setattr(experiment, "assemble", look)
    mfh.study(make_paired(), config=QUICK, out=tmp_path / "out")
    assert held == [{}, {}]
    assert len(list((tmp_path / "out" / "checkpoints").rglob("*.safetensors"))) > 2


def test_repeating_the_call_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mfh.study(make_paired(), config=QUICK, out=tmp_path / "whole")
    mfh.study(make_paired(), config=replace(QUICK, seeds=1), out=tmp_path / "parts")
    trained: list[int] = []
    original = experiment.run_seed

    def counted(networks: Networks, seed: int, *rest: object, **more: object) -> object:
        trained.append(seed)
        return original(networks, seed, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(experiment, "run_seed", counted)
    resumed = mfh.study(make_paired(), config=QUICK, out=tmp_path / "parts")
    assert trained == [1]
    assert [r.test for r in resumed.records] == [r.test for r in whole.records]
    assert resumed.comparisons == whole.comparisons
    checkpoints = sorted(path.name for path in (tmp_path / "parts" / "checkpoints" / "seed-0001").iterdir())
    assert checkpoints == [
        "student-joint.safetensors",
        "students.safetensors",
        "teacher-joint.safetensors",
        "teacher-regular.safetensors",
        "teacher-unimodal.safetensors",
    ]


def test_a_damaged_seed_is_run_again(tmp_path: Path) -> None:
    config = replace(QUICK, seeds=1)
    first = mfh.study(make_paired(), config=config, out=tmp_path)
    state = tmp_path / "state" / "seed-0000.npz"
    state.write_bytes(state.read_bytes()[:100])
    again = mfh.study(make_paired(), config=config, out=tmp_path)
    assert [r.test for r in again.records] == [r.test for r in first.records]


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    mfh.study(make_paired(), config=replace(QUICK, seeds=1), out=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds another run's results: `epochs` was 4, is 5"):
        mfh.study(make_paired(), config=replace(QUICK, seeds=1, epochs=5), out=tmp_path)
    with pytest.raises(InputError, match="`data` was"):
        mfh.study(make_paired(seed=1), config=replace(QUICK, seeds=1), out=tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert json.loads((tmp_path / "run.json").read_text())["epochs"] == 4


def test_modalities_are_filled_in_or_asked_for() -> None:
    data = make_paired()
    config = with_modalities(data, StudyConfig(student="audio"))
    assert (config.teacher, config.student) == ("image", "audio")
    with pytest.raises(InputError, match=r"no modality `lidar`. They hold `audio`, `image`"):
        with_modalities(data, StudyConfig(teacher="lidar"))
    three = PairedDataset.from_arrays(
        {name: np.ones((4, 2)) for name in ("a", "b", "c")}, label=np.array([0, 1, 0, 1])
    )
    with pytest.raises(InputError, match="must be named: the data hold 3 modalities"):
        with_modalities(three, StudyConfig())


def test_the_default_layer() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert last_hidden(network, torch.zeros(2, 4)) == "2"
    with pytest.raises(InputError, match="has no linear layer after another layer"):
        last_hidden(nn.Sequential(nn.Linear(4, 2)), torch.zeros(2, 4))


def test_a_study_of_large_networks_goes_on_within_a_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed among its students, it trains again neither the teachers nor a student that was finished."""
    monkeypatch.setattr(networks, "SMALL_NETWORK", 0)
    config = replace(QUICK, seeds=1, epochs=2, ratio=(0.5,), random_draws=1, engine="loop")
    data = make_paired().with_augment({"image": Noise()})
    whole = mfh.study(data, config=config)
    original, trained = students._train_one, []

    def stopping(job: StudentJob, *rest: object) -> StudentFit:
        trained.append(job)
        if len(trained) == 6:
            raise KeyboardInterrupt
        return original(job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(students, "_train_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        mfh.study(data, config=config, out=tmp_path)
    monkeypatch.setattr(students, "_train_one", original)
    parts = tmp_path / "state" / "seed-0000"
    finished = {path.name for path in parts.iterdir()}
    teachers = {"teacher-regular", "teacher-unimodal", "pair", "ranked.npz"}
    assert finished == {*teachers, "no-kd", *_smoothed(config, 2)}
    monkeypatch.setattr(ranking, "_rank", None)
    epochs: list[Path] = []
    monkeypatch.setattr(Fitting, "_epoch", _counting(Fitting._epoch, epochs))
    resumed = mfh.study(data, config=config, out=tmp_path)
    assert [r.test for r in resumed.records] == [r.test for r in whole.records]
    assert set(epochs).isdisjoint(parts / name for name in finished)
    assert not parts.exists()


class Noise:
    """Adds a little of what was drawn."""

    num_draws = 1

    def __call__(self, batch: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        return batch + 0.1 * draws.view(-1, *[1] * (batch.ndim - 1))


def _smoothed(config: StudyConfig, count: int) -> list[str]:
    return [f"no-kd-smoothed-draw-{number}" for number in range(count)]


def _counting(epoch: Callable[[Fitting], bool], seen: list[Path]) -> Callable[[Fitting], bool]:
    def counted(run: Fitting) -> bool:
        assert run.checkpoints is not None
        seen.append(run.checkpoints.folder)
        return epoch(run)

    return counted


@pytest.mark.parametrize(("width", "clip", "expected"), [(1001, None, 5), (1000, None, None), (1001, 0.0, 0)])
def test_gradients_of_perceptrons_with_many_inputs_are_clipped(
    width: int, clip: float | None, expected: float | None
) -> None:
    data = PairedDataset.from_arrays(
        {"words": np.zeros((4, width)), "b": np.zeros((4, 2))}, label=[0, 1, 0, 1]
    )
    config = StudyConfig(teacher="words", student="b", clip=clip)
    assert with_modalities(data, config).clip == expected
    assert with_modalities(data, config, own_networks=True).clip == (1 if clip is None else 0)
