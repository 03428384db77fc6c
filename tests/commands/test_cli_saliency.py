"""`mfh saliency`: one real run, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mfh import SaliencyResult, saliency
from mfh.cli import main


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    features, weight = rng.normal(size=(300, 5)), rng.normal(size=(3, 5)).astype(np.float32)
    np.save(tmp_path / "h0.npy", features[:100].astype(np.float32))
    np.save(tmp_path / "h1.npy", features[100:].astype(np.float32))
    np.save(tmp_path / "s.npy", (features @ weight.T + rng.normal(size=(300, 3))).astype(np.float32))
    save_file({"weight": torch.from_numpy(weight)}, tmp_path / "head.safetensors")
    given = {
        "--features": [tmp_path / "h0.npy", tmp_path / "h1.npy"],
        "--student-logits": [tmp_path / "s.npy"],
        "--head": [tmp_path / "head.safetensors"],
        "--out": [tmp_path / "out.npz"],
    }
    return ["saliency", "--quiet", *(str(x) for flag, paths in given.items() for x in (flag, *paths))]


def test_writes_the_ranking_that_the_library_computes(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, "--dtype", "float64"]) == 0
    assert "300 samples, 5 channels" in capsys.readouterr().out
    features = np.concatenate([np.load(tmp_path / f"h{part}.npy") for part in (0, 1)])
    head = torch.nn.Linear(5, 3, bias=False)
    head.weight.data = load_file(tmp_path / "head.safetensors")["weight"]
    expected = saliency(
        torch.from_numpy(features), head, torch.from_numpy(np.load(tmp_path / "s.npy")), warn=False
    )
    found = SaliencyResult.load(tmp_path / "out.npz")
    np.testing.assert_allclose(found.increase, expected.increase, rtol=1e-10)
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["--head", "absent.npz"], "`absent.npz` does not exist"),
        (["--head", "{0}/s.npy"], "`head` must be safetensors or an npz"),
        (["--out", "{0}/out"], "`out` must end in .npz"),
        (["--dtype", "float16"], "`dtype` must be one of `float32`, `float64`"),
        (["--score", "best"], "`score` must be one of"),
        (["--features", "{0}/h0.npy"], "same samples in the same order. Got 100 and 300"),
        (["--jobs", "0"], "`jobs` must be 1 or more"),
    ],
)
def test_what_cannot_be_used_ends_in_one_line(
    files: list[str], tmp_path: Path, changes: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, *(change.format(tmp_path) for change in changes)]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.npz").exists()
