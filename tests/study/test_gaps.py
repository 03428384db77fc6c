"""Studies of samples that lack a modality: who learns from which of them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mfh
from mfh import InputError, PairedDataset
from mfh._export.teacher import FinishedTeacher
from mfh._report import html
from mfh._report.sections import learnt
from mfh._report.view import StudyView
from mfh._study.design import Design
from mfh._study.refit import Winner, refit
from mfh.data.selection import usable_only
from mfh.results import Record, StudyResult

COUNT, CLASSES = 240, 3
NO_SOUND, NO_IMAGE = np.arange(COUNT) % 5 == 1, np.arange(COUNT) % 8 == 3
LABEL = np.random.default_rng(7).integers(0, CLASSES, COUNT)
CONFIG = mfh.StudyConfig(
    teacher="sound", student="image", repeats=1, folds=2, epochs=5, ratio=(0.5,), random_draws=1,
    hidden=(12,), temperature=2.0, device="cpu",
)  # fmt: skip
FEW = replace(CONFIG, labelled=("0.5",), steps=20, label_tuning="none", label_folds=2)
ARMS = ("no-kd", "regular", "joint", "general", "mismatched", "self")


def make(
    no_sound: np.ndarray = NO_SOUND, no_image: np.ndarray = NO_IMAGE, seed: int = 0, **settings: Any
) -> PairedDataset:
    """Sounds that show the class clearly, and images that show it less clearly; some are missing."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, width, noise, gone in (("sound", 8, 0.5, no_sound), ("image", 6, 1.5, no_image)):
        centres = rng.normal(size=(CLASSES, width))
        values[name] = centres[LABEL] + noise * rng.normal(size=(COUNT, width))
        values[name][gone] = np.nan
    return PairedDataset.from_arrays(values, **({"label": LABEL} | settings))


def numbers(record: Record) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name != "seconds"}


def by_arm(result: StudyResult, arm: str) -> list[dict[str, Any]]:
    return [numbers(record) for record in result.records if record.arm == arm]


NONE = np.zeros(COUNT, dtype=bool)


@pytest.fixture(scope="module")
def results() -> Mapping[str, StudyResult]:
    """Studies of complete data, and of data that lack sounds, images or both."""
    data = {
        "complete": make(NONE, NONE),
        "no sound": make(NO_SOUND, NONE),
        "both": make(),
    }
    config = replace(CONFIG, arms=ARMS)
    return {name: mfh.study(mine, config=config) for name, mine in data.items()}


# --- which samples train, validate and test


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("kind", ["plain", "group", "split", "fold"])
def test_samples_without_the_image_train_and_are_not_tested(kind: str, few: bool) -> None:
    codes = np.arange(COUNT) // 12
    settings: dict[str, Any] = {
        "plain": {},
        "group": {"group": codes},
        "split": {"split": np.array(["train", "validation", "test", "train"])[codes % 4]},
        "fold": {"fold": codes % 3},
    }[kind]
    data, config = make(**settings), FEW if few else CONFIG
    design = Design.of(data, config)
    for seed in list(design.seeds)[:3]:
        split = design.draw(data, config, seed)
        parts = (split.train, split.validation, split.test)
        assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))
        assert not NO_IMAGE[split.test].any()
        assert NO_SOUND[split.test].any()
        assert NO_IMAGE[split.train].any()
        assert (NO_SOUND | NO_IMAGE)[split.learnt].any()
        if few:  # without a label that is seen, they teach nobody
            assert set(split.train[(NO_SOUND | NO_IMAGE)[split.train]]) <= set(split.learnt)
        if kind == "group":
            codes_of = [set(codes[part]) for part in parts]
            assert not codes_of[0] & codes_of[2]
            assert not codes_of[1] & (codes_of[0] | codes_of[2])
            assert few or NO_IMAGE[split.validation].any()
        if kind == "split":
            assert not np.isin(data.split[split.train], ["test"]).any()
            assert few or (data.split[split.validation] == "validation").all()
        if kind == "fold":
            assert not set(data.fold[split.train[NO_IMAGE[split.train]]]) & set(data.fold[split.test])


def test_samples_that_teach_nobody_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    label = np.where(np.arange(COUNT) % 15 == 1, -1, LABEL)
    data = make(NO_SOUND, NONE, label=label)
    caplog.clear()
    with caplog.at_level("INFO", "mfh.data.selection"):
        kept = usable_only(data, "sound", "image", "this test")
    assert caplog.messages == [
        "Of 224 samples 32 lack `sound`: networks that see the other modality learn from their labels.",
        "16 of 240 samples lack both modalities, or one of them and a label: this test leaves them out.",
    ]
    assert set(data.id) - set(kept.id) == set(data.id[(label < 0) & NO_SOUND])
    complete = make(NONE, NONE)
    assert usable_only(complete, "sound", "image", "this test") is complete
    with pytest.raises(InputError, match=r"this test needs samples that have `sound`, `image`\. There is"):
        usable_only(make(NO_SOUND, ~NO_SOUND), "sound", "image", "this test")


