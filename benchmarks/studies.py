"""Write the tables of docs/results.md from the folders of its studies.

    python -m benchmarks.studies --runs out

The page names each table and its studies in a comment, such as `<!-- table: by-arm pix-zer-w0 -->`, and ends
it with `<!-- end of the table -->`. What is between them is replaced. A table of a study that has no folder
is left as it is, and named. `verdicts` counts the verdicts of all studies of `STUDIES`.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._coverage_markdown import table
from benchmarks._few_tables import FEW_TABLES, points
from benchmarks._fit_tables import FIT_TABLES, gain
from benchmarks._study_tables import TABLES, Study, Table, gain_of, verdict
from mfh._system.files import write_json

RECORD = Path(__file__).with_name("studies.json")
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
BLOCK = re.compile(r"<!-- table: (?P<name>\S+)(?P<runs>[^>]*) -->\n.*?<!-- end of the table -->", re.DOTALL)
WORDS = ("help", "hurt", "no-effect", "abstain")


@dataclass(frozen=True)
class Listed:
    """A study of the page.

    Attributes:
        name: as the page calls it.
        before: its verdict with random splits and the intervals of Nadeau and Bengio.
        run: folder of the study of ten fits; empty if it was not run again.
        until: folder of the study that goes on until it is decided; empty if there is none.
    """

    name: str
    before: str
    run: str = ""
    until: str = ""


STUDIES = (
    *(
        Listed(
            f"{pair.replace('-', ' → ')}, {words}",
            "hurt" if (pair, weight) == ("mfcc-au", 0) else "abstain",
            f"{pair}-w{weight}",
            f"until-{pair}-w{weight}",
        )
        for weight, words in ((0, "soft labels"), (1, "labels too"))
        for pair in ("pix-zer", "fou-zer", "fac-fou", "mor-fou", "mfcc-au", "au-mfcc")
    ),
    Listed("losses, pix → zer", "abstain", "losses-pix-zer", "until-losses-pix-zer"),
    Listed("losses, mfcc → au", "abstain", "losses-mfcc-au", "until-losses-mfcc-au"),
    Listed("losses, au → mfcc", "abstain", "losses-au-mfcc", "until-losses-au-mfcc"),
    Listed("diabetes, soft targets", "hurt", "diabetes", "until-diabetes"),
    Listed("diabetes, targets too", "abstain", "diabetes-w1", "until-diabetes-w1"),
    Listed("music", "abstain", "music", "until-music"),
    Listed("Earth", "hurt", "earth", "until-earth"),
    Listed("AV-MNIST", "abstain", "avmnist"),
    Listed("RAVDESS clips", "abstain", "ravdess-clips"),
    Listed("GRID", "abstain", "grid"),
)
"""The studies of the page, in its order."""


def main() -> int:
    """Write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--runs", type=Path, default=Path("out"), help="folder of the study folders")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table differs")
    options = parser.parse_args()
    text = options.page.read_text(encoding="utf-8")
    made, absent = fill(text, load(options.runs))
    for name in absent:
        print(f"No folder: {name}. Its tables are left as they are.")
    if options.check:
        return int(made != text)
    options.page.write_text(made, encoding="utf-8")
    kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    write_json(RECORD, dict(sorted((kept | few_records(load(options.runs))).items())))
    return 0


def few_records(studies: Mapping[str, Study]) -> dict[str, dict[str, dict[str, float | str]]]:
    """Return labels, gain and verdict of studies with few labels by percent of the labels, and of searches.

    README and documentation take their numbers from here; see docs/figures.py.
    """
    found: dict[str, dict[str, dict[str, float | str]]] = {}
    ends = ("difference", "low", "high")
    for name, study in studies.items():
        if study["kind"] == "fit":
            about = {"labels": round(study["labels"]["labelled"]), "verdict": study["verdict"]["verdict"]}
            found[name] = {"search": about | {key: gain(study)[key] for key in ends}}
            continue
        for point in points(study) if study.get("labels") else ():
            row = next(row for row in point["declared"] if row["question"] == 1)
            found.setdefault(name, {})[f"{100 * float(point['count']):g}"] = {
                "labels": round(point["labels"]),
                "verdict": point["verdict"],
                **{key: row[key] for key in ends},
            }
    return found


def load(folder: Path) -> dict[str, Study]:
    """Return the results of all studies below a folder, by name."""
    files = sorted(folder.glob("*/results.json"))
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}


def fill(text: str, studies: Mapping[str, Study]) -> tuple[str, list[str]]:
    """Return a page with its tables made anew, and the names of studies that are absent."""
    absent: dict[str, None] = {}

    def make(block: re.Match[str]) -> str:
        name, runs = block["name"], block["runs"].split()
        needed = [study.run for study in STUDIES if study.run] if name == "verdicts" else runs
        missing = [run for run in needed if run not in studies]
        absent.update(dict.fromkeys(missing))
        if missing:
            return block[0]
        found = (
            verdicts(studies)
            if name == "verdicts"
            else (TABLES | FEW_TABLES | FIT_TABLES)[name]([studies[r] for r in runs])
        )
        head = block[0].partition("\n")[0]
        return f"{head}\n\n{table(*found)}\n\n<!-- end of the table -->"

    return BLOCK.sub(make, text), list(absent)


def verdicts(studies: Mapping[str, Study], listed: Sequence[Listed] = STUDIES) -> Table:
    """Return the verdict of every study: before, with ten fits, and until decided."""
    counts, rows = [Counter[str]() for _ in range(3)], []
    for study in listed:
        counts[0][study.before] += 1
        row = [study.name, f"`{study.before}`"]
        for count, run in zip(counts[1:], (study.run, study.until), strict=True):
            found = studies.get(run)
            if found is None:
                row += ["not run", ""]
            else:
                count[found["verdict"]["verdict"]] += 1
                row += [verdict(found), str(gain_of(found)["n"])]
        rows.append(row)
    total = [", ".join(f"{count[word]} `{word}`" for word in WORDS) for count in counts]
    rows.append(["**all**", total[0], total[1], "", total[2], ""])
    return ("study", "before", "ten fits", "fits", "until decided", "fits"), rows


if __name__ == "__main__":
    sys.exit(main())
