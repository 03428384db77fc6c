"""`mfh fit`: search the best student, say how good it is, and train it on all samples."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh._system.lock import holds_out
from mfh.commands._options import add_common, add_config, finish, make_config, require_complete, summary_table
from mfh.commands._sources import add_sources, described, frozen_teacher, load_data, networks
from mfh.config import FitConfig

name = "fit"
help = "search the best student, with teachers or without, and train it for use"
description = """Which student do I ship? In every outer fold two searches with the same budget try recipes: one
of students without a teacher, one of students with teachers. Teacher, focusing, temperature, label weight,
learning rate, width and others are searched. The test samples of a fold are seen by neither search, so the
gain and its interval are honest; "no teacher" is a possible answer. Then both searches run once more on all
samples. Writes results.json, report.html and the students into the folder --out. Repeat the command to resume.
`mfh export DIR --to DIR` writes the student for use.

examples:
  mfh fit --data mfeat.npz --teacher fou --student zer --labelled 0.1 --out out/fit
  mfh fit --data patients.csv --modality lab=crp,wbc --modality 'vitals=vital_*' --label diagnosis --group patient --teacher lab --student vitals --metric auroc --threshold recall:0.9 --out out/fit
  mfh fit --data mfeat.npz --teacher fou --student zer --budget 300 --repeats 2 --jobs 2 --out out/fit
  mfh fit --data mfeat.npz --teacher fou --student zer --minutes 10 --out out/fit
  mfh fit --data soft.npz --teacher-logits soft --student zer --labelled 0.1 --out out/fit
  mfh export out/fit --to student
"""  # noqa: E501 - a command is one line
LEFT_OUT = (
    "arms", "loss", "label_curve", "label_tuning", "until", "max_repeats", "teacher_outputs",
    "cross_fit_folds", "smoothing", "random_draws", "fix_split", "label_weight", "distill_weight",
    "temperature", "saliency_split",
)  # fmt: skip
"""Options of a study that a search chooses itself, or that have no meaning for it."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh fit`."""
    add_sources(parser)
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for everything that is written"
    )
    add_config(parser, FitConfig, skip=LEFT_OUT)
    add_common(parser)


@holds_out
def run(options: Namespace) -> None:
    """Run the search, write results and report, print the summary."""
    config = make_config(FitConfig, options, **frozen_teacher(options))  # before anything slow is imported

    import mfh

    out = Path(options.out)
    result = mfh.fit(
        load_data(options), *networks(options), config=config, out=out, progress=not options.quiet,
        sources=described(options),
    )  # fmt: skip
    finish(result, out, saved=True)
    print(summary_table(result))  # noqa: T201
    print(f"\n{result.verdict.verdict}: {result.verdict.sentence}")  # noqa: T201
    if found := result.search["threshold"]:
        row = found[result.search["shipped"]]
        shown = ", ".join(f"{name} {value:.3g}" for name, value in row["test"].items() if value is not None)
        print(f"\n`{found['positive']}` from a probability of {row['threshold']:.3g} on: {shown}")  # noqa: T201
    if result.search["final"] is not None:
        print(f"\nWrite the student for use: mfh export {options.out} --to DIR")  # noqa: T201
    require_complete(result)
