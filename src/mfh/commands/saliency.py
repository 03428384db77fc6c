"""`mfh saliency`: the ranking of Algorithm 1 for features in files."""

from pathlib import Path

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from mfh._checks import InputError
from mfh._system.lock import held
from mfh.commands._options import add_common, table
from mfh.commands._output import announce

name = "saliency"
help = "rank the channels of features in files, however many"
description = """Rank a teacher's channels by exact saliency, from the outputs of a layer in npy files.

Reads the files once; memory does not grow with the number of samples. If it was stopped, the same command
continues. The layer must be followed by one linear layer, whose `weight` (output, channel) and `bias`
(output,) are in a safetensors file or an npz.

examples:
  mfh saliency --features h.npy --student-logits s.npy --head head.safetensors --out saliency.npz
  mfh saliency --features h-*.npy --student-logits s-*.npy --head head.npz --jobs 2 --out saliency.npz
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh saliency`."""
    for flag, text in {
        "--features": "npy files of shape (sample, channel), in order",
        "--student-logits": "npy files of shape (sample, output), of the same samples",
    }.items():
        parser.add_argument(flag, type=str, nargs="+", required=True, metavar="FILE", help=text)
    parser.add_argument(
        "--head", type=str, required=True, metavar="FILE", help="safetensors or npz with weight and bias"
    )
    parser.add_argument("--out", type=str, required=True, metavar="FILE", help="the npz to write")
    parser.add_argument(
        "--score",
        type=str,
        default="increase",
        metavar="{increase,followed}",
        help="what channels are ranked by",
    )
    parser.add_argument(
        "--dtype", type=str, default="float32", metavar="{float32,float64}",
        help="precision of the products; sums are float64",
    )  # fmt: skip
    parser.add_argument("--device", type=str, default="cpu", metavar="NAME", help="cpu, cuda, cuda:1")
    parser.add_argument("--jobs", type=int, default=1, metavar="INT", help="processes")
    parser.add_argument(
        "--resume",
        action=ActionYesNo(yes_prefix="", no_prefix="no-"),
        default=True,
        help="keep the state beside --out, and continue after a stop",
    )
    add_common(parser)


def run(options: Namespace) -> None:
    """Compute, write and show the ranking."""
    from mfh._saliency.streaming import read_head, streaming_saliency

    out = Path(options.out)
    if out.suffix != ".npz":
        raise InputError(f"`out` must end in .npz. Got `{out}`: name it `{out.with_suffix('.npz')}`.")
    weight, bias, dtype = read_head(options.head, dtype=options.dtype, device=options.device)
    with held(out.parent, file=out.name):
        result = streaming_saliency(
            options.features, options.student_logits, weight, bias, score=options.score, dtype=dtype,
            jobs=options.jobs, state=out.with_suffix(".partial.npz") if options.resume else None,
            progress=not options.quiet,
        )  # fmt: skip
        result.save(out)
    announce("Wrote", out)
    columns = ["channel", "scaled", "increase", "followed", "importance", "stderr_data"]
    rows = result.frame().sort_values("rank").head(10)[columns].to_dict("records")
    shown = [{name: f"{row[name]:.4g}" for name in columns} for row in rows]
    print(table(shown, columns))  # noqa: T201
    negative = int((result.increase < 0).sum())
    counts = f"{result.num_samples} samples, {result.num_channels} channels"
    print(f"\n{counts}, {negative} with a negative increase")  # noqa: T201
