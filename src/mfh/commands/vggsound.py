"""`mfh vggsound`: the paper's experiment on VGGSound, a teacher that hears and a student that sees."""

import logging
from collections.abc import Callable

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import InputError
from mfh.commands._options import add_common

name = "vggsound"
help = "the paper's experiment on VGGSound: an audio teacher, a video student"
description = """Reproduce the VGGSound experiment, step by step or as a whole.

  prepare                    turn clips into waveforms and frames, the authors' layout

examples:
  mfh vggsound prepare --csv vggsound.csv --clips mirror --out data/vggsound --classes 100

example of a small version: prepare --frames 8 --size 64
"""
logger = logging.getLogger(__name__)


def add_options(parser: ArgumentParser) -> None:
    """Add the steps of `mfh vggsound`, each with its options."""
    steps = parser.add_subcommands(required=True, dest="step", metavar="STEP")
    for step, (text, add, aliases) in STEPS.items():
        sub = type(parser)(
            description=f"{text[0].upper()}{text[1:]}.\n\nexample:\n  mfh vggsound {step} {EXAMPLES[step]}\n",
            formatter_class=parser.formatter_class,
        )
        add(sub)
        add_common(sub)
        steps.add_subcommand(step, sub, help=text, aliases=aliases)


def run(options: Namespace) -> None:
    """Run one step."""
    step = next(n for n, (_, _, aliases) in STEPS.items() if options.step in (n, *aliases))
    RUNS[step](options[options.step])


def _add_prepare(parser: ArgumentParser) -> None:
    places = {
        "--csv": ("FILE", "youtube id, start second, label, split; as vggsound.csv, with or without header"),
        "--clips": ("DIR|TARS", "clips named <id>_<start>.mp4: a folder, or tar files as shard-{00..09}.tar"),
        "--out": ("DIR", "folder for what they become"),
    }
    for flag, (metavar, text) in places.items():
        parser.add_argument(flag, type=str, required=True, metavar=metavar, help=text)
    parser.add_argument(
        "--classes", type=str, default=None, metavar="FILE|N",
        help="file with a class a line, or the N most frequent (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=int, default=32, metavar="INT", help="frames of a clip, evenly spaced"
    )
    parser.add_argument(
        "--size", type=int, nargs="+", default=[256], metavar="INT",
        help="height and width of a frame, or one number for both",
    )  # fmt: skip
    parser.add_argument(
        "--crop", type=int, nargs=4, default=None, metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="part of the frames to take, in pixels (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--shards", type=float, default=None, metavar="MB",
        help="write tar files of so many megabytes (default: the authors' folders)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="INT", help="of the clips held out for validation"
    )
    parser.add_argument(
        "--jobs", type=int, default=None, metavar="INT", help="processes (default: one a core)"
    )


def _prepare(options: Namespace) -> None:
    from mfh.data.vggsound_prepare import prepare

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


Step = tuple[str, Callable[[ArgumentParser], None], tuple[str, ...]]
STEPS: dict[str, Step] = {
    "prepare": ("turn clips into waveforms and frames", _add_prepare, ()),
}
RUNS: dict[str, Callable[[Namespace], None]] = {"prepare": _prepare}
EXAMPLES = {"prepare": "--csv vggsound.csv --clips mirror --out data/vggsound --classes 100"}
