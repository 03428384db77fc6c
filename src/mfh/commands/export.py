"""`mfh export`: write a study's focused teacher and student to files."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import require
from mfh._system.import_paths import ClassSpec, is_own_only
from mfh._system.paths import is_inside
from mfh.arms import HEADLINE
from mfh.commands._config import spec_paths
from mfh.commands._options import add_common
from mfh.commands._output import announce
from mfh.commands._sources import NETWORKS, add_sources, load_data, networks

name = "export"
help = "write the focused teacher and the chosen student of a study to files"
description = """Write the focused teacher (teacher/model.safetensors, teacher/focus.json) and the chosen
student (student/model.safetensors, and student/program.pt2 for torch.export.load) of one seed of a finished
study. The files are read back, and their networks must give the same outputs. To load them in Python, call
mfh.load_export(DIR).

examples:
  mfh export --out out/pix-zer --to exported
  mfh export --config my.yaml --to exported --export-ratio 0.5
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh export`."""
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="folder of the study")
    parser.add_argument("--to", type=str, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--export-seed", type=int | None, default=None, metavar="INT", help="which seed (default: its first)"
    )
    parser.add_argument(
        "--arm",
        type=str,
        default=HEADLINE,
        metavar="NAME",
        help="arm of the study whose ranking decides which channels are removed",
    )
    parser.add_argument(
        "--export-ratio",
        type=float | None,
        default=None,
        metavar="FLOAT",
        help="share of removed channels; by default the one that validation chose",
    )
    add_sources(parser, required=False)
    add_common(parser)


def run(options: Namespace) -> None:
    """Write the files."""
    from mfh._export import export_study
    from mfh.results import load_results

    require(
        (Path(options.out) / "results.json").exists(),
        f"`out` must be the folder of a finished study. {options.out} has no results.json. The steps of "
        "`mfh ravdess` and `mfh vggsound` need no export: their networks are in checkpoints/seed-0000/.",
    )
    found = load_results(options.out)
    require(
        found.kind == "study",
        f"`out` must be the folder of a study. {options.out} contains a run of kind `{found.kind}`, "
        "which has no focused teacher and student.",
    )
    run_config = found.config
    recorded = run_config.get("sources")
    require(
        options.data is not None or recorded is not None,
        f"`data` must be given: the study in {options.out} was made from Python or by a command other than "
        "`mfh study`, which do not record it. Name data and networks as for `mfh study`, best by --config "
        "my.yaml. The weights of every seed are in checkpoints/.",
    )
    named = {"teacher": run_config.get("teacher"), "student": run_config.get("student")}
    given = {name: value for name, value in options.as_dict().items() if value is not None}
    if recorded is not None and options.data is None and is_own_only():
        _require_inside(recorded["data"], options.out)
    if recorded is not None:  # an option replaces a recorded path: files move
        given = recorded | {name: given[name] for name in ("data", *NETWORKS) if name in given}
    sources = Namespace(**{**options.as_dict(), **named, **given})
    teacher, student = networks(sources)
    path = export_study(
        options.out,
        load_data(sources),
        options.to,
        teacher=teacher,
        student=student,
        seed=options.export_seed,
        arm=options.arm,
        ratio=options.export_ratio,
    )
    announce("Wrote", path)


def _require_inside(data: Any, folder: str) -> None:
    """Refuse data that results of somebody else name, unless they lie in the folder of these results."""
    paths = [data] if isinstance(data, str) else [path for _, path in spec_paths(ClassSpec.parse(data))]
    for path in paths:
        require(
            is_inside(path, Path(folder)),
            f"`data` {path}, which the results in {folder} name, is refused (--no-imports): it is outside "
            "their folder. If you want it, give it as --data.",
        )
