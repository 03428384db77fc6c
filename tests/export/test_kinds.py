"""Which runs can be exported, and networks that ONNX cannot express as they are."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mfh import InputError
from mfh._export import export_run, files
from mfh._export.deployed import Deployed
from mfh._export.portable import Windows, portable
from mfh.cli import main
from mfh.models.ravdess import RavdessNetwork
from mfh.results import Diagnosis, GaussianResult

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.AdaptiveMaxPool1d(4), (3, 11)),
        (nn.AdaptiveMaxPool2d((7, 14)), (2, 9, 20)),
        (nn.AdaptiveMaxPool2d((None, 3)), (2, 5, 8)),
        (nn.AdaptiveMaxPool2d((5, 6)), (2, 3, 4)),  # more windows than values
        (nn.AdaptiveMaxPool3d((2, 3, 4)), (2, 5, 7, 9)),
        (nn.AdaptiveAvgPool1d(4), (3, 11)),
        (nn.AdaptiveAvgPool2d((3, 5)), (2, 7, 8)),
        (nn.AdaptiveAvgPool3d((2, 2, 3)), (2, 5, 7, 7)),
    ],
)
def test_windows_give_the_values_of_an_adaptive_pool(pool: nn.Module, shape: tuple[int, ...]) -> None:
    values = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Windows(pool)(values), pool(values), rtol=1e-6, atol=1e-6)


def test_only_pools_that_onnx_lacks_are_replaced() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(1), nn.Flatten())
    assert portable(network) is network
    indices = nn.Sequential(nn.AdaptiveMaxPool1d(2, return_indices=True))
    assert portable(indices) is indices


@pytest.mark.parametrize(("modality", "shape"), [("image", (3, 32, 40)), ("audio", (1, 40, 48))])
def test_the_ravdess_networks_are_written_as_onnx_for_any_number_of_samples(
    tmp_path: Path, modality: str, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model = Deployed(RavdessNetwork(modality, width=2), 8, "single-label").eval()  # type: ignore[arg-type]
    inputs = torch.randn(9, *shape)
    before = model.network.state_dict()
    files.write_onnx(model, inputs[:4], tmp_path / "model.onnx")
    assert isinstance(model.network.pool3, nn.AdaptiveMaxPool2d)
    assert model.network.state_dict().keys() == before.keys()
    for count in (1, 9):
        with torch.no_grad():
            expected = model(inputs[:count])
        found = files.onnx_scores(tmp_path / "model.onnx", inputs[:count].numpy())
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("run", "text"),
    [(Diagnosis(), "Got a diagnosis, whose students are small ones of a pilot"),
     (GaussianResult(figure="fig2"), "Got a Gaussian experiment, whose networks see generated numbers")],
)  # fmt: skip
def test_runs_without_a_student_are_refused_in_one_line(
    run: Diagnosis | GaussianResult, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=text):
        run.export(tmp_path / "to")
    run.save(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "to")]) == 2
    error = capsys.readouterr().err.strip()
    assert text in error
    assert "Run `mfh study`" in error
    assert "\n" not in error


def test_a_ranking_of_channels_is_refused(tmp_path: Path) -> None:
    text = re.escape("It is a file of `mfh saliency`, which ranks channels and trains no student. Run `mfh")
    with pytest.raises(InputError, match=text):
        export_run(tmp_path / "saliency.npz", tmp_path / "to")
