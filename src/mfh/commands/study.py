"""`mfh study`: the complete experiment on paired samples."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh._system.lock import holds_out
from mfh.commands._options import add_common, add_config, finish, make_config, require_complete, summary_table
from mfh.commands._sources import add_sources, described, frozen_teacher, load_data, networks
from mfh.config import StudyConfig

name = "study"
help = "train every arm and control with the same seeds, and judge whether the teacher helps"
description = """Does a teacher that sees one modality make a better student that sees another? Which channels
does the student learn from? What do the controls show? Writes results.json, report.html, saliency.npz,
checkpoints and figures into the folder --out. Repeat the command to resume. Name your own networks and
datasets by import path, best in a YAML file; --print-config writes one that explains every option.

examples:
  mfh study --data mfeat.npz --teacher pix --student zer --seeds 10 --ratio 0.25 0.5 0.75 --out out/pix-zer
  mfh study --data mfeat.npz --teacher pix --student zer --label-weight 1 --losses kl dkd rkd --out out/losses
  mfh study --data ill.npz --teacher scan --student blood --metric auroc --class-weight balanced --out out/ill
  mfh study --data mfeat.npz --teacher pix --student zer --jobs 8 --out out/pix-zer
  mfh study --data mfeat.npz --teacher pix --student zer --backend ray --address auto --out out/pix-zer
  mfh study --print-config > my.yaml
  mfh study --config my.yaml --seeds 2
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh study`."""
    add_sources(parser)
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for everything that is written"
    )
    add_config(parser, StudyConfig, skip=("loss",))
    add_common(parser)


@holds_out
def run(options: Namespace) -> None:
    """Run the study, write results and report, print the summary."""
    config = make_config(StudyConfig, options, **frozen_teacher(options))  # before anything slow is imported

    import mfh
    from mfh._study.few.words import describe_curve
    from mfh._study.sentences import describe_failed

    out = Path(options.out)
    teacher, student = networks(options)
    result = mfh.study(
        load_data(options), teacher, student, config=config, out=out, progress=not options.quiet,
        sources=described(options),
    )  # fmt: skip
    finish(result, out, saved=True)
    metric = result.metrics[0]
    print(summary_table(result))  # noqa: T201
    for note in describe_failed(result.failed, config.losses):
        print(f"\n{note}")  # noqa: T201
    units = f" Points are {metric.points}; within {metric.margin:g} of 0 counts as none."
    print(  # noqa: T201
        f"\n{result.verdict.verdict}: {result.verdict.sentence}{units if metric.name != 'accuracy' else ''}"
    )
    if lines := describe_curve(result.labels, metric):
        print("\n" + "\n".join(lines))  # noqa: T201
    require_complete(result)
