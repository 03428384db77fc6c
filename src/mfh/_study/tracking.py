"""Logs a study to trackers such as TensorBoard: curves when a seed ends, figures at the end."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from mfh._checks import listing, require
from mfh._study.outcome import SeedResult
from mfh.config import StudyConfig
from mfh.results import Record, StudyResult
from mfh.training.device import make_accelerator
from mfh.training.monitor import start_trackers


class Tracking:
    """Logs a study; without trackers it does nothing.

    A step is an epoch. The seeds follow each other, so that steps only ever rise, as some trackers demand:
    epoch e of the n-th seed to end is step (n - 1) x epochs + e.

    Args:
        config: names the trackers.
        folder: of the study; trackers that write files write into `logs` in it.
    """

    def __init__(self, config: StudyConfig, folder: Path | None) -> None:
        self.config, self.step = config, 0
        require(
            not config.tracker or folder is not None,
            f"`tracker` {listing(config.tracker)} needs a folder to write to: give `out`.",
        )
        self.accelerator = make_accelerator(config, folder=folder) if config.tracker else None

    def seed(self, result: SeedResult) -> None:
        """Log the curves of a seed, and the metrics of its students and teachers on every split."""
        if self.accelerator is None:
            return
        if not self.step:
            start_trackers(self.accelerator, self.config)
        for epoch, values in enumerate(epochs(result), start=1):
            self.accelerator.log(values, step=self.step + epoch)
        self.step += self.config.epochs
        final: dict[str, list[float]] = defaultdict(list)
        for record in result.records:
            final[f"test/{_name(record, result)}"].append(record.test)
        for teacher in result.teachers:
            final[f"teacher test/{teacher.teacher.replace('@', ' at ')}"].append(teacher.test)
        means = {name: float(np.mean(draws)) for name, draws in final.items()}
        self.accelerator.log({**means, "seed": float(result.seed)}, step=self.step)

    def finish(self, result: StudyResult) -> None:
        """Log the figures of the report, and close the trackers."""
        if self.accelerator is None or not self.step:
            return
        from mfh._report import figure_arrays  # matplotlib is slow to import

        pictures = {f"figures/{name}": image[None] for name, image in figure_arrays(result).items()}
        for tracker in self.accelerator.trackers:
            if hasattr(tracker, "log_images"):
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images(pictures, step=self.step, **layout)
        self.accelerator.end_training()


def epochs(result: SeedResult) -> list[dict[str, float]]:
    """For each epoch, training loss and validation metric of every teacher and arm, draws averaged."""
    curves: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, values in result.curves.items():
        network, _, what = name.rpartition("_")
        if network != "students":
            curves[f"{what}/teacher {network}"].append(np.ravel(values))
            continue
        for record, row in zip(result.records, values, strict=True):
            curves[f"{what}/{_name(record, result)}"].append(row)
    means = {name: np.mean(rows, axis=0) for name, rows in curves.items()}
    longest = max((len(values) for values in means.values()), default=0)
    return [
        {name: float(v[i]) for name, v in means.items() if i < len(v) and np.isfinite(v[i])}
        for i in range(longest)
    ]


def _name(record: Record, result: SeedResult) -> str:
    """What a student's curves are called: its arm, its ratio, and its loss where there are several."""
    several = len({other.loss for other in result.records if other.loss}) > 1
    ratio = "" if record.ratio is None else f" at {record.ratio:g}"
    return record.arm + ratio + (f" by {record.loss}" if several and record.loss else "")
