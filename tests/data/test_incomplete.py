"""Samples that lack a modality."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mfh
from mfh import InputError, PairedDataset
from mfh.data.selection import complete_only, complete_rows

COUNT = 40
RNG = np.random.default_rng(0)
LABEL = np.arange(COUNT) % 2
A, B = RNG.normal(size=(COUNT, 3)) + LABEL[:, None], RNG.normal(size=(COUNT, 2))
GONE = np.arange(COUNT) % 5 == 2
SILENT = np.where(GONE[:, None], np.nan, A)


def read(a: Any, b: Any = B) -> PairedDataset:
    return PairedDataset.from_arrays({"a": a, "b": b}, label=LABEL)


@pytest.mark.parametrize(
    "a", [SILENT, torch.tensor(SILENT), np.ma.masked_array(A, mask=np.repeat(GONE[:, None], 3, axis=1))]
)
def test_rows_of_nan_lack_the_modality(a: Any) -> None:
    data = read(a)
    assert data.present("a").tolist() == (~GONE).tolist()
    assert data.present("b").all()
    assert "modalities: a 3 (32 samples), b 2" in repr(data)
    assert complete_rows(data, ["a", "b"]).tolist() == np.flatnonzero(~GONE).tolist()


def test_datasets_and_tables_may_lack_a_modality() -> None:
    samples = [{"a": SILENT[i], "b": B[i], "label": int(LABEL[i])} for i in range(COUNT)]
    assert PairedDataset.from_torch(samples).present("a").tolist() == (~GONE).tolist()
    table = pd.DataFrame(
        {"crp": SILENT[:, 0], "sex": np.where(LABEL, "f", "m"), "pulse": B[:, 0], "ill": LABEL}
    )
    table.loc[GONE, "sex"] = None
    data = PairedDataset.from_frame(table, {"lab": "crp,sex", "vitals": "pulse"}, label="ill")
    assert data.present("lab").tolist() == (~GONE).tolist()
    assert data.features["lab"].names == ("crp", "sex=f", "sex=m")
    table.loc[0, "crp"] = None
    with pytest.raises(InputError, match=r"missing in crp \(1\)"):
        PairedDataset.from_frame(table, {"lab": "crp,sex", "vitals": "pulse"}, label="ill")
    data = PairedDataset.from_frame(
        table, {"lab": "crp,sex", "vitals": "pulse"}, label="ill", impute="median"
    )
    assert data.features["lab"].names[-1] == "crp missing"
    assert data.present("lab").tolist() == (~GONE).tolist()


def test_incomplete_samples_that_are_refused() -> None:
    some = SILENT.copy()
    some[0, 1] = np.nan
    with pytest.raises(InputError, match=r"Got nan at sample 0, value 1 \(1 in all\)"):
        read(some)
    with pytest.raises(InputError, match="`a` must be there for one sample or more"):
        read(np.full((COUNT, 3), np.nan))
    with pytest.raises(InputError, match=r"this test needs samples that have `a`, `b`. There is none"):
        complete_only(read(SILENT, np.where(GONE[:, None], B, np.nan)), ["a", "b"], "this test")


@pytest.mark.parametrize("mark", ["nan", "None", "masked", "no value"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_samples_of_a_dataset_may_lack_a_modality(mark: str, in_memory: bool) -> None:
    gone = GONE.copy()
    gone[0] = True  # the first sample too, whose shapes are read first
    marks = {"nan": np.full(3, np.nan), "None": None, "masked": np.ma.masked_all(3)}
    samples: list[dict[str, Any]] = [{"a": A[i], "b": B[i], "label": int(LABEL[i])} for i in range(COUNT)]
    for i in np.flatnonzero(gone):
        if mark == "no value":
            del samples[i]["a"]
        else:
            samples[i]["a"] = marks[mark]
    samples[0] = samples[0] | {"a": samples[0].get("a")}
    data = PairedDataset.from_torch(samples, modalities=["a", "b"], in_memory=in_memory)
    assert data.present("a").tolist() == (~gone).tolist()
    assert data.present("b").all()
    rows = np.array([3, 2, 0])
    assert data.rows(rows).present("a").tolist() == [True, False, False]
    values = data.rows(rows).inputs("a", slice(None))
    assert torch.equal(values[0], torch.tensor(A[3]).float())
    assert values[1:].isnan().all()


def test_a_dataset_of_integers_may_not_lack_a_modality() -> None:
    samples = [{"a": None if i == 3 else np.arange(3), "b": B[i], "label": i % 2} for i in range(8)]
    with pytest.raises(InputError, match=r"`a` must be floats if a sample lacks it, and is int64\. Sample 3"):
        PairedDataset.from_torch(samples)


def test_memory_mapped_rows_may_be_missing(tmp_path: Path) -> None:
    values = SILENT.copy()
    values[4, 0] = np.nan  # not throughout
    np.save(tmp_path / "a.npy", values)
    data = read(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert data.present("a").tolist() == (~GONE).tolist()


def test_a_diagnosis_uses_complete_pairs(caplog: pytest.LogCaptureFixture) -> None:
    data = read(SILENT)
    config = mfh.DiagnoseConfig(seeds=1, folds=3, epochs=1, hidden=(4,), num_bootstrap=20, num_shuffles=1)
    with caplog.at_level(logging.WARNING, "mfh"), pytest.raises(InputError, match="There are 26"):
        mfh.diagnose(data, config=config)  # 80% of the 32 pairs
    lines = [text for text in caplog.messages if "are left out" in text]
    assert lines == ["8 of 40 samples lack `a` and are left out: `diagnose` needs complete pairs."]
    assert complete_only(data, ["b"], "nobody") is data
    assert len(complete_only(data, ["a"], "this test")) == 32
    assert caplog.messages[-1] == "8 of 40 samples lack `a` and are left out: this test needs it."
