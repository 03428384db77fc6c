"""`mfh report`: write the page of a run, of an unfinished run, or of several runs side by side."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh._checks import InputError, listing, one_line, require
from mfh._system.lock import held
from mfh.commands._options import add_common
from mfh.commands._output import announce

name = "report"
help = "write the HTML report of a run again, compare runs, export figures and tables"
description = """For one folder, write its report.html again. For a run that has not ended, show what is
finished, what is missing and how long it will take. For several folders, or a folder of runs, write one page
that compares them. Nothing is trained or computed again.

examples:
  mfh report out/pix-zer
  mfh report out/pix-zer --figures paper/figures --tables paper/tables
  mfh report out/pix-zer out/fou-zer --out comparison.html
"""
PAPER = (3.25, 6.75)  # inches: one column and two
logger = logging.getLogger(__name__)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh report`."""
    parser.add_argument(
        "folder", type=str, nargs="+", metavar="DIR", help="folders that runs wrote with --out"
    )
    parser.add_argument(
        "--out",
        type=str,
        default=None,
        metavar="FILE",
        help="the page (default: report.html in the folder; comparison.html in the folder of all runs)",
    )
    parser.add_argument(
        "--figures",
        type=str,
        default=None,
        metavar="DIR",
        help="folder for figures as SVG, PDF and PNG, 3.25 and 6.75 inches wide",
    )
    parser.add_argument(
        "--tables", type=str, default=None, metavar="DIR", help="folder for tables as LaTeX, Markdown and CSV"
    )
    add_common(parser, config=False)


def run(options: Namespace) -> None:
    """Write the page, and the figures and tables that were asked for."""
    from mfh._report.sections.unfinished import is_unfinished

    folders = [Path(folder) for folder in options.folder]
    if len(folders) == 1 and not _is_run(folders[0]):
        inside = sorted(path for path in folders[0].glob("*") if path.is_dir() and _is_run(path))
        if inside:
            _compare(inside, Path(options.out or folders[0] / "comparison.html"), options)
            return
    if len(folders) > 1:
        _compare(folders, Path(options.out or _common(folders) / "comparison.html"), options)
    elif is_unfinished(folders[0]):
        _show_unfinished(folders[0], options)
    else:
        _one(folders[0], options)


def _is_run(folder: Path) -> bool:
    from mfh._report.sections.unfinished import is_unfinished

    return folder.suffix == ".json" or (folder / "results.json").exists() or is_unfinished(folder)


def _one(folder: Path, options: Namespace) -> None:
    from mfh._report import write_report
    from mfh.results import load_results

    result = load_results(folder)
    home = folder.parent if folder.suffix == ".json" else folder
    with showing(folder), ExitStack() as locks:
        for name in ("figures", "tables"):
            if options[name]:
                locks.enter_context(held(options[name], name=name))
        page, *others = write_report(
            result,
            options.out or home / "report.html",
            figures=options.figures,
            tables=options.tables,
            widths=PAPER,
        )
    announce("The report:", page)
    if (home / "progress.json").exists():
        logger.info("A run in this folder has not ended: these are the results from before it.")
    for path in others:
        announce("Wrote", path)


@contextmanager
def showing(*folders: Path) -> Iterator[None]:
    """Turn errors in showing results, as after a change by hand, into one line.

    Raises:
        InputError: a page, a figure or a table of them cannot be made.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        logger.debug("%s", folders, exc_info=True)
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(
            f"The results of {listing(folders, limit=3)} cannot be shown: {reason}. Repeat the command that "
            "wrote them; if that does not help, it is a bug of mfh."
        ) from error


def _show_unfinished(folder: Path, options: Namespace) -> None:
    from mfh._report import report_unfinished

    require(
        not (options.figures or options.tables),
        f"`--figures` and `--tables` need results: the run in `{folder}` has not ended. Leave them out.",
    )
    with showing(folder):
        page, lines = report_unfinished(folder, options.out)
    print("\n".join(lines))  # noqa: T201
    announce("The report so far:", page)


def _compare(folders: list[Path], out: Path, options: Namespace) -> None:
    """Write one page about the runs that can be compared, and warn of the others."""
    from mfh._report import compare
    from mfh._report.sections.comparison import kinds_in_words, names_of
    from mfh._report.sections.unfinished import is_unfinished
    from mfh.results import StudyResult, load_results

    require(
        not (options.figures or options.tables),
        "`--figures` and `--tables` are made for one run at a time. Name one folder.",
    )
    runs, left_out = {}, {}
    for short, folder in zip(names_of([str(folder) for folder in folders]), folders, strict=True):
        try:
            result = load_results(folder)
        except InputError as error:
            left_out[short] = "It has not ended." if is_unfinished(folder) else str(error)
            continue
        if isinstance(result, StudyResult):
            runs[short] = result
        else:
            left_out[short] = f"It is a {result.kind} run: studies, searches and diagnoses are compared."
    for short, why in left_out.items():
        logger.warning("%s is left out. %s", short, why)
    require(len(runs) > 0, f"None of the {len(folders)} folders has the results of a study or a search.")
    with showing(*folders):
        announce(f"The comparison of {kinds_in_words(runs.values())}:", compare(runs, out, left_out))


def _common(folders: list[Path]) -> Path:
    """Return the innermost folder that contains all of them."""
    try:
        return Path(os.path.commonpath([folder.resolve().parent for folder in folders]))
    except ValueError:  # on several drives
        return Path()
