"""AV-MNIST: what preparing does to images and sound, and the small table made of them."""

import wave
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mfh import InputError, load_results
from mfh._export import export_run, files, load_export, write
from mfh._export.choose import recommended
from mfh.cli import main
from mfh.data.sources import avmnist as source
from mfh.experiments import avmnist
from mfh.experiments.avmnist_config import AvmnistConfig
from mfh.experiments.avmnist_training import ARMS, TEACHERS, design_of, run_seed
from mfh.results import Comparison, MetricInfo, StudyResult, Verdict

pytest.importorskip("librosa")
DIGITS, SPEAKERS, TAKES = 3, ("ada", "bob", "cleo", "dan"), 5


def write_wav(path: Path, digit: int, rng: np.random.Generator, *, rate: int = 8000) -> None:
    seconds = np.arange(rng.integers(2500, 9000)) / rate
    sound = np.sin(2 * np.pi * (300 + 500 * digit) * seconds) * 0.4 + 0.02 * rng.normal(size=len(seconds))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    rng = np.random.default_rng(0)
    label = np.arange(120) % DIGITS
    images = rng.integers(60, size=(120, 28, 28))
    images[np.arange(120), 6 + 5 * label] += 150
    np.savez(
        folder / "mnist.npz", x_train=images.astype(np.uint8), y_train=label, x_test=images.astype(np.uint8)
    )
    (folder / "fsdd").mkdir()
    for digit in range(DIGITS):
        for speaker in SPEAKERS:
            for take in range(TAKES):
                write_wav(folder / "fsdd" / f"{digit}_{speaker}_{take}.wav", digit, rng)
    (folder / "fsdd" / "notes.txt").write_text("no recording")
    return folder


@pytest.fixture(scope="module")
def npz(raw: Path) -> Path:
    return source.prepare(raw / "avmnist.npz", mnist=raw / "mnist.npz", fsdd=raw / "fsdd")


def test_every_recording_has_an_image_of_its_digit_and_its_own(raw: Path, npz: Path) -> None:
    arrays = np.load(npz)
    count = DIGITS * len(SPEAKERS) * TAKES
    assert arrays["image"].shape == (count, 784)
    assert arrays["audio"].shape == (count, 24 * 16)
    np.testing.assert_array_equal(arrays["both"], np.hstack([arrays["image"], arrays["audio"]]))
    assert len(np.unique(arrays["image"].round(6), axis=0)) == count
    assert [name.split("_")[0] for name in arrays["id"]] == [str(digit) for digit in arrays["label"]]
    assert set(arrays["speaker"]) == set(SPEAKERS)


def test_images_are_those_of_the_label() -> None:
    labels = np.arange(40) % 4
    wanted = np.array([3, 3, 0, 1])
    chosen = source.pair_images(labels, wanted, np.random.default_rng(0))
    assert (labels[chosen] == wanted).all()
    assert len(set(chosen)) == 4
    with pytest.raises(InputError, match="MNIST must have 11 images of the digit 2"):
        source.pair_images(labels, np.full(11, 2), np.random.default_rng(0))


@pytest.mark.parametrize("energy", [0.0, 0.5, 0.75])
def test_what_is_left_of_the_images(energy: float) -> None:
    rng = np.random.default_rng(0)
    images = (rng.normal(size=(300, 6)) @ rng.normal(size=(6, 64)) * 12 + 128).clip(0, 255)
    images = images.astype(np.uint8).reshape(300, 8, 8)
    left = source.degrade(images, images, energy).var(axis=0).sum() / (images / 255).var(axis=0).sum()
    assert left <= 1 - energy + 1e-6
    assert left > (1 - energy) / 3
    # the removed directions are gone: the rest has no variance along the first component
    axis = np.linalg.svd((images / 255.0).reshape(300, -1) - (images / 255.0).reshape(300, -1).mean(axis=0))[
        2
    ][0]
    along = (source.degrade(images, images, energy).reshape(300, -1) @ axis).var()
    assert along < 1e-8 if energy else along > 0.1


