"""Make options of config classes: each field becomes a flag, with its type and its text in the docstring."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from mfh._checks import IncompleteError
from mfh._system.paths import expanded
from mfh.commands._output import announce

if TYPE_CHECKING:
    from mfh.results import RunResult, StudyResult


GIVEN = {"teacher_network": ("checkpoint", "frozen")}
"""What a network may have beside its class and arguments: a file of weights, and whether they stay."""
NO_IMPORTS = "--no-imports"
PRINT_CONFIG = ("--print-config", "--print_config")
"""The flag, and its spelling in earlier versions."""
PATHS = ("FILE", "DIR", "PATH", "PATH_OR_URL", "DIR|TARS", "FILE|N")
"""What `--help` calls the value of an option that is a path."""


def add_common(parser: ArgumentParser, *, config: bool = True) -> None:
    """Add the flags that every command has."""
    if config:
        parser.add_argument(
            "--config", type=str, default=None, metavar="FILE", help="YAML file with any of these options"
        )
        parser.add_argument(
            PRINT_CONFIG[0], action="store_true", help="print all options as YAML, explained, and exit"
        )
        parser.add_argument(
            NO_IMPORTS,
            action="store_true",
            help="for files of others: allow only networks of mfh.models and torch.nn, and in a file no "
            "cluster, tracker or path outside its folder",
        )
    parser.add_argument(
        "--quiet",
        action=ActionYesNo(yes_prefix="", no_prefix="no-"),
        default=False,
        help="show no progress and no messages, only warnings, results and the paths of what was written",
    )


def path_options(parser: ArgumentParser) -> set[str]:
    """Return the names of a command's options that are paths."""
    return {action.dest for action in parser._actions if action.metavar in PATHS}


def expand_paths(parser: ArgumentParser, options: Namespace) -> None:
    """Replace `~` and variables in every path of a command's options; a shell does so in some places only.

    Raises:
        InputError: there is no such user or variable.
    """
    for name in path_options(parser):
        value = options.get(name)
        if isinstance(value, str):
            options[name] = expanded(value, name)
        elif isinstance(value, list):
            options[name] = [expanded(item, name) for item in value]


def merge_parts(parser: ArgumentParser, options: Namespace, words: Sequence[str]) -> None:
    """Join the parts of a mapping that several flags, or a file and a flag, set.

    `--loss-options.dkd.beta 4` keeps the other options of a file; `--teacher-network.width 9` keeps the class
    of a file, or of the flag `--teacher-network mine.Teacher`.
    """
    parts = (word[2:].partition("=")[0] for word in words if word.startswith("--"))
    for name in {part.partition(".")[0].replace("-", "_") for part in parts if "." in part}:
        if isinstance(options.get(name), Mapping | Namespace):
            before, given = parser.get_default(name), options[name]
            if name in getattr(parser, "class_options", ()):
                before = _path_of_flag(name, words) or before
                before = {"class_path": before} if isinstance(before, str) else before
                given = given.as_dict() if isinstance(given, Namespace) else given
                given = _with_types(before, given, GIVEN.get(name, ()))
            options[name] = _merged(before, given)


