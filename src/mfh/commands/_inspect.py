"""Print what a data file contains, and what `mfh study` would do with it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from mfh._checks import InputError
from mfh.commands._options import table
from mfh.commands._sources import load_data
from mfh.config import StudyConfig

if TYPE_CHECKING:
    from mfh.data.paired import PairedDataset


def inspect(options: Namespace) -> None:
    """Print what a file contains; for a table without `--modality`, its columns.

    Raises:
        InputError: the file cannot be read as data of a study.
    """
    from mfh.data.inspection import inspect_columns, inspect_samples
    from mfh.data.tables import is_table, read_table

    if is_table(options.file) and not options.modality:
        frame = read_table(options.file, delimiter=options.delimiter, decimal=options.decimal)
        print(f"{len(frame):,} rows\n\n{table(inspect_columns(frame), _COLUMNS)}\n")  # noqa: T201
        print(  # noqa: T201
            "Name the columns of each modality, and the label: mfh data inspect "
            f"{options.file} --modality NAME=COLUMN,COLUMN NAME=COLUMN --label COLUMN"
        )
        return
    asked = {"data": options.file, "impute": options.impute or ("median" if is_table(options.file) else None)}
    data = load_data(Namespace(**{**vars(options), **asked, "teacher": None, "student": None}))
    print("\n  ".join(repr(data).split("\n  ")))  # noqa: T201
    for line in inspect_samples(data):
        print(f"- {line}")  # noqa: T201
    print(f"\n`mfh study --data {Path(options.file)}` would do this:")  # noqa: T201
    for line in _study_lines(data):
        print(f"- {line}")  # noqa: T201


_COLUMNS = ("column", "kind", "missing", "different", "example")


def _study_lines(data: "PairedDataset") -> Iterator[str]:
    """Yield what a study with default options would do."""
    from mfh._study.design import Design
    from mfh.data.selection import usable_only

    config = StudyConfig()
    names = list(data.modalities)
    if len(names) == 2:
        data = usable_only(data, names[0], names[1], "a study")
        config = replace(config, teacher=names[0], student=names[1])
    if len(names) > 2:
        yield f"it needs --teacher and --student, two of {', '.join(names)};"
    else:
        yield f"the teacher sees {names[0]}, the student {names[1]}; --teacher and --student exchange them;"
    yield f"the metric is {data.kind.metric};"
    design = Design.of(data, config)
    try:
        split = design.draw(data, config, config.seed)
    except InputError as error:
        yield f"it would be refused: {error}"
        return
    how = "the split of the data"
    if design.kind == "kfold":
        how = f"{design.repeats} repeats of {design.folds} folds"
    together = ", with the samples of a group together" if data.group is not None else ""
    yield f"{len(design.seeds)} fits, by {how}{together};"
    train, test = f"{len(split.train):,}", f"{len(split.test):,}"
    if len(split.validation):
        held = f"{len(split.validation):,}"
        yield f"the first fit trains on {train} samples, chooses by {held} and tests on {test}."
        return
    yield (
        f"the first fit trains on {train} pairs, {len(split.learnt):,} of them with a label, and tests on "
        f"{test}: labels are missing, so teachers of both modalities teach on all pairs."
    )
