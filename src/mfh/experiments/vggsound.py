"""VGGSound event classification (section 5 of the MFH paper): a teacher that hears, a student that sees.

    mfh vggsound prepare --csv vggsound.csv --clips DIR --out DIR
    mfh vggsound pretrain --modality audio --data DIR --out DIR      a teacher; (video) a student without KD
    mfh vggsound saliency --data DIR --out DIR [--joint]             its channels, ranked
    mfh vggsound distill --data DIR --out DIR --mode general --ratio 0.5
    mfh vggsound study --data DIR --out DIR --ratio 0.25 0.5 0.75    all of it with the controls

Published: student top-1 30.62% with a regular teacher, 31.88% with a modality-general one (ResNet-18). A
small version: `--width 8 --frames 12 --size 24 32`, as `docs/results.md` has it on GRID.
"""

from dataclasses import fields, replace
from pathlib import Path

from torch import nn

import mfh
from mfh._checks import choice, require
from mfh._saliency import SaliencyResult
from mfh._system.lock import holds
from mfh.config import StudyConfig
from mfh.data.augment import Augment, SpectrogramAugment, VideoAugment
from mfh.data.paired import PairedDataset
from mfh.data.sources.vggsound.reader import load
from mfh.experiments import _steps as steps
from mfh.experiments.modes import arm_of
from mfh.experiments.vggsound_config import DEFAULT_RATIO, InputConfig, NetworkConfig, VggsoundConfig
from mfh.models.vggsound import LAYER, audio_network, load_weights, video_network
from mfh.results import StudyResult

SAME = "with the same --data and --out first"
REGULAR = steps.Site(LAYER, "regular", "the regular teacher", "", source="regular")
JOINT = steps.Site(LAYER, "joint", "the joint teacher", "--joint", source="joint")
RECIPE = steps.Recipe(
    name="vggsound",
    config=VggsoundConfig,
    build=lambda config, modality, num_classes: network(modality, config, num_classes),
    load_weights=load_weights,
    sites=lambda _: (REGULAR, JOINT),
    ways={
        "teacher-joint": f"Run `mfh vggsound saliency --joint` {SAME}.",
        "student-joint": f"Run `mfh vggsound saliency --joint` {SAME}.",
        "teacher-regular": f"Run `mfh vggsound pretrain --modality audio` {SAME}, or hand it in with "
        "--audio-checkpoint.",
        "student-regular": f"Run `mfh vggsound pretrain --modality video` {SAME}, or hand it in with "
        "--video-checkpoint.",
    },
)


def open_data(folder: Path | str, inputs: InputConfig | None = None) -> PairedDataset:
    """Read a prepared folder as `inputs` says, with its augmentation.

    Args:
        folder: what `mfh vggsound prepare` wrote, or the authors' folder.
        inputs: see `InputConfig`.

    Raises:
        InputError: as `mfh.data.sources.vggsound.reader.load`.
    """
    told = inputs or InputConfig()
    size = None if told.size is None else (told.size[0], told.size[-1])
    data = load(
        folder, frames=told.frames, span=(float(told.span[0]), float(told.span[1])), size=size,
        audio_frames=told.audio_frames, log=told.log, cache=told.cache, workers=told.workers,
    )  # fmt: skip
    changes: dict[str, Augment] = {}
    if told.time_shift or told.time_mask or told.frequency_mask:
        changes["audio"] = SpectrogramAugment(
            shift=told.time_shift, time_mask=told.time_mask, frequency_mask=told.frequency_mask
        )
    if told.pixel_shift or told.frame_shift or told.contrast or told.flip:
        changes["video"] = VideoAugment(
            shift=told.pixel_shift, frames=told.frame_shift, contrast=told.contrast, flip=told.flip
        )
    return data.with_augment(changes)


def network(modality: str, config: NetworkConfig, num_classes: int) -> nn.Module:
    """A new network that hears (`audio`) or sees (`video`)."""
    if modality == "audio":
        return audio_network(num_classes, name=config.teacher_network, width=config.width)
    return video_network(num_classes, name=config.student_network, width=config.width)


