"""What a training shows while it runs: a bar on stderr, and curves in trackers."""

import time
from types import TracebackType
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from mfh.config import TrainConfig

PATIENCE = 2.0  # seconds that must pass before the bar appears
BAR_EVERY, TRACK_EVERY = 0.2, 10.0  # seconds between two losses


class Monitor:
    """Tells of a training, in the main process only.

    Args:
        accelerator: holds the trackers.
        config: written into the trackers.
        total: samples that all epochs show.
        done: samples that an earlier run has seen.
        progress: whether to show a bar, with loss and rate, on stderr.
    """

    def __init__(
        self, accelerator: Accelerator, config: TrainConfig, *, total: int, done: int, progress: bool
    ) -> None:
        self.accelerator = accelerator
        self.bar: Any = None
        if progress and accelerator.is_main_process:
            self.bar = tqdm(
                total=total, initial=done, unit="sample", unit_scale=True, delay=PATIENCE, leave=False
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
        """After some batches: how many samples they held, the last one's loss, steps in all."""
        now = time.monotonic()
        if self.bar is not None:
            if now - self._shown > BAR_EVERY:
                self._shown = now
                self.bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            self.bar.update(samples)
        if self.tracked and now - self._logged > TRACK_EVERY:
            self._logged = now
            self.accelerator.log({"loss of the batch": loss}, step=step)

    def epoch(self, values: dict[str, float], step: int) -> None:
        """After an epoch: its curves' values, steps in all."""
        if self.tracked:
            self.accelerator.log(values, step=step)


def start_trackers(accelerator: Accelerator, config: TrainConfig) -> None:
    """Begin a run called `mfh` in every tracker, with the configuration written into it."""
    told = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in config.to_dict().items()
    }
    accelerator.init_trackers("mfh", config=told)
