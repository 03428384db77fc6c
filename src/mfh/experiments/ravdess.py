"""RAVDESS emotion recognition (section 4 of the MFH paper): a teacher that hears, a student that sees.

    mfh ravdess prepare --raw DIR --out DIR      clips to MFCC arrays and pictures
    mfh ravdess train --data DIR --out DIR       Algorithm 1's step 1, a regular teacher, a student without KD
    mfh ravdess saliency --data DIR --out DIR    step 2
    mfh ravdess verify --data DIR --out DIR --mode general --seeds 5
    mfh ravdess study --data DIR --out DIR       all of it with the controls, redrawn for every seed

Published: the modality-general teacher's student is 1.06 points above the regular teacher's. On two CPU cores
one epoch of the student at full size takes minutes; `--width 8` and smaller pictures make a small version.
"""

from dataclasses import replace
from pathlib import Path

import mfh
from mfh._checks import InputError, require
from mfh._saliency import SaliencyResult
from mfh._system.lock import holds
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.experiments import _steps as steps
from mfh.experiments._steps.parts import in_parts
from mfh.experiments.modes import arm_of
from mfh.experiments.ravdess_config import DEFAULT_RATIO, RavdessConfig
from mfh.models.ravdess import DEFAULT_PLACE, PLACES, RavdessNetwork, layer_of_place, load_weights
from mfh.results import StudyResult

TRAIN = "Run `mfh ravdess train` with the same --data and --out first"


def _build(config: RavdessConfig, modality: str, num_classes: int) -> RavdessNetwork:
    return RavdessNetwork(modality, width=config.width, num_classes=num_classes)  # type: ignore[arg-type]


RECIPE = steps.Recipe(
    name="ravdess",
    config=RavdessConfig,
    build=_build,
    load_weights=load_weights,
    sites=lambda config: [site(place, config) for place in (DEFAULT_PLACE, *PLACES) if place in range(1, 6)],
    ways={
        "teacher-joint": f"{TRAIN}, or hand it in with --joint-teacher.",
        "student-joint": f"{TRAIN}, or hand it in with --joint-student.",
        "teacher-regular": f"{TRAIN}.",
    },
    separable=True,
)


def site(place: int, config: RavdessConfig) -> steps.Site:
    """The channels that the released code calls a place; see `mfh.models.ravdess.layer_of_place`."""
    layer = layer_of_place(place, config.teacher)
    return steps.Site(layer, f"place{place}", f"place {place}", f"--place {place}")