@holds()
def pretrain(
    data: PairedDataset,
    out: Path | str,
    *,
    modality: str,
    config: VggsoundConfig | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train one network on labels and keep it in a folder: the regular teacher, or a student without KD.

    The best validation epoch is kept. What is finished is not trained again, and what was stopped goes on.

    Args:
        data: as `open_data` reads it.
        out: the folder for this and the following steps.
        modality: `audio`, the teacher, or `video`, the student; it is also the first student of mode no-kd.
        config: see `VggsoundConfig`.
        progress: whether to show progress on stderr.

    Returns:
        Everything that is in the folder.

    Raises:
        InputError: the folder is another run's, or there is no such modality.
    """
    choice("modality", modality, ("audio", "video"))
    run = steps.Run(RECIPE, data, out, config or VggsoundConfig())
    if modality == "audio":
        steps.train_alone(run, "teacher", progress)
        steps.describe_teachers(run, "regular")
    else:
        steps.train_student(run, "no-kd", None, run.config.seed, REGULAR, progress)
        if not run.has("student-regular"):
            student = run.network("student", "student")
            load_weights(student, run.checkpoint("distilled-no-kd"))
            run.save_weights("student-regular", student)
    return steps.collect(run)


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
    """Rank the teacher's pooled channels on the training split: `saliency-regular.npz` or `-joint.npz`.

    Networks that were trained independently are ranked by the score `followed`, since the paper's increase
    ranks them badly (see the documentation); the joint pair by the increase, as in Algorithm 1. Under the L1
    distance, which the released code takes, only the increase is defined.

    Args:
        data: as `open_data` reads it.
        out: the folder.
        joint: rank the teacher of Algorithm 1's step 1, and train the pair if the folder has none yet.
        distance: `mse` or `l1`.
        num_permutations: `exact`, the default, or a number.
        samples: how many training samples, drawn at random; by default all.
        config: see `VggsoundConfig`.
        audio_checkpoint: a teacher that stands in for `pretrain`.
        video_checkpoint: a student that stands in for `pretrain`.
        progress: whether to show progress on stderr.

    Raises:
        InputError: nothing is trained yet, or a checkpoint does not fit.
    """
    choice("distance", distance, ("mse", "l1"))
    require(
        not (joint and (audio_checkpoint or video_checkpoint)),
        "`joint` ranks a pair that is trained together. Leave `audio_checkpoint` and `video_checkpoint` out, "
        "or `joint`.",
    )
    run = steps.Run(RECIPE, data, out, config or VggsoundConfig())
    run.adopt_network("teacher-regular", audio_checkpoint)
    run.adopt_network("student-regular", video_checkpoint)
    if joint:
        steps.train_pair(run, progress)
    site = JOINT if joint else REGULAR
    result = steps.rank(
        run, site, distance=distance, score="increase" if joint or distance == "l1" else "followed",
        num_permutations=num_permutations, samples=samples,
    )  # fmt: skip
    steps.describe_teachers(run, site.source)
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
    """Train fresh students on what a mode's teacher answers, one per seed.

    Args:
        data: as `open_data` reads it.
        out: folder of `pretrain` and `saliency`.
        mode: general (1), specific (2), random (0), joint (-1, nothing removed), regular, or no-kd.
        ratio: share of channels to remove, in [0, 1), for general, specific and random.
        seeds: number of students.
        joint: remove channels of the joint teacher instead of the regular one.
        config: see `VggsoundConfig`.
        audio_checkpoint: a teacher that stands in for `pretrain`.
        saliency: a vector that stands in for `saliency`.
        progress: whether to show progress on stderr.

    Returns:
        All students in the folder, and the paired differences between them.

    Raises:
        InputError: a step is missing (which is said), or the folder's other students learn in another way.
    """
    arm_of(mode)
    steps.require_options(ratio, seeds)
    site = JOINT if joint else REGULAR
    run = steps.Run(RECIPE, data, out, config or VggsoundConfig())
    run.adopt_network("teacher-regular", audio_checkpoint)
    run.adopt_saliency(site, saliency)
    steps.distill(run, site, mode=mode, ratio=ratio, seeds=seeds, progress=progress)
    return steps.collect(run)


@holds()
def study(
    data: PairedDataset,
    out: Path | str | None = None,
    *,
    config: StudyConfig | None = None,
    networks: NetworkConfig | None = None,
    progress: bool = False,
) -> StudyResult:
    """`mfh.study` with the VGGSound networks: every arm and control, on the split that the data bring.

    Args:
        data: as `open_data` reads it.
        out: folder for results; see `mfh.study`.
        config: see `StudyConfig`; by default the training of `VggsoundConfig`. Its teacher hears, its student
            sees, and its `layer` is the pooled features unless it names another.
        networks: see `NetworkConfig`.
        progress: whether to show progress on stderr.
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
        lambda: network("audio", built, data.num_classes),
        lambda: network("video", built, data.num_classes),
        config=config,
        out=out,
        progress=progress,
    )
