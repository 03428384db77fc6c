"""`mfh ravdess`: the paper's experiment on RAVDESS, from the clips to the students."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from mfh.commands._options import add_config, finish, make_config, require_complete
from mfh.commands._steps import (
    Step,
    add_files,
    add_mode,
    add_ranking,
    add_steps,
    distilling,
    keep,
    num_permutations,
    print_channels,
    print_students,
    print_teachers,
    print_verdict,
    run_step,
    with_sources,
)
from mfh.config import StudyConfig, TrainConfig
from mfh.experiments.ravdess_config import DEFAULT_RATIO, RavdessConfig

if TYPE_CHECKING:
    from mfh.data.paired import PairedDataset
    from mfh.results import StudyResult

name = "ravdess"
help = "the paper's experiment on RAVDESS: an audio teacher, an image student"
description = """Reproduce the RAVDESS experiment, step by step or at once.

  download, prepare          get the clips; turn them into MFCC arrays and pictures, in the authors' layout
  train (pretrain)           train Algorithm 1's step 1, a regular teacher and a student without distillation
  saliency, plot             rank the channels (step 2), and draw the ranking
  verify (distill)           train students of a teacher without its least salient channels, or other students
  study                      train every arm and control at every ratio; statistics, verdict, report

examples:
  mfh ravdess prepare --raw downloads --out data/ravdess
  mfh ravdess train --data data/ravdess --out out/ravdess
  mfh ravdess saliency --data data/ravdess --out out/ravdess
  mfh ravdess verify --data data/ravdess --out out/ravdess --mode general --seeds 5
  mfh ravdess study --data data/ravdess --out out/study

