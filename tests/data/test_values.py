"""Arrays, columns and labels in every form that callers give them."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch import Tensor, nn

from mfh import InputError, PairedDataset
from mfh.data.equal import equal_across_splits
from mfh.data.splits import Split
from mfh.data.values import SPARSE_LIMIT, as_array

COUNT = 12
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(COUNT, 3)), RNG.normal(size=(COUNT, 2))
CODES = np.arange(COUNT) % 3
TEXT = np.array(["angry", "calm", "happy"])[CODES]
MAPS = RNG.integers(0, 3, size=(COUNT, 4, 4))
COLUMNS = {"a": A, "b": B, "label": CODES, "group": CODES}


def labelled(label: Any, **settings: Any) -> PairedDataset:
    return PairedDataset.from_arrays({"a": A, "b": B}, label=label, **settings)


def featured(values: Any) -> Tensor:
    made = PairedDataset.from_arrays({"a": values, "b": B}, label=CODES).modalities["a"]
    assert isinstance(made, Tensor)
    return made


def masked(values: np.ndarray, *place: int) -> np.ma.MaskedArray:
    array = np.ma.masked_array(values.copy(), mask=False)
    array[place] = np.ma.masked
    return array


class Pairs:
    """A map-style dataset of what `sample` gives."""

    def __init__(self, **makers: Any) -> None:
        self.makers = makers

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: make(row) for name, make in self.makers.items()}


# --- masked and missing


@pytest.mark.parametrize(
    "changes",
    [
        {"a": masked(A, 3, 1)}, {"a": masked((10 * A).astype(int), 3, 1)},
        {"group": masked(CODES, 3)}, {"id": masked(np.arange(COUNT), 3)}, {"split": masked(TEXT, 3)},
        {"group": [np.ma.masked if i == 3 else int(code) for i, code in enumerate(CODES)]},
        {"a": [masked(row, 1) if i == 3 else np.ma.array(row) for i, row in enumerate(A)]},
    ],
)  # fmt: skip
def test_masked_values_are_refused_by_sample(changes: dict[str, Any]) -> None:
    values = {"a": A, "label": CODES} | changes
    features = {"a": values.pop("a"), "b": B}
    with pytest.raises(InputError, match=r"It is masked at sample 3 \(1 in all\)"):
        PairedDataset.from_arrays(features, **values)


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_masked_tensors() -> None:
    there = torch.tensor(np.arange(3 * COUNT).reshape(COUNT, 3) != 10)
    with pytest.raises(InputError, match=r"It is masked at sample 3 \(1 in all\)"):
        featured(torch.masked.masked_tensor(torch.tensor(A), there))
    whole = torch.masked.masked_tensor(torch.tensor(A), torch.ones_like(there))
    assert torch.equal(featured(whole), featured(A))


def test_an_empty_mask_hides_nothing() -> None:
    assert torch.equal(featured(np.ma.masked_array(A, mask=False)), featured(A))


def with_masked_sample(name: str) -> Pairs:
    """Return a dataset that has one sample masked in one of its columns."""
    makers = {name: lambda i, values=values: values[i] for name, values in COLUMNS.items()}
    whole = makers[name]
    makers[name] = lambda i: np.ma.masked_array(whole(i), mask=i == 3)
    return Pairs(**makers)


def test_a_masked_group_of_a_dataset_is_refused() -> None:
    with pytest.raises(InputError, match="It is masked in sample 3"):
        PairedDataset.from_torch(with_masked_sample("group"), group="group")


def test_a_masked_sample_of_a_dataset_lacks_the_modality() -> None:
    data = PairedDataset.from_torch(with_masked_sample("a"), group="group")
    assert np.flatnonzero(~data.present("a")).tolist() == [3]


@pytest.mark.parametrize("role", ["group", "id", "split"])
@pytest.mark.parametrize("absent", [None, float("nan"), pd.NA, pd.NaT])
def test_missing_text_is_refused_by_sample(role: str, absent: Any) -> None:
    values: dict[str, Any] = {"label": CODES}
    values[role] = pd.Series([absent if i == 5 else name for i, name in enumerate(TEXT)], dtype=object)
    with pytest.raises(
        InputError, match=rf"`{role}` must be given for every sample. It is missing at sample 5"
    ):
        PairedDataset.from_arrays({"a": A, "b": B}, **values)


def test_missing_numbers_of_data_frames() -> None:
    frame = pd.DataFrame(A).astype("Float64")
    frame.iloc[3, 1] = pd.NA
    with pytest.raises(InputError, match="Got nan at sample 3, value 1"):
        featured(frame)


# --- shapes of labels


@pytest.mark.parametrize(
    ("label", "task", "outputs"),
    [
        (CODES[:, None], "single-label", 3),
        (torch.tensor(CODES)[:, None].float(), "single-label", 3),
        (pd.DataFrame({"emotion": TEXT}), "single-label", 3),
        (A[:, :1], "regression", 1),
        (np.eye(3)[CODES], "single-label", 3),
        (np.eye(3, dtype=bool)[CODES], "single-label", 3),
        (scipy.sparse.csr_matrix(np.eye(3)[CODES]), "single-label", 3),
        (np.vstack([np.eye(3)[CODES[:-1]], [[1, 1, 0]]]), "multi-label", 3),
        (np.full((COUNT, 3), 1 / 3), "regression", 3),
        (np.where(CODES > 0, 1, -1), "single-label", 2),
    ],
)
def test_shapes_of_labels(label: Any, task: str, outputs: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mfh"):
        data = labelled(label)
    assert (data.task, data.num_classes) == (task, outputs)
    line = f"Task: {task}. Number of {data.kind.names}: {outputs}. Inferred from `label`, because "
    assert sum(line in message for message in caplog.messages) == 1


def test_the_task_can_be_given() -> None:
    rows, column = np.eye(3)[CODES], CODES[:, None]
    assert labelled(rows, task="multi-label").num_classes == 3
    assert labelled(rows, task="regression").num_classes == 3
    assert labelled(column, task="regression").label.flatten().tolist() == CODES.tolist()
    again = labelled(rows, class_names=["x", "y", "z"]).with_task("multi-label")
    assert again.class_names == ("x", "y", "z")
    assert again.label.tolist() == rows.tolist()


def test_columns_of_groups_ids_and_splits() -> None:
    split = np.array(["train", "validation", "test"])[CODES][:, None]
    data = labelled(CODES, group=CODES[:, None], id=np.arange(COUNT)[:, None], split=split)
    assert data.group_names == ("0", "1", "2")
    assert data.id[:2].tolist() == ["0", "1"]
    assert data.split is not None
    assert data.split.shape == (COUNT,)
    with pytest.raises(InputError, match=r"`split` must hold one value per sample. Got shape \(12, 2\)"):
        labelled(CODES, split=np.repeat(split, 2, axis=1))


@pytest.mark.parametrize(
    ("label", "settings", "text"),
    [
        (np.where(CODES == 2, -1, CODES - 2), {}, "from 0 on if -1 marks .*Got -1 and -2"),
        (np.where(RNG.random((COUNT, 3)) < 0.3, -1, np.eye(3)[CODES]), {}, "Got -1 at sample"),
        (np.where(MAPS == 2, 65_535, MAPS), {}, "Got 65535 at .* positions.*give `ignore_index` 65535"),
        (np.where(MAPS == 2, 7, MAPS), {"class_names": ["x", "y"]}, "classes 0 to 1 .*Got 7 at .* positions"),
        (np.where(MAPS == 2, 255, MAPS), {"ignore_index": 7}, r"\(7 is ignored\). Got 255"),
        (CODES, {"ignore_index": 7}, "`ignore_index` must be left out for the task single-label"),
        (np.where(MAPS == 2, -1, MAPS), {}, "Got -1 at .* positions.*give `ignore_index` -1"),
        (np.where(MAPS > 0, 255, 0), {}, "Got only class 0, and .* positions that are ignored"),
        ([2**64 + int(code) for code in CODES], {}, "integers below 2^63. Give larger ones as text"),
        (np.array([1e19, 2e19, 3e19])[CODES], {}, r"Got 1e\+19 at sample 0: floats beyond 2\^53"),
        (CODES + 1j, {}, "must hold numbers or text. Got complex128"),
        (["x" if code else 1 for code in CODES], {}, "Got number and text"),
        (np.array([b"\xe4", b"o", b"u"])[CODES], {}, "must be text in UTF-8. Value 0 is not"),
        (CODES, {"class_names": ["x", "x", "z"]}, "`class_names` must differ. Got `x` more than once"),
        (CODES, {"class_names": ["x", "y"]}, r"`label` must lie in 0 \.\.\. 1.*Got 2 at sample 2"),
        (CODES, {"class_names": "xyz"}, "`class_names` must be a list of names"),
        (TEXT, {"class_names": ["angry", "calm"]}, "It lacks `happy`"),
        (np.eye(3)[CODES], {"class_names": ["x", "y"]}, "must have 3 names, one for each column"),
        (A[:, :2], {"class_names": ["x"]}, "must have 2 names, one for each output"),
    ],
)
def test_labels_that_are_refused(label: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text.replace("2^63.", r"2\^63\.")) as caught:
        labelled(label, **settings)
    assert "\n" not in str(caught.value)


def test_void_is_a_class_where_it_is_named() -> None:
    maps = np.where(MAPS == 2, 255, MAPS)
    assert labelled(maps, class_names=[str(i) for i in range(256)]).num_classes == 256
    assert labelled(np.arange(COUNT * 16).reshape(COUNT, 4, 4) % 21).num_classes == 21


# --- text


@pytest.mark.parametrize(
    "label",
    [
        TEXT.astype("S"), TEXT.astype("S").astype(object), list(TEXT.astype("S")), TEXT.astype(object),
        pd.Series(TEXT), pd.Series(TEXT, dtype="string"), pd.Categorical(TEXT),
    ],
)  # fmt: skip
def test_text_is_text(label: Any) -> None:
    data = labelled(label, group=label)
    assert data.class_names == data.group_names == ("angry", "calm", "happy")
    assert labelled(label, class_names=["happy", "calm", "angry", "sad"]).label[:3].tolist() == [2, 1, 0]


# --- features


@pytest.mark.parametrize(
    "make",
    [
        lambda a: torch.tensor(a).to_sparse(), lambda a: torch.tensor(a).to_sparse_csr(),
        scipy.sparse.csr_matrix, scipy.sparse.coo_array,
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_sparse_features_become_dense(make: Any) -> None:
    values = np.where(A > 0, A, 0)
    assert torch.equal(featured(make(values)), featured(values))


def test_large_sparse_features_are_refused() -> None:
    wide = SPARSE_LIMIT // 8
    for values in (
        scipy.sparse.csr_matrix((COUNT, wide)),
        torch.sparse_coo_tensor(
            torch.zeros(2, 1).long(), torch.ones(1), (COUNT, wide), check_invariants=True
        ),
    ):
        with pytest.raises(InputError, match="`a` is sparse and must take at most 1 GiB as a dense array"):
            featured(values)


@pytest.mark.parametrize(
    "values",
    [
        nn.Linear(3, 3)(torch.randn(COUNT, 3)), nn.Parameter(torch.randn(COUNT, 3)),
        list(torch.randn(COUNT, 3, requires_grad=True)),
        torch.randn(COUNT, 3, dtype=torch.bfloat16, requires_grad=True),
    ],
)  # fmt: skip
def test_features_are_detached(values: Any) -> None:
    made = featured(values)
    assert not made.requires_grad
    assert made.dtype == torch.float32
    assert type(made) is Tensor


def test_features_of_inference_mode_can_be_trained_on() -> None:
    with torch.inference_mode():
        values = torch.randn(COUNT, 3)
    nn.Linear(3, 1)(featured(values)).sum().backward()


def test_narrow_floats() -> None:
    assert labelled(torch.tensor(CODES).bfloat16()).class_names == ("0", "1", "2")
    makers = {"a": lambda i: torch.tensor(A[i]).bfloat16(), "b": lambda i: B[i], "label": lambda i: CODES[i]}
    assert PairedDataset.from_torch(Pairs(**makers)).shape("a") == (3,)


@pytest.mark.parametrize("shape", [(COUNT, 0), (COUNT, 3, 0)])
def test_features_without_values(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must have one value or more per sample\. Got shape"):
        featured(np.zeros(shape))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (torch.zeros(COUNT, 3) + 1j, "must hold real numbers"),
        (torch.empty(COUNT, 3, device="meta"), "must have values"),
        ([[1.0], [1.0, 2.0]] * 6, "cannot be read as an array"),
        ([torch.zeros(1), torch.zeros(2)] * 6, "must have one shape for all samples"),
    ],
)
def test_features_that_are_refused(values: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        featured(values)


def test_as_array_keeps_numbers() -> None:
    assert as_array("x", np.arange(3)).dtype == np.int64
    assert as_array("x", pd.Series([1, 2], dtype="Int64")).tolist() == [1, 2]


# --- equal samples


def test_equal_samples_in_different_splits_are_named() -> None:
    a, b = A.copy(), B.copy()
    for first, second in ((0, 7), (1, 8), (2, 3)):
        a[second], b[second] = a[first], b[first]
    a[9] = a[4]  # in one modality only
    data = PairedDataset.from_arrays({"a": a, "b": b}, label=CODES, id=[f"clip{i}" for i in range(COUNT)])
    rows = np.arange(COUNT)
    split = Split(train=rows[:6], validation=rows[6:8], test=rows[8:])
    assert equal_across_splits(data, split) == [("clip0", "clip7"), ("clip1", "clip8")]
    makers = {"a": lambda i: A[i], "b": lambda i: B[i], "label": lambda i: CODES[i]}
    decoded = PairedDataset.from_torch(Pairs(**makers), in_memory=False)
    assert equal_across_splits(decoded, split) is None


@pytest.mark.parametrize(
    "label", [1.7e9 + 0.5 + np.arange(20), 5 + 1e-8 * np.arange(20), 1e-50 * np.arange(20)]
)
def test_numbers_that_32_bits_cannot_tell_apart_are_refused(label: np.ndarray) -> None:
    values = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(InputError, match=r"`label` must differ by more than 32-bit.*subtract its mean"):
        PairedDataset.from_arrays({"a": values, "b": values}, label=label)
    data = PairedDataset.from_arrays({"a": values, "b": values}, label=(label - label.mean()) / label.std())
    assert len(data.label.unique()) == 20
