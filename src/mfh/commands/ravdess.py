"""`mfh ravdess`: the paper's experiment on RAVDESS, from the clips to the students."""

import logging
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from mfh._checks import InputError
from mfh.commands._options import add_common, add_config, finish, make_config, table
from mfh.config import DistillConfig, StudyConfig, TrainConfig
from mfh.experiments.ravdess_config import DEFAULT_RATIO, RavdessConfig

if TYPE_CHECKING:
    from mfh.data.paired import PairedDataset
    from mfh.results import StudyResult

name = "ravdess"
help = "the paper's experiment on RAVDESS: a teacher that hears, a student that sees"
description = """Reproduce the RAVDESS experiment, step by step or as a whole.

  download, prepare          get the clips; turn them into MFCC arrays and pictures, the authors' layout
  train (pretrain)           Algorithm 1's step 1, a regular teacher, a student without KD
  saliency, plot             step 2, and its picture
  verify (distill)           students of a teacher without its least salient channels, or others
  study                      every arm and control, every ratio, statistics, verdict, report

examples:
  mfh ravdess prepare --raw downloads --out data/ravdess
  mfh ravdess train --data data/ravdess --out out/ravdess
  mfh ravdess saliency --data data/ravdess --out out/ravdess
  mfh ravdess verify --data data/ravdess --out out/ravdess --mode general --seeds 5
  mfh ravdess study --data data/ravdess --out out/study

example of a small version: --width 8 --epochs 10, on pictures of `prepare --height 64 --width 128`
"""
OWN = ("student", "width", "seed", "released_audio_order")
PREPARE: dict[str, tuple[float | None, str]] = {
    "frames": (8, "video frames tiled into a picture"),
    "height": (256, "of a picture, in pixels"),
    "width": (512, "of a picture, in pixels"),
    "audio_frames": (256, "frames T of an MFCC array"),
    "seconds": (3.5, "of sound around the middle of the utterance; songs are longer"),
    "seed": (0, "of the split"),
    "jobs": (None, "processes (default: one a core)"),
}
DISTILL = tuple(f.name for f in fields(DistillConfig) if f.name not in {g.name for g in fields(TrainConfig)})
logger = logging.getLogger(__name__)


def add_options(parser: ArgumentParser) -> None:
    """Add the steps of `mfh ravdess`, each with its options."""
    steps = parser.add_subcommands(required=True, dest="step", metavar="STEP")
    for step, (text, add, aliases) in STEPS.items():
        sub = type(parser)(
            description=f"{text[0].upper()}{text[1:]}.\n\nexample:\n  mfh ravdess {step} {EXAMPLES[step]}\n",
            formatter_class=parser.formatter_class,
        )
        add(sub)
        add_common(sub)
        steps.add_subcommand(step, sub, help=text, aliases=aliases)


def run(options: Namespace) -> None:
    """Run one step."""
    step = next(n for n, (_, _, aliases) in STEPS.items() if options.step in (n, *aliases))
    RUNS[step](options[options.step])


def _add_download(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder for the archives")
    parser.add_argument(
        "--source", type=str, default=None, metavar="PATH_OR_URL", help="a mirror (default: Zenodo)"
    )
    _add_channels(parser)
    parser.add_argument(
        "--allow-unverified",
        action=ActionYesNo(yes_prefix="", no_prefix="no-"),
        default=False,
        help="take archives from a folder without a manifest of checksums",
    )


def _download(options: Namespace) -> None:
    from mfh.data.ravdess_download import download

    names = ("source", "speech", "song", "allow_unverified")
    done = download(options.out, **{n: getattr(options, n) for n in names}, progress=not options.quiet)
    print(done)  # noqa: T201


def _add_channels(parser: ArgumentParser) -> None:
    for option, default in (("speech", True), ("song", False)):
        switch = ActionYesNo(yes_prefix="", no_prefix="no-")
        parser.add_argument(f"--{option}", action=switch, default=default, help=f"take clips of {option}")


def _add_prepare(parser: ArgumentParser) -> None:
    folders = {"--raw": "folder of zips or unpacked folders, or one zip", "--out": "folder for data/"}
    for flag, text in folders.items():
        parser.add_argument(flag, type=str, required=True, metavar="DIR", help=text)
    _add_channels(parser)
    for option, (default, text) in PREPARE.items():
        kind = float if isinstance(default, float) else int
        flag = f"--{option.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=default, metavar=kind.__name__.upper(), help=text)
    parser.add_argument(
        "--split", type=str, default="actor", metavar="{actor,random}", help="deal whole actors, or clips"
    )


def _prepare(options: Namespace) -> None:
    from mfh.data.ravdess_prepare import prepare

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
            help="folder that `prepare` wrote, or the authors'",
        )
        parser.add_argument(
            "--no-cache",
            action="store_true",
            help="decode into memory on each call and write no arrays beside the data",
        )
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for this and later steps"
    )


