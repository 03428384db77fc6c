"""`mfh plan`: how large a study must be to show an effect of a given size."""

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._options import add_common, add_config, make_config
from mfh.commands._sources import add_sources, frozen_teacher, load_data, networks
from mfh.config import StudyConfig

name = "plan"
help = "say how many repeats or samples a study needs to show a gain of a given size"
description = """How many repeats does a study of these data need to show a gain of, say, one point, or how
many samples? Trains a pilot of two repeats with few arms, and calculates from the spread of its differences.
Writes nothing.

example:
  mfh plan --data mfeat.npz --teacher pix --student zer --effect 1.0
"""
UNUSED = (
    "loss",
    "losses",
    "arms",
    "repeats",
    "seeds",
    "until",
    "max_repeats",
    "tracker",
    "smoothing",
    "random_draws",
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh plan`."""
    add_sources(parser)
    parser.add_argument(
        "--effect", type=float, default=1.0, metavar="FLOAT", help="gain that is to be shown, in points"
    )
    add_config(parser, StudyConfig, skip=UNUSED)
    add_common(parser)


def run(options: Namespace) -> None:
    """Run the pilot and print the plan."""
    config = make_config(StudyConfig, options, **frozen_teacher(options))  # before anything slow is imported

    import mfh

    teacher, student = networks(options)
    found = mfh.plan(
        load_data(options), teacher, student, effect=options.effect, config=config, progress=not options.quiet
    )
    print(found.sentence)  # noqa: T201
