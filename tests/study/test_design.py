"""The design of a study: folds, repeats, splits, and studies that go on until they are decided."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import make_paired

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study.design import Design
from mfh.data.splits import draw_split

QUICK = StudyConfig(
    teacher="audio", student="image", epochs=2, ratio=(0.5,), random_draws=1, hidden=(8,),
    arms=("no-kd", "joint", "general"),
)  # fmt: skip


def splits(data: PairedDataset, config: StudyConfig) -> list:
    design = Design.of(data, config)
    return [design.draw(data, config, seed) for seed in design.seeds]


def test_each_repeat_tests_every_sample_once() -> None:
    data = make_paired()
    drawn = splits(data, QUICK)
    assert len(drawn) == 10
    for repeat in (drawn[:5], drawn[5:]):
        tested = np.concatenate([split.test for split in repeat])
        assert np.array_equal(np.sort(tested), np.arange(len(data)))
    assert not np.array_equal(drawn[0].test, drawn[5].test)
    for split in drawn:
        parts = (split.train, split.validation, split.test)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(data)))
        assert [len(part) / len(data) for part in parts] == pytest.approx([0.6, 0.2, 0.2], abs=0.02)
        counts = np.bincount(data.label[split.test])
        assert counts.max() - counts.min() <= 2


def test_groups_stay_together_and_are_folds_where_they_are_few() -> None:
    data = make_paired(num_groups=13)
    assert data.group is not None
    for split in splits(data, QUICK):
        names = [set(data.group[rows].tolist()) for rows in (split.train, split.validation, split.test)]
        assert not names[0] & names[2]
        assert not names[1] & names[2]
        assert not names[0] & names[1]
    few = replace(data, group=np.random.default_rng(0).permutation(np.arange(len(data)) % 4))
    design = Design.of(few, QUICK)
    assert (design.folds, len(design.seeds)) == (4, 8)
    assert len({tuple(np.unique(few.group[s.test])) for s in splits(few, QUICK)[:4]}) == 4  # type: ignore[index]


def test_seeds_are_rounded_up_to_whole_repeats() -> None:
    data = make_paired()
    assert len(Design.of(data, replace(QUICK, seeds=7)).seeds) == 10
    assert len(Design.of(data, replace(QUICK, repeats=3)).seeds) == 15
    assert len(Design.of(data, replace(QUICK, folds=4)).seeds) == 8
    with pytest.raises(InputError, match=r"`seeds` must be repeats x folds, here 3 x 5\. Got 10"):
        replace(QUICK, seeds=10, repeats=3)
    for wrong, text in (
        ({"repeats": 2}, "`repeats` must be left out with the resampling splits"),
        ({"until": "decided"}, "`until` must be fixed with the resampling splits"),
        ({"interval": "crossed"}, "`interval` must not be crossed"),
    ):
        with pytest.raises(InputError, match=text):
            StudyConfig(resampling="splits", **wrong)
    with pytest.raises(InputError, match="`fix_split` must be left out with the resampling kfold"):
        StudyConfig(fix_split=True)


def test_splits_are_those_of_draw_split() -> None:
    data, config = make_paired(), replace(QUICK, resampling="splits", seeds=3)
    for seed, split in enumerate(splits(data, config)):
        assert np.array_equal(split.test, draw_split(data, seed).test)


def test_a_split_that_the_data_bring_is_kept_and_crossed_with_seeds() -> None:
    data = make_paired()
    names = np.array(["train", "train", "train", "validation", "test"])[np.arange(len(data)) % 5]
    fixed = replace(data, split=names)
    config = replace(QUICK, seeds=4)
    drawn = splits(fixed, config)
    assert len(drawn) == 4
    assert len({split.test.tobytes() for split in drawn}) == 1
    result = mfh.study(fixed, config=config)
    gain = result.comparisons[0]
    assert gain.components is None or gain.components["test_over_train"] == 0
    assert any("The split is the same in every fit" in reason for reason in result.verdict.reasons)


def test_records_know_their_repeat_and_fold_and_outputs_are_kept(tmp_path: Path) -> None:
    data = make_paired()
    result = mfh.study(data, config=QUICK, out=tmp_path)
    assert {(r.seed, r.repeat, r.fold) for r in result.records} == {(s, s // 5, s % 5) for s in range(10)}
    kept = mfh.load_results(tmp_path).predictions  # type: ignore[attr-defined]
    records = [record for record in result.records if record.seed == 3]
    for record, outputs in zip(records, kept["outputs/3"], strict=True):
        right = outputs.argmax(axis=1) == kept["label"][kept["rows/3"]]
        assert 100 * right.mean() == pytest.approx(record.test)
    assert kept["id"].tolist() == data.id.tolist()


def test_more_repeats_go_on_with_those_there_are(tmp_path: Path) -> None:
    data = make_paired()
    once = mfh.study(data, config=replace(QUICK, repeats=1), out=tmp_path)
    twice = mfh.study(data, config=QUICK, out=tmp_path)
    assert [r.test for r in twice.records[: len(once.records)]] == [r.test for r in once.records]
    assert len(twice.records) == 2 * len(once.records)
    whole = mfh.study(data, config=QUICK)
    assert [r.test for r in whole.records] == [r.test for r in twice.records]


def test_a_study_goes_on_until_it_is_decided(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    data = PairedDataset.from_arrays(
        {"audio": np.eye(2)[label] + 0.01 * rng.normal(size=(200, 2)), "image": rng.normal(size=(200, 3))},
        label=label,
    )
    config = replace(QUICK, until="decided", max_repeats=4, margin=60.0)
    result = mfh.study(data, config=config, out=tmp_path)
    assert [look.repeats for look in result.looks] == [2]  # noise cannot differ by 60 points
    assert result.verdict.verdict == "no-effect"
    bounds = [look.bound for look in result.looks]
    assert min(bounds) > 1.95
    narrow = replace(config, margin=1e-6, max_repeats=3)
    longer = mfh.study(data, config=narrow, out=tmp_path)
    assert len({record.seed for record in longer.records}) == 5 * longer.looks[-1].repeats
    assert mfh.load_results(tmp_path).looks == longer.looks  # type: ignore[attr-defined]
    assert all(0 < look.fraction <= 1 for look in longer.looks)


def test_the_test_fold_chooses_nothing() -> None:
    """Labels of the test fold are poisoned after the folds are drawn: all else stays the same."""
    data = make_paired()
    config = replace(QUICK, repeats=1, seeds=None)
    plain = mfh.study(data, config=config)
    design = Design.of(data, config)
    test = design.draw(data, config, 0).test
    label = data.label.clone()
    label[test] = (label[test] + 1) % 3
    poisoned = replace(data, label=label)
    original = Design.deal
    folds = original(design, data, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Design, "deal", lambda *_: folds)
        other = mfh.study(poisoned, config=config)
    for a, b in zip(plain.records, other.records, strict=True):
        if a.seed == 0:
            assert (a.train, a.validation, a.best_epoch) == (b.train, b.validation, b.best_epoch)
    rest = [choice for choice in plain.chosen if choice.seed == 0]
    assert rest == [choice for choice in other.chosen if choice.seed == 0]


def test_plan_says_what_a_study_needs() -> None:
    found = mfh.plan(make_paired(), effect=50.0, config=replace(QUICK, arms=("no-kd",)))
    assert found.repeats == 1
    assert found.sentence.endswith("with a probability of 80%: 1 repeat.")
    small = mfh.plan(make_paired(), effect=0.01, config=QUICK)
    assert small.repeats is None
    assert small.samples is not None
    assert small.samples > len(make_paired())
    with pytest.raises(InputError, match="`effect` must be above 0"):
        mfh.plan(make_paired(), effect=0.0, config=QUICK)
