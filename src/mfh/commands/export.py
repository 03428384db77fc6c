"""`mfh export`: write a student of a run to files that are ready for use."""

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import fail, require
from mfh._system.import_paths import ClassSpec, is_own_only, search_folder_of
from mfh._system.paths import is_inside
from mfh.commands._config import spec_paths
from mfh.commands._options import add_common
from mfh.commands._output import announce
from mfh.commands._sources import NETWORKS, add_sources, load_data, networks

name = "export"
help = "write a student of a run to files: weights, ONNX, a script, a model card"
description = """Write one student of a finished run: model.safetensors, model.pt2 (for torch.export.load),
model.onnx (with the extra `onnx`), predict.py, which needs no mfh, and README.md, a model card.
Standardisation is inside the network. The files are checked against the network on samples of the run. By
default the arm is the one that the verdict recommends, and the fit is the one with the best validation
metric. mfh.load_export(DIR) loads the student in Python, and `mfh predict` predicts.

Runs with students: mfh study, fit, ravdess, vggsound, avmnist, and the folder `out` of mfh.distill. Those of
mfh diagnose, gaussian and saliency have none to use elsewhere.

examples:
  mfh export out/pix-zer --to exported
  mfh export out/pix-zer --arm no-kd --calibrate temperature --to exported
  mfh export out/pix-zer --refit --to exported
  mfh export out/avmnist --arm both --to exported
  mfh export --config my.yaml --to exported
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh export`."""
    parser.add_argument(
        "run", type=str | None, nargs="?", default=None, metavar="DIR", help="folder of the run"
    )
    parser.add_argument(
        "--out",
        type=str | None,
        default=None,
        metavar="DIR",
        help="the same, as a config of the run names it",
    )
    parser.add_argument("--to", type=str, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--arm",
        type=str | None,
        default=None,
        metavar="NAME",
        help="arm of the study whose student is wanted; by default the one that the verdict recommends",
    )
    parser.add_argument(
        "--export-seed",
        type=int | None,
        default=None,
        metavar="INT",
        help="number of the fit; by default the one with the best validation metric",
    )
    parser.add_argument(
        "--export-loss",
        type=str | None,
        default=None,
        metavar="NAME",
        help="the distillation loss; by default the first one of the study",
    )
    parser.add_argument(
        "--calibrate",
        type=str | None,
        default=None,
        metavar="{none,temperature}",
        help="temperature: divide the scores by the temperature that fits them to validation samples (with "
        "few labels to held-out labels; the study must have had this option); by default as the study did",
    )
    parser.add_argument(
        "--refit",
        type=str | None,
        nargs="?",
        const="yes",
        default=None,
        metavar="all-labels",
        help="train the student once more, on all samples, with what validation chose; all-labels: use the "
        "labels that the study hid, too",
    )
    parser.add_argument(
        "--with-teacher",
        action="store_true",
        help="write the focused teacher of the arm too, into teacher/",
    )
    parser.add_argument(
        "--export-ratio",
        type=float | None,
        default=None,
        metavar="FLOAT",
        help="share of channels that this teacher loses; by default what its student was trained with",
    )
    add_sources(parser, required=False)
    add_common(parser)


def run(options: Namespace) -> None:
    """Write the files."""
    from mfh._export import export_run, load_run

    folder = options.run or options.out or fail("Name the folder of the run: `mfh export DIR --to DIR`.")
    found = load_run(folder)
    require(
        options.refit in (None, "yes", "all-labels"),
        f"`refit` must be given alone or as --refit all-labels. Got {options.refit!r}.",
    )
    trains = options.refit == "all-labels" or (bool(options.refit) and found.kind != "fit")
    needs_data = (trains or options.with_teacher) and found.kind != "distill"
    sources = _sources(options, found.config, folder) if needs_data or options.student_network else None
    teacher, student = (None, None) if sources is None else networks(sources)
    path = export_run(
        found,
        options.to,
        arm=options.arm,
        seed=options.export_seed,
        loss=options.export_loss,
        calibrate=options.calibrate,
        refit={"yes": True}.get(options.refit, options.refit),
        data=load_data(sources) if sources is not None and needs_data else None,
        student=student,
        with_teacher=options.with_teacher,
        teacher=teacher,
        ratio=options.export_ratio,
        command=sys.argv,
    )
    announce("Wrote", path)
    announce("The model card:", path.with_name("README.md"))


def _sources(options: Namespace, config: Any, folder: str) -> Namespace:
    """Return the options that name data and networks: those given here, else those that the run recorded."""
    recorded = config.get("sources")
    search_folder_of(recorded)
    given = {name: value for name, value in options.as_dict().items() if value is not None}
    require(
        not (options.refit or options.with_teacher) or options.data is not None or recorded is not None,
        f"`data` must be given: the run in {folder} was made from Python or by a command that does not "
        "record its data. Name data and networks as for `mfh study`, best by --config my.yaml.",
    )
    if recorded is not None:
        recorded = recorded | {"data": _found(recorded["data"], recorded.get("folder"))}
    if recorded is not None and options.data is None and is_own_only():
        _require_inside(recorded["data"], folder)
    if recorded is not None:  # an option replaces a recorded path: files move
        given = recorded | {name: given[name] for name in ("data", *NETWORKS) if name in given}
    named = {"teacher": config.get("teacher"), "student": config.get("student")}
    return Namespace(**{**options.as_dict(), **named, **given})


def _found(data: Any, folder: str | None) -> Any:
    """Return the recorded data; paths that are not here are those of the folder in which the run was made."""
    if folder is None:
        return data
    if isinstance(data, str):
        return data if Path(data).exists() else str(Path(folder) / data)
    spec = ClassSpec.parse(data)
    paths = {place[-1]: path for place, path in spec_paths(spec)}
    moved = {name: str(Path(folder) / path) for name, path in paths.items() if not Path(path).exists()}
    return ClassSpec(spec.class_path, {**spec.init_args, **moved}).to_dict()


def _require_inside(data: Any, folder: str) -> None:
    """Refuse data that results of somebody else name, unless they lie in the folder of these results."""
    paths = [data] if isinstance(data, str) else [path for _, path in spec_paths(ClassSpec.parse(data))]
    for path in paths:
        require(
            is_inside(path, Path(folder)),
            f"`data` {path}, which the results in {folder} name, is refused (--no-imports): it is outside "
            "their folder. If you want it, give it as --data.",
        )
