"""The steps of `mfh vggsound` that train."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._options import add_config, finish, make_config
from mfh.config import StudyConfig
from mfh.experiments.vggsound_config import RELEASED, InputConfig, NetworkConfig


def add_places(parser: ArgumentParser) -> None:
    """Add where the data lie and where results go."""
    parser.add_argument("--data", type=str, required=True, metavar="DIR", help="what `prepare` wrote")
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder for results")


def add_study(parser: ArgumentParser) -> None:
    """Add the options of `mfh vggsound study`."""
    add_places(parser)
    for config in (NetworkConfig, InputConfig):
        add_config(parser, config)
    add_config(parser, StudyConfig, skip=("hidden", "teacher", "student"))
    parser.set_defaults(RELEASED)


def run_study(options: Namespace) -> None:
    """Run the study, write its results and report, print the summary."""
    config = make_config(StudyConfig, options)
    inputs, networks = make_config(InputConfig, options), make_config(NetworkConfig, options)

    from mfh.experiments import vggsound

    data = vggsound.open_data(options.data, inputs)
    result = vggsound.study(data, options.out, config=config, networks=networks, progress=not options.quiet)
    finish(result, Path(options.out))
