"""`--no-imports` and `load_export`: what a file of someone else names is not imported."""

import json
from pathlib import Path

import numpy as np
import pytest

import mfh
from mfh._checks import InputError
from mfh._system.import_paths import ClassSpec, is_own_only, own_classes_only
from mfh.cli import _imports_off_if_asked, main
from mfh.config import DistillConfig
from mfh.losses.plugins import build_loss

REST = "teacher: a\nstudent: b\nseeds: 1\nepochs: 1\nratio: [0.5]\nrandom_draws: 1\nhidden: [4]\nout: out\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, and a module that leaves a trace when it is imported."""
    label = np.arange(40) % 2
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", a=rng.normal(size=(40, 3)), b=rng.normal(size=(40, 2)), label=label)
    (tmp_path / "strange_module.py").write_text(
        "import pathlib\npathlib.Path('trace').touch()\nfrom torch import nn\n\n\n"
        "class Net(nn.Linear):\n    def __init__(self, width: int = 2):\n        super().__init__(3, width)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


CONFIGS = {
    "a network": "teacher_network: strange_module.Net\n",
    "a network with arguments": "teacher_network: {class_path: strange_module.Net, init_args: {width: 2}}\n",
    "data": "data: {class_path: strange_module.Net}\n",
    "a command": "data: {class_path: os.mkdir, init_args: {path: trace}}\n",
    "a function of ours": "data: {class_path: mfh._system.files.write_text,"
    " init_args: {path: trace, text: x}}\n",
    "a module of ours": "teacher_network: mfh.data.containers.importlib\n",
    "what ours imported": "teacher_network: mfh.models.mlp.Sequence\n",
    "an argument": "teacher_network: {class_path: torch.nn.TransformerEncoderLayer, init_args: "
    "{d_model: 2, nhead: 1, activation: strange_module.Net}}\n",
    "an argument's class": "teacher_network: {class_path: torch.nn.TransformerEncoderLayer, init_args: "
    "{d_model: 2, nhead: 1, activation: {class_path: strange_module.Net}}}\n",
    "a loss": "losses: [strange_module.Net]\n",
    "a loss with a colon": "losses: ['strange_module:Net']\n",
}


CASES = [("study", case) for case in CONFIGS]
CASES += [("layers", case) for case in CONFIGS if "loss" not in case]  # `layers` builds none


@pytest.mark.parametrize(("command", "case"), CASES)
def test_a_config_of_someone_else_imports_nothing(
    case: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = "" if "data" in CONFIGS[case].partition(":")[0] else "data: d.npz\n"
    (folder / "c.yaml").write_text(CONFIGS[case] + data + REST)
    assert main([command, "--config", "c.yaml", "--no-imports", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "is refused" in error, error
    assert not (folder / "trace").exists()
    assert not (folder / "out" / "results.json").exists()


def test_without_the_flag_a_config_is_code(folder: Path) -> None:
    (folder / "c.yaml").write_text(CONFIGS["a network"] + "data: d.npz\n" + REST)
    assert main(["layers", "--config", "c.yaml", "--quiet"]) == 0
    assert (folder / "trace").exists()


def test_the_flag_stands_in_no_file_and_has_no_short_form(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "c.yaml").write_text("no_imports: true\ndata: d.npz\n" + REST)
    assert main(["study", "--config", "c.yaml"]) == 2
    assert "`no_imports` is no option" in capsys.readouterr().err
    with _imports_off_if_asked(["layers", "--no-im"]):
        assert is_own_only()
    assert not is_own_only()
    for word in ("--no-imports=true", "--no_imports"):
        (folder / "c.yaml").write_text(CONFIGS["a network"] + "data: d.npz\n" + REST)
        assert main(["layers", "--data", "d.npz", "--teacher", "a", "--student", "b", word]) == 2, word


def test_networks_of_ours_and_of_torch_are_made() -> None:
    with own_classes_only():
        assert ClassSpec("torch.nn.Linear", {"in_features": 2, "out_features": 3})().out_features == 3
        assert ClassSpec("mfh.models.ravdess.RavdessNetwork").problems() is not None
        assert build_loss("dkd", DistillConfig(loss="dkd")).name == "dkd"
        with pytest.raises(InputError, match=r"`os\.mkdir` is refused: importing it runs its code"):
            ClassSpec("os.mkdir", {"path": "x"})()
    assert ClassSpec("fractions.Fraction", {"numerator": 1})() == 1


def test_an_export_of_someone_else_imports_nothing(folder: Path) -> None:
    for made_of in (
        {"class_path": "strange_module.Net"},
        {"class_path": "os.mkdir", "init_args": {"path": "trace"}},
    ):
        info = {"schema_version": 2, "task": "single-label", "class_names": ["a", "b"]}
        (folder / "export.json").write_text(json.dumps({**info, "student": {"network": made_of}}))
        with pytest.raises(InputError, match="is refused"):
            mfh.load_export(folder)
        assert not (folder / "trace").exists()
