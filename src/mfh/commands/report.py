"""`mfh report`: the page of a finished run, made anew."""

import logging
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mfh.commands._options import add_common

name = "report"
help = "write the HTML report of a finished run again"
description = """Write report.html, and with --figures the figures, of a folder that a run wrote. Nothing is
trained or computed again.

example:
  mfh report out/pix-zer
"""
logger = logging.getLogger(__name__)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `mfh report`."""
    parser.add_argument("folder", type=str, help="the folder that a run wrote with --out")
    parser.add_argument(
        "--out", type=str, default=None, metavar="FILE", help="the page (default: report.html in the folder)"
    )
    parser.add_argument(
        "--figures", type=str, default=None, metavar="DIR", help="folder for SVG, PDF and PNG figures"
    )
    add_common(parser, config=False)


def run(options: Namespace) -> None:
    """Write the page."""
    from mfh._report import report, save_figures
    from mfh.results import load_results

    result = load_results(options.folder)
    path = report(result, options.out or Path(options.folder) / "report.html")
    logger.info("The report: %s", path)
    if options.figures:
        for figure in save_figures(result, options.figures):
            logger.info("%s", figure)
