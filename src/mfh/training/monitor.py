"""Progress of a training: a bar on stderr, and curves in trackers."""

import os
import time
from pathlib import Path
from types import TracebackType

from accelerate import Accelerator

from mfh._system.progress import Bar
from mfh.config import TrainConfig

PATIENCE = 2.0
"""Seconds before the bar appears."""
BAR_EVERY, TRACK_EVERY = 0.2, 10.0
"""Seconds between two losses in the bar and in trackers."""
_mlflow_places: set[str] = set()
"""Places that this process told MLflow to write to."""


class Monitor:
    """Shows the progress of a training, in the main process only.

    Args:
        accelerator: has the trackers.
        config: is written into the trackers.
        total: samples of all epochs.
        done: samples that earlier calls trained on.
        progress: whether to show a bar with loss and rate on stderr.
    """

    def __init__(
        self, accelerator: Accelerator, config: TrainConfig, *, total: int, done: int, progress: bool
    ) -> None:
        self.accelerator = accelerator
        self.bar: Bar | None = None
        if progress and accelerator.is_main_process:
            self.bar = Bar(
                "training", total, unit="samples", done=done, delay=PATIENCE, keep=False, scaled=True
            )
        self.tracked = bool(config.tracker)
        if self.tracked:
            start_trackers(accelerator, config)
        self.idle = self.bar is None and not self.tracked
        self._shown = self._logged = time.monotonic()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def batches(self, samples: int, loss: float, step: int) -> None:
        """Report some batches: the number of their samples, the last loss, and the steps of all epochs."""
        now = time.monotonic()
        if self.bar is not None:
            note = f"loss {loss:.4g}" if now - self._shown > BAR_EVERY else None
            self._shown = self._shown if note is None else now
            self.bar.advance(samples, note=note)
        if self.tracked and now - self._logged > TRACK_EVERY:
            self._logged = now
            self.accelerator.log({"loss of the batch": loss}, step=step)

    def epoch(self, values: dict[str, float], step: int) -> None:
        """Report the values of an epoch's curves, after so many steps of all epochs."""
        if self.tracked:
            self.accelerator.log(values, step=step)


def start_trackers(accelerator: Accelerator, config: TrainConfig) -> None:
    """Begin a run named `mfh` in every tracker, and write the configuration into it."""
    values = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in config.to_dict().items()
    }
    options = {}
    if "mlflow" in config.tracker and accelerator.logging_dir is not None:
        folder = Path(accelerator.logging_dir).absolute()
        _keep_mlflow_in(folder)
        options = {"mlflow": {"logging_dir": str(folder / "mlflow")}}
    accelerator.init_trackers("mfh", config=values, init_kwargs=options)


def _keep_mlflow_in(folder: Path) -> None:
    """Let MLflow write into a folder, unless the user named a place; it would use the current folder."""
    import mlflow

    named = os.environ.get("MLFLOW_TRACKING_URI")  # MLflow itself sets it to the place that it is told
    if named is None and mlflow.is_tracking_uri_set():
        named = mlflow.get_tracking_uri()
    if named is not None and named not in _mlflow_places:
        return
    folder.mkdir(parents=True, exist_ok=True)
    place = f"sqlite:///{folder / 'mlflow.db'}"
    _mlflow_places.add(place)
    mlflow.set_tracking_uri(place)