def test_noise_has_the_power_that_was_asked_for() -> None:
    tone = np.sin(np.arange(8000) / 5).astype(np.float32)
    noisy = source.add_noise(tone, 10.0, np.random.default_rng(0))
    assert 10 * np.log10((tone**2).mean() / ((noisy - tone) ** 2).mean()) == pytest.approx(10, abs=0.2)
    np.testing.assert_array_equal(source.add_noise(tone, np.inf, np.random.default_rng(0)), tone)


def test_mel_bands_show_the_pitch() -> None:
    seconds = np.arange(8000) / 8000
    low, high = (source.log_mel(np.sin(2 * np.pi * f * seconds).astype(np.float32)) for f in (300, 3000))
    assert low.shape == source.AUDIO_SHAPE
    assert low.mean(axis=1).argmax() < 6 < 18 < high.mean(axis=1).argmax()
    assert float(low.max()) == pytest.approx(0, abs=1e-4)
    assert float(low.min()) >= -80


def test_a_zip_of_recordings_is_the_same(raw: Path, npz: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "fsdd.zip", "w") as archive:
        for path in sorted((raw / "fsdd").glob("*.wav"), reverse=True):
            archive.write(path, f"some-folder/recordings/{path.name}")
    again = source.prepare(tmp_path / "again.npz", mnist=raw / "mnist.npz", fsdd=tmp_path / "fsdd.zip")
    for name in ("image", "audio", "id"):
        np.testing.assert_array_equal(np.load(again)[name], np.load(npz)[name])


def test_what_is_downloaded_is_verified_before_it_is_opened(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "a.npz"
    opened: list[Path] = []
    read = source.read_arrays
    monkeypatch.setattr(source, "read_arrays", lambda path: opened.append(path) or read(path))
    monkeypatch.setattr(source, "MNIST_URL", str(raw / "mnist.npz"))
    with pytest.raises(InputError, match="does not have the checksum 731c5ac"):
        source.prepare(out, fsdd=raw / "fsdd", progress=False)
    assert opened == []
    with pytest.raises(InputError, match=r"`fsdd` must name .* Download https://github.com/.* and name that"):
        source.prepare(out, mnist=raw / "mnist.npz", progress=False)
    assert not out.exists()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"energy": 1.0}, "`energy` must lie in"),
        ({"snr": float("nan")}, "`snr` must be a number"),
        ({"fsdd": "absent"}, "`fsdd` must be a folder or a zip. `absent` does not exist"),
        ({"mnist": "absent.npz"}, "`absent.npz` does not exist"),
    ],
)
def test_bad_input(raw: Path, tmp_path: Path, settings: dict[str, Any], text: str) -> None:
    given = {"mnist": raw / "mnist.npz", "fsdd": raw / "fsdd"} | settings
    with pytest.raises(InputError, match=text):
        source.prepare(tmp_path / "a.npz", **given)


def test_other_wavs_are_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "0_ada_0.wav", 0, np.random.default_rng(0), rate=16000)
    with pytest.raises(InputError, match=r"mono, 16 bits, 8000 Hz\. Got"):
        source.read_wav(tmp_path / "0_ada_0.wav")
    with pytest.raises(InputError, match="is no wav"):
        source.read_wav(b"RIFF")


def test_the_study_trains_every_arm_and_resumes(npz: Path, tmp_path: Path) -> None:
    config = AvmnistConfig(seeds=2, epochs=2, hidden=(8,), teacher_hidden=(8,), device="cpu")
    data = avmnist.load(npz)
    result = avmnist.study(data, config=config, out=tmp_path)
    arms = {record.arm for record in result.records}
    assert arms == {"no-kd", "no-kd-smoothed", "audio", "both", "image", "mismatched"}
    assert {teacher.teacher for teacher in result.teachers} == set(TEACHERS)
    assert result.comparisons[0].question is not None
    # two fits become one repeat, with a fold for each of the four speakers
    assert {(record.repeat, record.fold) for record in result.records} == {(0, k) for k in range(4)}
    assert result.comparisons[0].n == 4
    assert result.comparisons[0].components is not None
    again = avmnist.study(data, config=config, out=tmp_path)
    assert [record.seconds for record in again.records] == [record.seconds for record in result.records]
    assert load_results(tmp_path).kind == "study"


