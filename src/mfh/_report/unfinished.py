"""The state of a run that has not ended: what is finished, what is missing, what can be seen so far."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mfh._checks import InputError, listing, require, shown_values
from mfh._report import students, wording
from mfh._report.summarize import command_line
from mfh._report.wording import duration, plural, sequence
from mfh._system.files import plain, read_json, run_mark
from mfh._system.progress import load_progress
from mfh.results import Record

SILENT = 120.0  # seconds without a word after which a run is probably not running


def is_unfinished(folder: Path) -> bool:
    """Whether a study has begun in the folder and left no results."""
    return not (folder / "results.json").exists() and any(
        (folder / name).exists() for name in ("run.json", "progress.json", "state")
    )


def summarize_unfinished(folder: Path | str) -> dict[str, Any]:
    """All that a page about an unfinished study says, as plain values.

    Raises:
        InputError: nothing was begun there, or its files are damaged.
    """
    folder = Path(folder)
    if not is_unfinished(folder):
        raise InputError(f"`{folder}` holds no run: name the folder that a run writes with --out.")
    progress = load_progress(folder)
    config = dict(progress.config) if progress else _json(folder / "run.json")
    state = {seed: _json(path) for seed, path in _files(folder).items()}
    mark = run_mark(folder)
    strange = [seed for seed, values in state.items() if values.get("run", mark) != mark]
    require(
        not mark or not strange,
        f"Seeds {listing(strange)} in `{folder}` are of another run than its `run.json`. Repeat the command, "
        "which runs them again.",
    )
    planned = list(progress.seeds) if progress else []
    finished = sorted(state)
    missing = [seed for seed in planned if seed not in state]
    parts = _parts(folder)
    quiet = _age(progress.updated) if progress else None
    records = [_record(row) for values in state.values() for row in values.get("records", ())]
    values: dict[str, Any] = {
        "kind": "unfinished",
        "title": f"A study that has not ended: {folder.resolve().name}",
        "folder": str(folder),
        "headline": _headline(len(finished), len(planned)),
        "sentences": _sentences(progress, finished, missing, parts, quiet),
        "stages": [asdict(stage) for stage in progress.stages] if progress else [],
        "seeds": [
            {"seed": seed, "state": _seed_state(seed, state, parts, progress.running if progress else None)}
            for seed in (planned or finished)
        ],
        "arms": _arms(records),
        "config": config,
        "environment": dict(progress.environment) if progress else {},
        "timings": {},
        "source": "These numbers are those of the moment at which the page was made.",
    }
    values["command"] = command_line(values["environment"].pop("command", None))
    result: dict[str, Any] = plain(values)
    return dict(shown_values(result))


def _files(folder: Path) -> dict[int, Path]:
    """Finished seed -> its file."""
    found = {}
    for path in sorted((folder / "state").glob("seed-*.json")):
        number = path.stem.removeprefix("seed-")
        if number.isdigit():
            found[int(number)] = path
    return found


def _parts(folder: Path) -> dict[int, int]:
    """Unfinished seed -> how many of its networks and rankings are kept on disk."""
    found = {}
    for path in sorted((folder / "state").glob("seed-*")):
        number = path.name.removeprefix("seed-")
        if path.is_dir() and number.isdigit():
            found[int(number)] = sum(1 for _ in path.iterdir())
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, sealed=False)
    except FileNotFoundError:
        return {}
    except InputError as error:
        raise InputError(f"{error} Repeat the command that wrote it.") from error


def _record(row: Mapping[str, Any]) -> Record:
    known = {field.name for field in fields(Record)}
    return Record(**{name: value for name, value in row.items() if name in known})


def _age(moment: str) -> float | None:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return None


def _headline(finished: int, planned: int) -> str:
    if not planned:
        return f"{plural(finished, 'seed')} finished; how many were planned is not written down."
    return f"{finished} of {plural(planned, 'seed')} finished."


def _sentences(
    progress: Any, finished: list[int], missing: list[int], parts: Mapping[int, int], quiet: float | None
) -> list[str]:
    told = []
    if progress and progress.stopped:
        told.append("It was stopped. Repeat the command to resume.")
    elif quiet is not None:
        at = f"Last sign of life {duration(quiet)} ago"
        told.append(
            f"{at}." if quiet < SILENT else f"{at}: probably it is not running. Repeat the command to resume."
        )
    if progress and progress.seconds_left is not None:
        told.append(f"About {duration(progress.seconds_left)} left at the speed it had.")
    if missing:
        some = sequence([str(seed) for seed in missing])
        if len(missing) > 3 and missing[-1] - missing[0] == len(missing) - 1:
            some = f"{missing[0]} to {missing[-1]}"
        elif len(missing) > 20:
            some = ", ".join(map(str, missing[:20])) + " and more"
        told.append(f"Missing: {'seed' if len(missing) == 1 else 'seeds'} {some}.")
    for seed, count in parts.items():
        if seed not in finished:
            told.append(
                f"Seed {seed} was begun: {plural(count, 'part')} of it (networks, rankings) are on disk."
            )
    told.append("Comparisons, intervals, the verdict and the report are written when the last seed ends.")
    return told


def _seed_state(seed: int, state: Mapping[int, Any], parts: Mapping[int, int], running: int | None) -> str:
    if seed in state:
        return "finished"
    if seed == running or seed in parts:
        return "begun"
    return "waiting"


def _arms(records: list[Record]) -> list[dict[str, Any]]:
    """Mean test metric so far, by arm, ratio, loss and metric."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.metric, students.loss_of(record) or ""), []).append(record)
    rows = []
    for (metric, loss), group in groups.items():
        for (arm, ratio), seeds in students.by_seed(group).items():
            mean = sum(seeds.values()) / len(seeds)
            rows.append(
                {"arm": arm, "ratio": ratio, "loss": loss, "metric": metric, "mean": mean, "n": len(seeds)}
            )
    return sorted(rows, key=lambda row: (wording.rank(row["arm"]), row["ratio"] or 0.0))