def _add_place(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--place", type=int, default=5, metavar="1..6",
        help="layer, by the released code's number: 1-3 convolutions, 4 and 5 hidden linear layers, 6 output",
    )  # fmt: skip


def _add_files(parser: ArgumentParser, *files: str) -> None:
    texts = {
        "--joint-teacher": "checkpoint in place of `train`, such as teacher_mod_1_overlap.pkl",
        "--joint-student": "checkpoint in place of `train`, such as student_mod_0_overlap.pkl",
        "--saliency": "saliency vector, such as the authors' .npy, in place of `saliency`",
    }
    for flag in files:
        parser.add_argument(flag, type=str, default=None, metavar="FILE", help=texts[flag])


def _add_training(parser: ArgumentParser, *, skip: tuple[str, ...] = (), as_trained: bool = False) -> None:
    """The options of `RavdessConfig`; after `train`, those that the folder knows have no default."""
    add_config(parser, RavdessConfig, skip=skip)
    if as_trained:
        names = {*OWN, *(f.name for f in fields(TrainConfig))} - set(skip) - {"device"}
        parser.set_defaults(dict.fromkeys(names))


def _add_train(parser: ArgumentParser) -> None:
    _add_places(parser)
    _add_files(parser, "--joint-teacher", "--joint-student")
    _add_training(parser, skip=DISTILL)


def _train(options: Namespace) -> None:
    from mfh.experiments import ravdess

    files = {"joint_teacher": options.joint_teacher, "joint_student": options.joint_student}
    config = _config(options, files)
    data = _load(options, config)
    result = ravdess.train(data, options.out, config=config, **files, progress=not options.quiet)
    _keep(result, options.out)
    columns = ["teacher", "train", "validation", "test", "entropy", "saturated"]
    print(table([asdict(row) for row in result.teachers], columns))  # noqa: T201
    _print_students(result)


def _add_saliency(parser: ArgumentParser) -> None:
    _add_places(parser)
    _add_place(parser)
    parser.add_argument(
        "--num-permutations", type=str, default=None, metavar="exact|INT",
        help="permutations a channel (default: exact where the head is linear, as at place 5, else 10)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=int, default=None, metavar="INT", help="training samples (default: all)"
    )
    _add_files(parser, "--joint-teacher", "--joint-student")
    _add_training(parser, skip=DISTILL, as_trained=True)


def _saliency(options: Namespace) -> None:
    from mfh.experiments import ravdess

    count = options.num_permutations
    if count is not None and count != "exact":
        if not count.isdecimal() or count == "0":
            raise InputError(f"`num_permutations` must be `exact` or a whole number above 0. Got {count!r}.")
        count = int(count)
    files = {"joint_teacher": options.joint_teacher, "joint_student": options.joint_student}
    config = _config(options, files)
    result = ravdess.saliency(
        _load(options, config), options.out, place=options.place, num_permutations=count,
        samples=options.samples, config=config, **files,
    )  # fmt: skip
    rows = result.frame().sort_values("rank").head(10)
    columns = [c for c in ("channel", "scaled", "increase", "importance", "stderr_data") if c in rows]
    shown = [{c: f"{row[c]:.4g}" for c in columns} for row in rows[columns].to_dict("records")]
    print(table(shown, columns))  # noqa: T201
    above = int((result.scaled > 0.4).sum()), int((result.scaled < 0.1).sum())
    print(f"\n{result.num_channels} channels: {above[0]} above 0.4, {above[1]} below 0.1")  # noqa: T201


def _add_plot(parser: ArgumentParser) -> None:
    _add_places(parser, data=False)
    _add_place(parser)
    parser.add_argument(
        "--ratio",
        type=float,
        default=DEFAULT_RATIO,
        metavar="FLOAT",
        help="share of channels shown as removed",
    )


def _plot(options: Namespace) -> None:
    from mfh.experiments import ravdess

    for path in ravdess.plot(options.out, place=options.place, ratio=options.ratio):
        print(path)  # noqa: T201