a small version: --width 8 --epochs 10, on pictures of `prepare --height 64 --width 128`
"""
OWN = ("student", "width", "seed", "released_audio_order")
PREPARE: dict[str, tuple[float | None, str]] = {
    "frames": (8, "video frames, side by side in a picture"),
    "height": (256, "height of a picture, in pixels"),
    "width": (512, "width of a picture, in pixels"),
    "audio_frames": (256, "frames of an MFCC array"),
    "seconds": (3.5, "seconds of sound around the middle of the utterance; songs are longer"),
    "seed": (0, "seed of the split"),
    "jobs": (
        None,
        "processes (default: one per core); 0 decodes in this process, which a damaged clip can end",
    ),
}


def add_options(parser: ArgumentParser) -> None:
    """Add the steps of `mfh ravdess`, each with its options."""
    add_steps(parser, name, STEPS)


def run(options: Namespace) -> None:
    """Run one step."""
    run_step(options, STEPS)


def _add_download(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder for the archives")
    parser.add_argument(
        "--source",
        type=str,
        default=None,
        metavar="PATH_OR_URL",
        help="folder or address of the archives (default: Zenodo)",
    )
    _add_channels(parser)
    parser.add_argument(
        "--allow-unverified",
        action=ActionYesNo(yes_prefix="", no_prefix="no-"),
        default=False,
        help="accept archives from a folder without a list of checksums",
    )


def _download(options: Namespace) -> None:
    from mfh.data.sources.ravdess.download import download

    names = ("source", "speech", "song", "allow_unverified")
    done = download(options.out, **{n: getattr(options, n) for n in names}, progress=not options.quiet)
    print(done)  # noqa: T201


def _add_channels(parser: ArgumentParser) -> None:
    for option, default in (("speech", True), ("song", False)):
        switch = ActionYesNo(yes_prefix="", no_prefix="no-")
        parser.add_argument(f"--{option}", action=switch, default=default, help=f"use clips of {option}")


def _add_prepare(parser: ArgumentParser) -> None:
    folders = {"--raw": "folder of zips or of unpacked folders, or one zip", "--out": "folder for the arrays"}
    for flag, text in folders.items():
        parser.add_argument(flag, type=str, required=True, metavar="DIR", help=text)
    _add_channels(parser)
    for option, (default, text) in PREPARE.items():
        kind = float if isinstance(default, float) else int
        flag = f"--{option.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=default, metavar=kind.__name__.upper(), help=text)
    parser.add_argument(
        "--split",
        type=str,
        default="actor",
        metavar="{actor,random}",
        help="what is split: actors, or single clips",
    )


def _prepare(options: Namespace) -> None:
    from mfh.data.sources.ravdess.prepare import prepare

    names = ("speech", "song", "split", *PREPARE)
    done = prepare(
        options.raw, options.out, **{n: getattr(options, n) for n in names}, progress=not options.quiet
    )
    print(done)  # noqa: T201


def _add_places(parser: ArgumentParser, *, data: bool = True) -> None:
    if data:
        parser.add_argument(
            "--data",
            type=str,
            required=True,
            metavar="DIR",
            help="folder that `prepare` wrote, or the authors' folder",
        )
        parser.add_argument(
            "--no-cache",
            action="store_true",
            help="decode into memory at each call, and write no arrays beside the data",
        )
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for this step and later ones"
    )


def _add_place(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--place", type=int, default=5, metavar="1..6",
        help="number of the layer in the released code: 1-3 convolutions, 4-5 hidden linear layers, 6 output",
    )  # fmt: skip


FILES = {
    "--joint-teacher": "weights in place of `train`, such as teacher_mod_1_overlap.pkl",
    "--joint-student": "weights in place of `train`, such as student_mod_0_overlap.pkl",
    "--saliency": "file with a saliency vector, such as the authors' .npy, in place of `saliency`",
}


def _add_training(parser: ArgumentParser, *, skip: tuple[str, ...] = (), as_trained: bool = False) -> None:
    """Add the options of `RavdessConfig`; after `train`, options that the folder records have no default."""
    add_config(parser, RavdessConfig, skip=(*skip, "task"))
    if as_trained:
        names = {*OWN, "metric", *(f.name for f in fields(TrainConfig))} - set(skip) - {"device"}
        parser.set_defaults(dict.fromkeys(names))


def _add_train(parser: ArgumentParser) -> None:
    _add_places(parser)
    add_files(parser, FILES, "--joint-teacher", "--joint-student")
    _add_training(parser, skip=distilling())


def _train(options: Namespace) -> None:
    from mfh.experiments import ravdess

    files = {"joint_teacher": options.joint_teacher, "joint_student": options.joint_student}
    config = _config(options, files)
    data = _load(options, config)
    result = ravdess.train(data, options.out, config=config, **files, progress=not options.quiet)
    keep(_with_sources(result, options, config), options.out)
    print_teachers(result)
    print_students(result)


def _add_saliency(parser: ArgumentParser) -> None:
    _add_places(parser)
    _add_place(parser)
    add_ranking(parser, "exact if the head is linear, as at place 5, else 10")
    add_files(parser, FILES, "--joint-teacher", "--joint-student")
    _add_training(parser, skip=distilling(), as_trained=True)


def _saliency(options: Namespace) -> None:
    from mfh.experiments import ravdess

    files = {"joint_teacher": options.joint_teacher, "joint_student": options.joint_student}
    config = _config(options, files)
    result = ravdess.saliency(
        _load(options, config), options.out, place=options.place,
        num_permutations=num_permutations(options),
        samples=options.samples, config=config, **files,
    )  # fmt: skip
    print_channels(result)


def _add_plot(parser: ArgumentParser) -> None:
    _add_places(parser, data=False)
    _add_place(parser)
    parser.add_argument(
        "--ratio",
        type=float,
        default=DEFAULT_RATIO,
        metavar="FLOAT",
        help="share of channels that the picture shows as removed",
    )


def _plot(options: Namespace) -> None:
    from mfh.experiments import ravdess

    for path in ravdess.plot(options.out, place=options.place, ratio=options.ratio):
        print(path)  # noqa: T201


def _add_verify(parser: ArgumentParser) -> None:
    _add_places(parser)
    add_mode(parser, DEFAULT_RATIO)
    _add_place(parser)
    add_files(parser, FILES, "--joint-teacher", "--saliency")
    _add_training(parser, as_trained=True)


def _verify(options: Namespace) -> None:
    from mfh.experiments import ravdess

    files = {"joint_teacher": options.joint_teacher}
    config = _config(options, files)
    result = ravdess.verify(
        _load(options, config), options.out, mode=options.mode, ratio=options.ratio, seeds=options.seeds,
        place=options.place, config=config, **files, saliency=options.saliency, progress=not options.quiet,
    )  # fmt: skip
    keep(_with_sources(result, options, config), options.out)
    print_students(result)


def _add_study(parser: ArgumentParser) -> None:
    _add_places(parser)
    _add_place(parser)
    parser.add_argument(
        "--width", type=int, default=32, metavar="INT", help="channels of the first convolution"
    )
    add_config(parser, StudyConfig, skip=("tracker", "hidden", "layer", "teacher", "loss", "task"))
    released = RavdessConfig()
    parser.set_defaults({"student": "image", "lr": released.lr, "epochs": released.epochs})


def _study(options: Namespace) -> None:
    config = make_config(StudyConfig, options)

    from mfh.experiments import ravdess

    own = RavdessConfig(student=config.student, width=options.width)
    result = ravdess.study(
        _load(options, own), options.out, config=config, width=own.width, place=options.place,
        progress=not options.quiet,
    )  # fmt: skip
    finish(_with_sources(result, options, own), Path(options.out))
    print_students(result)
    print_verdict(result)
    require_complete(result)


def _config(options: Namespace, files: dict[str, str | None]) -> RavdessConfig:
    """Return the config: from the options, else the folder, else the released one."""
    from mfh.experiments._steps.partial_study import stored_config
    from mfh.experiments.ravdess import RECIPE
    from mfh.models.ravdess import is_released

    known = stored_config(options.out, RECIPE)
    given = {f.name: getattr(options, f.name, None) for f in fields(RavdessConfig)}
    given = {n: value for n, value in given.items() if value is not None}
    if any(path is not None and is_released(path) for path in files.values()):
        given["released_audio_order"] = True
    return RavdessConfig(**{**known, **given})


def _load(options: Namespace, config: RavdessConfig) -> "PairedDataset":
    from mfh.data.sources.ravdess.reader import load

    return load(**_load_arguments(options, config))


def _load_arguments(options: Namespace, config: RavdessConfig) -> dict[str, Any]:
    order = config.released_audio_order
    return {"folder": options.data, "cache": not options.no_cache, "released_audio_order": order}


def _with_sources(result: "StudyResult", options: Namespace, config: RavdessConfig) -> "StudyResult":
    from mfh.experiments.ravdess import RECIPE

    load = "mfh.data.sources.ravdess.reader.load"
    return with_sources(result, RECIPE, config, load, _load_arguments(options, config))


STEPS = {
    "download": Step("download the archives and verify them", "--out downloads", _add_download, _download),
    "prepare": Step(
        "turn clips into MFCC arrays and pictures",
        "--raw downloads --out data/ravdess",
        _add_prepare,
        _prepare,
    ),
    "train": Step(
        "train the joint pair, a regular teacher and a student without distillation",
        "--data data/ravdess --out out/ravdess",
        _add_train,
        _train,
        aliases=("pretrain",),
    ),
    "saliency": Step(
        "rank the joint teacher's channels",
        "--data data/ravdess --out out/ravdess --place 5",
        _add_saliency,
        _saliency,
    ),
    "plot": Step("draw the saliency, in channel order and sorted", "--out out/ravdess", _add_plot, _plot),
    "verify": Step(
        "train students of one mode, one per seed",
        "--data data/ravdess --out out/ravdess --mode general --ratio 0.75 --seeds 5",
        _add_verify,
        _verify,
        aliases=("distill",),
    ),
    "study": Step(
        "train every arm and control, and judge",
        "--data data/ravdess --out out/study --seeds 10",
        _add_study,
        _study,
    ),
}
