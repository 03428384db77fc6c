"""Options for data and networks: a file or a class for the data, classes for the networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import InputError, listing, require
from mfh._system.import_paths import ClassSpec
from mfh._system.paths import expanded
from mfh.commands._options import GIVEN

if TYPE_CHECKING:
    from mfh.data.paired import PairedDataset
    from mfh.results import StudyResult

MODULE = "torch.nn.Module"
NETWORKS = ("teacher_network", "student_network")
_CLASS = "an import path, or in a config `class_path` and `init_args`"
_MORE = {"teacher_network": ", also `checkpoint` (a file of weights) and `frozen: true`"}


def add_sources(parser: ArgumentParser, *, required: bool = True) -> None:
    """Add the options that name data and networks."""
    parser.add_argument(
        "--data",
        type=str | dict,
        required=required,
        default=None,
        metavar="FILE",
        help="npz with one array per modality, or csv or parquet with --modality; in a config also "
        "`class_path` and `init_args` of a map-style dataset of paired samples, or of a function that "
        "returns a mfh.PairedDataset",
    )
    for side in NETWORKS:
        parser.add_argument(
            "--" + side.replace("_", "-"),
            type=str | dict | None,
            default=None,
            metavar="CLASS",
            help=f"network of the {side.partition('_')[0]}: {_CLASS}{_MORE.get(side, '')}; by default a "
            "multilayer perceptron",
        )
    add_columns(parser)
    parser.class_options = {"data": None} | dict.fromkeys(NETWORKS, MODULE)  # type: ignore[attr-defined]


def add_columns(parser: ArgumentParser) -> None:
    """Add the options that say what the arrays or columns of a file are."""
    parser.add_argument(
        "--modalities",
        type=str,
        nargs="+",
        default=None,
        metavar="NAME",
        help="names of the modalities to use; required, in their order, if samples are tuples",
    )
    columns = {
        "label": ("label", "name of the labels"),
        "group": (
            None,
            "name of the groups (actors, patients), each in one split; by default `group` if an npz has it",
        ),
        "split": (
            None,
            "name of the array with train, validation or test; by default `split` if an npz has it; `none` "
            "ignores it",
        ),
        "id": (None, "name of the sample ids; by default `id` if an npz has it"),
        "weight": (
            None,
            "name of the samples' weights, for losses and metrics; by default `weight` if an npz has it; "
            "`none` ignores it",
        ),
        "fold-column": (None, "name of an array with folds of your own, for cross-validation"),
        "split-by-time": (None, "name of an array with a time for each sample: tests on the last fifth only"),
    }
    for column, (default, text) in columns.items():
        parser.add_argument(f"--{column}", type=str, default=default, metavar="NAME", help=text)
    _add_table(parser)
    parser.add_argument(
        "--ignore-index", type=int, default=None, metavar="INT",
        help="value of the positions of dense labels that have no class (default: 255)",
    )  # fmt: skip


def _add_table(parser: ArgumentParser) -> None:
    """Add the options for a csv or parquet file."""
    parser.add_argument(
        "--modality", type=str, nargs="+", action="extend", default=None, metavar="NAME=COLUMNS",
        help="for a csv or parquet file: the columns of each modality, by name or pattern, such as "
        "lab=crp,wbc 'vitals=vital_*'",
    )  # fmt: skip
    parser.add_argument(
        "--impute", type=str, default=None, metavar="{median}",
        help="what replaces missing numbers of a table: the median of the training samples; by default they "
        "are refused",
    )  # fmt: skip
    parser.add_argument(
        "--delimiter", type=str, default=None, metavar="CHARACTER",
        help="what separates the values of a csv (default: a comma; in a .tsv a tab)",
    )  # fmt: skip
    parser.add_argument("--decimal", type=str, default=".", metavar="CHARACTER", help="decimal sign of a csv")


TABLE_OPTIONS = ("modality", "impute", "delimiter", "decimal")


def load_data(options: Namespace) -> "PairedDataset":
    """Load the data that the options name.

    Raises:
        InputError: the file, the class or what it returns breaks a rule.
    """
    from mfh.data.paired import PairedDataset
    from mfh.data.tables import is_table, parse_modalities, read_table

    columns = {
        "group": options.group, "split": options.split, "id": options.id,
        "fold": options.fold_column, "time": options.split_by_time, "weight": options.weight,
    }  # fmt: skip
    task = None if options.get("task", "auto") == "auto" else options.task
    labels = {"label": options.label, "ignore_index": options.ignore_index}
    if not isinstance(options.data, str):
        made = ClassSpec.parse(plain_spec(options.data))()
        if isinstance(made, PairedDataset):
            return made
        given = {role: name for role, name in columns.items() if name not in (None, "none")}
        require(
            not {"fold", "time"} & given.keys(),
            "`fold_column` and `split_by_time` need an npz: give folds or splits in your dataset.",
        )
        return PairedDataset.from_torch(made, modalities=options.modalities, task=task, **labels, **given)
    if is_table(options.data):
        require(
            options.ignore_index is None and options.modalities is None,
            "`ignore_index` and `modalities` are for arrays. Leave them out for a table: `modality` names "
            "the columns of each modality.",
        )
        table = read_table(options.data, delimiter=options.delimiter, decimal=options.decimal)
        return PairedDataset.from_frame(
            table,
            parse_modalities(options.modality or ()),
            label=options.label,
            task=task,
            impute=options.impute,
            **{role: None if name == "none" else name for role, name in columns.items()},
        )
    unused = [name for name in TABLE_OPTIONS if options[name] not in (None, ".")]
    require(
        not unused,
        f"{listing(unused)} must be left out for `{options.data}`, which is no table (csv, tsv or parquet).",
    )
    return PairedDataset.from_npz(
        options.data, modalities=_modalities(options), task=task, **labels, **columns
    )


def networks(options: Namespace) -> tuple[ClassSpec | None, ClassSpec | None]:
    """Return what makes the teacher's and the student's network; None for a default network.

    Raises:
        InputError: a class or an argument of it is wrong.
    """
    made = []
    for side in NETWORKS:
        value, given = without_given(options[side], side)
        spec = None if value is None else ClassSpec.parse(plain_spec(value))
        broken = [] if spec is None else spec.problems(MODULE)
        require(not broken, f"`{side}`: {' '.join(text for _, text in broken)}")
        if spec is not None and given.get("checkpoint"):
            from mfh.models.pretrained import Pretrained  # torch, only if it is needed

            path = expanded(str(given["checkpoint"]), "checkpoint")
            spec = Pretrained(spec.class_path, spec.init_args, path)
        made.append(spec)
    return made[0], made[1]


def frozen_teacher(options: Namespace) -> dict[str, bool]:
    """Return the option `frozen_teacher` if the teacher's network is `frozen`; else nothing."""
    _, given = without_given(options.teacher_network, "teacher_network")
    frozen = given.get("frozen", False)
    require(isinstance(frozen, bool), f"`frozen` must be true or false. Got {frozen!r}.")
    return {"frozen_teacher": True} if frozen else {}


