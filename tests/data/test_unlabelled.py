"""Samples without a label, and positions of dense labels without a class."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mfh import InputError, PairedDataset
from mfh.data.splits import divide, draw_split
from mfh.tasks import TASKS

COUNT = 24
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(COUNT, 3)), RNG.normal(size=(COUNT, 2))
CODES = np.arange(COUNT) % 3
TEXT = np.array(["angry", "calm", "happy"])[CODES]
GONE = np.arange(COUNT) % 4 == 1
SETS = RNG.integers(0, 2, size=(COUNT, 3))
MAPS = RNG.integers(0, 3, size=(COUNT, 4, 4))


def read(label: Any, **settings: Any) -> PairedDataset:
    return PairedDataset.from_arrays({"a": A, "b": B}, label=label, **settings)


def gaps(values: np.ndarray, mark: Any) -> list[Any]:
    return [mark if gone else value for value, gone in zip(values.tolist(), GONE, strict=True)]


CLASSES = {
    "-1": np.where(GONE, -1, CODES),
    "-1.0": np.where(GONE, -1.0, CODES),
    "column of -1": torch.tensor(np.where(GONE, -1, CODES))[:, None],
    "nan": np.where(GONE, np.nan, CODES),
    "None among numbers": gaps(CODES, None),
    "None among text": gaps(TEXT, None),
    "nan among text": gaps(TEXT, float("nan")),
    "empty text": np.array(gaps(TEXT, "")),
    "blank bytes": np.array(gaps(TEXT, " ")).astype("S"),
    "object column": pd.Series(gaps(TEXT, None), dtype=object),
    "string column": pd.Series(gaps(TEXT, pd.NA), dtype="string"),
    "category": pd.Categorical(gaps(TEXT, None)),
    "nullable column": pd.array(gaps(CODES, None), dtype="Int64"),
    "nullable booleans": pd.array(gaps(CODES > 0, None), dtype="boolean"),
    "masked": np.ma.masked_array(CODES, mask=GONE),
    "masked text": np.ma.masked_array(TEXT, mask=GONE),
    "masked values in a list": gaps(CODES, np.ma.masked),
    "one-hot rows of nan": np.where(GONE[:, None], np.nan, np.eye(3)[CODES]),
    "one-hot rows of -1": np.where(GONE[:, None], -1, np.eye(3, dtype=int)[CODES]),
    "rows and None": [None if gone else row for row, gone in zip(np.eye(3)[CODES], GONE, strict=True)],
}


@pytest.mark.parametrize("label", CLASSES.values(), ids=CLASSES.keys())
def test_classes_may_be_missing(label: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mfh"):
        data = read(label)
    whole = CODES > 0 if data.num_classes == 2 else CODES
    assert data.task == "single-label"
    assert data.label.tolist() == np.where(GONE, -1, whole).tolist()
    assert data.labelled.tolist() == (~GONE).tolist()
    assert sum("6 of 24 samples have no label" in text for text in caplog.messages) == 1


def test_minus_one_is_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mfh"):
        read(CLASSES["nan"])
        assert not caplog.messages
        read(CLASSES["-1"])
    assert caplog.messages == [
        "6 of 24 samples have no label: -1 marks them. If -1 is a class, give the classes as text."
    ]


def test_minus_one_and_one_are_two_classes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mfh"):
        data = read(np.where(GONE, -1, 1))
    assert (data.class_names, bool(data.labelled.all()), caplog.messages) == (("-1", "1"), True, [])
    assert read(np.where(GONE, -1, 1).astype(str)).class_names == ("-1", "1")
    assert read(gaps(np.where(CODES, -1, 1), None)).class_names == ("-1", "1")


@pytest.mark.parametrize(
    ("label", "task"),
    [
        (np.where(GONE, np.nan, A[:, 0]), "regression"),
        (np.ma.masked_array(A[:, 0], mask=GONE), "regression"),
        (np.where(GONE[:, None], np.nan, A), "regression"),
        (np.where(GONE[:, None], np.nan, SETS), "multi-label"),
        (np.where(GONE[:, None], -1, SETS), "multi-label"),
    ],
)
def test_numbers_and_rows_may_be_missing(label: Any, task: str) -> None:
    data = read(label)
    assert data.task == task
    assert data.labelled.tolist() == (~GONE).tolist()
    assert data.label[torch.from_numpy(GONE)].isnan().all()
    assert not data.label[torch.from_numpy(~GONE)].isnan().any()


@pytest.mark.parametrize(
    ("label", "settings", "text"),
    [
        ([None] * COUNT, {}, "must be given for one sample or more. All 24 are missing"),
        (np.full(COUNT, np.nan), {}, "All 24 are missing"),
        (np.full((COUNT, 2, 2), 255), {}, "Got no class, and 96 positions that are ignored"),
        (np.where(GONE, -1, 0), {}, "two classes or more. Got only `0`, and 6 samples without a label"),
        (gaps(np.full(COUNT, "x"), None), {}, "Got only `x`, and 6 samples without a label"),
        (np.zeros(COUNT, int), {"class_names": ["x", "y"]}, "Got only `x`."),
        (np.where(np.arange(COUNT * 3).reshape(-1, 3) == 5, np.nan, SETS), {}, "Sample 1 lacks some"),
        (np.where(np.arange(COUNT * 3).reshape(-1, 3) == 5, np.nan, A), {}, "Sample 1 lacks some"),
        (
            np.where(GONE, np.inf, A[:, 0]),
            {"task": "regression"},
            r"must be finite. It is not at sample 1 \(6 in all\)",
        ),
    ],
)
def test_what_is_refused(label: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        read(label, **settings)
    assert "\n" not in str(caught.value)


def test_a_class_without_a_label_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mfh"):
        data = read(CLASSES["-1"], class_names=["x", "y", "z", "rare"])
    assert "No sample has the class `rare`. Networks have an output for it." in caplog.messages
    assert data.num_classes == 4
    draw_split(data, 0)  # no split can have it, so no split needs it


@pytest.mark.parametrize("label", [CLASSES["-1"], A[:, 0], SETS, MAPS], ids=TASKS)
@pytest.mark.parametrize("grouped", [False, True])
def test_unlabelled_samples_are_a_stratum_and_are_split(label: np.ndarray, grouped: bool) -> None:
    known = CODES != 2
    shape = (-1, *[1] * (label.ndim - 1))
    mark = 255 if label.ndim == 3 else np.nan if label.dtype.kind == "f" or label.ndim == 2 else -1
    data = read(np.where(known.reshape(shape), label, mark), group=np.arange(COUNT) // 2 if grouped else None)
    strata = data.kind.strata(data.label)
    assert set(strata[~data.labelled]) == {-1}
    assert min(strata[data.labelled]) >= 0
    parts = divide(strata, data.group, (0.6, 0.2, 0.2), np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(COUNT))
    assert all((~data.labelled[part]).any() for part in parts)


def test_the_fingerprint_sees_missing_labels() -> None:
    prints = {read(label).fingerprint for label in (CODES, CLASSES["-1"], np.where(CODES == 2, -1, CODES))}
    assert len(prints) == 3
    assert read(CLASSES["nan"]).fingerprint == read(CLASSES["-1"]).fingerprint


def test_other_readings_keep_missing_labels() -> None:
    data = read(CLASSES["-1"])
    numbers = data.with_task("regression")
    assert numbers.label.flatten()[:4].tolist()[2:] == [2.0, 0.0]
    assert numbers.labelled.tolist() == (~GONE).tolist()
    assert numbers.with_task("single-label").label.tolist() == data.label.tolist()
    sets = data.with_task("multi-label")
    assert sets.label[0].tolist() == [1, 0, 0]
    assert sets.label[1].isnan().all()
    assert read(CLASSES["None among text"]).with_task("multi-label").labelled.tolist() == (~GONE).tolist()


def test_files_and_datasets_may_lack_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=A, b=B, label=CLASSES["empty text"])
    assert PairedDataset.from_npz(tmp_path / "x.npz").labelled.tolist() == (~GONE).tolist()
    for mark in (None, np.nan, "", np.ma.masked):
        samples = [{"a": A[i], "b": B[i], "label": x} for i, x in enumerate(gaps(TEXT, mark))]
        data = PairedDataset.from_torch(samples)
        assert data.labelled.tolist() == (~GONE).tolist()
        assert data.class_names == ("angry", "calm", "happy")
    rows = [{"a": A[i], "b": B[i], "label": None if GONE[i] else torch.tensor(SETS[i])} for i in range(COUNT)]
    assert PairedDataset.from_torch(rows).labelled.tolist() == (~GONE).tolist()


def test_rows_of_decoded_samples_are_decoded_when_read() -> None:
    samples = [{"a": A[i], "b": B[i], "label": int(CODES[i])} for i in range(COUNT)]
    data = PairedDataset.from_torch(samples, in_memory=False)
    rows = np.array([7, 2])
    some = data.rows(rows)
    assert torch.equal(some.inputs("a", slice(None)), torch.tensor(A[rows]).float())
    assert torch.equal(some.rows(np.array([1])).inputs("b", slice(None)), torch.tensor(B[[2]]).float())
    assert len({data.fingerprint, some.fingerprint, data.rows(rows[::-1]).fingerprint}) == 3


# --- positions without a class


@pytest.mark.parametrize(
    ("label", "settings"),
    [
        (np.where(MAPS == 2, 255, MAPS), {}),
        (np.where(MAPS == 2, 7, MAPS), {"ignore_index": 7}),
        (np.where(MAPS == 2, -100, MAPS), {"ignore_index": -100, "class_names": ["x", "y"]}),
        (np.ma.masked_array(MAPS, mask=MAPS == 2), {}),
        (np.where(MAPS == 2, np.nan, MAPS), {}),
    ],
)
def test_positions_may_be_ignored(
    label: Any, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mfh"):
        data = read(label, **settings)
    assert data.num_classes == 2
    assert data.label.tolist() == np.where(MAPS == 2, -1, MAPS).tolist()
    line = f"{(MAPS == 2).sum()} of {MAPS.size} positions have no class"
    assert sum(line in text for text in caplog.messages) == 1


def test_a_map_of_ignored_positions_is_no_label() -> None:
    data = read(np.where(GONE[:, None, None], 255, MAPS))
    assert data.labelled.tolist() == (~GONE).tolist()
    assert data.without_labels(np.array([0])).labelled.sum() == (~GONE).sum() - 1


# --- what is shown


def test_repr_fits_on_a_screen() -> None:
    data = read(
        CLASSES["None among text"],
        group=np.arange(COUNT) // 2,
        split=np.repeat(["train", "test"], COUNT // 2),
    )
    assert repr(data).splitlines() == [
        "PairedDataset of 24 samples, 18 labelled and 6 unlabelled",
        "  modalities: a 3, b 2",
        "  single-label, 3 classes: angry (6), calm (6), happy (6)",
        "  groups: 12, of 2 samples",
        "  split: train 12, validation 0, test 12",
    ]
    assert "dense, 3 classes: 0 (" in repr(read(MAPS))
    assert "regression, 1 targets: 0" in repr(read(A[:, 0]))
    assert "multi-label, 3 labels: 0 (" in repr(read(SETS))
    many = PairedDataset.from_arrays({"a": np.eye(100), "b": np.eye(100)}, label=np.arange(100))
    assert "and 88 more" in repr(many)
    assert len(repr(many)) < 500
