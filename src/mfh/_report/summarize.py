"""Step one of a report: a result becomes a plain dict of numbers and sentences."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from mfh._checks import InputError, shown_values
from mfh._report import diagnosis, students, wording
from mfh._report.answer import first_screen
from mfh._report.channels import summarize_channels
from mfh._report.checks import checks
from mfh._report.curves import summarize_curves
from mfh._report.explorer import explore_channels, explore_students
from mfh._report.losses import first_loss, summarize_losses
from mfh._report.wording import number, shorten
from mfh._system.files import plain
from mfh.results import GaussianResult, RunResult, StudyResult, TeacherRecord

ZONE = 1.0  # points; a difference whose interval stays inside +-ZONE is called none

GAUSSIAN_TITLES: dict[str, str] = {
    "fig2": "Does a larger shared part make a better teacher? (Figure 2)",
    "fig3": "Is a more accurate teacher a better teacher? (Figure 3)",
    "table2": "Does a teacher that uses only shared channels teach better? (Table 2)",
    "regime": "When does focusing a teacher pay?",
}


def summarize(result: RunResult) -> dict[str, Any]:
    """All that a report of `result` says, as plain values.

    Raises:
        InputError: there is no report for this kind of result.
    """
    if isinstance(result, StudyResult):
        values = _study(result)
    elif isinstance(result, GaussianResult):
        values = _gaussian(result)
    else:
        raise InputError(
            f"`result` must be a StudyResult or a GaussianResult. Got {type(result).__name__} instead."
        )
    summary: dict[str, Any] = plain(values | _circumstances(result))
    return dict(shown_values(summary))


def _circumstances(result: RunResult) -> dict[str, Any]:
    """What every kind of run has."""
    environment = dict(result.environment)
    command = environment.pop("command", None)
    return {
        "kind": result.kind,
        "source": "All numbers behind this page are in results.json, in the folder of the run.",
        "config": dict(result.config),
        "environment": environment,
        "timings": dict(result.timings),
        "command": command_line(command),
    }


def command_line(argv: object) -> str:
    """The command line as one would type it."""
    if isinstance(argv, str):
        return argv
    if not isinstance(argv, Sequence) or not argv:
        return ""
    program = PurePath(str(argv[0]))
    words = [str(word) for word in argv[1:]]
    if program.name == "__main__.py":
        return shlex.join(["python", "-m", program.parent.name, *words])
    return shlex.join([program.name if program.name == "mfh" else str(program), *words])


def _gaussian(result: GaussianResult) -> dict[str, Any]:
    notes = [str(note) for note in result.notes]
    return {
        "title": GAUSSIAN_TITLES.get(result.figure, f"Gaussian data: {result.figure or 'a run'}"),
        "figure": result.figure,
        "headline": notes[0] if notes else "",
        "notes": notes[1:],
        "rows": [dict(row) for row in result.rows],
        "differences": [dict(row) for row in result.differences],
    }


def _study(result: StudyResult) -> dict[str, Any]:
    whole, losses, result = result, summarize_losses(result), first_loss(result)
    config, data = plain(result.config), plain(result.data)
    names = {
        role: shorten(data.get(role) or config.get(role) or f"the {role}'s modality", 40)
        for role in ("teacher", "student")
    }
    metrics = [row.metric for row in result.summary] + [row.metric for row in result.records]
    metric = next(iter(metrics), "accuracy")
    loss = students.first_loss(result.summary)
    alike = data.get("alike") or wording.SAME_CLASS
    source = config.get("teacher_source") or "joint"
    records = [row for row in result.records if students.told_of(row, metric, loss)]
    rows = [row for row in result.summary if students.told_of(row, metric, loss)]
    comparisons = [row for row in result.comparisons if students.told_of(row, metric, loss)]
    chosen = students.chosen_ratios(records, "general", source)
    shown = students.shown_ratio(chosen, rows)
    arms = students.rows(records, rows, source)
    others = [row for row in result.summary if row not in rows]
    summary: dict[str, Any] = {
        "modalities": names,
        "config": config,
        "metric": wording.METRICS.get(metric, metric),
        "loss": loss,
        "loss_names": list(dict.fromkeys(x for row in result.summary if (x := students.loss_of(row)))),
        "metrics": list(dict.fromkeys(metrics)),
        "unit": wording.unit(metric),
        "zone": ZONE,
        "source": source,
        "num_seeds": len({record.seed for record in result.records})
        or max((row.n for row in result.summary), default=0),
        "epochs": config.get("epochs"),
        "losses": losses,
        "late_share": _late_share(result),
        "failed_seeds": [asdict(failure) for failure in result.failed_seeds],
        "chosen": {str(seed): ratio for seed, ratio in chosen.items()},
        "shown_ratio": shown,
        "arms": arms,
        "sweep": students.sweep(arms, source),
        "other_arms": [asdict(row) for row in others],
        "differences": [
            _row(row, alike) | {"dots": students.paired(arms, row)}
            for row in students.differences(comparisons, shown)
        ],
        "comparisons": [_row(row, alike) for row in result.comparisons],
        "has_groups": any(row.low_boot is not None for row in result.comparisons),
        "teachers": _teachers(result.teachers),
        "saliency": _saliency(result, shown),
        "channels": summarize_channels(result, chosen=chosen, ratio=shown),
        "curves": summarize_curves(whole, ratio=shown, loss=loss),
        "diagnosis": diagnosis.summarize_diagnosis(plain(result.diagnosis)),
        "data": data,
    }
    summary["ratios"] = sorted(
        {p["ratio"] for line in summary["sweep"]["lines"].values() for p in line} - {0}
    )
    summary["explore"] = {
        "channels": explore_channels(result, ratios=summary["ratios"], ratio=shown),
        "students": explore_students(whole),
    }
    for row in arms:
        words = wording.explain(row["arm"], source=summary["source"], **names)
        row["explain"] = wording.of_task(words, alike)
    summary["teachers_note"] = _teachers_note(summary)
    summary |= first_screen(result, summary) | {"checks": checks(summary)}
    return summary | diagnosis.first_screen(summary) if result.kind == "diagnosis" else summary


def _row(comparison: Any, alike: str) -> dict[str, Any]:
    row = asdict(comparison)
    code = wording.reading(row, ZONE)
    name = wording.base(row["b"])
    asks = wording.CONTROLS.get(name, {}).get("asks", "")
    meaning = wording.of_task(wording.meaning(row, code), alike)
    return row | {"name": name, "asks": asks, "reading": code, "meaning": meaning}


def _late_share(result: StudyResult) -> float | None:
    """Share of students whose best epoch is among the last 5% of the epochs."""
    epochs = result.config.get("epochs")
    best = [record.best_epoch for record in result.records if record.best_epoch is not None]
    if not isinstance(epochs, int) or epochs < 2 or not best:
        return None
    return sum(epoch > 0.95 * epochs for epoch in best) / len(best)


def _teachers(teachers: Sequence[TeacherRecord]) -> list[dict[str, Any]]:
    """Means over seeds, focused teachers last and by ratio."""
    groups: dict[str, list[TeacherRecord]] = {}
    for teacher in teachers:
        groups.setdefault(teacher.teacher, []).append(teacher)
    rows = []
    for name, group in groups.items():
        row: dict[str, Any] = {"teacher": name, "n": len(group)}
        for field in ("train", "validation", "test", "entropy", "saturated"):
            values = [v for teacher in group if (v := getattr(teacher, field)) is not None]
            row[field] = sum(values) / len(values) if values else None
        rows.append(row)
    return sorted(rows, key=lambda row: _teacher_rank(row["teacher"]))


def _teacher_rank(name: str) -> tuple[bool, tuple[int, str, bool], float]:
    arm, _, ratio = name.partition("@")
    try:
        return bool(ratio), wording.rank(arm), float(ratio or 0)
    except ValueError:
        return True, wording.rank(name), 0.0


def _saliency(result: StudyResult, shown: float | None) -> dict[str, Any]:
    values = plain(result.saliency)
    overlap = values.get("overlap") or []
    return {
        "layer": values.get("layer") or "",
        "num_channels": values.get("num_channels"),
        "score": values.get("score") or result.config.get("score") or "increase",
        "split": values.get("split") or result.config.get("saliency_split"),
        "overlap": sorted(overlap, key=lambda row: (row.get("split", ""), row.get("ratio") or 0.0)),
        "overlap_at_reference": {
            row.get("split"): row.get("mean") for row in overlap if row.get("ratio") == shown
        },
        "negative": {row.get("split"): row.get("share") for row in values.get("negative") or []},
        "rank_correlation": values.get("rank_correlation") or [],
    }


def _teachers_note(summary: Mapping[str, Any]) -> str:
    """What focusing costs the teacher, beside what it does for the student."""
    unit, tests = summary["unit"], {row["teacher"]: row["test"] for row in summary["teachers"]}
    shown = f"general@{summary['shown_ratio']:g}" if summary["shown_ratio"] else ""
    if tests.get("regular") is None or tests.get(shown) is None:
        return "A better teacher is not always the one that teaches better."
    cost = tests["regular"] - tests[shown]
    note = (
        f"At ratio {summary['shown_ratio']:g} the focused teacher is right for {number(tests[shown])}{unit} "
        f"of the test data, the regular one for {number(tests['regular'])}{unit}."
        if summary["metric"] == "accuracy"
        else f"At ratio {summary['shown_ratio']:g} the focused teacher reaches {number(tests[shown])}{unit} "
        f"on test data, the regular one {number(tests['regular'])}{unit} ({summary['metric']})."
    )
    row = next((row for row in summary["differences"] if row["name"] == "regular"), None)
    if cost > 0 and row and row["reading"] == "better":
        note += " The less accurate of the two teaches the better student."
    return note
