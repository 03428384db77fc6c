"""Do the intervals cover the truth? Simulated studies of populations whose true gains are known.

Each data set is drawn anew from its population and studied by repeated five-fold cross-validation. The
interval of the gain either covers the true gain or does not. Results are kept line by line in a folder: a run
that is stopped goes on where it was. The table is printed. With --keep it is written to coverage.json and
into the page docs/intervals.md. Nothing here is a time.

Example:
    python -m benchmarks.coverage --out out/coverage --minutes 30
    python -m benchmarks.coverage --out out/coverage --table
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks._coverage_markdown import markdown
from benchmarks._coverage_noise import STUDIES, noise_study
from benchmarks._coverage_numbers import summarize
from benchmarks._coverage_populations import POPULATIONS, Population
from benchmarks._coverage_study import simulate
from mfh._system.files import write_json
from mfh._system.lock import held

DATA_SETS = 300
AT_ONCE = 12
"""Data sets whose networks are trained in one call."""
RESULTS = Path(__file__).with_name("coverage.json")
PAGE = Path(__file__).parents[1] / "docs" / "intervals.md"
MARKS = "<!-- table: made by python -m benchmarks.coverage -->", "<!-- end of the table -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate for some minutes, then print the table."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [
        population
        for population in POPULATIONS
        if options.half in (None, population.half)
        and (not options.settings or any(word in population.name for word in options.settings))
    ]
    if not chosen:
        _parser().error(f"no setting has {' or '.join(options.settings)} in its name")
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        try:
            with held(options.out):
                run_some(options.out, chosen, options.data_sets, options.noise, options.minutes)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
    record = summarize(
        chosen,
        {p.name: read(file_of(options.out, p.name)) for p in chosen},
        read(options.out / "noise.jsonl"),
    )
    print(markdown(record))
    if options.keep:
        write_json(RESULTS, record)
        write_page(record)
    return 0


def run() -> None:
    """Make all simulations in the folder out/coverage and keep the record."""
    main(["--keep"])


def run_some(
    folder: Path,
    chosen: Sequence[Population],
    data_sets: int = DATA_SETS,
    noise: int = STUDIES,
    minutes: float = 180,
) -> None:
    """Simulate until every population has its data sets, or the time is over.

    Args:
        folder: one file for each population, one line for each data set.
        chosen: populations; the one with the fewest data sets is next.
        data_sets: how many each should have.
        noise: how many small studies of pure noise to make.
        minutes: how long to go on; what is under way is finished.
    """
    end = time.monotonic() + 60 * minutes
    done = len(read(folder / "noise.jsonl"))
    for number in range(done, noise):
        if time.monotonic() > end:
            return
        append(folder / "noise.jsonl", noise_study(number))
    while time.monotonic() < end:
        counts = {p: len(read(file_of(folder, p.name))) for p in chosen}
        population = min(chosen, key=lambda p: counts[p])
        start = counts[population]
        if start >= data_sets:
            return
        numbers = range(start, min(start + AT_ONCE, data_sets))
        for row in simulate(population, numbers):
            append(file_of(folder, population.name), row)
        print(
            f"{sum(counts.values()) + len(numbers)} of {data_sets * len(chosen)} data sets; "
            f"{population.name}: {start + len(numbers)}",
            file=sys.stderr,
            flush=True,
        )


def file_of(folder: Path, name: str) -> Path:
    """Return the file of a population."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return folder / f"{plain}.jsonl"


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one line to a file, in one piece."""
    with path.open("ab", buffering=0) as file:
        file.write((json.dumps(row) + "\n").encode())


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; a last line that was cut off is removed."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def write_page(record: dict[str, Any]) -> None:
    """Put the table into the page of the docs."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{markdown(record)}\n{MARKS[1]}{after}", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    text, _, example = str(__doc__).partition("Example:")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage",
        description=text,
        epilog="Example:" + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/coverage"), help="folder of the results (default: %(default)s)"
    )
    parser.add_argument(
        "--data-sets", type=int, default=DATA_SETS, help="data sets a setting (default: %(default)s)"
    )
    parser.add_argument(
        "--noise", type=int, default=STUDIES, help="small studies of pure noise (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=180, help="how long to simulate (default: %(default)s)"
    )
    parser.add_argument(
        "--settings", nargs="*", default=[], metavar="WORD", help="only settings with a word in their name"
    )
    parser.add_argument("--half", choices=("settle", "confirm"), help="only this half of the settings")
    parser.add_argument("--table", action="store_true", help="simulate nothing; print the table")
    parser.add_argument("--keep", action="store_true", help="write coverage.json and the page of the docs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
