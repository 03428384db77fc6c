"""Draw the pictures of the documentation from real runs; `make docs` calls it.

They are drawn again only if mfh, this file, the measurements or the pages that define the runs have changed.

    python docs/pictures.py docs/_pictures
"""

import contextlib
import hashlib
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import numpy as np  # noqa: E402
from doc_blocks import Block, blocks  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import mfh as mfh_package  # noqa: E402
from mfh import SaliencyResult  # noqa: E402
from mfh._report.style import BLUE, MUTED, ORANGE, style  # noqa: E402
from mfh.cli import main as mfh  # noqa: E402

FIGURES = ("fig2", "fig3")
BENCHMARKS = HERE.parent / "benchmarks" / "results.json"


def draw(out: Path) -> None:
    """Draw all pictures into `out`; the files in its folder `extra` are copied to the site."""
    out = out.resolve()
    stamp, key = out / "drawn-from", _fingerprint()
    if stamp.exists() and stamp.read_text() == key:
        return
    rmtree(out, ignore_errors=True)
    runs = out / "runs"
    runs.mkdir(parents=True)
    (out / "extra").mkdir()
    for name in FIGURES:
        _run(["gaussian", name, "--out", str(runs / name), "--quiet"])
        copyfile(runs / name / "figures" / f"{name}.svg", out / f"{name}.svg")
    _draw_channels(out / "channels.svg")
    _draw_study(runs, out)
    with style():
        figure = growth_figure(json.loads(BENCHMARKS.read_text())["streaming_saliency"]["growth"])
        figure.savefig(out / "growth.svg", metadata={"Date": None})
    stamp.write_text(key)


def _fingerprint() -> str:
    """Return a checksum of everything that the pictures depend on, except other libraries."""
    digest = hashlib.sha256()
    for path in (Path(__file__), HERE / "five-minutes.md", HERE / "quickstart.md", BENCHMARKS):
        digest.update(path.read_bytes())
    for path in sorted(Path(mfh_package.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _draw_channels(path: Path) -> None:
    """Run the first code block of the page on MFH, and draw the scores of its 30 channels."""
    code = _python(HERE / "five-minutes.md")[0].code
    names: dict[str, Any] = {}
    exec(compile(code, "five-minutes.md", "exec"), names)  # noqa: S102 - our own page
    with style():
        channel_figure(names["alone"], names["joint"]).savefig(path, metadata={"Date": None})


def channel_figure(alone: SaliencyResult, joint: SaliencyResult) -> Figure:
    """Draw three scores of a teacher trained alone, and of one trained jointly."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    rows = figure.subplots(2, 3, sharex=True, sharey="row")
    colours = [BLUE] * 10 + [ORANGE] * 10 + [MUTED] * 10
    for axes, result, name in zip(rows, (alone, joint), ("teacher alone", "joint teacher"), strict=True):
        for ax, values in zip(axes, (result.importance, result.increase, result.followed), strict=True):
            ax.bar(range(len(values)), values, color=colours, width=0.8)
            ax.axhline(0, color=MUTED, linewidth=0.7)
        axes[0].set_ylabel(name)
    titles = ("importance\n(ignores the student)", "increase\n(the paper's saliency)", "followed")
    for ax, title in zip(rows[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    for ax in rows[1]:
        ax.set_xlabel("channel")
    labels = ("decisive, both see it", "decisive, only the teacher sees it", "noise")
    handles = [rows[0, 0].bar(0, 0, color=colour) for colour in (BLUE, ORANGE, MUTED)]
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def growth_figure(growth: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw seconds against samples, channels and classes, with lines of slope 1 and the fitted exponents."""
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    row = figure.subplots(1, len(growth), sharey=True)
    for ax, (name, measured) in zip(row, growth.items(), strict=True):
        x, y = np.asarray(measured["values"], float), np.asarray(measured["seconds"], float)
        middle = np.exp(np.log(y / x).mean())
        ax.plot(x, middle * x, color=MUTED, linewidth=1)
        ax.plot(x, y, "o", color=BLUE)
        ax.set(xscale="log", yscale="log", xlabel="classes" if name == "outputs" else name)
        ax.set_xticks(x, [f"{int(value):,}" for value in x], rotation=30)
        ax.minorticks_off()
        ax.set_title(f"exponent {measured['exponent']:.2f}", fontsize=10)
    ticks = [0.5, 1, 2, 4, 8, 16]
    low, high = row[0].get_ylim()
    shown = [tick for tick in ticks if low <= tick <= high]
    row[0].set_yticks(shown, [f"{tick:g}" for tick in shown])
    row[0].set_ylabel("seconds")
    return figure


def _draw_study(runs: Path, out: Path) -> None:
    """Run the study of the quick start, and copy its figures and its report."""
    page = HERE / "quickstart.md"
    command = next(c for b in blocks(page) if b.reason is None for c in b.commands)
    with contextlib.chdir(runs):
        exec(compile(_python(page)[0].code, page.name, "exec"), {})  # noqa: S102 - our own page
        _run([*command.split()[1:], "--quiet"])
        study = Path(command.split("--out ")[1])
        for name in ("ratio", "differences", "saliency", "arms"):
            copyfile(study / "figures" / f"{name}.svg", out / f"{name}.svg")
        copyfile(study / "report.html", out / "extra" / "report.html")


def _python(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def _run(arguments: Sequence[str]) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = mfh(arguments)
    if status != 0:
        raise SystemExit(f"`mfh {' '.join(arguments)}` ended with status {status}: {printed.getvalue()}")


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    draw(Path(sys.argv[1]))