def _with_types(
    before: Mapping[str, Any] | None, given: Mapping[str, Any], kept: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Return arguments of a class that flags give as text, by their types; those in a mapping have theirs.

    What is named in `kept` stands beside the arguments.
    """
    path = (before or {}).get("class_path")
    if path is None or "class_path" in given:
        return given
    from mfh.commands._values import argument_values  # PyYAML, only if it is needed

    words = {"true": True, "false": False}
    own = {name: words.get(value, value) for name, value in given.items() if name in kept}
    beside = {name: value for name, value in given.items() if name not in ("init_args", *kept)}
    return own | {"init_args": argument_values(path, {**given.get("init_args", {}), **beside})}


def _path_of_flag(name: str, words: Sequence[str]) -> str | None:
    """Return the import path that a flag gives; None if there is no such flag, or it gives a mapping."""
    found, flag = None, "--" + name.replace("_", "-")
    for place, word in enumerate(words):
        if word.partition("=")[0] == flag:
            found = word.partition("=")[2] or (words[place + 1] if place + 1 < len(words) else None)
    return None if found is None or found.lstrip().startswith("{") else found


def _merged(old: Any, new: Any) -> Any:
    old, new = (value.as_dict() if isinstance(value, Namespace) else value for value in (old, new))
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}


def add_config(parser: ArgumentParser, config: type, *, skip: Iterable[str] = ()) -> None:
    """Add one flag per field of a config class."""
    parser.configs = [*getattr(parser, "configs", ()), config]  # type: ignore[attr-defined]
    hints, texts = get_type_hints(config), field_texts(config)
    own = list(inspect.get_annotations(config))  # a class's own fields come before those of its bases
    for spec in sorted(fields(config), key=lambda spec: spec.name not in own):
        if spec.name not in skip:
            _add_field(parser, spec, hints[spec.name], texts.get(spec.name, "").rstrip("."))


def _add_field(parser: ArgumentParser, spec: Field[Any], hint: Any, text: str) -> None:
    default = spec.default
    if default is MISSING:
        default = None if spec.default_factory is MISSING else spec.default_factory()
    flag, plain = "--" + spec.name.replace("_", "-"), _plain(hint)
    if hint is bool:
        parser.add_argument(
            flag, action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=default, help=text
        )
    elif getattr(get_origin(plain), "__name__", "") in ("list", "Sequence"):
        inner = get_args(plain)[0]
        values = list(default) if default is not None else None
        parser.add_argument(
            flag, type=inner, nargs="+", default=values, help=text, metavar=inner.__name__.upper()
        )
    else:
        choices = "{" + ",".join(str(arg) for arg in get_args(plain)) + "}"
        metavar = choices if get_origin(plain) is Literal else plain.__name__.upper()
        parser.add_argument(flag, type=hint, default=default, help=text, metavar=metavar)


def _plain(hint: Any) -> Any:
    """Return T of a type `T | None`, and any other type as it is."""
    inner = [arg for arg in get_args(hint) if arg is not type(None)]
    return inner[0] if len(inner) < len(get_args(hint)) else hint


def field_texts(config: type) -> Mapping[str, str]:
    """Return the text of each field in the docstrings of a config class and its bases, each on one line."""
    texts: dict[str, str] = {}
    for base in reversed(config.__mro__):
        for param in docstring_parser.parse(inspect.getdoc(base) or "").params:
            texts[param.arg_name] = " ".join((param.description or "").split())
    return texts


def make_config(config: type, options: Namespace, **given: Any) -> Any:
    """Make a config of the options that are named like its fields."""
    values = {
        spec.name: getattr(options, spec.name) for spec in fields(config) if hasattr(options, spec.name)
    }
    return config(**{**values, **given})


def finish(result: "RunResult", out: Path, *, saved: bool = False) -> None:
    """Write a run's results, unless they are `saved`, report and figures, and name the report."""
    from mfh._report import write_report

    if not saved:
        result.save(out)
    page, *_ = write_report(result, out, figures=out / "figures")
    announce("The report:", page)


def require_complete(result: "StudyResult") -> None:
    """Raise `IncompleteError` if fits are missing, with their errors and the way out."""
    from mfh._report.wording import plural
    from mfh.results import fit_words

    if not result.missing:
        return
    lost = [failure for failure in result.failed_seeds if failure.missing]
    errors = "; ".join(
        f"{fit_words(f.seed)} failed in {plural(f.tries, 'try', 'tries')} ({f.error.rstrip('.')})"
        for f in lost
    )
    planned = len(lost) + len({record.seed for record in result.records})
    raise IncompleteError(
        f"{len(lost)} of {planned} fits are missing from the results: {errors}. Repeat the command to run "
        f"{'it' if len(lost) == 1 else 'them'} again: what is finished is kept."
    )


def summary_table(result: "StudyResult") -> str:
    """Write the students' metric as a table: that which chose their epochs, for every arm, ratio and loss."""
    metric = result.metrics[0].name
    rows = [asdict(row) for row in result.summary if row.metric == metric]
    varies = {
        "metric": metric != "accuracy",
        "loss": len({row["loss"] for row in rows}) > 1,
        "ratio": any(row["ratio"] is not None for row in rows),
    }
    return table(rows, ["arm", *(name for name in varies if varies[name]), "n", "mean", "low", "high"])


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Write a table as plain text: text to the left, numbers with two decimals to the right.

    >>> print(table([{"arm": "no-kd", "mean": 80.0}, {"arm": "joint", "mean": None}], ["arm", "mean"]))
    arm     mean
    no-kd  80.00
    joint      -
    """
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max([len(name), *(len(line[i]) for line in cells)]) for i, name in enumerate(columns)]
    numeric = [not any(isinstance(row.get(name), str) for row in rows) for name in columns]

    def line(texts: Sequence[str]) -> str:
        parts = (
            t.rjust(w) if right else t.ljust(w) for t, w, right in zip(texts, widths, numeric, strict=True)
        )
        return "  ".join(parts).rstrip()

    return "\n".join(line(texts) for texts in (columns, *cells))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
