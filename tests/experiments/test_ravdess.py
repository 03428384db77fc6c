"""The RAVDESS experiment in Python: what each step leaves, and that it is what Algorithm 1 says."""

from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._focus import channel_means
from mfh._study.task import derived_seed
from mfh.data.sources.ravdess.reader import NormalizeAudio, NormalizeImage
from mfh.experiments import ravdess
from mfh.experiments._steps import parts
from mfh.experiments._steps.parts import cached_samples, in_parts
from mfh.experiments.modes import find_mode
from mfh.experiments.ravdess_config import RavdessConfig
from mfh.metrics import find_metric
from mfh.models.ravdess import RavdessNetwork
from mfh.training.evaluate import predict
from mfh.training.loop import fit
from mfh.training.objectives import Joint, Pair

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")
SMALL = RavdessConfig(width=2, epochs=2, batch_size=8, lr=0.05, device="cpu")


def make_data(seed: int = 0) -> PairedDataset:
    """Samples in the shapes of RAVDESS, small, whose label shows in both modalities."""
    rng = np.random.default_rng(seed)
    label = np.arange(48) % 4
    audio = rng.normal(-10, 30, size=(48, 1, 40, 48)).astype(np.float32)
    image = rng.integers(0, 60, size=(48, 3, 32, 32)).astype(np.uint8)
    for row, k in enumerate(label):
        audio[row, :, 10 * k : 10 * k + 10] += 150
        image[row, :, 8 * k : 8 * k + 8] += 180
    return PairedDataset.from_arrays(
        {"audio": audio, "image": image},
        label=label,
        id=[f"clip {row}" for row in range(48)],
        group=[f"actor {row // 8}" for row in range(48)],
        split=np.repeat(["train", "validation", "test"], [24, 8, 16]),
        transforms={"audio": NormalizeAudio(), "image": NormalizeImage()},
    )


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_data()


