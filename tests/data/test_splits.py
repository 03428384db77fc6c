"""Splits: disjoint, complete, stratified, whole groups, seeded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfh import InputError, PairedDataset
from mfh.data.splits import divide, draw_split


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


def test_a_class_of_two_is_refused() -> None:
    with pytest.raises(InputError, match="Class `1` is absent from the"):
        draw_split(make([0] * 40 + [1] * 2), 0)


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


def test_a_class_in_two_groups_is_refused() -> None:
    with pytest.raises(InputError, match="absent from the"):
        draw_split(make([0] * 60 + [1] * 9, group=[*(np.arange(60) % 9), *[0, 1] * 4, 0]), 0)