@holds()
def train(
    data: PairedDataset,
    out: Path | str,
    *,
    config: RavdessConfig | None = None,
    joint_teacher: Path | str | None = None,
    joint_student: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train Algorithm 1's pair, a regular teacher and a student without KD, and keep them in a folder.

    The pair keeps its last epoch, as released; the others their best validation epoch. What is finished is
    not trained again, and what was stopped goes on.

    Args:
        data: as `mfh.data.sources.ravdess.reader.load` reads it.
        out: the folder for this and the following steps.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint that stands in for step 1, such as the released one.
        joint_student: the other network of that pair.
        progress: whether to show progress on stderr.

    Returns:
        Everything that is in the folder: one record, and accuracy and softness of each teacher.

    Raises:
        InputError: the folder is another run's, or a checkpoint does not fit.
    """
    run = steps.Run(RECIPE, data, out, config or RavdessConfig())
    run.adopt_network("teacher-joint", joint_teacher)
    run.adopt_network("student-joint", joint_student)
    given = sum(path is not None for path in (joint_teacher, joint_student))
    require(given != 1, "`joint_teacher` and `joint_student` stand in for step 1 together. Got one of them.")
    steps.train_pair(run, progress)
    steps.train_alone(run, "teacher", progress)
    steps.describe_teachers(run, "joint", "regular")
    steps.train_student(run, "no-kd", None, run.config.seed, site(DEFAULT_PLACE, run.config), progress)
    return steps.collect(run)


@holds()
def saliency(
    data: PairedDataset,
    out: Path | str,
    *,
    place: int = DEFAULT_PLACE,
    num_permutations: int | str | None = None,
    samples: int | None = None,
    config: RavdessConfig | None = None,
    joint_teacher: Path | str | None = None,
    joint_student: Path | str | None = None,
) -> SaliencyResult:
    """Algorithm 1's step 2 on the training split: `saliency-place5.npz` in the folder.

    Args:
        data: as `mfh.data.sources.ravdess.reader.load` reads it.
        out: folder of `train`.
        place: the released code's number of the layer; see `mfh.models.ravdess.layer_of_place`.
        num_permutations: `exact`, which place 5 allows, or a number; by default exact where that is possible,
            else 10.
        samples: how many training samples, drawn at random; by default all.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint that stands in for `train`.
        joint_student: the other network of that pair.

    Raises:
        InputError: nothing is trained yet, the place is none, or its features do not fit into memory.
    """
    config = config or RavdessConfig()
    where = site(place, config)
    run = steps.Run(RECIPE, data, out, config)
    run.adopt_network("teacher-joint", joint_teacher)
    run.adopt_network("student-joint", joint_student)
    return steps.rank(run, where, num_permutations=num_permutations, samples=samples)


@holds()
def plot(out: Path | str, *, place: int = DEFAULT_PLACE, ratio: float = DEFAULT_RATIO) -> list[Path]:
    """Draw the saliency vector in channel order and sorted; returns the files in `OUT/figures`.

    Args:
        out: folder of `saliency`, or one that a vector was handed in to.
        place: the layer.
        ratio: share of channels that the figure shows as removed.

    Raises:
        InputError: there is no saliency of this place.
    """
    from mfh._report import save_figures

    where = site(place, RavdessConfig(student="audio"))
    arrays = steps.saliency_arrays(Path(out), where)
    if not arrays:
        raise InputError(
            f"`{out}` holds no saliency of place {place}. Run `mfh ravdess saliency --place {place}` with "
            "the same --out first."
        )
    shown = StudyResult(
        config={"ratio": [ratio]}, channels=arrays, saliency=steps.describe_saliency(arrays, where)
    )
    return save_figures(shown, Path(out) / "figures")


@holds()
def verify(
    data: PairedDataset,
    out: Path | str,
    *,
    mode: str | int,
    ratio: float = DEFAULT_RATIO,
    seeds: int = 1,
    place: int = DEFAULT_PLACE,
    config: RavdessConfig | None = None,
    joint_teacher: Path | str | None = None,
    saliency: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train fresh students on what a mode's teacher answers, one per seed.

    Teacher and split are those of the folder; a seed fixes the student's initial weights and batches, and the
    channels of mode random. A student that is finished is not trained again.

    Args:
        data: as `mfh.data.sources.ravdess.reader.load` reads it.
        out: folder of `train` and `saliency`.
        mode: general (1), specific (2), random (0), joint (-1, nothing removed), regular, or no-kd.
        ratio: share of channels to remove, in [0, 1), for general, specific and random.
        seeds: number of students.
        place: layer whose channels are removed.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint that stands in for `train`.
        saliency: a vector that stands in for `saliency`.
        progress: whether to show progress on stderr.

    Returns:
        All students in the folder, and the paired differences between them.

    Raises:
        InputError: a step is missing (which is said), or the folder's other students learn in another way.
    """
    arm_of(mode)
    config = config or RavdessConfig()
    steps.require_options(ratio, seeds)
    where = site(place, config)
    run = steps.Run(RECIPE, data, out, config)
    run.adopt_network("teacher-joint", joint_teacher)
    run.adopt_saliency(where, saliency)
    steps.distill(run, where, mode=mode, ratio=ratio, seeds=seeds, progress=progress)
    return steps.collect(run)


@holds()
def study(
    data: PairedDataset,
    out: Path | str | None = None,
    *,
    config: StudyConfig | None = None,
    width: int = 32,
    place: int = DEFAULT_PLACE,
    progress: bool = False,
) -> StudyResult:
    """`mfh.study` with the RAVDESS networks: every arm and control, with the split that the data bring.

    Unlike in `train`, the pair keeps the epoch with the best mean validation accuracy, as every other network
    of a study does.

    Args:
        data: as `mfh.data.sources.ravdess.reader.load` reads it.
        out: folder for results; see `mfh.study`.
        config: see `StudyConfig`; `lr` and `epochs` are the caller's, .01 and 100 as released on the command
            line. Its `layer` must be left out.
        width: see `RavdessConfig`.
        place: layer whose channels are ranked.
        progress: whether to show progress on stderr.
    """
    config = config or StudyConfig(lr=0.01, epochs=100)
    student = config.student or "image"
    teacher = config.teacher or ("audio" if student == "image" else "image")
    require(config.layer is None, f"`layer` is named by `place` here. Got {config.layer!r}: leave it out.")
    config = replace(config, teacher=teacher, student=student, layer=layer_of_place(place, teacher))  # type: ignore[arg-type]
    config = in_parts(config, data, teacher, student)

    def network(modality: str) -> RavdessNetwork:
        return RavdessNetwork(modality, width=width, num_classes=data.num_classes)  # type: ignore[arg-type]

    return mfh.study(
        data, lambda: network(teacher), lambda: network(student), config=config, out=out, progress=progress
    )
