"""`mfh.plan`: how many repeats or samples a study needs, from a pilot."""

import math
from dataclasses import dataclass, replace

from mfh._checks import require
from mfh._study.experiment import study
from mfh._study.networks import Build, with_modalities
from mfh._system.progress import Progress
from mfh.arms import BASELINE, HEADLINE
from mfh.config import StudyConfig
from mfh.crossed import POWER, Components, repeats_for, samples_to_decide
from mfh.data.paired import PairedDataset
from mfh.results import Comparison


@dataclass(frozen=True)
class Plan:
    """How large a study must be to show an effect of a given size, with a probability of 80%.

    Attributes:
        effect: the effect, in points of the metric.
        pilot: the gain in the pilot, with its components of variance.
        half_width: half the width of the interval that the pilot's design gives.
        repeats: repeats in all that are enough for these samples; None if no number is.
        samples: samples that are enough at two repeats; None if that cannot be estimated.
        sentence: the plan in words.

    Example:
        >>> row = Comparison("general (chosen)", "no-kd", None, 10, 0.4, -0.9, 1.7, None, None, 0.5)
        >>> Plan(1.0, row, 1.3, None, 6200, "About 6,200 samples would.").samples
        6200
    """

    effect: float
    pilot: Comparison
    half_width: float
    repeats: int | None
    samples: int | None
    sentence: str


def plan(
    data: PairedDataset,
    teacher: Build | None = None,
    student: Build | None = None,
    *,
    effect: float = 1.0,
    config: StudyConfig | None = None,
    progress: Progress = "auto",
) -> Plan:
    """Say how many repeats or samples a study needs to show an effect, from a pilot of two repeats.

    Args:
        data: paired samples.
        teacher: function that makes the teacher's network; see `mfh.study`.
        student: function that makes the student's network.
        effect: size of the gain that is to be shown, in points of the metric, above 0.
        config: the options of the study; the pilot trains the arms `no-kd`, `general` and the source teacher.
        progress: whether to show progress on stderr; see `mfh.study`.

    Raises:
        InputError: the effect is not above 0; as `mfh.study`; or the pilot has no spread to plan by.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> label = np.arange(300) % 2
        >>> shared = label[:, None] + rng.normal(size=(300, 3))
        >>> data = PairedDataset.from_arrays({"lidar": shared + 0.1, "camera": shared}, label=label)
        >>> quick = StudyConfig(epochs=3, ratio=(0.5,), hidden=(8,))
        >>> found = plan(data, effect=2.0, config=quick)
        >>> found.effect, found.half_width > 0
        (2.0, True)
    """
    require(0 < effect < math.inf, f"`effect` must be above 0. Got {effect}.")
    config = config or StudyConfig()
    source = with_modalities(data, config).teacher_source
    pilot = replace(config, arms=(BASELINE, source, HEADLINE), repeats=2, seeds=None, until="fixed")
    result = study(data, teacher, student, config=pilot, progress=progress)
    gain = result.comparisons[0]
    require(
        gain.components is not None and gain.low is not None,
        f"`data` give no spread to plan by: {result.verdict.sentence}",
    )
    parts = _components(gain)
    repeats, factor = repeats_for(effect, parts), samples_to_decide(effect, parts)
    samples = math.ceil(factor * len(data))
    points = result.metrics[0].points
    half = parts.half_width()
    words = f"Two repeats of {parts.folds} folds give an interval of about +-{half:.2f} {points}. "
    if repeats is not None:
        count = "1 repeat" if repeats == 1 else f"{repeats} repeats"
        words += f"To show a gain of {effect:g} with a probability of {POWER:.0%}: {count}."
    else:
        words += (
            f"No number of repeats of these {len(data):,} samples shows a gain of {effect:g} with a "
            f"probability of {POWER:.0%}. About {samples:,} samples would, with two repeats."
        )
    return Plan(effect, gain, half, repeats, samples, words)


def _components(gain: Comparison) -> Components:
    """Return the components of a comparison as numbers to calculate with."""
    assert gain.components is not None  # noqa: S101 - the caller checks it
    kept = gain.components
    return Components(
        samples=kept["samples"] ** 2,
        noise=kept["noise"] ** 2,
        trainings=kept["trainings"] ** 2,
        size=kept["size"],
        num_units=round(kept["units"]),
        repeats=round(kept["repeats"]),
        folds=round(kept["folds"]),
        test_over_train=kept["test_over_train"],
    )
