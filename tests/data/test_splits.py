"""Splits: disjoint, complete, stratified, whole groups, seeded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfh import InputError, PairedDataset
from mfh.data.splits import absent_classes, divide, draw_split


def make(label: list[int], **columns: object) -> PairedDataset:
    values = np.zeros((len(label), 2))
    return PairedDataset.from_arrays({"a": values, "b": values}, label=label, **columns)  # type: ignore[arg-type]


def test_shares_and_strata() -> None:
    split = draw_split(make([0, 1, 2, 3] * 50), 0)
    assert [len(rows) for rows in (split.train, split.validation, split.test)] == [120, 40, 40]
    for rows in (split.train, split.validation, split.test):
        counts = np.bincount(np.array([0, 1, 2, 3] * 50)[rows])
        assert counts.max() == counts.min()


def test_seed_decides() -> None:
    data = make([0, 1] * 30)
    assert (draw_split(data, 3).train == draw_split(data, 3).train).all()
    assert (draw_split(data, 3).train != draw_split(data, 4).train).any()


@given(
    st.lists(st.integers(0, 2), min_size=12, max_size=80),
    st.integers(3, 9),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_parts_are_disjoint_and_complete(label: list[int], groups: int, seed: int, grouped: bool) -> None:
    labels = np.array(label)
    names = np.arange(len(label)) % groups if grouped else None
    parts = divide(labels, names, (0.6, 0.2, 0.2), np.random.default_rng(seed))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(label)))
    if names is not None:
        owners = [set(names[part]) for part in parts]
        assert sum(len(owner) for owner in owners) == groups
        assert all(owners)


def test_a_class_of_three_is_in_every_split() -> None:
    split = draw_split(make([0] * 40 + [1] * 3), 0)
    assert all((rows >= 40).sum() == 1 for rows in (split.train, split.validation, split.test))


def test_a_class_of_two_is_absent_from_one_split() -> None:
    data = make([0] * 40 + [1] * 2)
    split = draw_split(data, 0)
    assert absent_classes(data, split) == {"test": ["1"]}
    assert all((rows >= 40).sum() == 1 for rows in (split.train, split.validation))


def test_a_training_split_needs_two_classes() -> None:
    names = ["train"] * 4 + ["test"] * 4
    with pytest.raises(
        InputError, match=r"two classes or more \(seed 0\). It has only `0`: give more samples"
    ):
        draw_split(make([0] * 6 + [1] * 2, split=names), 0)


def test_most_test_samples_need_a_class_that_is_learnt() -> None:
    labels = [0, 1, 0, 1, 2, 3, 4, 0]
    split = ["train", "train", "validation", "validation", "test", "test", "test", "test"]
    with pytest.raises(InputError, match=r"Only 25% of the test samples .* name the task regression"):
        draw_split(make(labels, split=split), 0)
    few = make([*labels, 1], split=[*split[:4], *["test"] * 2, "train", "test", "test"])
    assert absent_classes(few, draw_split(few, 0)) == {
        "train": ["2", "3"], "validation": ["2", "3", "4"], "test": ["4"],
    }  # fmt: skip


def test_labels_that_a_split_lacks_are_named_and_those_without_any_sample_are_not() -> None:
    names = ["train", "train", "validation", "validation", "test", "test"]
    sets = [[1, 0], [0, 1], [1, 0], [1, 0], [1, 1], [0, 1]]
    several = make(sets, split=names)  # type: ignore[arg-type]
    assert absent_classes(several, draw_split(several, 0)) == {"validation": ["1"]}
    classes = make([0, 1] * 3, split=names, class_names=["a", "b", "never"])
    assert absent_classes(classes, draw_split(classes, 0)) == {}


def test_many_rare_classes_leave_no_part_empty() -> None:
    labels = np.repeat(np.arange(40), 3)
    plain = divide(labels, None, [0.2] * 5, np.random.default_rng(0))
    assert min(map(len, plain)) == 0
    parts = divide(labels, None, [0.2] * 5, np.random.default_rng(0), spread=True)
    assert [len(part) for part in parts] == [24] * 5
    assert sorted(np.concatenate(parts)) == list(range(120))
    assert all(len(np.unique(labels[part])) == 24 for part in parts), "one of a class in a part"
    uneven = divide(labels[::3], None, [0.75, 0.25], np.random.default_rng(0), spread=True)
    assert [len(part) for part in uneven] == [30, 10]
    single = divide(labels[:1], None, [0.2] * 5, np.random.default_rng(0), spread=True)
    assert [len(part) for part in single] == [1, 0, 0, 0, 0]
    enough = np.repeat(np.arange(40), 5)  # nothing changes where classes have enough samples
    for one, other in zip(
        divide(enough, None, [0.2] * 5, np.random.default_rng(0)),
        divide(enough, None, [0.2] * 5, np.random.default_rng(0), spread=True),
        strict=True,
    ):
        assert (one == other).all()


def test_too_few_groups() -> None:
    with pytest.raises(InputError, match=r"3 groups or more.*Got 2"):
        draw_split(make([0, 1] * 10, group=list("ab") * 10), 0)


def test_a_split_of_the_data_is_kept() -> None:
    names = ["train", "train", "validation", "validation", "test", "test"]
    split = draw_split(make([0, 1] * 3, split=names), 5)
    assert not split.redrawn
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 1], [2, 3], [4, 5])


def test_validation_is_taken_from_train() -> None:
    data = make([0, 1] * 60, split=["train"] * 100 + ["test"] * 20, group=[i // 2 for i in range(120)])
    split = draw_split(data, 0)
    assert split.redrawn
    assert len(split.validation) == 10
    assert set(split.test) == set(range(100, 120))
    assert data.group is not None
    assert not set(data.group[split.train]) & set(data.group[split.validation])


def test_a_class_in_three_groups_is_in_every_split() -> None:
    """Groups of one class each, and a class in three groups among many others."""
    pure = make(np.repeat(np.arange(4), 15).tolist(), group=np.repeat(np.arange(12), 5))
    rare = make([0] * 60 + [1] * 3 + [2] * 4, group=[*(np.arange(60) % 9), 0, 1, 2, 2, 3, 4, 5])
    splits = [draw_split(data, seed) for data in (pure, rare) for seed in range(5)]
    assert len({tuple(split.test) for split in splits[:5]}) > 1
    for split, data in zip(splits, [pure] * 5 + [rare] * 5, strict=True):
        rows = (split.train, split.validation, split.test)
        assert data.group is not None
        assert sorted(np.concatenate(rows)) == list(range(len(data)))
        assert all(len(data.label[part].unique()) == data.num_classes for part in rows)
        assert sum(len(set(data.group[part])) for part in rows) == len(set(data.group))


def test_a_class_in_two_groups_is_absent_from_one_split() -> None:
    data = make([0] * 60 + [1] * 9, group=[*(np.arange(60) % 9), *[0, 1] * 4, 0])
    absent = absent_classes(data, draw_split(data, 0))
    assert absent
    assert "train" not in absent
    assert all(names == ["1"] for names in absent.values())
