"""VGGSound event classification (section 5 of the MFH paper): a teacher that hears, a student that sees.

    mfh vggsound prepare --csv vggsound.csv --clips DIR --out DIR
    mfh vggsound pretrain --modality audio --data DIR --out DIR      a teacher; (video) a student without KD
    mfh vggsound saliency --data DIR --out DIR [--joint]             the teacher's channels, ranked
    mfh vggsound distill --data DIR --out DIR --mode general --ratio 0.5
    mfh vggsound study --data DIR --out DIR --ratio 0.25 0.5 0.75    all of it with the controls

Published: student top-1 30.62% with a regular teacher, 31.88% with a modality-general one (ResNet-18).
A small version is `--width 8 --frames 12 --size 24 32`; docs/results.md has its results on GRID.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mfh
from mfh._checks import choice, require
from mfh._saliency import SaliencyResult
from mfh._system.import_paths import ClassSpec
from mfh._system.lock import holds
from mfh.config import StudyConfig
from mfh.data.augment import Augment, SpectrogramAugment, VideoAugment
from mfh.data.paired import PairedDataset
from mfh.data.sources.vggsound.reader import load
from mfh.experiments import _steps as steps
from mfh.experiments.modes import find_mode
from mfh.experiments.vggsound_config import DEFAULT_RATIO, InputConfig, NetworkConfig, VggsoundConfig
from mfh.models.vggsound import LAYER, load_weights
from mfh.results import StudyResult


def network(config: NetworkConfig, modality: str, num_classes: int) -> ClassSpec:
    """Return what makes a network for `audio` or `video`."""
    name = config.teacher_network if modality == "audio" else config.student_network
    arguments = {"num_classes": num_classes, "name": name, "width": config.width}
    return ClassSpec(f"mfh.models.vggsound.{modality}_network", arguments)


SAME = "with the same --data and --out first"
REGULAR = steps.RankedLayer(LAYER, "regular", "the regular teacher", "", source="regular")
JOINT = steps.RankedLayer(LAYER, "joint", "the joint teacher", "--joint", source="joint")
RECIPE = steps.Recipe(
    name="vggsound",
    config=VggsoundConfig,
    network=network,
    load_weights=load_weights,
    layers=lambda _: (REGULAR, JOINT),
    remedies={
        "teacher-joint": f"Run `mfh vggsound saliency --joint` {SAME}.",
        "student-joint": f"Run `mfh vggsound saliency --joint` {SAME}.",
        "teacher-regular": f"Run `mfh vggsound pretrain --modality audio` {SAME}, or supply it with "
        "--audio-checkpoint.",
        "student-regular": f"Run `mfh vggsound pretrain --modality video` {SAME}, or supply it with "
        "--video-checkpoint.",
    },
)


def load_arguments(folder: Path | str, config: InputConfig) -> dict[str, Any]:
    """Return the arguments of `mfh.data.sources.vggsound.reader.load` that a config describes."""
    same = ("frames", "audio_frames", "log", "cache", "workers")
    return {
        "source": str(folder),
        "span": (float(config.span[0]), float(config.span[1])),
        "size": None if config.size is None else (config.size[0], config.size[-1]),
        **{name: getattr(config, name) for name in same},
    }


def open_data(folder: Path | str, inputs: InputConfig | None = None) -> PairedDataset:
    """Read a prepared folder, with the inputs and the augmentation that a config describes.

    Args:
        folder: folder that `mfh vggsound prepare` wrote, or the authors' folder.
        inputs: see `InputConfig`.

    Raises:
        InputError: `mfh.data.sources.vggsound.reader.load` raises it.
    """
    config = inputs or InputConfig()
    data = load(**load_arguments(folder, config))
    augment: dict[str, Augment] = {}
    if config.time_shift or config.time_mask or config.frequency_mask:
        augment["audio"] = SpectrogramAugment(
            shift=config.time_shift, time_mask=config.time_mask, frequency_mask=config.frequency_mask
        )
    if config.pixel_shift or config.frame_shift or config.contrast or config.flip:
        augment["video"] = VideoAugment(
            shift=config.pixel_shift, frames=config.frame_shift, contrast=config.contrast, flip=config.flip
        )
    return data.with_augment(augment)


@holds()
def pretrain(
    data: PairedDataset,
    out: Path | str,
    *,
    modality: str,
    config: VggsoundConfig | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train one network on labels and save it in a folder: the regular teacher, or a student without KD.

    The network keeps its best validation epoch. A finished network is not trained again, and an interrupted
    training continues.

    Args:
        data: data that `open_data` read.
        out: folder for this and the following steps.
        modality: `audio` for the teacher, `video` for the student, which is also the first student of mode
            no-kd.
        config: see `VggsoundConfig`.
        progress: whether to show progress on stderr.

    Returns:
        Everything in the folder.

    Raises:
        InputError: the folder belongs to another run, or there is no such modality.
    """
    choice("modality", modality, ("audio", "video"))
    partial = steps.PartialStudy(RECIPE, data, out, config or VggsoundConfig())
    if modality == "audio":
        steps.train_teacher(partial, progress)
        steps.describe_teachers(partial, "regular")
    else:
        steps.train_student(partial, find_mode("no-kd"), None, partial.config.seed, REGULAR, progress)
        if not partial.has("student-regular"):
            student = partial.network("student", "student")
            load_weights(student, partial.checkpoint("distilled-no-kd"))
            partial.save_weights("student-regular", student)
    return steps.collect(partial)


