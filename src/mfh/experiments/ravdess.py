"""RAVDESS emotion recognition (section 4 of the MFH paper): a teacher that hears, a student that sees.

    mfh ravdess prepare --raw DIR --out DIR      clips to MFCC arrays and pictures
    mfh ravdess train --data DIR --out DIR       Algorithm 1's step 1, a regular teacher, a student without KD
    mfh ravdess saliency --data DIR --out DIR    step 2
    mfh ravdess verify --data DIR --out DIR --mode general --seeds 5
    mfh ravdess study --data DIR --out DIR       all of it with the controls, trained anew for each seed

Published: the student of the modality-general teacher is 1.06 points better than that of the regular teacher.
Time: one epoch of the full-size student takes minutes on two CPU cores. `--width 8` and smaller pictures make
a small version.
"""

from dataclasses import replace
from pathlib import Path

import mfh
from mfh._checks import InputError, require
from mfh._saliency import SaliencyResult
from mfh._system.import_paths import ClassSpec
from mfh._system.lock import holds
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.experiments import _steps as steps
from mfh.experiments._steps.parts import in_parts
from mfh.experiments.modes import find_mode
from mfh.experiments.ravdess_config import DEFAULT_RATIO, RavdessConfig
from mfh.models.ravdess import DEFAULT_PLACE, PLACES, layer_of_place, load_weights
from mfh.results import StudyResult

TRAIN = "Run `mfh ravdess train` with the same --data and --out first"


def network(config: RavdessConfig, modality: str, num_classes: int) -> ClassSpec:
    """Return what makes a network for `audio` or `image`."""
    arguments = {"modality": modality, "width": config.width, "num_classes": num_classes}
    return ClassSpec("mfh.models.ravdess.RavdessNetwork", arguments)


RECIPE = steps.Recipe(
    name="ravdess",
    config=RavdessConfig,
    network=network,
    load_weights=load_weights,
    layers=lambda config: [
        ranked_layer(place, config) for place in (DEFAULT_PLACE, *PLACES) if place in range(1, 6)
    ],
    remedies={
        "teacher-joint": f"{TRAIN}, or supply it with --joint-teacher.",
        "student-joint": f"{TRAIN}, or supply it with --joint-student.",
        "teacher-regular": f"{TRAIN}.",
    },
    separable=True,
)


def ranked_layer(place: int, config: RavdessConfig) -> steps.RankedLayer:
    """Return the layer that the released code calls a place; see `mfh.models.ravdess.layer_of_place`."""
    layer = layer_of_place(place, config.teacher)
    return steps.RankedLayer(layer, f"place{place}", f"place {place}", f"--place {place}")


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
    """Train Algorithm 1's pair, a regular teacher and a student without KD, and save them in a folder.

    The pair keeps its last epoch, as released; the others keep their best validation epoch. Finished networks
    are not trained again, and interrupted trainings continue.

    Args:
        data: data that `mfh.data.sources.ravdess.reader.load` read.
        out: folder for this and the following steps.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint to use instead of step 1, such as the released one.
        joint_student: the other network of that pair.
        progress: whether to show progress on stderr.

    Returns:
        Everything in the folder: one record, and accuracy and softness of each teacher.

    Raises:
        InputError: the folder belongs to another run, or a checkpoint does not fit.
    """
    partial = steps.PartialStudy(RECIPE, data, out, config or RavdessConfig())
    steps.supply_network(partial, "teacher-joint", joint_teacher)
    steps.supply_network(partial, "student-joint", joint_student)
    given = sum(path is not None for path in (joint_teacher, joint_student))
    require(
        given != 1, "`joint_teacher` and `joint_student` replace step 1 together. Got one of them: give both."
    )
    steps.train_pair(partial, progress)
    steps.train_teacher(partial, progress)
    steps.describe_teachers(partial, "joint", "regular")
    layer = ranked_layer(DEFAULT_PLACE, partial.config)
    steps.train_student(partial, find_mode("no-kd"), None, partial.config.seed, layer, progress)
    return steps.collect(partial)


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
    """Rank the joint teacher's channels on the training split: Algorithm 1's step 2.

    The result is saved in the folder, such as `saliency-place5.npz`.

    Args:
        data: data that `mfh.data.sources.ravdess.reader.load` read.
        out: folder of `train`.
        place: the released code's number of the layer; see `mfh.models.ravdess.layer_of_place`.
        num_permutations: `exact`, which is possible at place 5, or a number; by default exact where that is
            possible, else 10.
        samples: number of training samples, drawn at random; by default all.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint to use instead of `train`.
        joint_student: the other network of that pair.

    Raises:
        InputError: nothing is trained yet, there is no such place, or its features do not fit into memory.
    """
    config = config or RavdessConfig()
    layer = ranked_layer(place, config)
    partial = steps.PartialStudy(RECIPE, data, out, config)
    steps.supply_network(partial, "teacher-joint", joint_teacher)
    steps.supply_network(partial, "student-joint", joint_student)
    return steps.rank(partial, layer, num_permutations=num_permutations, samples=samples)


