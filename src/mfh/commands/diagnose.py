"""`mfh diagnose`: estimate before a study whether a teacher will help."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh._system.lock import holds_out
from mfh.commands._options import add_common, add_config, finish, make_config, table
from mfh.commands._sources import add_sources, frozen_teacher, load_data, name_source, networks
from mfh.config import DiagnoseConfig

name = "diagnose"
help = "estimate how likely a teacher is to help, before students are trained at full cost"
description = """How much of the evidence that the teacher uses is also visible to the student? Is the teacher
likely to help? Trains a few networks for a short time, in cross-validation on everything but the test split,
and writes results.json, report.html and figures into the folder --out. Takes the options of `mfh study`.

Where labels are missing, or --labelled hides some, the diagnosis says which teachers predict labels that they
did not see, what to expect from their stack, and whether more labels or more pairs would pay.

examples:
  mfh diagnose --data mfeat.npz --teacher pix --student zer --out out/diagnose-pix-zer
  mfh diagnose --data mfeat.npz --teacher fou --student zer --labelled 0.1 --out out/diagnose-few
"""
UNUSED = (
    "tracker", "teacher_outputs", "smoothing", "random_draws", "fix_split", "losses", "arms",
    "teacher_logits", "frozen_teacher",
)  # fmt: skip


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh diagnose`."""
    add_sources(parser)
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for everything that is written"
    )
    add_config(parser, DiagnoseConfig, skip=UNUSED)
    add_common(parser)


@holds_out
def run(options: Namespace) -> None:
    """Diagnose, write results and report, print companions, reasons and the verdict."""
    config = make_config(
        DiagnoseConfig, options, **frozen_teacher(options)
    )  # before anything slow is imported

    import mfh

    teacher, student = networks(options)
    result = mfh.diagnose(load_data(options), teacher, student, config=config, progress=not options.quiet)
    finish(name_source(result, options), Path(options.out))
    found = result.diagnosis
    if rows := found.get("trust"):
        print(table(rows, ["name", "sees", "log_loss", "better_in", "folds", "weight"]))  # noqa: T201
    else:
        shown = ["name", "value", "null", "null_low", "null_high", "unit"]
        print(table([{**row, "null": row.get("null")} for row in found["companions"]], shown))  # noqa: T201
    sure = "" if found["probability"] is None else f" (probability {found['probability']:.2f})"
    print(f"\n{found['verdict']}{sure}")  # noqa: T201
    for text in (*found["reasons"], *found["advice"]["sentences"]):
        print(f"- {text}")  # noqa: T201
