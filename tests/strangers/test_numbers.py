"""Numbers that lie: the right result or a clear error, never NaN and never a constant in silence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mfh
from mfh import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*have a negative increase")


def arrays(count: int = 120, classes: int = 2, channels: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    label = np.arange(count) % classes
    a = rng.normal(size=(count, channels)) + 2 * (label % 7)[:, None]
    return {"a": a, "b": rng.normal(size=(count, 4)) + (label % 5)[:, None], "label": label}


def changed(kind: str) -> dict[str, np.ndarray]:
    """Arrays with one thing wrong or at its limit."""
    sizes = {
        "one a class": {"count": 10, "classes": 10},
        "1,000 classes": {"count": 6000, "classes": 1000},
        "100,000 channels": {"count": 60, "channels": 100_000},
    }
    values = arrays(**sizes.get(kind, {}))
    a = values["a"]
    if kind in ("nan", "inf"):
        a[3, 1] = float(kind)
    changes: dict[str, Any] = {
        "denormal": lambda: a * 1e-40, "too small": lambda: a * 1e-310, "huge": lambda: a * 1e30,
        "too large": lambda: a * 1e39, "offset": lambda: a + 1e9, "constant": lambda: np.ones_like(a),
        "duplicated": lambda: a[np.arange(len(a)) % 2], "float16": lambda: a.astype(np.float16),
        "1 channel": lambda: a[:, :1],
    }  # fmt: skip
    values["a"] = changes[kind]() if kind in changes else a
    values["label"] = values["label"] * 0 if kind == "one class" else values["label"]
    return values


REFUSED = {
    "nan": "Modality `a` must be finite. Got nan at sample 3, value 1",
    "inf": "Modality `a` must be finite. Got inf at sample 3, value 1",
    "too small": "Modality `a` must vary. Its values differ by less than 32-bit floats can tell",
    "too large": "Modality `a` must fit into 32-bit floats",
    "offset": "Modality `a` must vary. Its values differ by less than 32-bit floats can tell",
    "one class": "`label` must hold two classes or more",
}
FINE = ("plain", "denormal", "huge", "duplicated", "float16", "1 channel", "constant")


def made(kind: str) -> mfh.PairedDataset:
    values = changed(kind)
    return mfh.PairedDataset.from_arrays({"a": values["a"], "b": values["b"]}, label=values["label"])


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_right_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=REFUSED[kind]):
        made(kind)


def config(**more: Any) -> mfh.StudyConfig:
    few = {
        "resampling": "splits",
        "seeds": 1,
        "epochs": 6,
        "ratio": [0.5],
        "random_draws": 1,
        "hidden": [8],
        "device": "cpu",
    }
    return mfh.StudyConfig(teacher="a", student="b", **{**few, **more})


@pytest.mark.parametrize("kind", FINE)
def test_a_study_is_right(kind: str) -> None:
    result = mfh.study(made(kind), config=config())
    scores = [value for row in result.records for value in (row.train, row.validation, row.test)]
    assert np.isfinite(np.asarray(scores, dtype=float)).all()
    regular = next(row.test for row in result.teachers if row.teacher == "regular")
    lowest = 60 if kind == "1 channel" else 65  # scale and type do not matter
    assert regular == 50 if kind == "constant" else regular > lowest


@pytest.mark.parametrize("kind", FINE)
def test_a_diagnosis_is_finite(kind: str) -> None:
    settings = {"teacher": "a", "student": "b", "epochs": 2, "hidden": [4], "num_bootstrap": 20}
    if kind == "constant":
        with pytest.raises(InputError, match="The teacher gives the same output for all"):
            mfh.diagnose(made(kind), config=mfh.DiagnoseConfig(**settings))
        return
    said = mfh.diagnose(made(kind), config=mfh.DiagnoseConfig(**settings)).diagnosis
    gamma = said["gamma"]["estimate"]
    assert gamma is None or 0 <= gamma <= 1
    assert said["verdict"] in ("help", "hurt", "no-effect", "abstain")


@pytest.mark.parametrize("kind", [*FINE, "1,000 classes", "100,000 channels"])
def test_distilling_is_finite(kind: str) -> None:
    data = made(kind)
    logits = torch.randn(len(data), data.num_classes, generator=torch.Generator().manual_seed(0))
    result = mfh.distill(logits, None, data, mfh.DistillConfig(epochs=1), student_modality="b")
    assert np.isfinite(result.records[0].test)


def test_one_sample_a_class_is_told() -> None:
    with pytest.raises(InputError, match="Only 0% of the test samples"):
        mfh.study(made("one a class"), config=config())
    with pytest.raises(InputError, match="Only 0% of the test samples"):
        mfh.diagnose(made("one a class"), config=mfh.DiagnoseConfig(teacher="a", student="b"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["1,000 classes", "100,000 channels"])
def test_large_studies(kind: str) -> None:
    result = mfh.study(made(kind), config=config(epochs=1, hidden=[4]))
    assert all(np.isfinite(row.test) for row in result.records)


def ranked(features: torch.Tensor) -> np.ndarray:
    head = nn.Linear(features.shape[1], 3, dtype=torch.float64)
    nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    student = torch.randn(len(features), 3, generator=torch.Generator().manual_seed(1))
    return mfh.saliency(features, head, student, warn=False).increase


def test_saliency() -> None:
    features = torch.randn(64, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    whole = ranked(features)
    for scale in (1e-30, 1e-12, 1e12, 1e30):  # the increase has a part that is linear and one that is square
        assert np.isfinite(ranked(features * scale)).all()
    np.testing.assert_allclose(ranked(features.half()), ranked(features.half().double()))
    np.testing.assert_allclose(ranked(features.half()), whole, rtol=0.02, atol=0.01)
    constant = features.clone()
    constant[:, 2] = 7.0
    assert ranked(constant)[2] == 0
    doubled = ranked(torch.cat([features, features[:, :1]], dim=1))  # a channel twice
    assert np.isfinite(doubled).all()
    assert ranked(features[:, :1]).shape == (1,)
    assert np.isfinite(ranked(torch.randn(8, 100_000))).all()
    with pytest.raises(InputError, match="at least 2 samples"):
        ranked(features[:1])
    with pytest.raises(InputError, match="Saliency must be finite"):
        ranked(features * 1e200)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="`features` must be finite"):
            ranked(torch.where(features > 2, bad, features))


def test_choosing_channels() -> None:
    with pytest.warns(UserWarning, match="`ratio` 0.5 removes nothing"):
        assert mfh.select(np.ones(1), 0.5, "general").tolist() == []
    assert len(mfh.select(np.arange(100_000.0), 0.5, "general")) == 50_000
    assert mfh.select(np.ones(4), 0.5, "general").tolist() == [2, 3]  # of equals the last are removed
    with pytest.raises(InputError, match=r"Channels \[1\] are not"):
        mfh.select(np.array([1.0, np.nan]), 0.5, "general")
    with pytest.raises(InputError, match="`fill` of `FocusedTeacher` must be finite"):
        mfh.FocusedTeacher(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "0", [0], torch.tensor([np.nan]))


def outcome(folder: Path) -> dict[str, Any]:
    """What a run found: all but times and the machine."""
    values = json.loads((folder / "results.json").read_text())
    for row in values["records"]:
        row.pop("seconds")
    values["config"].pop("jobs", None)
    return {
        name: value for name, value in values.items() if name not in ("timings", "environment", "checksum")
    }


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["many", "loop"])
def test_the_same_seed_gives_the_same_results(engine: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays())
    words = (
        f"study --data {tmp_path / 'd.npz'} --teacher a --student b --seeds 3 --epochs 3 --hidden 8 --quiet"
    )
    words += f" --ratio 0.25 0.5 --random-draws 2 --device cpu --engine {engine}"
    command = [sys.executable, "-m", "mfh", *words.split()]

    def run(name: str, *more: str, threads: str = "1") -> dict[str, Any]:
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        subprocess.run(
            [*command, "--out", str(tmp_path / name), *more], check=True, env=environment, timeout=500
        )
        return outcome(tmp_path / name)

    first = run("first")
    assert run("again") == first
    assert run("jobs", "--jobs", "2") == first
    assert run("threads", threads="2") == first
    (tmp_path / "again" / "results.json").unlink()
    parts = sorted(path for path in (tmp_path / "again").rglob("*seed-0001*") if path.exists())
    assert parts
    for path in parts:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    assert run("again") == first
