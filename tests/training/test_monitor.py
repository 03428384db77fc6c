"""What a training shows: a bar on stderr, curves in trackers."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.utils import is_clearml_available
from fits import CONFIG, on_validation, train

from mfh import InputError, PairedDataset
from mfh._system import progress
from mfh.training import monitor


def test_progress_shows_loss_and_rate(paired: PairedDataset, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(progress, "draws_bars", lambda: True)
    train(paired, progress=True)
    assert capsys.readouterr().err == "", "a quick training shows nothing"
    monkeypatch.setattr(monitor, "PATIENCE", 0.0)
    monkeypatch.setattr(monitor, "BAR_EVERY", 0.0)
    train(paired, progress=True, score=lambda _: time_passes())
    shown = capsys.readouterr().err
    assert "loss 0." in shown or "loss 1." in shown
    assert "samples/s" in shown
    train(paired)
    assert capsys.readouterr().err == ""


def time_passes() -> float:
    """Longer than a bar waits between two updates."""
    time.sleep(0.15)
    return 0.0


def test_trackers_are_named(paired: PairedDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`tracker` must hold names of `aim`, .*Got 'abacus'"):
        train(paired, config=replace(CONFIG, tracker="abacus"), checkpoint=tmp_path)
    if not is_clearml_available():
        with pytest.raises(InputError, match="'clearml' is not installed: `pip install clearml`"):
            train(paired, config=replace(CONFIG, tracker=["clearml"]), checkpoint=tmp_path)


def test_tensorboard_gets_the_curves(paired: PairedDataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(CONFIG, tracker="tensorboard")
    result = train(paired, config=config, score=on_validation(paired), checkpoint=tmp_path)
    events = EventAccumulator(str(tmp_path / "logs" / "mfh"))
    events.Reload()
    for name in ("loss", "validation"):
        curve = [(event.step, event.value) for event in events.Scalars(name)]
        wanted = [(5 * epoch.number, getattr(epoch, name)) for epoch in result.history]
        np.testing.assert_allclose(curve, wanted, rtol=1e-6)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow without a place to write to; both forget afterwards what the test named."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that it is taken back, whoever sets it
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(None)
    yield mlflow
    mlflow.set_tracking_uri(None)


def test_mlflow_writes_the_curves_into_the_folder_of_the_run(
    mlflow: Any, paired: PairedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = replace(CONFIG, tracker="mlflow")
    result = train(paired, config=config, score=on_validation(paired), checkpoint=tmp_path / "out")
    assert not list(Path().iterdir()), "nothing is written into the working folder"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'out' / 'logs' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'mfh'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["epochs"] == str(config.epochs)
    for name in ("loss", "validation"):
        curve = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        wanted = [(5 * epoch.number, getattr(epoch, name)) for epoch in result.history]
        np.testing.assert_allclose(curve, wanted, rtol=1e-6)


def test_every_run_has_its_own_mlflow_unless_a_place_is_named(
    mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(name: str) -> str:
        monitor._keep_mlflow_in(tmp_path / name)
        return mlflow.get_tracking_uri().removeprefix("sqlite:///")

    for name in ("first", "second"):  # the place of the first run is ours to change
        assert place(name) == str(tmp_path / name / "mlflow.db")
    mlflow.set_tracking_uri("http://somewhere")
    assert place("third") == "http://somewhere"
    mlflow.set_tracking_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert place("third") == "http://elsewhere"
    assert not (tmp_path / "third").exists()