@holds()
def plot(out: Path | str, *, place: int = DEFAULT_PLACE, ratio: float = DEFAULT_RATIO) -> list[Path]:
    """Draw the saliency vector in channel order and sorted; return the files in `OUT/figures`.

    Args:
        out: folder of `saliency`, or one that a vector was supplied to.
        place: the released code's number of the layer.
        ratio: share of channels that the figure shows as removed.

    Raises:
        InputError: there is no saliency of this place.
    """
    from mfh._report import save_figures

    layer = ranked_layer(place, RavdessConfig(student="audio"))
    found = steps.load_saliency(Path(out), layer)
    if found is None:
        raise InputError(
            f"`{out}` contains no saliency of place {place}. Run `mfh ravdess saliency --place {place}` with "
            "the same --out first."
        )
    shown = StudyResult(
        config={"ratio": [ratio]}, channels=found.arrays, saliency=steps.describe_saliency(found, layer)
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
    """Train new students on the outputs of a mode's teacher, one student per seed.

    Teacher and split are those of the folder. A seed fixes the student's initial weights, its batches, and
    the removed channels of mode random. Finished students are not trained again.

    Args:
        data: data that `mfh.data.sources.ravdess.reader.load` read.
        out: folder of `train` and `saliency`.
        mode: general (1), specific (2), random (0), joint (-1, nothing removed), regular, or no-kd.
        ratio: share of channels to remove, in [0, 1), for general, specific and random.
        seeds: number of students.
        place: the released code's number of the layer whose channels are removed.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint to use instead of `train`.
        saliency: a vector to use instead of `saliency`.
        progress: whether to show progress on stderr.

    Returns:
        All students in the folder, and the paired differences between them.

    Raises:
        InputError: a step is missing (the text names it), or the folder's other students were trained with
            other settings.
    """
    find_mode(mode)
    config = config or RavdessConfig()
    steps.require_options(ratio, seeds)
    layer = ranked_layer(place, config)
    partial = steps.PartialStudy(RECIPE, data, out, config)
    steps.supply_network(partial, "teacher-joint", joint_teacher)
    steps.supply_saliency(partial, layer, saliency)
    steps.distill(partial, layer, mode=mode, ratio=ratio, seeds=seeds, progress=progress)
    return steps.collect(partial)


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
    """Run `mfh.study` with the RAVDESS networks: every arm and control, on the split of the data.

    Unlike in `train`, the pair keeps the epoch with the best mean validation accuracy, as every other network
    of a study does.

    Args:
        data: data that `mfh.data.sources.ravdess.reader.load` read.
        out: folder for results; see `mfh.study`.
        config: see `StudyConfig`; by default `lr` .01 and 100 epochs, as released. Its `layer` must be None,
            because `place` names the layer.
        width: see `RavdessConfig`.
        place: the released code's number of the layer whose channels are ranked.
        progress: whether to show progress on stderr.

    Returns:
        Records, statistics and verdict; see `mfh.study`.

    Raises:
        InputError: `layer` is given, or `mfh.study` raises it.
    """
    config = config or StudyConfig(lr=0.01, epochs=100)
    student = config.student or "image"
    teacher = data.named(config.teacher) or ("audio" if student == "image" else "image")
    data.require_modality(teacher)
    require(config.layer is None, f"`layer` must be None: `place` names the layer. Got {config.layer!r}.")
    config = replace(config, teacher=teacher, student=student, layer=layer_of_place(place, teacher))  # type: ignore[arg-type]
    config = in_parts(config, data, teacher, student)
    built = RavdessConfig(width=width)
    sides = (network(built, modality, data.num_classes) for modality in (teacher, student))
    return mfh.study(data, *sides, config=config, out=out, progress=progress)
