"""`mfh study`: the whole experiment on an npz of paired arrays."""

from dataclasses import asdict
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh._system.lock import holds_out
from mfh.commands._options import add_common, add_config, finish, make_config, require_complete, table
from mfh.commands._sources import add_sources, load_data, name_source, networks
from mfh.config import StudyConfig

name = "study"
help = "train every arm and control, paired by seed, and judge whether the teacher helps"
description = """Does a teacher that sees one modality make a better student that sees another, which channels
teach it, and what do the controls say? Writes results.json, report.html, saliency.npz, checkpoints and
figures into the folder --out. Repeat the command to resume. Your own networks and datasets are named by
import path, best in a YAML file; --print_config writes one with every option explained.

examples:
  mfh study --data mfeat.npz --teacher pix --student zer --seeds 10 --ratio 0.25 0.5 0.75 --out out/pix-zer
  mfh study --data mfeat.npz --teacher pix --student zer --label-weight 1 --losses kl dkd rkd --out out/losses
  mfh study --data mfeat.npz --teacher pix --student zer --jobs 8 --out out/pix-zer
  mfh study --data mfeat.npz --teacher pix --student zer --backend ray --address auto --out out/pix-zer
  mfh study --print_config > my.yaml
  mfh study --config my.yaml --seeds 2
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh study`."""
    add_sources(parser)
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for everything it writes"
    )
    add_config(parser, StudyConfig, skip=("loss",))
    add_common(parser)


@holds_out
def run(options: Namespace) -> None:
    """Run the study, write its results and report, print the summary."""
    config = make_config(StudyConfig, options)  # before anything slow is imported

    import mfh
    from mfh._study.sentences import describe_failed
    from mfh.tasks import TASKS

    out = Path(options.out)
    teacher, student = networks(options)
    result = mfh.study(
        load_data(options), teacher, student, config=config, out=out, progress=not options.quiet
    )
    finish(name_source(result, options), out)
    kind = TASKS[str(result.data["task"])]
    single = kind.name == "single-label"
    more = [*([] if single else ["metric"]), *(["loss"] if len(config.losses) > 1 else [])]
    shown = ["arm", *more, "ratio", "n", "mean", "low", "high"]
    print(table([asdict(row) for row in result.summary], shown))  # noqa: T201
    for note in describe_failed(result.failed, config.losses):
        print(f"\n{note}")  # noqa: T201
    if result.verdict is not None:
        units = f" Points are {kind.points}; within 1 point of 0 is none." if not single else ""
        print(f"\n{result.verdict.verdict}: {result.verdict.sentence}{units}")  # noqa: T201
    require_complete(result)