@pytest.fixture(scope="module")
def trained(data: PairedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after `train` and `saliency`; tests copy what they change."""
    out = tmp_path_factory.mktemp("ravdess") / "out"
    ravdess.train(data, out, config=SMALL)
    ravdess.saliency(data, out, config=SMALL)
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    import shutil

    return shutil.copytree(trained, tmp_path / "out")


def load(out: Path, name: str, modality: str) -> RavdessNetwork:
    from mfh.models.ravdess import load_released

    return load_released(
        out / "checkpoints" / "seed-0000" / f"{name}.safetensors", modality, width=2, num_classes=4
    ).eval()  # type: ignore[arg-type]


def test_the_joint_pair_keeps_its_last_epoch(data: PairedDataset, trained: Path) -> None:
    def network(modality: str, role: str) -> RavdessNetwork:
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(0, role))
            return RavdessNetwork(modality, width=2, num_classes=4)  # type: ignore[arg-type]

    pair = Pair(network("audio", "teacher"), network("image", "joint student"))
    fit(
        pair,
        data,
        Joint(),
        modalities=("audio", "image"),
        train=torch.arange(24),
        config=SMALL,
        seed=derived_seed(0, "batches"),
    )
    for name, side, modality in (("teacher", pair.teacher, "audio"), ("student", pair.student, "image")):
        kept = load(trained, f"{name}-joint", modality).state_dict()
        for key, value in side.state_dict().items():
            assert torch.equal(kept[key], value), (name, key)


def test_saliency_at_place_5_is_the_exact_one_on_the_training_split(
    data: PairedDataset, trained: Path
) -> None:
    teacher, student = load(trained, "teacher-joint", "audio"), load(trained, "student-joint", "image")
    rows = torch.arange(24)
    trunk, head = mfh.split(teacher, "relu5")
    expected = mfh.saliency(
        predict(trunk, data, "audio", rows), head, predict(student, data, "image", rows), warn=False
    )
    kept = mfh.SaliencyResult.load(trained / "saliency-place5.npz")
    assert kept.num_permutations == "exact"
    assert kept.num_samples == 24
    np.testing.assert_allclose(kept.increase, expected.increase, rtol=1e-5, atol=1e-9)
    assert kept.increase.std() > 0


def test_students_of_a_focused_teacher_learn_from_mean_filled_channels(
    data: PairedDataset, out: Path
) -> None:
    result = ravdess.verify(data, out, mode="general", ratio=0.5, config=SMALL)
    ranked = mfh.SaliencyResult.load(out / "saliency-place5.npz")
    teacher = load(out, "teacher-joint", "audio")
    trunk, head = mfh.split(teacher, "relu5")
    features = predict(trunk, data, "audio", torch.arange(48))
    gone = mfh.select(ranked, 0.5, "general")
    assert len(gone) == 4
    features[:, gone] = channel_means(features[:24])[gone]
    with torch.no_grad():
        expected = head(features)
    kept = np.load(out / "teacher-outputs" / "general-0.5-audio-logits.npz")
    order = [list(kept["id"]).index(name) for name in data.id]
    np.testing.assert_allclose(kept["outputs"][order], expected.numpy(), rtol=1e-4, atol=1e-5)
    test = find_metric("accuracy", data.task)(expected[32:], data.label[32:])
    told = next(row for row in result.teachers if row.teacher == "general@0.5")
    assert told.test == test


def test_a_seed_begins_alike_in_every_mode_and_is_compared_with_itself(
    data: PairedDataset, out: Path
) -> None:
    for mode in ("no-kd", "joint", "general", "random"):
        result = ravdess.verify(data, out, mode=mode, seeds=2, config=SMALL)
    assert {(r.arm, r.ratio, r.seed) for r in result.records} == {
        (arm, ratio, seed)
        for arm, ratio in (("no-kd", None), ("joint", None), ("general", 0.75), ("random", 0.75))
        for seed in (0, 1)
    }
    tests = {(r.arm, r.seed): r.test for r in result.records}
    row = next(c for c in result.comparisons if (c.a, c.b) == ("general", "no-kd"))
    differences = [tests["general", s] - tests["no-kd", s] for s in (0, 1)]
    assert (row.n, row.difference) == (2, pytest.approx(np.mean(differences)))
    assert {(c.a, c.b) for c in result.comparisons} >= {("general", "joint"), ("general", "random")}
    assert row.low_boot is not None
    assert not list((out / "state").glob("*/"))


def test_a_student_without_a_step_of_learning_is_the_same_in_every_mode(
    data: PairedDataset, out: Path
) -> None:
    """With a learning rate of next to nothing only the beginning is left: it must be common to all modes."""
    config = replace(SMALL, lr=1e-12, epochs=1)
    files = {"joint_teacher": out / "checkpoints" / "seed-0000" / "teacher-joint.safetensors"}
    fresh = out.parent / "fresh"
    for mode in ("no-kd", "joint"):
        result = ravdess.verify(data, fresh, mode=mode, seeds=2, config=config, **files)
    tests = {(r.arm, r.seed): r.test for r in result.records}
    assert all(tests["no-kd", seed] == tests["joint", seed] for seed in (0, 1))
    weights = [load(fresh, name, "image").fc3.weight for name in ("distilled-no-kd", "distilled-joint")]
    torch.testing.assert_close(*weights)


def test_a_finished_student_is_not_trained_again(
    data: PairedDataset, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ravdess.verify(data, out, mode="joint", config=SMALL)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("mfh.experiments._steps.training.fit", refuse)
    again = ravdess.verify(data, out, mode="joint", config=SMALL)
    assert again.records == first.records
    ravdess.train(data, out, config=SMALL)
    with pytest.raises(AssertionError, match="trained again"):
        ravdess.verify(data, out, mode="joint", seeds=2, config=SMALL)


@pytest.mark.parametrize("place", [1, 3, 4])
def test_other_places_are_sampled(data: PairedDataset, out: Path, place: int) -> None:
    result = ravdess.saliency(data, out, place=place, num_permutations=2, samples=12, config=SMALL)
    assert result.num_channels == {1: 2, 3: 8, 4: 64}[place]
    assert (result.num_permutations, result.num_samples) == (2, 12)
    students = ravdess.verify(data, out, mode="specific", ratio=0.5, place=place, config=SMALL)
    assert students.config["layer"] == f"relu{place}"
    assert [r.arm for r in students.records if r.ratio == 0.5] == ["specific"]


def test_place_6_warns(data: PairedDataset, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ravdess.saliency(data, out, place=6, config=SMALL).num_channels == 4
    assert "removing one removes a class" in caplog.text


def test_modalities_can_be_exchanged(data: PairedDataset, tmp_path: Path) -> None:
    config = replace(SMALL, student="audio", epochs=1)
    result = ravdess.train(data, tmp_path / "out", config=config)
    assert (result.config["teacher"], result.config["student"]) == ("image", "audio")
    assert load(tmp_path / "out", "teacher-regular", "image").conv1.in_channels == 3
    assert ravdess.saliency(data, tmp_path / "out", place=0, config=config).num_channels == 3


class AuthorsNetwork(nn.Module):
    """A network of one's own with the released parameter names, the audio one."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 7, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 5, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 5, padding=1)
        self.fc1 = nn.Linear(4 * width * 98, 32 * width)
        self.fc2 = nn.Linear(32 * width, 4 * width)
        self.fc3 = nn.Linear(4 * width, 4)


def test_the_authors_files_stand_in_for_two_steps(data: PairedDataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(AuthorsNetwork().state_dict(), tmp_path / "teacher_mod_1_overlap.pkl")
    vector = np.linspace(0, 1, 8)
    np.save(tmp_path / "overlap_tag_teacher_place5_repeat10.npy", vector)
    out = tmp_path / "out"
    ravdess.verify(
        data,
        out,
        mode=1,
        config=SMALL,
        joint_teacher=tmp_path / "teacher_mod_1_overlap.pkl",
        saliency=tmp_path / "overlap_tag_teacher_place5_repeat10.npy",
    )
    result = ravdess.verify(data, out, mode=2, config=SMALL)  # both are known by now
    assert [r.arm for r in result.records] == ["general", "specific"]
    np.testing.assert_array_equal(result.channels["increase_train"][0], vector)
    np.save(tmp_path / "other.npy", vector[::-1])
    with pytest.raises(InputError, match="contains another saliency of place 5"):
        ravdess.verify(data, out, mode=1, config=SMALL, saliency=tmp_path / "other.npy")


def test_samples_too_small_for_the_network_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    rng, label = np.random.default_rng(0), np.arange(24) % 4
    tiny = PairedDataset.from_arrays(
        {"audio": rng.normal(size=(24, 1, 40, 48)), "image": rng.normal(size=(24, 3, 2, 2))}, label=label
    )
    text = r"samples that the image network accepts\. Those of image have the shape \(3, 2, 2\)"
    with pytest.raises(InputError, match=text):
        ravdess.train(tiny, tmp_path / "out", config=SMALL)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_a_vector_of_another_length_is_refused(data: PairedDataset, out: Path, tmp_path: Path) -> None:
    (out / "saliency-place5.npz").unlink()
    np.save(tmp_path / "released.npy", np.zeros(128))
    with pytest.raises(InputError, match=r"for each of the 8 channels of place 5 \(relu5\). It has 128"):
        ravdess.verify(data, out, mode=1, config=SMALL, saliency=tmp_path / "released.npy")


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((2, 3)), r"one number per channel. It contains float64\[2, 3\]"),
        (np.array([0.0, np.nan]), "NaN or infinity"),
        (np.array(["a"]), "one number per channel"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_what_is_no_vector_is_refused(
    data: PairedDataset, out: Path, tmp_path: Path, array: np.ndarray, text: str
) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=text):
        ravdess.verify(data, out, mode=1, config=SMALL, saliency=tmp_path / "bad.npy")


def test_steps_out_of_order_say_which_comes_first(data: PairedDataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for mode in ("general", "joint", "regular"):
        with pytest.raises(InputError, match="Run `mfh ravdess train` with the same --data and --out first"):
            ravdess.verify(data, out, mode=mode, config=SMALL)
    with pytest.raises(InputError, match="Run `mfh ravdess train`"):
        ravdess.saliency(data, out, config=SMALL)
    with pytest.raises(InputError, match="Run `mfh ravdess saliency --place 5`"):
        ravdess.plot(out)
    assert not out.exists()


def test_a_missing_saliency_is_named(data: PairedDataset, out: Path) -> None:
    with pytest.raises(InputError, match="Run `mfh ravdess saliency --place 4`"):
        ravdess.verify(data, out, mode="general", place=4, config=SMALL)


def test_students_in_a_folder_must_learn_in_the_same_way(data: PairedDataset, out: Path) -> None:
    ravdess.verify(data, out, mode="joint", config=SMALL)
    with pytest.raises(InputError, match=r"`distill_weight` was 1.0, is 0.125"):
        ravdess.verify(data, out, mode="general", config=replace(SMALL, distill_weight=0.125))
    with pytest.raises(InputError, match=r"`epochs` was 2, is 3"):
        ravdess.verify(data, out, mode="general", config=replace(SMALL, epochs=3))
    with pytest.raises(InputError, match="`data` was"):
        ravdess.verify(make_data(1), out, mode="general", config=SMALL)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "4"}, "`mode` must be one of `general \\(1\\)`"),
        ({"mode": 1, "ratio": 1.0}, r"`ratio` must lie in \[0, 1\)"),
        ({"mode": 1, "seeds": 0}, "`seeds` must be 1 or more"),
        ({"mode": 1, "place": 7}, "`place` must lie in"),
        ({"mode": 1, "place": 0}, "the input has one channel"),
    ],
)
def test_bad_options_are_named(
    data: PairedDataset, trained: Path, options: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        ravdess.verify(data, trained, config=SMALL, **options)  # type: ignore[arg-type]


def test_a_checkpoint_of_another_width_names_its_parameters(
    data: PairedDataset, out: Path, tmp_path: Path
) -> None:
    path = out / "checkpoints" / "seed-0000" / "teacher-joint.safetensors"
    with pytest.raises(InputError, match=r"`conv1.weight` has shape \(2, 1, 7, 7\), must be \(3, 1, 7, 7\)"):
        ravdess.verify(
            data, tmp_path / "new", mode="joint", config=replace(SMALL, width=3), joint_teacher=path
        )
    with pytest.raises(InputError, match="replace step 1 together"):
        ravdess.train(data, tmp_path / "new", config=SMALL, joint_teacher=path)


def test_the_released_numbers_name_the_modes() -> None:
    assert [find_mode(number).name for number in (0, 1, 2, -1)] == ["random", "general", "specific", "joint"]


def test_the_study_runs_on_the_split_of_the_data(data: PairedDataset, tmp_path: Path) -> None:
    config = StudyConfig(
        resampling="splits",
        seeds=1,
        epochs=1,
        ratio=(0.5,),
        random_draws=1,
        smoothing=(0.1,),
        batch_size=8,
        device="cpu",
    )
    result = ravdess.study(data, tmp_path / "out", config=config, width=2)
    assert result.config["layer"] == "relu5"
    assert result.data["splits"] == {"train": 24, "validation": 8, "test": 16}
    assert result.channels["increase_train"].shape == (1, 8)
    assert {"no-kd", "regular", "joint", "general", "important"} <= {r.arm for r in result.records}
    with pytest.raises(InputError, match="holds another run's results"):
        ravdess.train(data, tmp_path / "out", config=SMALL)


def test_the_study_hides_labels(data: PairedDataset) -> None:
    config = StudyConfig(
        resampling="splits", seeds=1, epochs=1, labelled=("0.5",), arms=("no-kd", "stack"), batch_size=8,
        label_tuning="none", device="cpu",
    )  # fmt: skip
    result = ravdess.study(data, config=config, width=2)
    assert (result.labels["labelled"], result.labels["unlabelled"]) == (16, 16)
    assert {record.arm for record in result.records} == {"no-kd", "stack"}
    assert result.labels["training"]["steps"] == 4  # one epoch of 32 pairs


def test_batches_in_parts_that_stay_in_the_cache_give_the_same(
    data: PairedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_parts(SMALL, data, "audio", "image").micro_batch == cached_samples(data, "audio", "image") > 8
    assert in_parts(replace(SMALL, micro_batch=5), data, "image").micro_batch == 5
    whole = ravdess.train(data, tmp_path / "whole", config=SMALL)
    monkeypatch.setattr(parts, "CACHED_VALUES", 3 * max(prod(data.shape(m)) for m in data.modalities))
    assert cached_samples(data, "audio", "image") == 3
    divided = ravdess.train(data, tmp_path / "parts", config=SMALL)
    assert [(r.arm, r.test) for r in whole.records] == [(r.arm, r.test) for r in divided.records]
    for name in ("teacher-joint", "student-joint", "teacher-regular"):
        first, second = (
            load_file(tmp_path / out / "checkpoints" / "seed-0000" / f"{name}.safetensors")
            for out in ("whole", "parts")
        )
        for key, value in first.items():
            torch.testing.assert_close(value, second[key], rtol=1e-3, atol=1e-5)


def test_curves_of_a_tracker_outlast_the_training(data: PairedDataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    ravdess.train(data, tmp_path / "out", config=replace(SMALL, tracker=["tensorboard"]))
    logs = tmp_path / "out" / "logs" / "seed-0000"
    kept = {path.name for path in logs.iterdir() if list(path.rglob("events*"))}
    assert kept == {"pair", "teacher-regular", "no-kd"}
    assert not list((tmp_path / "out" / "state").glob("*/"))
