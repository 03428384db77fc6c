"""What a training shows: a bar on stderr, curves in trackers."""

import sys
import time
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


def test_mlflow_writes_into_the_folder_unless_a_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mlflow:
        place = ""

        def is_tracking_uri_set(self) -> bool:
            return bool(self.place)

        def get_tracking_uri(self) -> str:
            return self.place

        def set_tracking_uri(self, place: str) -> None:
            self.place = place

    mlflow = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("first", "second"):  # the place of the first run is ours to change
        monitor._keep_mlflow_in(tmp_path / name)
        assert mlflow.place == f"sqlite:///{tmp_path / name / 'mlflow.db'}"
    mlflow.place = "http://somewhere"
    monitor._keep_mlflow_in(tmp_path / "third")
    assert mlflow.place == "http://somewhere"
    mlflow.place = ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:runs")
    monitor._keep_mlflow_in(tmp_path / "third")
    assert mlflow.place == ""
