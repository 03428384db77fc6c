"""Several studies side by side: what differs between them, results joined by arm, ratio and seed."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from mfh._checks import shown_values
from mfh._report import students, wording
from mfh._report.answer import ANSWERS
from mfh._report.run_tables import plain_text
from mfh._report.summarize import summarize
from mfh._report.wording import plural
from mfh._system.files import plain
from mfh.results import StudyResult
from mfh.stats import t_interval

HOW_NOT_WHAT = (  # fields that repeat a run
    "seeds", "seed", "jobs", "backend", "address", "retries", "device", "engine", "tracker", "quiet",
)  # fmt: skip
MAX_RUNS = 200


def summarize_comparison(
    runs: Mapping[str, StudyResult], left_out: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """All that a page about several studies says, as plain values.

    Args:
        runs: name -> study.
        left_out: name -> why it is not among them.
    """
    summaries = {name: summarize(run) for name, run in runs.items()}
    configs = {name: describe_config(run) for name, run in runs.items()}
    differing = [field for field in differing_fields(configs) if field != "seeds"]  # told in a column anyway
    groups = group_alike(configs)
    order = sorted(runs, key=lambda name: (len(groups[name]), groups[name], list(runs).index(name)))
    rows = [_run(name, summaries[name], configs[name], differing, groups[name]) for name in order]
    count = len(set(groups.values()))
    first = order[0]
    values: dict[str, Any] = {
        "kind": "comparison",
        "title": f"{plural(len(runs), 'study', 'studies')} side by side",
        "headline": _headline(rows),
        "differing": differing,
        "num_groups": count,
        "runs": rows,
        "arms": _arms(order, summaries),
        "first": first,
        "against_first": _against_first(order, summaries),
        "explore": {"students": _joined(order, runs), "channels": None},
        "left_out": [{"name": name, "why": why} for name, why in (left_out or {}).items()],
        "zone": 1.0,
        "environment": {"mfh": next(iter(summaries.values()))["environment"].get("mfh")},
        "source": "All numbers behind this page are in results.json, in the folder of each run.",
    }
    result: dict[str, Any] = plain(values)
    return dict(shown_values(result))


def names_of(folders: Sequence[str]) -> list[str]:
    """A short name for each folder: its last part, with as many parts before it as tell it apart.

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
    """What a run was made of, field by field, as text."""
    fields = {str(key): plain_text(value) for key, value in plain(run.config).items()}
    data = plain(run.data)
    fields |= {
        f"data {key}": plain_text(data[key])
        for key in ("file", "label", "group", "fingerprint")
        if data.get(key)
    }
    return fields


