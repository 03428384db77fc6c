"""The one data type: what it takes, what it refuses and how it says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mfh import InputError, PairedDataset
from mfh.data.standardize import Standardize


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    values = {
        "a": rng.normal(size=(6, 3)),
        "b": rng.normal(size=(6, 2)),
        "label": np.array([0, 1, 0, 1, 0, 1]),
    }
    return values | changes


def build(**changes: Any) -> PairedDataset:
    values = arrays(**changes)
    extra = {
        name: values.pop(name) for name in ("id", "group", "split", "class_names", "task") if name in values
    }
    label = values.pop("label")
    return PairedDataset.from_arrays(values, label=label, **extra)


def save(path: Path, **changes: Any) -> Path:
    file = path / "data.npz"
    np.savez(file, **arrays(**changes))
    return file


def test_text_labels_become_codes_in_order() -> None:
    data = build(label=["dog", "cat", "dog", "cat", "cat", "dog"])
    assert data.class_names == ("cat", "dog")
    assert data.label.tolist() == [1, 0, 1, 0, 0, 1]


def test_labels_need_not_begin_at_zero() -> None:
    data = build(label=[7, 3, 7, 3, 3, 7])
    assert data.label.tolist() == [1, 0, 1, 0, 0, 1]
    assert data.class_names == ("3", "7")


def test_class_names_keep_absent_classes() -> None:
    data = build(class_names=["no", "yes", "perhaps"])
    assert data.num_classes == 3
    with pytest.raises(InputError, match=r"must lie in 0 \.\.\. 0"):
        build(class_names=["no"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"a": np.zeros((5, 3))}, r"`a` has 5 samples, `label` has 6"),
        ({"label": np.zeros(6, dtype=int)}, "two classes or more"),
        ({"label": [0, 1, 0.5, 1, 0, 1], "task": "single-label"}, r"Got 0.5 at sample 2"),
        ({"group": ["p", "q", " ", "p", "q", "r"]}, "`group` must be given for every sample. It is empty"),
        ({"a": np.full((6, 3), "high")}, "must hold numbers. Got text"),
        ({"a": np.zeros(6)}, r"must have shape \(sample, ...\)"),
        ({"a": np.full((6, 3), 1e300)}, "rescale"),
        ({"split": ["train"] * 6}, "No sample is in `test`"),
        ({"split": ["train", "dev", "test", "train", "dev", "test"]}, "Got `dev`"),
        ({"id": list("aabcde")}, "`a` repeats"),
        ({"id": list("abc")}, "`id` has 3 samples"),
    ],
)
def test_bad_values_are_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build(**changes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_a_value_is_not_finite(value: float) -> None:
    a = np.zeros((6, 2, 2))
    a[4, 1, 0] = value
    with pytest.raises(InputError, match=r"Got (nan|inf) at sample 4, value 2 \(1 in all\)"):
        build(a=a)


def test_one_modality_is_no_pair() -> None:
    with pytest.raises(InputError, match="two or more"):
        PairedDataset.from_arrays({"a": np.zeros((4, 2))}, label=[0, 1, 0, 1])


def test_npz_round_trip(tmp_path: Path) -> None:
    path = save(tmp_path, group=list("ppqqrr"), extra=np.arange(6))
    data = PairedDataset.from_npz(path)
    assert list(data.modalities) == ["a", "b"]
    assert data.group_names == ("p", "q", "r")
    assert PairedDataset.from_npz(path, group="none").group is None
    assert PairedDataset.from_npz(path, modalities=["b", "a"], group="extra").group_names[0] == "0"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"modalities": ["a", "c"]}, "holds no modality `c`. It holds `a`"),
        ({"label": "emotion"}, "holds no label `emotion`"),
        ({"group": "actor"}, "holds no group `actor`"),
    ],
)
def test_absent_columns_are_named(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        PairedDataset.from_npz(save(tmp_path), **options)


def test_pickled_objects_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trace,)

    path = save(tmp_path, c=np.array([Payload()], dtype=object))
    with pytest.raises(InputError, match="cannot be read as arrays"):
        PairedDataset.from_npz(path)
    assert not trace.exists()


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        PairedDataset.from_npz(tmp_path / "no.npz")
    broken = save(tmp_path)
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read as arrays"):
        PairedDataset.from_npz(broken)
    text = tmp_path / "text.npz"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="cannot be read as arrays"):
        PairedDataset.from_npz(text)


def test_the_fingerprint_sees_every_value() -> None:
    original = build()
    assert build().fingerprint == original.fingerprint
    a = arrays()["a"]
    a[5, 2] += 1e-3
    others = [
        build(a=a),
        build(id=list("abcdef")),
        build(group=list("ppqqrr")),
        build(label=[0, 1, 0, 1, 1, 0]),
    ]
    assert len({original.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_memory_mapped_rows_are_read_when_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.uint8).reshape(6, 2, 2))
    data = build(a=np.load(tmp_path / "a.npy", mmap_mode="r"))
    batch = data.inputs("a", torch.tensor([5, 0]))
    assert batch.dtype == torch.float32
    assert batch.flatten(1).tolist() == [[20, 21, 22, 23], [0, 1, 2, 3]]
    data.inputs("a", slice(0, 2)).zero_()  # a slice is no view of the file, which is open for reading
    assert data.inputs("a", slice(0, 2)).sum() == sum(range(8))
    assert data.with_transforms({"a": lambda x: x / 2}).inputs("a", torch.tensor([0])).max() == 1.5


def test_standardize() -> None:
    values = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1000
    values[:, 2] = 7.1
    scaled = Standardize.fit(values)(values)
    assert scaled.mean(0).abs().max() < 1e-4
    assert scaled[:, [0, 1, 3]].std(0, correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert (scaled[:, 2] == 0).all()