def test_a_split_without_complete_pairs_is_refused() -> None:
    parts = np.array(["train", "test", "validation", "train", "train"])[np.arange(COUNT) % 5]
    config = replace(CONFIG, arms=("no-kd", "regular"), retries=0)
    with pytest.raises(InputError, match="The test split of fit 0 has none: give more complete pairs"):
        mfh.study(make(NO_SOUND, NONE, split=parts), config=config)


# --- who learns from what


def test_networks_of_images_do_not_notice_missing_sounds(results: Mapping[str, StudyResult]) -> None:
    complete, gaps = results["complete"], results["no sound"]
    for arm in ("no-kd", "self"):
        assert by_arm(complete, arm) == by_arm(gaps, arm)
    unimodal = [[vars(t) for t in r.teachers if t.teacher == "unimodal"] for r in (complete, gaps)]
    assert unimodal[0] == unimodal[1]
    assert by_arm(complete, "joint") != by_arm(gaps, "joint")


def test_the_teacher_of_sounds_learns_from_samples_without_an_image() -> None:
    """With all sounds there, a teacher of sounds does not notice which images are missing."""
    parts = np.array(["train", "validation", "test"])[np.arange(COUNT) % 3]
    gone = NO_IMAGE & (parts == "train")
    config = replace(CONFIG, arms=("no-kd", "regular"))
    first, second = (mfh.study(make(NONE, mask, split=parts), config=config) for mask in (NONE, gone))
    assert [vars(teacher) for teacher in first.teachers] == [vars(teacher) for teacher in second.teachers]
    assert by_arm(first, "no-kd") != by_arm(second, "no-kd")


@pytest.mark.parametrize("config", [replace(CONFIG, arms=ARMS), replace(FEW, arms=("stack", *ARMS))])
def test_labels_of_samples_without_sound_teach_every_student(config: mfh.StudyConfig) -> None:
    """Other labels of samples that lack sounds change every student, and the teacher of sounds not at all."""
    parts = np.array(["train", "validation", "test"])[np.arange(COUNT) % 3]
    gone = NO_SOUND & (parts == "train")
    wrong = np.where(gone, (LABEL + 1) % CLASSES, LABEL)
    hidden = np.where(np.arange(COUNT) % 4 == 0, -1, 0)  # some labels are missing with few labels
    results = []
    for label in (LABEL, wrong):
        if config.labelled:
            label = np.where((hidden < 0) & ~gone, -1, label)
        data = make(gone, NONE, label=label, split=parts)
        mine = replace(config, labelled=(), seeds=1, repeats=None, resampling="splits")
        results.append(mfh.study(data, config=mine))
    first, second = results
    for arm in config.arms:
        assert by_arm(first, arm) != by_arm(second, arm), arm
    teachers = [[vars(t) for t in r.teachers if t.teacher == "regular"] for r in results]
    if not config.labelled:  # else the folds of the labels differ, which are stratified
        assert teachers[0] == teachers[1]


def test_both_engines_agree(results: Mapping[str, StudyResult]) -> None:
    config = replace(CONFIG, arms=ARMS)
    looped = mfh.study(make(), config=replace(config, engine="loop"))
    for one, other in zip(results["both"].records, looped.records, strict=True):
        assert (one.arm, one.ratio, one.best_epoch) == (other.arm, other.ratio, other.best_epoch)
        assert other.test == pytest.approx(one.test, abs=1e-6)
        assert other.also["log-loss"] == pytest.approx(one.also["log-loss"], abs=1e-4)


@pytest.mark.parametrize("loss", ["dkd", "rkd", "hints", "crd"])
def test_other_losses_teach_where_the_teacher_sees(loss: str) -> None:
    config = replace(CONFIG, arms=("no-kd", "regular", "self"), losses=(loss,), label_weight=0.5, seeds=1,
                     repeats=None, resampling="splits")  # fmt: skip
    result = mfh.study(make(), config=config)
    assert all(np.isfinite(record.also["log-loss"]) for record in result.records)


def test_few_labels_with_gaps_finish_and_all_outputs_are_finite(tmp_path: Path) -> None:
    data = make()
    result = mfh.study(data, config=FEW, out=tmp_path / "run")
    outputs = [values for name, values in result.predictions.items() if name.startswith("outputs/")]
    assert all(np.isfinite(values).all() for values in outputs)
    assert {teacher.teacher for teacher in result.teachers} >= {"stack", "self", "fused", "joint", "no-kd"}
    assert all(np.isfinite([t.train, t.validation, t.test, t.test_loss]).all() for t in result.teachers)
    weights = [choice.weights for choice in result.chosen if choice.weights]
    assert all(np.isfinite(list(mine.values())).all() for mine in weights)
    lacking = result.data["lacking"]["labelled"]
    assert result.labels["labelled"] == lacking["student"]
    assert lacking["student"] > lacking["both"] < lacking["teacher"]


