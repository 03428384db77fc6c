"""The steps of `mfh vggsound` that train networks."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from mfh._system.lock import is_main
from mfh.commands._options import add_config, finish, make_config, require_complete
from mfh.commands._steps import (
    Step,
    add_files,
    add_mode,
    add_ranking,
    distilling,
    keep,
    num_permutations,
    print_channels,
    print_students,
    print_teachers,
    print_verdict,
    with_sources,
)
from mfh.config import StudyConfig
from mfh.experiments.vggsound_config import (
    DEFAULT_RATIO,
    RELEASED,
    InputConfig,
    NetworkConfig,
    VggsoundConfig,
)

if TYPE_CHECKING:
    from mfh.data.paired import PairedDataset
    from mfh.results import StudyResult


def _add_places(parser: ArgumentParser) -> None:
    texts = {
        "--data": "folder that `prepare` wrote, or the authors' folder",
        "--out": "folder for this step and later ones",
    }
    for flag, text in texts.items():
        parser.add_argument(flag, type=str, required=True, metavar="DIR", help=text)


def _add_training(parser: ArgumentParser, *, skip: tuple[str, ...] = ()) -> None:
    """Add the options of `VggsoundConfig`; by default as in the folder, else as released."""
    skip = (*skip, "task")  # the labels are classes
    add_config(parser, VggsoundConfig, skip=skip)
    parser.set_defaults({f.name: None for f in fields(VggsoundConfig) if f.name not in skip})


FILES = {
    "--audio-checkpoint": "weights of a teacher, in place of `pretrain --modality audio`",
    "--video-checkpoint": "weights of a student, in place of `pretrain --modality video`",
    "--saliency": "file with a saliency vector, such as the authors' .npy, in place of `saliency`",
}


def _add_joint(parser: ArgumentParser, text: str) -> None:
    switch = ActionYesNo(yes_prefix="", no_prefix="no-")
    parser.add_argument("--joint", action=switch, default=False, help=text)


def _open(options: Namespace) -> tuple[VggsoundConfig, "PairedDataset"]:
    """Return the config (of the options, else of the folder, else as released) and the data."""
    from mfh.experiments import vggsound
    from mfh.experiments._steps.partial_study import stored_config

    known = stored_config(options.out, vggsound.RECIPE)
    given = {f.name: getattr(options, f.name, None) for f in fields(VggsoundConfig)}
    config = VggsoundConfig(**{**known, **{n: value for n, value in given.items() if value is not None}})
    return config, vggsound.open_data(options.data, config)


def _with_sources(result: "StudyResult", options: Namespace, config: VggsoundConfig) -> "StudyResult":
    from mfh.experiments.vggsound import RECIPE, load_arguments

    load = "mfh.data.sources.vggsound.reader.load"
    return with_sources(result, RECIPE, config, load, load_arguments(options.data, config))


def _add_pretrain(parser: ArgumentParser) -> None:
    _add_places(parser)
    parser.add_argument(
        "--modality", type=str, required=True, metavar="{audio,video}",
        help="audio trains a teacher, video a student without distillation",
    )  # fmt: skip
    _add_training(parser, skip=distilling())


def _pretrain(options: Namespace) -> None:
    config, data = _open(options)

    from mfh.experiments import vggsound

    result = vggsound.pretrain(
        data, options.out, modality=options.modality, config=config, progress=_shown(options)
    )
    keep(_with_sources(result, options, config), options.out)
    if result.teachers:
        print_teachers(result)
    print_students(result)


def _add_saliency(parser: ArgumentParser) -> None:
    _add_places(parser)
    _add_joint(
        parser, "train the teacher of Algorithm 1's step 1 and rank it, in place of that of `pretrain`"
    )
    parser.add_argument(
        "--distance",
        type=str,
        default="mse",
        metavar="{mse,l1}",
        help="distance between the logits of teacher and student",
    )
    add_ranking(parser, "exact")
    add_files(parser, FILES, "--audio-checkpoint", "--video-checkpoint")
    _add_training(parser, skip=distilling())


def _saliency(options: Namespace) -> None:
    count = num_permutations(options)
    config, data = _open(options)

    from mfh.experiments import vggsound

    result = vggsound.saliency(
        data, options.out, joint=options.joint, distance=options.distance, num_permutations=count,
        samples=options.samples, config=config, audio_checkpoint=options.audio_checkpoint,
        video_checkpoint=options.video_checkpoint, progress=_shown(options),
    )  # fmt: skip
    print_channels(result)


def _add_distill(parser: ArgumentParser) -> None:
    _add_places(parser)
    add_mode(parser, DEFAULT_RATIO)
    _add_joint(parser, "remove channels of the joint teacher instead of the regular one")
    add_files(parser, FILES, "--audio-checkpoint", "--saliency")
    _add_training(parser)


def _distill(options: Namespace) -> None:
    config, data = _open(options)

    from mfh.experiments import vggsound

    result = vggsound.distill(
        data, options.out, mode=options.mode, ratio=options.ratio, seeds=options.seeds, joint=options.joint,
        config=config, audio_checkpoint=options.audio_checkpoint, saliency=options.saliency,
        progress=_shown(options),
    )  # fmt: skip
    keep(_with_sources(result, options, config), options.out)
    print_students(result)


def _add_study(parser: ArgumentParser) -> None:
    _add_places(parser)
    for config in (NetworkConfig, InputConfig):
        add_config(parser, config)
    add_config(parser, StudyConfig, skip=("hidden", "teacher", "student", "task"))
    released = VggsoundConfig()
    parser.set_defaults({name: getattr(released, name) for name in RELEASED})


def _study(options: Namespace) -> None:
    config = make_config(StudyConfig, options)
    inputs, networks = make_config(InputConfig, options), make_config(NetworkConfig, options)

    from mfh.experiments import vggsound

    data = vggsound.open_data(options.data, inputs)
    result = vggsound.study(data, options.out, config=config, networks=networks, progress=_shown(options))
    if is_main():
        whole = VggsoundConfig(**{**vars(inputs), **vars(networks)})
        finish(_with_sources(result, options, whole), Path(options.out))
    print_students(result)
    print_verdict(result)
    require_complete(result)


def _shown(options: Namespace) -> bool:
    return not options.quiet


STEPS = {
    "pretrain": Step(
        "train one network on labels: a regular teacher, or a student without distillation",
        "--modality audio --data data/vggsound --out out/vggsound",
        _add_pretrain,
        _pretrain,
        aliases=("train",),
    ),
    "saliency": Step(
        "rank the teacher's channels",
        "--data data/vggsound --out out/vggsound --joint",
        _add_saliency,
        _saliency,
    ),
    "distill": Step(
        "train students of one mode, one per seed",
        "--data data/vggsound --out out/vggsound --mode general --ratio 0.5",
        _add_distill,
        _distill,
        aliases=("verify",),
    ),
    "study": Step(
        "train every arm and control at every ratio, and judge",
        "--data data/vggsound --out out/study --seeds 3 --ratio 0.25 0.5 0.75",
        _add_study,
        _study,
    ),
}