def without_given(value: Any, side: str) -> tuple[Any, dict[str, Any]]:
    """Return the class of a network with its arguments, and apart from them what `GIVEN` lists."""
    value = value.as_dict() if isinstance(value, Namespace) else value
    names = GIVEN.get(side, ())
    if not isinstance(value, Mapping):
        return value, {}
    rest = {name: part for name, part in value.items() if name not in names}
    return rest, {name: value[name] for name in names if name in value}


def described(options: Namespace) -> dict[str, Any]:
    """Return data and networks as plain values, for the results of a run."""
    data = (
        options.data if isinstance(options.data, str) else ClassSpec.parse(plain_spec(options.data)).to_dict()
    )
    columns = {
        name: options[name]
        for name in (
            "label",
            "group",
            "split",
            "id",
            "weight",
            "fold_column",
            "split_by_time",
            "modalities",
            "ignore_index",
            *TABLE_OPTIONS,
        )
    }
    made = (None if spec is None else spec.to_dict() for spec in networks(options))
    columns["modalities"] = _modalities(options)
    here = str(Path.cwd())
    return {"data": data, **columns, **dict(zip(NETWORKS, made, strict=True)), "folder": here}


def name_source(result: "StudyResult", options: Namespace) -> "StudyResult":
    """Add the sources of its data and networks to a result."""
    return result.with_sources(described(options))


def _modalities(options: Namespace) -> list[str] | None:
    """Return the arrays to use: those that are named, else of an npz the teacher's and the student's."""
    from mfh.data.tables import is_table

    if options.modalities or not isinstance(options.data, str) or is_table(options.data):
        return options.modalities
    teacher = options.get("teacher_logits") or options.teacher
    if teacher is None or options.student is None:
        return None
    names = [teacher] if isinstance(teacher, str) else list(teacher)
    if len(names) == 1 and "+" in names[0]:
        from mfh.data.parts import split_name  # torch, only if it is needed

        try:
            names = list(split_name(names[0], _known(options)))
        except InputError:  # raised again by whoever reads the data, with the names of its modalities alone
            return None
    return list(dict.fromkeys([*names, options.student]))


def _known(options: Namespace) -> list[str]:
    """Return the names that modalities of a file can have; none if it cannot be read."""
    from mfh.data.npz import array_names
    from mfh.data.tables import is_table, parse_modalities

    if is_table(options.data):
        return list(parse_modalities(options.modality or ()))
    return array_names(options.data)


def plain_spec(value: Any) -> Any:
    """Return a class and its arguments as plain values.

    `--teacher-network.width 9` puts `width` beside `class_path`: it is an argument of the class.
    """
    value = value.as_dict() if isinstance(value, Namespace) else value
    if not (isinstance(value, Mapping) and isinstance(value.get("init_args") or {}, Mapping)):
        return value
    known = {name: part for name, part in value.items() if name in ("class_path", "init_args")}
    more = {name: part for name, part in value.items() if name not in known}
    return {**known, "init_args": {**(value.get("init_args") or {}), **more}} if more else known
