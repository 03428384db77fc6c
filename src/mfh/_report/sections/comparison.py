"""The gains of several studies on one page: the verdict of each, and the options in which they differ."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mfh._report import style, wording
from mfh._report.section import Picture, Section, Summary
from mfh._report.sections.differences import gain_of, zone_words
from mfh._report.tables import Table, cell, label, plain_text, table
from mfh._report.view import TEACHER_WORDS
from mfh._report.wording import interval, number, plural, shorten, signed
from mfh._system.files import plain
from mfh.arms import BASELINE, HEADLINE, STACK
from mfh.results import StudyResult

HOW_NOT_WHAT = (
    "seeds", "seed", "repeats", "until", "max_repeats", "jobs", "backend", "address", "retries",
    "device", "engine", "tracker", "quiet",
)  # fmt: skip
"""Options in which runs of one design may differ."""

KINDS = {
    "study": ("study", "studies"),
    "fit": ("search", "searches"),
    "diagnosis": ("diagnosis", "diagnoses"),
}
"""Kinds of runs that can be compared, with their plural."""

HEAD_TEMPLATE = """
<header>
<p class="kicker">{{ page.kicker }}</p>
<h1>{{ s.title }}</h1>
<p class="lead">{{ s.headline }}</p>
</header>
"""


@dataclass(frozen=True)
class Runs:
    """Several studies.

    Attributes:
        results: name -> study.
        summaries: name -> the summary of its own page.
        left_out: name -> why it cannot be compared.
    """

    results: Mapping[str, StudyResult]
    summaries: Mapping[str, Summary]
    left_out: Mapping[str, str]

    @property
    def designs(self) -> dict[str, str]:
        """Run -> the letter of its design."""
        return group_alike({name: describe_config(run) for name, run in self.results.items()})

    @property
    def order(self) -> list[str]:
        """The names, with runs of one design next to each other."""
        designs, names = self.designs, list(self.results)
        return sorted(names, key=lambda name: (len(designs[name]), designs[name], names.index(name)))


def _summarize_head(runs: Runs, summary: Summary) -> dict[str, Any]:
    return {
        "kind": "comparison",
        "title": f"{kinds_in_words(runs.results.values())} side by side",
        "headline": _headline(summary["runs"]),
        "environment": {"mfh": next(iter(runs.summaries.values()))["environment"].get("mfh")},
        "source_note": "All numbers of this page are in results.json, in the folder of each run.",
    }


def kinds_in_words(runs: Iterable[StudyResult]) -> str:
    """Return how many runs of each kind there are.

    >>> from mfh.results import FitResult
    >>> kinds_in_words([StudyResult(), FitResult(), StudyResult()])
    '2 studies and 1 search'
    """
    counts = Counter(run.kind for run in runs)
    return wording.sequence([plural(counts[kind], *words) for kind, words in KINDS.items() if counts[kind]])


def _headline(rows: Sequence[Mapping[str, Any]]) -> str:
    words = {  # verdict -> of one teacher, of several
        "help": ("helps", "help"),
        "hurt": ("does harm", "do harm"),
        "no-effect": ("makes no difference", "make no difference"),
        "abstain": ("is undecided", "are undecided"),
    }
    parts, compared = [], [row for row in rows if row["difference"] is not None]
    for code, (one, many) in words.items():
        if count := sum(row["verdict"] == code for row in compared):
            parts.append(f"{count} {one if count == 1 else many}")
    silent = len(rows) - sum(row["verdict"] in words for row in compared)
    parts += [f"{silent} without a verdict"] if silent else []
    focusing = sum(row["focusing"] == "Yes" for row in rows)
    stacks = compared and all(row["head"] == STACK for row in compared)
    teachers = "stacks of teachers" if stacks else "teachers"
    start = f"Of {len(rows)} {teachers}, {wording.sequence(parts)}." if len(rows) > 1 else ""
    return f"{start} Focusing itself is credited in {focusing} of {len(rows)}.".strip()


def _summarize_gains(runs: Runs, _: Summary) -> dict[str, Any]:
    """Return one row for each run, and the options in which the runs differ."""
    configs = {name: describe_config(run) for name, run in runs.results.items()}
    # the number of fits has a column of its own
    differing = [field for field in differing_fields(configs) if field not in ("seeds", "repeats")]
    first = runs.summaries[runs.order[0]]
    rows = []
    for name in runs.order:
        summary = runs.summaries[name]
        gain = gain_of(summary) or {"difference": None, "low": None, "high": None}
        focusing = next((fact["value"] for fact in summary["facts"] if "focusing" in fact["label"]), "")
        rows.append(
            {
                key: summary[key]
                for key in ("verdict", "symbol", "num_fits", "metric", "loss", "digits", "level", "head")
            }
            | {key: gain[key] for key in ("difference", "low", "high")}
            | {
                "name": name,
                "group": runs.designs[name],
                "focusing": focusing,
                "labels": summary["labels"].get("labelled"),
                "unlabelled": summary["labels"].get("unlabelled"),
                "checks": [check["code"] for check in summary["checks"]],
                "fields": {field: configs[name].get(field, wording.NOTHING) for field in differing},
            }
        )
    return {
        "runs": rows,
        "differing": differing,
        "num_groups": len(set(runs.designs.values())),
        "zone": first["zone"],
        "higher_is_better": first["higher_is_better"],
        "left_out": [{"name": name, "why": why} for name, why in runs.left_out.items()],
    }


def names_of(folders: Sequence[str]) -> list[str]:
    """Return a short name for each folder: its last part, and as many parts before it as are needed.

    >>> names_of(["out/a/pix", "out/b/pix", "out/fou"])
    ['a/pix', 'b/pix', 'fou']
    """
    parts = [PurePath(folder).parts or (folder,) for folder in folders]
    names = []
    for mine in parts:
        length = 1
        while length < len(mine) and sum(other[-length:] == mine[-length:] for other in parts) > 1:
            length += 1
        names.append("/".join(mine[-length:]))
    return names


def describe_config(run: StudyResult) -> dict[str, str]:
    """Return the options and the data of a run, field by field, as text."""
    fields = {str(key): plain_text(value) for key, value in plain(run.config).items()}
    data = plain(run.data)
    fields |= {
        f"data {key}": plain_text(data[key])
        for key in ("file", "label", "group", "fingerprint")
        if data.get(key)
    }
    return fields


def differing_fields(configs: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the fields in which the runs are not all alike."""
    fields = dict.fromkeys(field for config in configs.values() for field in config)
    return [field for field in fields if len({config.get(field) for config in configs.values()}) > 1]


