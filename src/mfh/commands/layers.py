"""`mfh layers`: list the layers of a study's networks."""

from dataclasses import fields

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._options import add_common, add_config, make_config, table
from mfh.commands._sources import add_sources, load_data, networks
from mfh.config import StudyConfig

name = "layers"
help = "list the layers of teacher and student, with the shapes of their outputs"
description = """List every layer that a forward pass calls: name, type, shape of its output (N samples),
number of channels, dimension of the channels, and number of calls. A layer that is called once can be given
to `mfh study` as --layer. Takes the same YAML file as `mfh study`.

examples:
  mfh layers --config my.yaml
  mfh layers --data mfeat.npz --teacher pix --student zer
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh layers`."""
    add_sources(parser)
    shown = ("teacher", "student", "channel_dim", "hidden", "task")
    add_config(
        parser, StudyConfig, skip=[spec.name for spec in fields(StudyConfig) if spec.name not in shown]
    )
    add_common(parser)


def run(options: Namespace) -> None:
    """Print a table for each network."""
    config = make_config(StudyConfig, options)
    teacher, student = networks(options)

    import torch

    from mfh._checks import InputError
    from mfh._focus import layers
    from mfh._study.networks import Networks, with_modalities
    from mfh._study.ranking import last_hidden
    from mfh.models.both import Named

    data = load_data(options).with_task(config.task)
    built = Networks(data, with_modalities(data, config), teacher, student)
    sides = (
        ("teacher", str(built.config.teacher), built.build_teacher()),
        ("student", str(built.config.student), built.build_student()),
    )
    for number, (side, modality, network) in enumerate(sides):
        example = data.inputs_of(modality, torch.arange(2))
        infos = layers(network, example, channel_dim=config.channel_dim)
        rows = [
            {
                "layer": info.name,
                "type": info.kind,
                "output": "x".join(["N", *map(str, info.shape[1:])]) if info.shape else "-",
                "channels": info.channels,
                "dimension": info.channel_dim,
                "calls": info.calls,
            }
            for info in infos
        ]
        weights = sum(p.numel() for p in network.parameters())
        kind = type(network.network if isinstance(network, Named) else network).__name__
        title = f"{side} ({modality}): {kind}, {weights:,} weights"
        print("\n" * (number > 0) + title)  # noqa: T201
        print(table(rows, list(rows[0]) if rows else ["layer"]))  # noqa: T201
        if side == "teacher":
            try:
                print(f"ranked unless --layer names another: {last_hidden(network, example)}")  # noqa: T201
            except InputError as error:
                print(error)  # noqa: T201
