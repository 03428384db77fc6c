"""Samples that lack a modality."""

import logging
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


def test_runs_use_complete_pairs(caplog: pytest.LogCaptureFixture) -> None:
    data = read(SILENT)
    config = mfh.StudyConfig(repeats=1, folds=2, epochs=1, ratio=(0.5,), random_draws=1, hidden=(4,))
    with caplog.at_level(logging.WARNING, "mfh"):
        result = mfh.study(data, config=config)
        quick = mfh.DistillConfig(epochs=1, device="cpu")
        taught = mfh.distill(np.eye(2)[LABEL], None, data, quick)
    lines = [text for text in caplog.messages if "are left out" in text]
    assert lines == [
        f"8 of 40 samples lack `a` and are left out: `{name}` needs complete pairs."
        for name in ("study", "distill")
    ]
    assert sorted(result.predictions["id"]) == sorted(data.id[~GONE])
    assert taught.predictions["id"].tolist() == data.id[~GONE].tolist()
    assert complete_only(data, ["b"], "nobody") is data
