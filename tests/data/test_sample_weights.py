"""Weights of samples in every reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mfh import InputError, PairedDataset
from mfh.cli import main

VALUES = {"a": np.arange(12.0).reshape(6, 2), "b": np.eye(6)}
LABEL = [0, 1, 0, 1, 0, 1]
WEIGHT = [1.0, 2, 0, 0.5, 1, 3]


def made(**columns: Any) -> PairedDataset:
    return PairedDataset.from_arrays(VALUES, label=LABEL, **columns)


@pytest.mark.parametrize(
    "weight",
    [
        WEIGHT,
        np.array(WEIGHT)[:, None],
        torch.tensor(WEIGHT),
        pd.Series(WEIGHT, dtype="Float64"),
    ],
    ids=["list", "column", "tensor", "nullable"],
)
def test_weights_are_kept_as_numbers(weight: Any) -> None:
    data = made(weight=weight)
    assert data.weight is not None
    assert (data.weight.dtype, data.weight.tolist()) == (torch.float64, WEIGHT)
    assert "weights of samples: 0 to 3" in repr(data)
    few = data.rows(np.array([5, 0]))
    assert few.weight is not None
    assert few.weight.tolist() == [3, 1]
    assert data.fingerprint != made().fingerprint
    assert data.fingerprint != made(weight=WEIGHT[::-1]).fingerprint


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        ([1, 2, -1, 1, 1, -3], r"`weight` must be 0 or more, and finite. Got -1 at sample 2 \(2 in all\)"),
        ([1, 2, np.nan, 1, 1, 1], "Got nan at sample 2"),
        ([1, 2, np.inf, 1, 1, 1], "Got inf at sample 2"),
        ([0] * 6, "`weight` must be above 0 for some samples. All are 0"),
        (list("abcdef"), "`weight` must hold a number for each sample. Got text"),
        ([1, 2], "`weight` has 2 samples"),
    ],
)
def test_what_is_no_weight_is_refused(weight: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        made(weight=weight)


def test_an_npz_may_have_weights(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **VALUES, label=LABEL, weight=WEIGHT, mass=np.ones(6))
    read = PairedDataset.from_npz
    found = read(path).weight
    assert found is not None
    assert found.tolist() == WEIGHT
    assert read(path, weight="none").weight is None
    named = read(path, weight="mass").weight
    assert named is not None
    assert named.tolist() == [1] * 6
    assert read(path, label="weight", task="regression").weight is None, "a quantity of that name"
    with pytest.raises(InputError, match="holds no weight `heavy`"):
        read(path, weight="heavy")
    np.savez(path, a=VALUES["a"], weight=VALUES["b"], label=LABEL)
    assert list(read(path).modalities) == ["a", "weight"]


def test_tables_and_datasets_may_have_weights() -> None:
    table = pd.DataFrame({"x": range(6), "y": range(6), "label": LABEL, "w": WEIGHT})
    data = PairedDataset.from_frame(table, {"a": "x", "b": "y"}, label="label", weight="w")
    assert data.weight is not None
    assert data.weight.tolist() == WEIGHT
    with pytest.raises(InputError, match="Modality `b` must not contain the weight, `w`"):
        PairedDataset.from_frame(table, {"a": "x", "b": "y,w"}, label="label", weight="w")
    samples = [
        {"a": VALUES["a"][i], "b": VALUES["b"][i], "label": LABEL[i], "w": WEIGHT[i]} for i in range(6)
    ]
    data = PairedDataset.from_torch(samples, modalities=["a", "b"], weight="w")
    assert data.weight is not None
    assert data.weight.tolist() == WEIGHT


def test_the_command_line_names_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame({"x": range(60), "y": range(60), "label": [0, 1] * 30, "w": [1, 2] * 30})
    table.to_csv(tmp_path / "t.csv", index=False)
    given = [str(tmp_path / "t.csv"), "--modality", "a=x", "b=y"]
    assert main(["data", "inspect", *given, "--weight", "w"]) == 0
    assert "weights of samples: 1 to 2" in capsys.readouterr().out
    assert main(["data", "inspect", *given, "--weight", "heavy"]) == 2
    assert "no column `heavy`" in capsys.readouterr().err
