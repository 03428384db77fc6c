"""The sections of the page of a run that has not ended: what is finished, what is missing, results so far."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mfh._checks import InputError, listing, require
from mfh._report.section import Section, Summary
from mfh._report.tables import Table, cell, ratio_cell, table
from mfh._report.view import arm_order, by_fit
from mfh._report.wording import duration, number, percent, plural, sequence
from mfh._system.environment import command_line
from mfh._system.files import read_json, run_mark
from mfh._system.paths import label_folder
from mfh._system.progress import RunState, load_progress
from mfh.arms import ARMS
from mfh.results import ALL_SAMPLES, Record, fit_name, fit_words

SILENT = 120.0
"""Seconds without news after which a run is probably not running."""

HEAD_TEMPLATE = """
<header>
<p class="kicker">{{ page.kicker }}</p>
<h1>{{ s.title }}</h1>
<p class="verdict">{{ s.headline }}</p>
<ul class="plain">
{% for sentence in s.sentences %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
</header>
"""
STAGES_TEMPLATE = """
{{ grid("stages") }}
<ol class="fits" aria-label="Fits">
{% for fit in s.fits %}
<li class="{{ fit.state }}"><b>{{ fit.number }}</b> {{ fit.state }}</li>
{% endfor %}
</ol>
"""


def is_unfinished(folder: Path) -> bool:
    """Return whether a study or a search has begun in the folder and left no results."""
    return not (folder / "results.json").exists() and any(
        (folder / name).exists() for name in ("run.json", "progress.json", "state")
    )


@dataclass(frozen=True)
class UnfinishedRun:
    """What a run that has not ended has left in its folder.

    Attributes:
        folder: of the run.
        progress: how far it has come; None where that was not written.
        finished: fit -> what its file has.
        parts: fit -> number of its networks and rankings on disk, for fits that have not ended.
        labels: in a study of several numbers of labels: number -> how far its own study has come.
    """

    folder: Path
    progress: RunState | None
    finished: Mapping[int, Mapping[str, Any]]
    parts: Mapping[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path | str) -> "UnfinishedRun":
        """Read the folder of a run.

        Raises:
            InputError: nothing was begun there, or its files are damaged.
        """
        folder = Path(folder)
        if not is_unfinished(folder):
            raise InputError(f"`{folder}` holds no run: name the folder that a run writes with --out.")
        mark = run_mark(folder)
        finished = {fit: _json(path) for fit, path in _fit_paths(folder, ".json").items()}
        strange = [fit for fit, values in finished.items() if values.get("run", mark) != mark]
        require(
            not mark or not strange,
            f"The files of {listing(map(fit_words, strange))} in `{folder}` are of another run than its "
            "`run.json`. Repeat the command, which runs them again.",
        )
        parts = {fit: sum(1 for _ in path.iterdir()) for fit, path in _fit_paths(folder).items()}
        return cls(folder, load_progress(folder), finished, parts, _labels_so_far(folder))

    @property
    def planned(self) -> list[int]:
        """All fits; empty where that is not known."""
        return list(self.progress.seeds) if self.progress else []

    @property
    def config(self) -> dict[str, Any]:
        """The options of the run."""
        return dict(self.progress.config) if self.progress else _json(self.folder / "run.json")

    @property
    def searches(self) -> bool:
        """Whether the run is a search."""
        return self.progress.kind == "fit" if self.progress else "budget" in self.config

    @property
    def missing(self) -> list[int]:
        """Planned fits that are not finished."""
        return [fit for fit in self.planned if fit not in self.finished]

    def state(self, fit: int) -> str:
        """Return whether a fit is finished, begun or waiting."""
        if fit in self.finished:
            return "finished"
        running = self.progress.running if self.progress else None
        return "begun" if fit == running or fit in self.parts else "waiting"


def _labels_so_far(folder: Path) -> dict[str, str]:
    """Return how far the study of each number of labels has come; empty without several numbers."""
    config = _json(folder / "run.json")
    counts = [*(config.get("labelled") or ()), *(config.get("label_curve") or ())]
    found = {}
    for count in dict.fromkeys(map(str, counts)) if len(counts) > 1 else ():
        inside = label_folder(folder, count)
        if (inside / "results.json").exists():
            found[count] = "finished"
        else:
            found[count] = f"{plural(len(_fit_paths(inside, '.json')), 'fit')} finished"
    return found


def _fit_paths(folder: Path, ending: str = "") -> dict[int, Path]:
    """Return fit -> its file with this ending, or its folder without one."""
    found = {}
    for path in sorted((folder / "state").glob(f"seed-*{ending}")):
        number = path.name.removeprefix("seed-").removesuffix(ending)
        if number.isdigit() and path.is_dir() == (not ending):
            found[int(number)] = path
    last = folder / "state" / f"{fit_name(ALL_SAMPLES)}{ending}"
    if last.exists() and last.is_dir() == (not ending):
        found[ALL_SAMPLES] = last
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, sealed=False)
    except FileNotFoundError:
        return {}
    except InputError as error:
        raise InputError(f"{error} Repeat the command that wrote it.") from error


def _summarize_head(run: UnfinishedRun, _: Summary) -> dict[str, Any]:
    progress = run.progress
    environment = dict(progress.environment) if progress else {}
    return {
        "kind": "unfinished",
        "title": f"A {'search' if run.searches else 'study'} that has not ended: {run.folder.resolve().name}",
        "headline": _headline(run),
        "sentences": list(_sentences(run)),
        "config": run.config,
        "command": command_line(environment.pop("command", None)),
        "environment": environment,
        "timings": {},
        "source_note": "The numbers are those of the moment when the page was made.",
    }


def _headline(run: UnfinishedRun) -> str:
    finished, planned = len(run.finished), len(run.planned)
    if run.labels:
        ended = sum(state == "finished" for state in run.labels.values())
        return f"{ended} of {plural(len(run.labels), 'number')} of labels finished."
    if not planned:
        return f"{plural(finished, 'fit')} finished; the number of planned fits is not known."
    return f"{finished} of {plural(planned, 'fit')} finished."


def _sentences(run: UnfinishedRun) -> list[str]:
    found = [f"Labels {count}: {state}." for count, state in run.labels.items()]
    progress, quiet = run.progress, _age(run.progress.updated) if run.progress else None
    if progress and progress.stopped:
        found.append("It was stopped. Repeat the command to resume.")
    elif quiet is not None:
        last = f"Last news {duration(quiet)} ago"
        resume = ": it is probably not running. Repeat the command to resume."
        found.append(last + ("." if quiet < SILENT else resume))
    if progress and progress.seconds_left is not None:
        found.append(f"About {duration(progress.seconds_left)} left at the speed so far.")
    if run.missing:
        found.append(f"Missing: {_some(run.missing)}.")
    for fit, count in run.parts.items():
        if fit not in run.finished:
            found.append(
                f"{fit_words(fit).capitalize()} was begun: {plural(count, 'part')} of it (networks, "
                "rankings) are on disk."
            )
    found.append("Comparisons, intervals, verdict and report are written when the last fit ends.")
    return found


def _some(fits: Sequence[int]) -> str:
    """Return fits in words: a range where they follow each other, the first twenty where they are many."""
    folds = [fit for fit in fits if fit != ALL_SAMPLES]
    if len(folds) > 3 and folds[-1] - folds[0] == len(folds) - 1:
        numbers = f"{folds[0]} to {folds[-1]}"
    elif len(folds) > 20:
        numbers = ", ".join(map(str, folds[:20])) + " and more"
    else:
        numbers = sequence([str(fit) for fit in folds])
    parts = [f"fit{'s' * (len(folds) > 1)} {numbers}"] if folds else []
    parts += [fit_words(ALL_SAMPLES)] if ALL_SAMPLES in fits else []
    return ", and ".join(parts)


def _age(moment: str) -> float | None:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return None


def _summarize_stages(run: UnfinishedRun, _: Summary) -> dict[str, Any]:
    return {
        "stages": [asdict(stage) for stage in run.progress.stages] if run.progress else [],
        "fits": [
            {"number": "all samples" if fit == ALL_SAMPLES else fit, "state": run.state(fit)}
            for fit in (run.planned or sorted(run.finished))
        ],
    }


def _build_stages(summary: Summary) -> Table | None:
    """Return how far each stage has come."""
    rows = []
    for stage in summary["stages"]:
        share = stage["done"] / stage["total"] if stage["total"] else 1.0
        left = duration(stage["seconds_left"]) if stage["done"] < stage["total"] else "done"
        rows.append(
            [
                cell(stage["name"]),
                cell(percent(share), share),
                cell(f"{stage['done']:,} of {stage['total']:,}", stage["done"]),
                cell(left, stage["seconds_left"] or 0.0),
            ]
        )
    return table("stages", "Stages, over all fits", ("Stage", "Done #", "Amount #", "Time left #"), rows)


def _summarize_arms(run: UnfinishedRun, _: Summary) -> dict[str, Any]:
    """Return the mean test metric so far, by arm, ratio, loss and metric."""
    known = {spec.name for spec in fields(Record)}
    groups: dict[tuple[str, str], list[Record]] = {}
    tested = [values for fit, values in run.finished.items() if fit != ALL_SAMPLES]
    for values in tested:
        for row in values.get("records", ()):
            record = Record(**{name: value for name, value in row.items() if name in known})
            groups.setdefault((record.metric, record.loss or ""), []).append(record)
    rows = []
    for (metric, loss), group in groups.items():
        for (arm, ratio), fits in by_fit(group).items():
            mean = sum(fits.values()) / len(fits)
            rows.append(
                {"arm": arm, "ratio": ratio, "loss": loss, "metric": metric, "mean": mean, "n": len(fits)}
            )
    rank = arm_order(ARMS)
    return {"arms": sorted(rows, key=lambda row: (rank(row["arm"]), row["ratio"] or 0.0))}


def _build_arms(summary: Summary) -> Table | None:
    """Return the mean test metric of the finished fits."""
    losses = any(row["loss"] for row in summary["arms"])
    rows = [
        [
            cell(row["arm"]),
            *([cell(row["loss"])] * losses),
            ratio_cell(row["ratio"]),
            cell(row["metric"]),
            cell(number(row["mean"], 2), row["mean"]),
            cell(row["n"], row["n"]),
        ]
        for row in summary["arms"]
    ]
    columns = ("Arm", *("Loss",) * losses, "Ratio #", "Metric", "Mean #", "Fits #")
    return table("arms", "Test metric of the finished fits", columns, rows)


HEAD = Section(name="answer", summarize=_summarize_head, template=HEAD_TEMPLATE)
STAGES = Section(
    name="stages",
    heading="Progress",
    summarize=_summarize_stages,
    tables=(_build_stages,),
    template=STAGES_TEMPLATE,
)
SO_FAR = Section(
    name="arms",
    heading="Results so far",
    summarize=_summarize_arms,
    intro=lambda _: (
        "Means over the finished fits. They are no evidence yet: whoever looks at them to stop or to go on "
        "makes a choice by test data."
    ),
    tables=(_build_arms,),
)