SMALL = AvmnistConfig(seeds=4, epochs=3, hidden=(8,), teacher_hidden=(8,), device="cpu")


@pytest.fixture(scope="module")
def finished(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return avmnist.study(avmnist.load(npz), config=SMALL, out=tmp_path_factory.mktemp("avmnist") / "out")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out ONNX, which takes a second a file."""
    monkeypatch.setattr(write, "missing_for_onnx", lambda: ["onnx"])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("arm", list(ARMS))
def test_every_arm_is_exported_with_its_recorded_outputs(
    npz: Path, finished: StudyResult, tmp_path: Path, arm: str
) -> None:
    data, out = avmnist.load(npz), finished.kept.folder
    export_run(out, tmp_path / "folder", arm=arm, seed=1)
    finished.export(tmp_path / "live", arm=arm, seed=1)
    rows, place = finished.predictions["rows/1"], list(ARMS).index(arm)
    inputs = torch.as_tensor(data.modalities["audio"])[rows]
    networks = [load_export(tmp_path / name).student for name in ("folder", "live")]
    for network in (*networks, files.read_program(tmp_path / "live" / "model.pt2")):
        with torch.no_grad():
            found = network(inputs)
        np.testing.assert_allclose(found, finished.predictions["outputs/1"][place], atol=1e-5)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("arm", ["no-kd", "mismatched"])
def test_a_student_is_trained_once_more_on_all_samples(
    npz: Path, finished: StudyResult, tmp_path: Path, arm: str
) -> None:
    data, epochs = avmnist.load(npz), [r.best_epoch for r in finished.records if r.arm == arm]
    finished.export(tmp_path, arm=arm, refit=True, data=data, calibrate="temperature")
    exported = load_export(tmp_path)
    assert exported.info["refit"] == {
        "samples": len(data),
        "labelled": len(data),
        "steps": round(float(np.median(epochs))) * -(-len(data) // SMALL.batch_size),
    }
    mean = exported.student.network.standardize.mean[0]  # type: ignore[union-attr]
    np.testing.assert_allclose(mean, data.modalities["audio"].mean(axis=0), atol=1e-3)
    with pytest.raises(InputError, match="`data` must be given to train on all samples again"):
        finished.export(tmp_path, arm=arm, refit=True)


def test_the_recommended_arm_follows_the_verdict(finished: StudyResult) -> None:
    def told(word: str, **means: float) -> str:
        records = [replace(r, validation=means.get(r.arm, 10.0)) for r in finished.records]
        rows = [
            replace(row, low=-9.0, high=-1.0, difference=-5.0)
            if (row.a, row.b) == ("image", "no-kd")
            else replace(row, low=-9.0, high=9.0)
            for row in finished.comparisons
        ]
        verdict = Verdict(word, None, "")  # type: ignore[arg-type]
        return recommended(replace(finished, verdict=verdict, records=records, comparisons=rows))

    assert told("help") == "both"
    assert told("hurt") == told("no-effect") == "audio"
    assert told("abstain", audio=20.0, image=90.0) == "audio"
    assert told("abstain", both=20.0) == "both"
    worse = [
        replace(row, low=-9.0, high=-1.0, difference=-5.0) if row.b == "no-kd" else row
        for row in finished.comparisons
    ]
    helped = replace(finished, verdict=Verdict("help", None, ""), comparisons=worse)
    assert recommended(helped) == "no-kd"


def test_the_metric_of_the_config_chooses_epochs_and_is_compared(npz: Path) -> None:
    config = AvmnistConfig(
        seeds=2, epochs=2, hidden=(8,), teacher_hidden=(8,), device="cpu", metric="log-loss"
    )
    result = avmnist.study(avmnist.load(npz), config=config)
    assert {row.metric for row in (*result.records, *result.teachers)} == {"log-loss"}
    assert result.metrics[0].name == result.summary[0].metric == "log-loss"
    assert "accuracy" in result.records[0].also
    assert result.verdict.sentence.startswith("The log-loss of the teacher of both modalities")
    assert {"id", "label", "group", "rows/0", "outputs/0", "rows/1"} <= set(result.predictions)


def test_the_command_hides_labels(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--labelled", "0.5", "--seeds", "4", "--steps", "5", "--hidden", "4", "--device", "cpu"]
    main(["avmnist", "study", "--data", str(npz), "--out", str(tmp_path / "out"), *options, "--quiet"])
    result = load_results(tmp_path / "out")
    assert {"no-kd", "self", "stack", "oracle"} <= {record.arm for record in result.records}
    assert (result.config["teacher"], result.config["student"]) == ("image", "audio")
    assert result.config["labelled"] == ["0.5"]
    assert "stack" in capsys.readouterr().out


def test_speakers_are_in_one_split_each(npz: Path) -> None:
    data = avmnist.load(npz)
    done = run_seed(data, AvmnistConfig(epochs=1, hidden=(4,), teacher_hidden=(4,), device="cpu"), 3)
    assert data.group is not None
    parts = [set(data.group[rows]) for rows in (done.split.train, done.split.validation, done.split.test)]
    assert sum(len(part) for part in parts) == len(SPEAKERS)


def test_every_speaker_is_tested_once_in_each_repeat(npz: Path) -> None:
    data = avmnist.load(npz)
    assert data.group is not None
    design = design_of(data, AvmnistConfig(seeds=5))
    assert (design.folds, design.repeats) == (len(SPEAKERS), 2)
    for first in (0, 4):
        tested = [data.group[design.draw_fold(data, seed).test] for seed in range(first, first + 4)]
        assert sorted(name for names in tested for name in set(names)) == list(range(len(SPEAKERS)))


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 2.0, "help"),
        (-2.0, -0.1, "hurt"),
        (-0.5, 0.5, "no-effect"),
        (-3.0, 3.0, "abstain"),
        (None, None, "abstain"),
    ],
)
def test_the_verdict_is_on_the_students(low: float | None, high: float | None, word: str) -> None:
    row = Comparison("both", "audio", None, 3, 0.3, low, high, None, None, p=0.5)
    found = avmnist.judge(row, 90.0, 70.0, metric=MetricInfo("accuracy"))
    assert found.verdict == word
    assert "The accuracy of the teacher of both modalities is 90.0%" in found.sentence


def test_a_lower_loss_is_better() -> None:
    row = Comparison("both", "audio", None, 3, -0.3, -0.5, -0.1, None, None, p=0.01)
    loss = MetricInfo("log-loss", "", higher_is_better=False, margin=0.01)
    assert avmnist.judge(row, 0.5, 0.8, metric=loss).verdict == "help"


def test_the_commands(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["avmnist", "prepare", "--mnist", str(raw / "mnist.npz"), "--fsdd", str(raw / "fsdd")]
    assert main([*arguments, "--out", str(tmp_path / "a.npz"), "--quiet"]) == 0
    quick = ["--seeds", "2", "--epochs", "1", "--hidden", "4", "--teacher-hidden", "4", "--quiet"]
    arguments = [
        "avmnist",
        "study",
        "--data",
        "a.npz",
        "--out",
        "out",
        *quick,
    ]
    assert main(arguments) == 0
    assert "mismatched" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").exists()
    monkeypatch.chdir(tmp_path / "out")
    export = ["export", ".", "--to", "to", "--arm", "both", "--refit", "--quiet"]
    assert main(export) == 0
    assert main(["predict", "to", "--data", str(tmp_path / "a.npz"), "--out", "p.csv", "--quiet"]) == 0
    assert "Needed in training alone: the modality `both`" in Path("to/README.md").read_text()
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--seeds", "0"]) == 2
    assert "`seeds` must be 1 or more" in capsys.readouterr().err