def test_a_curve_of_labels_leaves_out_the_same_samples() -> None:
    label = np.where(NO_SOUND & (np.arange(COUNT) % 2 == 0), -1, LABEL)
    data = make(NO_SOUND, NONE, label=label, group=np.arange(COUNT) // 4)
    config = replace(FEW, labelled=("0.4", "0.8"), arms=("no-kd", "stack"), seeds=1, repeats=None)
    config = replace(config, resampling="splits")
    whole, kept = (
        mfh.study(mine, config=config) for mine in (data, usable_only(data, "sound", "image", "test"))
    )
    assert len(kept.predictions["id"]) == COUNT - (label < 0).sum()
    assert whole.labels == kept.labels
    assert [numbers(record) for record in whole.records] == [numbers(record) for record in kept.records]


# --- what comes after a study


def test_exports_and_refits_know_the_data(tmp_path: Path) -> None:
    data = make()
    config = replace(CONFIG, arms=("no-kd", "joint", "general"), seeds=1, repeats=None, resampling="splits")
    result = mfh.study(data, config=config, out=tmp_path / "run")
    loaded = mfh.load_results(tmp_path / "run")
    teacher = FinishedTeacher(tmp_path / "run", loaded, data, None, seed=0, arm="general", ratio=0.5)
    focused, removed = teacher.focused()
    teacher.require_score(focused)  # it is the one that the study tested
    assert len(removed) == 6
    for arm in ("no-kd", "joint"):
        done = refit(result.kept.networks, Winner(arm=arm, loss=None if arm == "no-kd" else "kl", epochs=3))
        assert done.samples == done.labelled == (~NO_IMAGE).sum()
        assert all(value.isfinite().all() for value in done.state.values())
    with pytest.raises(InputError, match="must be those of the study"):
        loaded.export(tmp_path / "other", refit=True, data=make(NONE, NONE))
    assert result.data["lacking"]["samples"] == {"sound": 42, "image": 24}


def test_the_report_tells_who_learnt_from_what(results: Mapping[str, StudyResult]) -> None:
    shown = learnt.summarize(StudyView(results["both"]), {})
    rows = {row["name"]: row for row in shown["learnt"]}
    splits = [Design.of(make(), CONFIG).draw(make(), CONFIG, seed).train for seed in (0, 1)]
    with_image = np.mean([(~NO_IMAGE)[train].sum() for train in splits])
    pairs = np.mean([(~NO_IMAGE & ~NO_SOUND)[train].sum() for train in splits])
    with_sound = np.mean([(~NO_SOUND)[train].sum() for train in splits])
    assert (rows["no-kd"]["labels"], rows["no-kd"]["alone"]) == (with_image, with_image - pairs)
    assert (rows["regular"]["labels"], rows["regular"]["alone"]) == (with_sound, with_sound - pairs)
    assert (rows["joint"]["labels"], rows["joint"]["alone"]) == (pairs, 0)
    assert rows["every other arm"]["labels"] == with_image
    page = html(results["both"])
    assert "42 samples lack sound and 24 samples lack image" in page
    assert "of these without the other modality" in page
    assert learnt.summarize(StudyView(results["complete"]), {})["learnt"] == []


# --- single students


def test_distil_without_a_teacher_needs_no_sounds() -> None:
    config = mfh.DistillConfig(epochs=3, device="cpu")
    alone = [mfh.distill(None, None, data, config) for data in (make(NONE, NONE), make(NO_SOUND, NONE))]
    assert [numbers(r) for r in alone[0].records] == [numbers(r) for r in alone[1].records]


def test_distil_learns_labels_where_the_teacher_sees_nothing() -> None:
    parts = np.array(["train", "validation", "test"])[np.arange(COUNT) % 3]
    gone = NO_SOUND & (parts == "train")
    pairs = ~NO_SOUND & (parts == "train")
    teacher = torch.nn.functional.one_hot(torch.from_numpy(LABEL), CLASSES) * 4.0
    teacher[torch.from_numpy(gone)] = torch.nan

    def student(wrong: np.ndarray) -> np.ndarray:
        label = np.where(wrong, (LABEL + 1) % CLASSES, LABEL)
        data = make(gone, NO_IMAGE, label=label, split=parts)
        result = mfh.distill(teacher, None, data, mfh.DistillConfig(epochs=3, device="cpu"))
        assert result.predictions["id"].tolist() == data.id[~NO_IMAGE].tolist()
        logits = result.predictions["logits"]
        assert np.isfinite(logits).all()
        return logits

    right = student(NONE)
    assert np.array_equal(student(pairs), right)  # `label_weight` is 0: the teacher teaches these
    assert not np.array_equal(student(gone), right)