def differing_fields(configs: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The fields in which the runs are not all alike."""
    fields = dict.fromkeys(field for config in configs.values() for field in config)
    return [field for field in fields if len({config.get(field) for config in configs.values()}) > 1]


def group_alike(configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Run -> a letter that it shares with the runs that repeat it with other seeds or on other hardware."""
    letters: dict[tuple[tuple[str, str], ...], str] = {}
    groups = {}
    for name, config in configs.items():
        key = tuple(sorted((k, v) for k, v in config.items() if k not in HOW_NOT_WHAT))
        groups[name] = letters.setdefault(key, _letter(len(letters)))
    return groups


def _letter(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text


def _run(
    name: str, summary: Mapping[str, Any], config: Mapping[str, str], differing: Sequence[str], group: str
) -> dict[str, Any]:
    gain = next((row for row in summary["differences"] if row["name"] == "no-kd"), None)
    code = summary["verdict"]
    return {
        "name": name,
        "group": group,
        "verdict": code,
        "symbol": ANSWERS.get(code, ANSWERS["none"])[0],
        "focusing": next((f["value"] for f in summary["facts"] if "focusing" in f["label"]), ""),
        "num_seeds": summary["num_seeds"],
        "metric": summary["metric"],
        "loss": summary["loss"],
        "difference": gain and gain["difference"],
        "low": gain and gain["low"],
        "high": gain and gain["high"],
        "checks": [check["code"] for check in summary["checks"]],
        "fields": {field: config.get(field, wording.NOTHING) for field in differing},
    }


def _headline(rows: Sequence[Mapping[str, Any]]) -> str:
    told = {"help": "help", "hurt": "do harm", "no-effect": "make no difference", "abstain": "remain open"}
    parts = []
    for code, words in told.items():
        if count := sum(row["verdict"] == code for row in rows):
            parts.append(f"{count} {words}" if count != 1 else f"1 {_singular(words)}")
    silent = sum(row["verdict"] not in told for row in rows)
    parts += [f"{silent} without a verdict"] if silent else []
    focusing = sum(row["focusing"] == "Yes" for row in rows)
    told_all = f"Of {len(rows)} teachers, {wording.sequence(parts)}." if len(rows) > 1 else ""
    return f"{told_all} Focusing itself is credited in {focusing} of {len(rows)}.".strip()


def _singular(words: str) -> str:
    verb, _, rest = words.partition(" ")
    return " ".join(filter(None, [{"do": "does"}.get(verb, verb + "s"), rest]))


def _arms(order: Sequence[str], summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Arm -> one cell a run: the mean at the chosen ratio, or where there is none at the shown one."""
    found: dict[str, dict[str, Any]] = {}
    for name in order:
        for row in summaries[name]["arms"]:
            if row["main"]:
                cell = {key: row[key] for key in ("mean", "low", "high", "ratio")}
                found.setdefault(row["arm"], {})[name] = cell
    return {arm: found[arm] for arm in sorted(found, key=wording.rank)}


def _against_first(order: Sequence[str], summaries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each run minus the first, arm by arm and ratio by ratio, over the seeds that both have."""
    base = {(row["arm"], row["ratio"]): row["seeds"] for row in summaries[order[0]]["arms"]}
    rows = []
    for name in order[1:]:
        for row in summaries[name]["arms"]:
            other = base.get((row["arm"], row["ratio"]), {})
            pairs = [row["seeds"][seed] - other[seed] for seed in row["seeds"] if seed in other]
            if pairs:
                interval = t_interval(np.array(pairs))
                rows.append(
                    {
                        "name": name, "arm": row["arm"], "ratio": row["ratio"], "n": len(pairs),
                        "difference": interval.mean, "low": interval.low, "high": interval.high,
                    }
                )  # fmt: skip
    return rows


def _joined(order: Sequence[str], runs: Mapping[str, StudyResult]) -> dict[str, Any] | None:
    """Test metric of every student, one row an arm, ratio, loss and seed, one column a run."""
    values: dict[tuple[str, str, float | None, int], dict[str, float]] = {}
    for name in order[:MAX_RUNS]:
        by_loss: dict[str, list[Any]] = {}
        for record in runs[name].records:
            by_loss.setdefault(students.loss_of(record) or "", []).append(record)
        for loss, records in by_loss.items():
            for (arm, ratio), seeds in students.by_seed(records).items():
                for seed, value in seeds.items():
                    values.setdefault((arm, loss, ratio, seed), {})[name] = value
    if not values:
        return None
    keys = sorted(values, key=lambda k: (wording.rank(k[0]), k[1], k[2] is not None, k[2] or 0.0, k[3]))
    columns: list[dict[str, Any]] = [_named("Arm", [key[0] for key in keys])]
    if any(key[1] for key in keys):
        columns.append(_named("Loss", [key[1] or wording.NOTHING for key in keys]))
    columns += [
        {"label": "Ratio", "digits": 3, "values": [key[2] for key in keys]},
        {"label": "Seed", "digits": 0, "values": [key[3] for key in keys]},
    ]
    for name in order[:MAX_RUNS]:
        column = [values[key].get(name) for key in keys]
        columns.append(
            {"label": name, "digits": 2, "values": [v if v is None else round(v, 3) for v in column]}
        )
    return {"columns": columns, "count": len(keys), "left_out": 0}


def _named(label: str, values: Sequence[str]) -> dict[str, Any]:
    names = list(dict.fromkeys(values))
    codes = {name: code for code, name in enumerate(names)}
    return {"label": label, "digits": None, "names": names, "values": [codes[value] for value in values]}