def _add_verify(parser: ArgumentParser) -> None:
    _add_places(parser)
    parser.add_argument(
        "--mode", type=str, required=True, metavar="NAME",
        help="general (1), specific (2), random (0), joint (-1), regular or no-kd",
    )  # fmt: skip
    parser.add_argument(
        "--ratio",
        type=float,
        default=DEFAULT_RATIO,
        metavar="FLOAT",
        help="share of channels to remove, in [0, 1)",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="INT", help="number of students")
    _add_place(parser)
    _add_files(parser, "--joint-teacher", "--saliency")
    _add_training(parser, as_trained=True)


def _verify(options: Namespace) -> None:
    from mfh.experiments import ravdess

    files = {"joint_teacher": options.joint_teacher}
    config = _config(options, files)
    result = ravdess.verify(
        _load(options, config), options.out, mode=options.mode, ratio=options.ratio, seeds=options.seeds,
        place=options.place, config=config, **files, saliency=options.saliency, progress=not options.quiet,
    )  # fmt: skip
    _keep(result, options.out)
    _print_students(result)


def _add_study(parser: ArgumentParser) -> None:
    _add_places(parser)
    _add_place(parser)
    parser.add_argument(
        "--width", type=int, default=32, metavar="INT", help="channels of the first convolution"
    )
    add_config(parser, StudyConfig, skip=("tracker", "hidden", "layer", "teacher"))
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
    finish(result, Path(options.out))
    _print_students(result)
    if result.verdict is not None:
        print(f"\n{result.verdict.verdict}: {result.verdict.sentence}")  # noqa: T201


def _config(options: Namespace, files: dict[str, str | None]) -> RavdessConfig:
    """What the options say, else what the folder was begun with, else what was released."""
    from mfh.experiments._steps.run import stored_config
    from mfh.experiments.ravdess import RECIPE
    from mfh.models.ravdess import is_released

    known = stored_config(options.out, RECIPE)
    given = {f.name: getattr(options, f.name, None) for f in fields(RavdessConfig)}
    given = {n: value for n, value in given.items() if value is not None}
    if any(path is not None and is_released(path) for path in files.values()):
        given["released_audio_order"] = True
    return RavdessConfig(**{**known, **given})


def _load(options: Namespace, config: RavdessConfig) -> "PairedDataset":
    from mfh.data.ravdess import load

    order = config.released_audio_order
    return load(options.data, cache=not options.no_cache, released_audio_order=order)


def _keep(result: "StudyResult", out: str) -> None:
    """Write what the folder holds by now, as numbers and as a page."""
    from mfh._report import report

    result.save(out)
    logger.info("The report: %s", report(result, Path(out) / "report.html"))


def _print_students(result: "StudyResult") -> None:
    shown = ["arm", "ratio", "n", "mean", "low", "high"]
    print(f"\n{table([asdict(row) for row in result.summary], shown)}")  # noqa: T201
    if result.comparisons:
        shown = ["a", "b", "ratio", "n", "difference", "low", "high"]
        print(f"\n{table([asdict(row) for row in result.comparisons], shown)}")  # noqa: T201


Step = tuple[str, Callable[[ArgumentParser], None], tuple[str, ...]]
STEPS: dict[str, Step] = {
    "download": ("fetch the archives, verified", _add_download, ()),
    "prepare": ("turn clips into MFCC arrays and pictures", _add_prepare, ()),
    "train": ("train the joint pair, a regular teacher and a student without KD", _add_train, ("pretrain",)),
    "saliency": ("rank the joint teacher's channels", _add_saliency, ()),
    "plot": ("draw the saliency in channel order and sorted", _add_plot, ()),
    "verify": ("train students of one mode, one a seed", _add_verify, ("distill",)),
    "study": ("run every arm and control, and judge", _add_study, ()),
}
RUNS: dict[str, Callable[[Namespace], None]] = {
    "download": _download,
    "prepare": _prepare,
    "train": _train,
    "saliency": _saliency,
    "plot": _plot,
    "verify": _verify,
    "study": _study,
}
EXAMPLES = {
    "download": "--out downloads",
    "prepare": "--raw downloads --out data/ravdess",
    "train": "--data data/ravdess --out out/ravdess",
    "saliency": "--data data/ravdess --out out/ravdess --place 5",
    "plot": "--out out/ravdess",
    "verify": "--data data/ravdess --out out/ravdess --mode general --ratio 0.75 --seeds 5",
    "study": "--data data/ravdess --out out/study --seeds 10",
}
