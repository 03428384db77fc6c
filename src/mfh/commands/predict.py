"""`mfh predict`: predict new samples with an export."""

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._options import add_common
from mfh.commands._output import announce

name = "predict"
help = "predict new samples with what `mfh export` wrote"
description = """Compute predictions for the samples in a file, and write them as a table: the id of each
sample, its prediction and, for classes, the probability of each. The file is a CSV with one column for each
value of the student's modality, or an npz with an array of its name. A column or an array `id` names the
samples.

examples:
  mfh predict exported --data new.csv --out predictions.csv
  mfh predict exported --data new.npz --out predictions.npz
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh predict`."""
    parser.add_argument("folder", type=str, metavar="DIR", help="folder that `mfh export` wrote")
    parser.add_argument("--data", type=str, required=True, metavar="FILE", help="new samples, CSV or npz")
    parser.add_argument(
        "--out",
        type=str,
        required=True,
        metavar="FILE",
        help="the predictions, CSV or npz; npz for dense predictions",
    )
    add_common(parser, config=False)
    parser.add_argument(
        "--no-imports",
        action="store_true",
        help="for exports of others: allow only networks of mfh.models and torch.nn",
    )


def run(options: Namespace) -> None:
    """Write the predictions."""
    from mfh._export.predictions import predict_file

    announce("Wrote", predict_file(options.folder, options.data, options.out))
