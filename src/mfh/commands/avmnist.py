"""`mfh avmnist`: the paper's first table, an audio student of three teachers."""

from dataclasses import asdict
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh._system.import_paths import ClassSpec
from mfh._system.lock import holds_out
from mfh.commands._options import add_common, add_config, finish, make_config, summary_table, table
from mfh.commands._steps import print_students, print_verdict
from mfh.experiments.avmnist_config import AvmnistConfig

name = "avmnist"
help = "AV-MNIST: does a more accurate teacher of both modalities teach an audio student better?"
description = """Train an audio student alone, and with teachers of audio, of images and of both, on digits.

  prepare   make an npz of MNIST without 75% of its energy, and Free Spoken Digits as noisy spectrograms
  study     train teachers and students; each seed splits the speakers anew

examples:
  mfh avmnist prepare --fsdd v1.0.10.zip --out data/avmnist.npz
  mfh avmnist prepare --mnist mnist.npz --fsdd recordings --out data/avmnist.npz
  mfh avmnist study --data data/avmnist.npz --out out/avmnist --seeds 10
  mfh avmnist study --data data/avmnist.npz --out out/avmnist-few --labelled 0.1
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the steps of `mfh avmnist`, each with its options."""
    steps = parser.add_subcommands(required=True, dest="step", metavar="STEP")
    for step, (text, add, example) in STEPS.items():
        sub = type(parser)(
            description=f"{text}.\n\nexample:\n  mfh avmnist {step} {example}\n",
        )
        add(sub)
        add_common(sub)
        steps.add_subcommand(step, sub, help=text[0].lower() + text[1:])


def run(options: Namespace) -> None:
    """Run one step."""
    RUNS[options.step](options[options.step])


def _add_prepare(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="the npz to write")
    parser.add_argument("--mnist", type=str, default=None, metavar="FILE", help="npz (default: download)")
    parser.add_argument(
        "--fsdd", type=str, default=None, metavar="PATH",
        help="folder or zip of wav files, to be downloaded by hand; without it a message names the address",
    )  # fmt: skip
    parser.add_argument(
        "--energy", type=float, default=0.75, metavar="FLOAT",
        help="share of the variance of the images in the components that are removed",
    )  # fmt: skip
    parser.add_argument(
        "--snr",
        type=float,
        default=20.0,
        metavar="FLOAT",
        help="signal-to-noise ratio of the sound, in decibels",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="INT", help="seed of pairing and noise")


def _prepare(options: Namespace) -> None:
    from mfh.data.sources.avmnist import prepare

    names = ("mnist", "fsdd", "energy", "snr", "seed")
    done = prepare(options.out, **{n: getattr(options, n) for n in names}, progress=not options.quiet)
    print(done)  # noqa: T201


def _add_study(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=str, required=True, metavar="FILE", help="npz that `prepare` wrote")
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder for everything that is written"
    )
    add_config(parser, AvmnistConfig, skip=("tracker", "task"))


@holds_out
def _study(options: Namespace) -> None:
    config = make_config(AvmnistConfig, options)  # before anything slow is imported

    from mfh.experiments import avmnist

    out = Path(options.out)
    result = avmnist.study(avmnist.load(options.data), config=config, out=out, progress=not options.quiet)
    load = ClassSpec("mfh.experiments.avmnist.load", {"path": options.data})
    result = result.with_sources({"data": load.to_dict(), "folder": str(Path.cwd())})
    finish(result, out)
    if config.labelled:
        print_students(result)
        print_verdict(result)
        return
    print(summary_table(result))  # noqa: T201
    shown = ["a", "b", "n", "difference", "low", "high", "low_boot", "high_boot"]
    print(f"\n{table([asdict(row) for row in result.comparisons], shown)}")  # noqa: T201
    if result.verdict is not None:
        print(f"\n{result.verdict.verdict}: {result.verdict.sentence}")  # noqa: T201


STEPS = {
    "prepare": ("Make the paired samples", _add_prepare, "--fsdd v1.0.10.zip --out data/avmnist.npz"),
    "study": ("Train teachers and students", _add_study, "--data data/avmnist.npz --out out/avmnist"),
}
RUNS = {"prepare": _prepare, "study": _study}
