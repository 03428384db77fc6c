"""`mfh study`: the whole experiment on an npz of paired arrays."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._options import add_common, add_config, finish, make_config, table
from mfh.config import StudyConfig

if TYPE_CHECKING:
    from mfh.data.paired import PairedDataset
    from mfh.results import StudyResult

name = "study"
help = "train every arm and control, paired by seed, and judge whether the teacher helps"
description = """Does a teacher that sees one modality make a better student that sees another, which channels
teach it, and what do the controls say? Writes results.json, report.html, saliency.npz, checkpoints and
figures into the folder --out. Repeat the command to resume.

example:
  mfh study --data mfeat.npz --teacher pix --student zer --seeds 10 --ratio 0.25 0.5 0.75 --out out/pix-zer
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh study`."""
    add_data(parser)
    add_config(parser, StudyConfig)
    add_common(parser)


def add_data(parser: ArgumentParser) -> None:
    """Add the options that name the npz, its columns, and the folder for results."""
    parser.add_argument(
        "--data", type=str, required=True, metavar="FILE", help="npz of arrays named by modality"
    )
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for everything it writes"
    )
    columns = {
        "label": ("label", "array of labels"),
        "group": (
            None,
            "array of groups (actors, patients) that no split shares; default `group` if present",
        ),
        "split": (None, "array of train/validation/test; default `split` if present; `none` ignores it"),
        "id": (None, "array of sample ids; default `id` if present"),
    }
    for column, (default, text) in columns.items():
        parser.add_argument(f"--{column}", type=str, default=default, metavar="NAME", help=text)


def run(options: Namespace) -> None:
    """Run the study, write its results and report, print the summary."""
    config = make_config(StudyConfig, options)  # before anything slow is imported

    import mfh

    out = Path(options.out)
    result = mfh.study(load(options, config), config=config, out=out, progress=not options.quiet)
    finish(name_source(result, options), out)
    shown = ["arm", "ratio", "n", "mean", "low", "high"]
    print(table([asdict(row) for row in result.summary], shown))  # noqa: T201
    if result.verdict is not None:
        print(f"\n{result.verdict.verdict}: {result.verdict.sentence}")  # noqa: T201


def load(options: Namespace, config: StudyConfig) -> "PairedDataset":
    """The samples that the options name."""
    import mfh

    modalities = [m for m in (config.teacher, config.student) if m is not None]
    return mfh.PairedDataset.from_npz(
        options.data,
        modalities=modalities if len(modalities) == 2 else None,
        label=options.label,
        group=options.group,
        split=options.split,
        id=options.id,
    )


def name_source(result: "StudyResult", options: Namespace) -> "StudyResult":
    """Add to a result where its data came from."""
    columns = {"file": str(Path(options.data)), "label": options.label, "group": options.group}
    return replace(result, data={**result.data, **columns})
