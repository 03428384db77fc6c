"""`mfh.fit`: the best student that the data allow, how good it is, and the student itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mfh._checks import require
from mfh._study.experiment import study
from mfh._study.networks import Build
from mfh._system.progress import Progress
from mfh.config import FitConfig
from mfh.data.paired import PairedDataset
from mfh.results import FitResult


def fit(
    data: PairedDataset,
    teacher: Build | None = None,
    student: Build | None = None,
    *,
    config: FitConfig | None = None,
    out: Path | str | None = None,
    progress: Progress = "auto",
    sources: Mapping[str, Any] | None = None,
) -> FitResult:
    """Search the best student of one modality, with teachers or without, and train it on all samples.

    In every outer fold two searches with the same budget see the training samples alone: one of students
    without a teacher, one of students with one. A search judges recipes on folds of the labelled samples by
    successive halving. A taught recipe is taken only if it is clearly better than an anchor: the student
    without a teacher or, if most pairs have no label, the stack of all teachers. So "no teacher" is a
    possible answer. The gain is the difference of the two procedures on test samples, which neither search
    has seen. At the end both searches run once more, on all samples; `export` writes their students.

    Args:
        data: paired samples of two modalities or more; some may have no label.
        teacher: function without arguments that makes the network of a teacher, which sees `config.teacher`.
            By default a multilayer perceptron.
        student: the same for the student's network, which sees `config.student`.
        config: the options; see `FitConfig`.
        out: folder for results and students, from which the same call resumes; None keeps all in memory.
        progress: see `mfh.study`.
        sources: see `mfh.study`.

    Returns:
        What was tried and what won, the gain with its interval, and which student to ship.

    Raises:
        InputError: the data or the configuration break a rule, or `out` holds another run's results.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> label = np.arange(120) % 2
        >>> camera = label[:, None] + rng.normal(size=(120, 3))
        >>> lidar = label[:, None] + 0.5 * camera
        >>> data = PairedDataset.from_arrays({"lidar": lidar, "camera": camera}, label=label)
        >>> quick = FitConfig(folds=2, budget=8, steps=5, hidden=(4,), ratio=(0.5,))
        >>> fit(data, config=quick).search["shipped"] in ("no-kd", "searched")
        True
    """
    require(
        config is None or isinstance(config, FitConfig),
        f"`config` must be an `mfh.FitConfig`. Got {type(config).__name__}.",
    )
    found = study(
        data, teacher, student, config=config or FitConfig(), out=out, progress=progress, sources=sources
    )
    assert isinstance(found, FitResult)  # noqa: S101 - that is what a search returns
    return found
