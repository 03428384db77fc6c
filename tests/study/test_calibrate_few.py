"""Calibrated students with few labels: temperatures come from outputs for labels that no student saw."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import make_clear_and_noisy as make_data
from scipy import optimize, special

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study.design import Design
from mfh._study.few import fit as few
from mfh._study.few.budget import Budget
from mfh._study.few.fit import units_per_fit
from mfh._study.few.members import Part, divide_labelled
from mfh._study.few.stack import RIDGE
from mfh._study.networks import Networks
from mfh._study.outcome import SeedResult
from mfh._study.refit import Winner, refit
from mfh._study.seed import run_seed
from mfh._study.task import SeedTask
from mfh.cli import main
from mfh.results import StudyResult

PLAIN = StudyConfig(
    teacher="a", student="b", labelled=("0.2",), repeats=1, folds=2, steps=10, ratio=(0.5,), hidden=(8,),
    label_tuning="none", label_folds=3,
    arms=("no-kd", "self", "stack", "mismatched", "general", "oracle"),
)  # fmt: skip
CALIBRATED = replace(PLAIN, calibrate="temperature")
DATA = make_data(groups=9)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return mfh.study(DATA, config=PLAIN, out=tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrated")


@pytest.fixture(scope="module")
def done(folder: Path) -> StudyResult:
    return mfh.study(DATA, config=CALIBRATED, out=folder)


def run(data: PairedDataset, config: StudyConfig = CALIBRATED) -> SeedResult:
    return run_seed(Networks(data, config), 0, lambda _stage, _count: None)


def log_loss(logits: np.ndarray, label: np.ndarray, temperature: float) -> float:
    """The sum over samples."""
    p = special.log_softmax(logits / temperature, axis=1)
    return -float(p[np.arange(len(label)), label].sum())


# --- what the temperature is


def test_temperatures_are_those_of_an_independent_fit_to_the_recorded_outputs(done: StudyResult) -> None:
    label = done.predictions["label"]
    for seed in (0, 1):
        rows, outputs = (done.predictions[f"{name}/{seed}"] for name in ("out_of_fold_rows", "out_of_fold"))
        assert rows.tolist() == done.predictions[f"labelled/{seed}"].tolist()
        records = [record for record in done.records if record.seed == seed]
        assert len(records) == len(outputs) == len(CALIBRATED.arms)
        before, after = 0.0, 0.0
        for record, logits in zip(records, outputs, strict=True):
            found = optimize.minimize_scalar(
                lambda t, z=logits, y=label[rows]: log_loss(z, y, t) + RIDGE * (1 / t - 1) ** 2,
                bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8},
            )  # fmt: skip
            assert record.temperature == pytest.approx(found.x, rel=1e-3)
            before += log_loss(logits, label[rows], 1.0)
            after += log_loss(logits, label[rows], record.temperature or 0.0)
        assert after < before


def test_calibration_changes_probabilities_and_nothing_else(plain: StudyResult, done: StudyResult) -> None:
    assert [replace(r, seconds=0.0, also={}) for r in plain.records] == [
        replace(r, seconds=0.0, also={}, temperature=None) for r in done.records
    ]
    assert plain.teachers == done.teachers
    assert plain.comparisons == done.comparisons
    assert not any(name.startswith("out_of_fold") for name in plain.predictions)
    for seed in (0, 1):
        records = [r for r in done.records if r.seed == seed]
        raw, divided = (x.predictions[f"outputs/{seed}"] for x in (plain, done))
        for place, record in enumerate(records):
            np.testing.assert_allclose(raw[place] / record.temperature, divided[place], rtol=1e-5)


def test_outputs_are_kept_with_the_fits_of_a_study_that_is_resumed(done: StudyResult, folder: Path) -> None:
    again = mfh.study(DATA, config=CALIBRATED, out=folder)
    for name in ("out_of_fold/1", "out_of_fold_rows/1"):
        np.testing.assert_array_equal(again.predictions[name], done.predictions[name])


# --- what it must not know


def test_hidden_labels_and_test_labels_change_no_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Design.of(DATA, CALIBRATED).draw(DATA, CALIBRATED, 0)
    monkeypatch.setattr(Design, "draw", lambda *_: split)
    unseen = torch.from_numpy(np.setdiff1d(np.arange(len(DATA)), split.learnt))
    poisoned = DATA.label.clone()
    poisoned[unseen] = (poisoned[unseen] + 1) % 3
    clean, other = run(DATA), run(replace(DATA, label=poisoned))
    temperatures = [{r.arm: r.temperature for r in fit.records} for fit in (clean, other)]
    changed = {arm for arm in temperatures[0] if temperatures[0][arm] != temperatures[1][arm]}
    assert changed == {"oracle"}


def test_held_out_labels_change_no_output_for_their_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[list[Part]] = []

    def remember(task: SeedTask, data: PairedDataset) -> list[Part]:
        kept.append(divide_labelled(task, data))
        return kept[0]

    def again(task: SeedTask, data: PairedDataset) -> list[Part]:
        return [
            replace(part, data=data.without_labels(part.held_out.numpy()) if part.name else data)
            for part in kept[0]
        ]

    split = Design.of(DATA, CALIBRATED).draw(DATA, CALIBRATED, 0)
    monkeypatch.setattr(Design, "draw", lambda *_: split)
    monkeypatch.setattr(few, "divide_labelled", remember)
    clean = run(DATA)
    held = kept[0][0].held_out
    poisoned = DATA.label.clone()
    poisoned[held] = (poisoned[held] + 1) % 3
    monkeypatch.setattr(few, "divide_labelled", again)
    other = run(replace(DATA, label=poisoned))
    places = np.isin(clean.out_of_fold["rows"], held.numpy())
    assert 0 < places.sum() < len(places)
    for place, record in enumerate(clean.records):
        before, after = (fit.out_of_fold["outputs"][place] for fit in (clean, other))
        np.testing.assert_array_equal(before[places], after[places], err_msg=record.arm)
        assert np.abs(before[~places] - after[~places]).max() > 1e-3, record.arm


# --- what it takes


def test_progress_counts_all_networks_of_a_fit() -> None:
    networks, told = Networks(make_data(), CALIBRATED), {"teachers": 0, "saliency": 0, "students": 0}

    def count(stage: str, number: int) -> None:
        told[stage] += number

    run_seed(networks, 0, count)
    assert told == units_per_fit(networks)
    once = units_per_fit(Networks(make_data(), PLAIN))
    assert told["students"] == 4 * once["students"]  # for three folds, and once on all labels
    assert told["teachers"] == once["teachers"] + 3 * (4 + 1) + 3 * 5  # without two folds; copies of `self`


def test_a_study_says_what_temperatures_cost() -> None:
    budget = Budget.of(Networks(DATA, CALIBRATED))
    assert "Temperatures take 15 more teachers, and train each student 3 more times." in budget.describe()
    assert "Temperatures" not in Budget.of(Networks(DATA, PLAIN)).describe()


def test_no_kd_alone_costs_nothing() -> None:
    plain, calibrated = (Networks(DATA, replace(c, arms=("no-kd",))) for c in (PLAIN, CALIBRATED))
    assert units_per_fit(plain) == units_per_fit(calibrated)
    (record,) = run(DATA, replace(CALIBRATED, arms=("no-kd",), label_folds=2)).records
    assert record.temperature is not None


def test_numbers_have_no_temperature_and_cost_nothing() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(60, 3))
    data = PairedDataset.from_arrays(
        {"a": shared, "b": shared + rng.normal(size=(60, 3))}, label=shared[:, :1], task="regression"
    )
    networks = [Networks(data, replace(c, arms=("no-kd", "stack"), steps=2)) for c in (PLAIN, CALIBRATED)]
    assert units_per_fit(networks[0]) == units_per_fit(networks[1])
    found = run_seed(networks[1], 0, lambda *_: None)
    assert [record.temperature for record in found.records] == [None, None]
    assert not found.out_of_fold


def test_several_labels_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(90, 3))
    data = PairedDataset.from_arrays(
        {"a": shared, "b": shared + rng.normal(size=(90, 3))}, label=(shared[:, :2] > 0).astype(int),
        task="multi-label",
    )  # fmt: skip
    config = replace(CALIBRATED, labelled=("0.5",), arms=("no-kd", "stack"), steps=2)
    found = run(data, config)
    assert found.out_of_fold["outputs"].shape == (2, len(found.split.learnt), 2)
    assert all((record.temperature or 0) > 0 for record in found.records)


def test_samples_without_labels_need_no_labels_to_be_calibrated() -> None:
    data = make_data().without_labels(np.arange(0, 180, 2))
    config = replace(CALIBRATED, labelled=(), arms=("no-kd", "fused"))
    found = run(data, config)
    assert set(found.out_of_fold["rows"]) == set(range(1, 180, 2)) - set(found.split.test)
    assert all(record.temperature is not None for record in found.records)


def test_two_folds_are_too_few() -> None:
    with pytest.raises(InputError, match=r"`label_folds` must be 3 or more.*Got 2 folds in fit 0"):
        mfh.study(DATA, config=replace(CALIBRATED, label_folds=2, retries=0))


# --- exports


def test_an_export_divides_by_the_recorded_temperature(done: StudyResult, tmp_path: Path) -> None:
    done.export(tmp_path / "calibrated", arm="stack", seed=1)
    done.export(tmp_path / "raw", arm="stack", seed=1, calibrate="none")
    temperature = next(r.temperature for r in done.records if (r.arm, r.seed) == ("stack", 1))
    calibrated, raw = (mfh.load_export(tmp_path / name) for name in ("calibrated", "raw"))
    assert calibrated.info["calibration"] == {"method": "temperature", "temperature": temperature}
    inputs = torch.as_tensor(DATA.modalities["b"])
    with torch.no_grad():
        torch.testing.assert_close(calibrated.student(inputs) * temperature, raw.student(inputs))
    assert "that the student, or students like it, did not see" in (
        tmp_path / "calibrated" / "README.md"
    ).read_text(encoding="utf-8")


def test_a_study_without_temperatures_names_the_way_out(
    plain: StudyResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(plain.kept.folder), "--calibrate", "temperature", "--to", str(tmp_path / "to")]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(r"few labels.*fitted no temperatures\. Repeat the study with --calibrate temp", line)
    plain.export(tmp_path / "plain", arm="no-kd")
    card = (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")
    assert "`mfh study --calibrate temperature` fits their probabilities" in card


def test_a_student_that_is_trained_on_all_samples_gets_a_temperature_of_its_own(done: StudyResult) -> None:
    known, winner = done.predictions["labelled/0"], Winner(arm="stack", loss="kl")
    refitted = refit(Networks(DATA, CALIBRATED), winner, labelled=known)
    assert refitted.temperature is not None
    assert refitted.temperature not in {record.temperature for record in done.records}
    assert refit(Networks(DATA, PLAIN), winner, labelled=known).temperature is None
