"""The students of a study, from records and summary: arms, chosen ratios, the sweep over ratios."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mfh._report import wording
from mfh.results import Comparison, Record, Summary

Values = dict[tuple[str, float | None], dict[int, float]]

MAX_DOTS = 60  # one dot a seed says nothing more beyond this


def by_seed(records: Sequence[Record], split: str = "test") -> Values:
    """(arm, ratio) -> seed -> metric on `split`, the mean over draws."""
    lists: dict[tuple[str, float | None], dict[int, list[float]]] = {}
    for record in records:
        value = getattr(record, split)
        if value is not None and math.isfinite(value):
            lists.setdefault((record.arm, record.ratio), {}).setdefault(record.seed, []).append(value)
    return {
        key: {seed: sum(draws) / len(draws) for seed, draws in sorted(seeds.items())}
        for key, seeds in lists.items()
    }


def chosen_ratios(records: Sequence[Record], arm: str, source: str) -> dict[int, float]:
    """Seed -> the ratio with the best validation metric; equals go to the smaller.

    Args:
        records: of all students.
        arm: one that removes channels.
        source: the arm whose teacher it removes them from, which stands for ratio 0.
    """
    validation = by_seed(records, "validation")
    tried = {ratio or 0.0: seeds for (name, ratio), seeds in validation.items() if name == arm}
    if not tried:
        return {}
    tried.setdefault(0.0, validation.get((source, None), {}))
    chosen = {}
    for seed in sorted({seed for seeds in tried.values() for seed in seeds}):
        options = [(-seeds[seed], ratio) for ratio, seeds in tried.items() if seed in seeds]
        chosen[seed] = min(options)[1]
    return chosen


def shown_ratio(chosen: Mapping[int, float], summary: Sequence[Summary]) -> float | None:
    """The ratio at which arms are shown that have no chosen one: the one chosen most often, 0 aside."""
    counts = Counter(ratio for ratio in chosen.values() if ratio > 0)
    if counts:
        return min(counts, key=lambda ratio: (-counts[ratio], ratio))
    return min((row.ratio for row in summary if row.ratio), default=None)


def loss_of(row: Any) -> str | None:
    """The distillation loss of a row; None where a run knows but one."""
    return getattr(row, "loss", None)


def first_loss(summary: Sequence[Summary]) -> str | None:
    """The loss that comes first, which figures show where there are several."""
    return next((loss for row in summary if (loss := loss_of(row))), None)


def told_of(row: Record | Summary | Comparison, metric: str, loss: str | None) -> bool:
    """Whether a row is of the metric and loss that figures show; arms without a teacher have any loss.

    Records of a study of one loss name it, its summary does not: `loss` is then None, and any will do.
    """
    same = getattr(row, "metric", metric) == metric and (loss is None or loss_of(row) in (None, loss))
    return same and getattr(row, "loss_b", None) is None


def paired(arms: Sequence[Mapping[str, Any]], row: Comparison) -> list[float]:
    """The difference in each seed, where both arms have their seeds; of `MAX_DOTS` seeds at most."""
    found = {(arm["arm"], arm["ratio"]): arm["seeds"] for arm in arms}
    a, b = (found.get((arm, row.ratio)) or found.get((arm, None)) or {} for arm in (row.a, row.b))
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    if not differences or abs(sum(differences) / len(differences) - row.difference) > 1e-6:
        return []
    return differences[:MAX_DOTS]


def rows(records: Sequence[Record], summary: Sequence[Summary], source: str) -> list[dict[str, Any]]:
    """One mapping per arm and ratio of one metric and loss, with each seed's value where records give it."""
    values = by_seed(records)
    shown = shown_ratio(chosen_ratios(records, "general", source), summary)
    have_chosen = {wording.base(row.arm) for row in summary if row.arm.endswith(wording.CHOSEN)}
    table = []
    for row in sorted(summary, key=lambda row: (wording.rank(row.arm), row.ratio is not None, row.ratio)):
        name = wording.base(row.arm)
        seeds = values.get((row.arm, row.ratio), {})
        if row.arm.endswith(wording.CHOSEN):
            seeds = _chosen_values(values, records, row, source)
        table.append(
            {
                "arm": row.arm,
                "name": name,
                "ratio": row.ratio,
                "metric": row.metric,
                "loss": loss_of(row),
                "n": row.n,
                "mean": row.mean,
                "sd": row.sd,
                "low": row.low,
                "high": row.high,
                "seeds": {str(seed): value for seed, value in seeds.items()},
                "dots": list(seeds.values())[:MAX_DOTS],
                "main": row.arm.endswith(wording.CHOSEN)
                or row.ratio is None
                or (row.ratio == shown and name not in have_chosen),
            }
        )
    return table


def _chosen_values(values: Values, records: Sequence[Record], row: Summary, source: str) -> dict[int, float]:
    """Test metric of each seed at the chosen ratio; empty unless its mean is the one that the study states.

    `important` has a choice of its own; the other arms stand at the ratio chosen for `general`.
    """
    arm = wording.base(row.arm)
    unfocused = "joint" if arm == "softened" else source
    found = {}
    for seed, ratio in chosen_ratios(
        records, "important" if arm == "important" else "general", source
    ).items():
        seeds = values.get((arm, ratio)) or (values.get((unfocused, None), {}) if ratio == 0 else {})
        if seed in seeds:
            found[seed] = seeds[seed]
    if not found or row.mean is None or abs(sum(found.values()) / len(found) - row.mean) > 1e-6:
        return {}
    return found


def sweep(table: Sequence[Mapping[str, Any]], source: str) -> dict[str, Any]:
    """Test metric against ratio for the arms that have one, and the arms without to hold them against.

    Where nothing is removed, an arm is the one whose teacher it removes channels from; where outputs are
    softened, only if they are as soft as that teacher's to begin with.
    """
    plain = {row["arm"]: row for row in table if row["ratio"] is None}
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        if row["ratio"] is not None:
            lines.setdefault(row["arm"], []).append({k: row[k] for k in ("ratio", "mean", "low", "high")})
    for arm, points in lines.items():
        unsoftened = {"softened": "joint", "softened-regular": "regular"}.get(arm, source)
        if unsoftened == source and source in plain and all(point["ratio"] > 0 for point in points):
            points.insert(0, {"ratio": 0.0} | {k: plain[source][k] for k in ("mean", "low", "high")})
    references = {arm: plain[arm]["mean"] for arm in ("no-kd", "regular") if arm in plain}
    return {"lines": lines, "references": references}


def differences(comparisons: Sequence[Comparison], shown: float | None) -> list[Comparison]:
    """`general` against every other arm, one comparison each: at chosen ratios if there is one."""
    found: dict[str, tuple[tuple[int, float], Comparison]] = {}
    for row in comparisons:
        name = wording.base(row.b)
        if wording.base(row.a) != "general" or name == "general":
            continue
        worth = (
            0 if row.a.endswith(wording.CHOSEN) else 1,
            abs((row.ratio or 0.0) - (shown or 0.0)) if row.ratio is not None else 0.0,
        )
        if name not in found or worth < found[name][0]:
            found[name] = (worth, row)
    order = [*wording.CONTROLS, *found]  # unknown arms last
    return [found[name][1] for name in sorted(found, key=order.index)]
