"""`mfh vggsound`: the paper's experiment on VGGSound, with an audio teacher and a video student."""

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import InputError
from mfh.commands import _vggsound_run as training
from mfh.commands._steps import Step, add_steps, run_step

name = "vggsound"
help = "the paper's experiment on VGGSound: an audio teacher, a video student"
description = """Reproduce the VGGSound experiment, step by step or at once.

  prepare                    turn clips into waveforms and frames, in the authors' layout
  pretrain (train)           train a regular audio teacher, or a video student without distillation
  saliency                   rank the teacher's channels; with --joint those of Algorithm 1's step 1
  distill (verify)           train students of a teacher without its least salient channels, or other students
  study                      train every arm and control at every ratio; statistics, verdict, report

examples:
  mfh vggsound prepare --csv vggsound.csv --clips mirror --out data/vggsound --classes 100
  mfh vggsound pretrain --modality audio --data data/vggsound --out out/vggsound
  mfh vggsound pretrain --modality video --data data/vggsound --out out/vggsound
  mfh vggsound saliency --data data/vggsound --out out/vggsound
  mfh vggsound distill --data data/vggsound --out out/vggsound --mode general --ratio 0.5 --seeds 5
  mfh vggsound study --data data/vggsound --out out/study --seeds 3 --ratio 0.25 0.5 0.75

on several processors or machines, for every step:
  torchrun --nproc_per_node 4 -m mfh vggsound pretrain --modality audio --data DIR --out DIR

a small version: prepare --frames 32 --size 64, then --frames 12 --size 32 --width 8
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the steps of `mfh vggsound`, each with its options."""
    add_steps(parser, name, STEPS)


def run(options: Namespace) -> None:
    """Run one step."""
    run_step(options, STEPS)


def _add_prepare(parser: ArgumentParser) -> None:
    places = {
        "--csv": (
            "FILE",
            "YouTube id, start second, label (or none), split, as in vggsound.csv, with or without header",
        ),
        "--clips": (
            "DIR|TARS",
            "clips named <id>_<start>.mp4: a folder, or tar files such as shard-{00..09}.tar",
        ),
        "--out": ("DIR", "folder for the waveforms and frames"),
    }
    for flag, (metavar, text) in places.items():
        parser.add_argument(flag, type=str, required=True, metavar=metavar, help=text)
    parser.add_argument(
        "--classes", type=str, default=None, metavar="FILE|N",
        help="file with one class per line, or N for the N most frequent ones (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=int, default=32, metavar="INT", help="frames per clip, evenly spaced"
    )
    parser.add_argument(
        "--size", type=int, nargs="+", default=[256], metavar="INT",
        help="height and width of a frame, or one number for both",
    )  # fmt: skip
    parser.add_argument(
        "--crop", type=int, nargs=4, default=None, metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="part of the frames to keep, in pixels (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--shards", type=float, default=None, metavar="MB",
        help="write tar files of this size in megabytes (default: the authors' folders)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="INT", help="seed for choosing the clips for validation"
    )
    parser.add_argument(
        "--jobs", type=int, default=None, metavar="INT",
        help="processes (default: one per core); 0 decodes in this process, which a damaged clip can end",
    )  # fmt: skip


def _prepare(options: Namespace) -> None:
    from mfh.data.sources.vggsound.prepare import prepare

    if len(options.size) > 2:
        raise InputError(f"`size` must be one number, or height and width. Got {len(options.size)} numbers.")
    classes = options.classes
    done = prepare(
        options.csv, options.clips, options.out,
        classes=int(classes) if classes is not None and classes.isdecimal() else classes,
        frames=options.frames,
        size=(options.size[0], options.size[-1]),
        crop=None if options.crop is None else tuple(options.crop),
        shards=options.shards, seed=options.seed, jobs=options.jobs, progress=not options.quiet,
    )  # fmt: skip
    print(done)  # noqa: T201


STEPS = {
    "prepare": Step(
        "turn clips into waveforms and frames",
        "--csv vggsound.csv --clips mirror --out data/vggsound --classes 100",
        _add_prepare,
        _prepare,
    ),
    **training.STEPS,
}
