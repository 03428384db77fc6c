"""What files of somebody else may reach: with --no-imports nothing outside their own folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mfh import InputError
from mfh._system.import_paths import own_classes_only, path_arguments
from mfh._system.targets import OWN_FUNCTIONS
from mfh.cli import main
from mfh.data.sources.vggsound.index import _HEADER, _record
from mfh.data.tar_files import expand

REST = "teacher: a\nstudent: b\nseeds: 1\nepochs: 1\nratio: [0.5]\nrandom_draws: 1\nhidden: [4]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, next to a folder that is none of its business."""
    here = tmp_path / "theirs"
    here.mkdir()
    rng, label = np.random.default_rng(0), np.arange(60) % 2
    for file in (here / "d.npz", tmp_path / "secret.npz"):
        np.savez(file, a=rng.normal(size=(60, 3)), b=rng.normal(size=(60, 2)), label=label)
    (here / "link.npz").symlink_to(tmp_path / "secret.npz")
    (here / "up").symlink_to(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SECRET", str(tmp_path / "secret.npz"))
    monkeypatch.chdir(here)
    return here


NETWORK = {
    "an address": "backend: dask\naddress: tcp://127.0.0.1:9\n",
    "a cluster of this machine": "backend: ray\n",
    "a tracker": "tracker: [wandb]\n",
}
CLIPS = "{class_path: mfh.data.sources.vggsound.reader.load, init_args:"
DATA = {
    "a path above": "../secret.npz",
    "a path from home": "~/secret.npz",
    "a variable": "$SECRET",
    "a link": "link.npz",
    "a linked folder": "up/secret.npz",
    "a URL": f"{CLIPS} {{source: https://127.0.0.1:9/x}}}}",
    "a chain of URLs": f"{CLIPS} {{source: simplecache::file://x}}}}",
    "a command": f"{CLIPS} {{source: 'pipe:touch trace'}}}}",
    "a folder elsewhere": f"{CLIPS} {{source: ../x}}}}",
}


def refused(folder: Path, text: str, capsys: Any, *words: str) -> str:
    """The one line that refuses a config."""
    (folder / "c.yaml").write_text(text)
    assert main(["study", "--config", "c.yaml", "--quiet", *words]) == 2
    error = str(capsys.readouterr().err)
    assert "refused in a file (--no-imports)" in error, error
    assert len(error.splitlines()) == 1
    assert not (folder / "out").exists()
    assert not (folder / "trace").exists()
    return error


@pytest.mark.parametrize("case", NETWORK)
def test_a_config_reaches_no_network(case: str, folder: Path, capsys: Any) -> None:
    error = refused(folder, f"data: d.npz\nout: out\n{REST}{NETWORK[case]}", capsys, "--no-imports")
    for name in ("address", "backend", "tracker"):
        assert (f"`{name}`" in error) == (name in NETWORK[case])


@pytest.mark.parametrize("case", DATA)
def test_a_config_reads_only_in_its_folder(
    case: str, folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFH_NO_IMPORTS", "1")
    refused(folder, f"data: {DATA[case]}\nout: out\n{REST}", capsys)


@pytest.mark.parametrize("path", OWN_FUNCTIONS)
def test_the_functions_that_may_be_named_are_there_and_take_paths(path: str) -> None:
    with own_classes_only():
        assert path_arguments(path)


@pytest.mark.parametrize("out", ["../out", "/nowhere/out", "~/out", "up/out"])
def test_a_config_writes_only_into_its_folder(out: str, folder: Path, capsys: Any) -> None:
    refused(folder, f"data: d.npz\nout: {out}\n{REST}", capsys, "--no-imports")
    assert not (folder.parent / "out").exists()


def test_a_folder_is_that_of_the_file_not_the_one_in_which_the_command_runs(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "c.yaml").write_text(f"data: secret.npz\nout: out\n{REST}")
    monkeypatch.chdir(folder.parent)
    assert main(["study", "--config", "theirs/c.yaml", "--no-imports"]) == 2
    assert "line 1: `data` is refused" in capsys.readouterr().err


def test_the_command_line_may_reach_further(folder: Path, capsys: Any) -> None:
    (folder / "c.yaml").write_text(f"data: ../secret.npz\nout: ../out\ntracker: [wandb]\n{REST}")
    words = ["--no-imports", "--data", "../secret.npz", "--out", "../out", "--tracker", "none", "--quiet"]
    assert main(["study", "--config", "c.yaml", *words]) == 0
    assert (folder.parent / "out" / "results.json").exists()


def test_without_the_flag_a_config_may_name_any_file(folder: Path) -> None:
    (folder / "c.yaml").write_text("data: ../secret.npz\nteacher: a\nstudent: b\n")
    assert main(["layers", "--config", "c.yaml", "--quiet"]) == 0


def test_results_of_somebody_else_name_no_data_outside_their_folder(folder: Path, capsys: Any) -> None:
    words = ["--teacher", "a", "--student", "b", "--seeds", "1", "--epochs", "1", "--hidden", "4", "--quiet"]
    few = ["--ratio", "0.5", "--random-draws", "1", "--smoothing", "0.1"]
    assert main(["study", "--data", "../secret.npz", "--out", "out", *words, *few]) == 0
    again = ["export", "--out", "out", "--to", "to", "--refit"]
    assert main([*again, "--no-imports"]) == 2
    assert "which the results in out name, is refused (--no-imports)" in capsys.readouterr().err
    given = ["--data", "../secret.npz", "--no-imports", "--quiet"]
    assert main([*again, *given]) == 0


@pytest.mark.parametrize("place", ["../x", "/etc", "a/../../b", "C:/x", "a\\b"])
def test_an_index_of_clips_stays_in_its_folder(place: str) -> None:
    line = dict.fromkeys(_HEADER, "1") | {"name": "abcdefghijk_1", "label": "dog", "split": "train"}
    assert _record({**line, "place": "train"}, {"dog": 0}).place == "train"
    with pytest.raises(ValueError, match="the place"):
        _record({**line, "place": place}, {"dog": 0})
    with pytest.raises(ValueError, match="the name"):
        _record({**line, "place": "train", "name": place}, {"dog": 0})


def test_no_name_of_a_tar_file_is_a_command(folder: Path) -> None:
    from mfh.data.sources.vggsound.stream import _opened

    for name in ("pipe:touch trace", "pipe:touch trace #{0..1}.tar"):
        with pytest.raises(InputError, match=r"does not exist|cannot be read"):
            expand(name)
        with pytest.raises(InputError):
            next(_opened([{"url": name}]))
    assert not (folder / "trace").exists()


def test_settings_of_a_folder_choose_no_tracker_and_no_place(tmp_path: Path) -> None:
    from mfh.experiments._steps.partial_study import stored_config
    from mfh.experiments.vggsound import RECIPE

    hostile = {"tracker": ["wandb"], "loss": "strange.loss", "device": "x"}
    values = {"experiment": RECIPE.name, "lr": 0.5} | hostile
    (tmp_path / "run.json").write_text(json.dumps(values))
    assert "tracker" not in RECIPE.identity
    assert stored_config(tmp_path, RECIPE).keys() <= {"lr"}