def group_alike(configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return run -> a letter, shared by runs that differ only in their fits and in the machine."""
    letters: dict[tuple[tuple[str, str], ...], str] = {}
    groups = {}
    for name, config in configs.items():
        key = tuple(sorted((k, v) for k, v in config.items() if k not in HOW_NOT_WHAT))
        groups[name] = letters.setdefault(key, _letter(len(letters)))
    return groups


def _letter(number: int) -> str:
    """Return A, B, ... Z, AA, AB, ... for 0, 1, ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text


def _build_runs(summary: Summary) -> Table | None:
    """Return one row for each run: verdict, gain, and the options in which the runs differ."""
    rows = [
        [
            cell(row["name"]),
            cell(row["group"]),
            cell(f"{row['symbol']} {row['verdict']}"),
            cell(signed(row["difference"], row["digits"] + 1), row["difference"]),
            cell(interval(row["low"], row["high"], row["digits"] + 1, sign=True), row["low"], _level(row)),
            cell(row["focusing"]),
            *(cell(number(row[field], 0), row[field]) for field in ("labels", "unlabelled")),
            cell(row["num_fits"], row["num_fits"]),
            *(cell(shorten(row["fields"][field], 40)) for field in summary["differing"]),
        ]
        for row in summary["runs"]
    ]
    columns = (
        "Run", "Design", "Verdict", "Gain, points #", "95% interval #", "Focusing", "Labels #",
        "Unlabelled #", "Fits #",
    )  # fmt: skip
    return table("runs", "The runs", (*columns, *map(label, summary["differing"])), rows)


def _level(row: Mapping[str, Any]) -> str:
    """Return the coverage of a run's interval where it is not 95%."""
    return "" if row["level"] == 0.95 else f"at {wording.level(row['level'])}"


def _build_left_out(summary: Summary) -> Table | None:
    """Return the folders that are not compared."""
    rows = [[cell(row["name"]), cell(row["why"])] for row in summary["left_out"]]
    return table("left-out", "Not compared", ("Folder", "Reason"), rows)


def _draw(summary: Summary) -> Figure | None:
    """Draw the gain from the teacher in each run, with its interval."""
    rows = drawn_runs(summary)
    if not rows:
        return None
    figure, (ax,) = style.canvas(0.8 + 0.27 * len(rows))
    filled = [row["verdict"] in ("help", "hurt") for row in rows]
    style.draw_differences(ax, rows, filled, zone=summary["zone"])
    values = [signed(row["difference"], row["digits"]) for row in rows]
    style.name_rows(ax, [shorten(row["name"], 26) for row in rows], values)
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    better = "" if summary["higher_is_better"] else "; left of 0 is better"
    ax.set_xlabel(f"{_taught(summary)[1]} minus {BASELINE}, points{better}")
    return figure


def _taught(summary: Summary) -> tuple[str, str]:
    """Return what the drawn students were taught by, and their arm; in general words where runs differ."""
    heads = {row["head"] for row in drawn_runs(summary)}
    (head,) = heads if len(heads) == 1 else (HEADLINE,)
    if heads - {HEADLINE, STACK} or len(heads) > 1:
        return "the teacher", "taught student"
    return TEACHER_WORDS[head], head


def drawn_runs(summary: Summary) -> list[Mapping[str, Any]]:
    """Return the runs with a gain in the metric of the first run; points of others are other points."""
    first = summary["runs"][0]["metric"]
    return [row for row in summary["runs"] if row["difference"] is not None and row["metric"] == first]


def _caption(summary: Summary) -> str:
    first = summary["runs"][0]["metric"]
    others = any(row["metric"] != first for row in summary["runs"])
    other = f" Only runs whose metric is {first} are drawn." if others else ""
    teacher, arm = _taught(summary)
    arm = f" ({arm})" if teacher in TEACHER_WORDS.values() else ""
    return (
        f"Gain from the teacher: the student of {teacher}{arm} minus the one trained on labels alone "
        f"({BASELINE}), with its interval. Filled: the verdict is help or hurt. Shaded: "
        f"{zone_words(summary)}.{other}"
    )


def _describe(summary: Summary) -> str:
    parts = [f"{row['name']} {signed(row['difference'], row['digits'])}" for row in drawn_runs(summary)]
    return "Gain in points by run: " + "; ".join(parts) + "."


def _intro(summary: Summary) -> str:
    if summary["num_groups"] == len(summary["runs"]):
        return ""
    return "Runs of one design have the same letter: they differ at most in their fits and in the machine."


HEAD = Section(name="answer", summarize=_summarize_head, template=HEAD_TEMPLATE)
GAINS = Section(
    name="gains",
    heading="Gains",
    summarize=_summarize_gains,
    intro=_intro,
    pictures=(Picture(name="runs", draw=_draw, caption=_caption, describe=_describe),),
    tables=(_build_runs, _build_left_out),
)