@holds()
def saliency(
    data: PairedDataset,
    out: Path | str,
    *,
    joint: bool = False,
    distance: str = "mse",
    num_permutations: int | str | None = None,
    samples: int | None = None,
    config: VggsoundConfig | None = None,
    audio_checkpoint: Path | str | None = None,
    video_checkpoint: Path | str | None = None,
    progress: bool = False,
) -> SaliencyResult:
    """Rank the teacher's pooled channels on the training split.

    The result is saved in the folder, as `saliency-regular.npz` or `saliency-joint.npz`.

    Networks that were trained independently are ranked by the score `followed`, because the paper's increase
    ranks them badly (see docs/saliency.md). The joint pair is ranked by the increase, as in Algorithm 1. With
    the L1 distance, which the released code uses, only the increase is defined.

    Args:
        data: data that `open_data` read.
        out: the folder.
        joint: rank the teacher of Algorithm 1's step 1; train the pair if the folder has none yet.
        distance: `mse` or `l1`.
        num_permutations: `exact`, the default, or a number.
        samples: number of training samples, drawn at random; by default all.
        config: see `VggsoundConfig`.
        audio_checkpoint: a teacher to use instead of `pretrain`.
        video_checkpoint: a student to use instead of `pretrain`.
        progress: whether to show progress on stderr.

    Raises:
        InputError: nothing is trained yet, or a checkpoint does not fit.
    """
    choice("distance", distance, ("mse", "l1"))
    require(
        not (joint and (audio_checkpoint or video_checkpoint)),
        "`joint` ranks a pair that is trained together. Leave out `joint`, or `audio_checkpoint` and "
        "`video_checkpoint`.",
    )
    partial = steps.PartialStudy(RECIPE, data, out, config or VggsoundConfig())
    steps.supply_network(partial, "teacher-regular", audio_checkpoint)
    steps.supply_network(partial, "student-regular", video_checkpoint)
    if joint:
        steps.train_pair(partial, progress)
    layer = JOINT if joint else REGULAR
    result = steps.rank(
        partial, layer, distance=distance, score="increase" if joint or distance == "l1" else "followed",
        num_permutations=num_permutations, samples=samples,
    )  # fmt: skip
    steps.describe_teachers(partial, layer.source)
    return result


@holds()
def distill(
    data: PairedDataset,
    out: Path | str,
    *,
    mode: str | int,
    ratio: float = DEFAULT_RATIO,
    seeds: int = 1,
    joint: bool = False,
    config: VggsoundConfig | None = None,
    audio_checkpoint: Path | str | None = None,
    saliency: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train new students on the outputs of a mode's teacher, one student per seed.

    Args:
        data: data that `open_data` read.
        out: folder of `pretrain` and `saliency`.
        mode: general (1), specific (2), random (0), joint (-1, nothing removed), regular, or no-kd.
        ratio: share of channels to remove, in [0, 1), for general, specific and random.
        seeds: number of students.
        joint: remove channels of the joint teacher instead of the regular one.
        config: see `VggsoundConfig`.
        audio_checkpoint: a teacher to use instead of `pretrain`.
        saliency: a vector to use instead of `saliency`.
        progress: whether to show progress on stderr.

    Returns:
        All students in the folder, and the paired differences between them.

    Raises:
        InputError: a step is missing (the text names it), or the folder's other students were trained with
            other settings.
    """
    find_mode(mode)
    steps.require_options(ratio, seeds)
    layer = JOINT if joint else REGULAR
    partial = steps.PartialStudy(RECIPE, data, out, config or VggsoundConfig())
    steps.supply_network(partial, "teacher-regular", audio_checkpoint)
    steps.supply_saliency(partial, layer, saliency)
    steps.distill(partial, layer, mode=mode, ratio=ratio, seeds=seeds, progress=progress)
    return steps.collect(partial)


@holds()
def study(
    data: PairedDataset,
    out: Path | str | None = None,
    *,
    config: StudyConfig | None = None,
    networks: NetworkConfig | None = None,
    progress: bool = False,
) -> StudyResult:
    """Run `mfh.study` with the VGGSound networks: every arm and control, on the split of the data.

    Args:
        data: data that `open_data` read.
        out: folder for results; see `mfh.study`.
        config: see `StudyConfig`; by default trained as in `VggsoundConfig`. The teacher must be `audio` and
            the student `video`; the default `layer` is the pooled features.
        networks: see `NetworkConfig`.
        progress: whether to show progress on stderr.

    Returns:
        Records, statistics and verdict; see `mfh.study`.

    Raises:
        InputError: the modalities are others, or `mfh.study` raises it.
    """
    released = VggsoundConfig()
    shared = {f.name for f in fields(StudyConfig)} & {f.name for f in fields(VggsoundConfig)}
    config = config or StudyConfig(**{name: getattr(released, name) for name in shared})
    built = networks or NetworkConfig()
    require(
        config.teacher in (None, "audio") and config.student in (None, "video"),
        f"`teacher` must be `audio` and `student` `video`. Got {config.teacher!r} and {config.student!r}.",
    )
    config = replace(config, teacher="audio", student="video", layer=config.layer or LAYER)
    return mfh.study(
        data,
        network(built, "audio", data.num_classes),
        network(built, "video", data.num_classes),
        config=config,
        out=out,
        progress=progress,
    )
