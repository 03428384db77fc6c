"""Run benchmarks and print one table: `python -m benchmarks [name ...] [--check]`."""

import argparse
import importlib
import pkgutil
import sys
import time

import benchmarks
from benchmarks import _common

SLOWER = 1.25
BY_NAME = ("coverage", "diagnose")
"""Validations rather than timings, which take an hour: run when they are named."""


def names() -> list[str]:
    """The modules of this folder that hold a benchmark."""
    return [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_"]


def table(before: dict[str, dict]) -> str:
    """What this process recorded, beside the committed ratios."""
    rows = [("benchmark", "ratio", "baseline s", "ours s", "committed ratio")]
    for name, entry in _common.RECORDED.items():
        old = f"{before[name]['ratio']:,.1f}" if name in before else "-"
        rows.append(
            (name, f"{entry['ratio']:,.1f}", f"{entry['baseline']:,.3f}", f"{entry['ours']:,.3f}", old)
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def slower(before: dict[str, dict]) -> list[str]:
    """Names whose ratio fell below the committed one by more than a quarter."""
    return [
        name
        for name, entry in _common.RECORDED.items()
        if name in before and entry["ratio"] * SLOWER < before[name]["ratio"]
    ]


def main() -> int:
    """Parse, run, print; 1 when `--check` finds something slower."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"of {', '.join(names())}; all but {', '.join(BY_NAME)} when left out",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing and leave out what takes long; fail when something is more than 25%% slower",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names()):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    _common.KEEP = _common.FULL = not arguments.check
    before = _common.committed()
    for name in arguments.names or [name for name in names() if name not in BY_NAME]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        begin = time.perf_counter()
        importlib.import_module(f"benchmarks.{name}").run()
        print(f"{name} took {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    print(table(before))
    lost = slower(before)
    if lost:
        print(f"slower than the committed figure by more than {SLOWER - 1:.0%}: {', '.join(lost)}")
    return int(bool(lost) and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
