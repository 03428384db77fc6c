"""From simulated studies to coverage, widths and decisions, for `benchmarks/coverage.py`."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy import special

from benchmarks._coverage_populations import Population, Treatment
from mfh.crossed import Components, repeats_for, repeats_to_decide
from mfh.sequential import bounds, planned_fractions

Row = dict[str, Any]
FITS = {"5": "1", "10": "2", "50": "10", "100": "20"}
"""Number of fits -> number of repeats of five folds."""
FOLDS = 5


def binomial(count: int, total: int) -> tuple[float, float] | None:
    """Return the 95% interval of Clopper and Pearson for a share, in percent; None without any.

    >>> tuple(round(end, 1) for end in binomial(5, 10))
    (18.7, 81.3)
    """
    if not total:
        return None
    low = special.betaincinv(count, total - count + 1, 0.025) if count else 0.0
    high = special.betaincinv(count + 1, total - count, 0.975) if count < total else 1.0
    return 100 * float(low), 100 * float(high)


def share(hits: Sequence[bool]) -> Row:
    """Return how many of some are true, with the binomial interval of the share."""
    return {"count": int(sum(hits)), "of": len(hits), "interval": binomial(int(sum(hits)), len(hits))}


def pooled(parts: Sequence[Row]) -> Row:
    """Return the share over several settings."""
    count, total = (sum(part[key] for part in parts) for key in ("count", "of"))
    return {"count": count, "of": total, "interval": binomial(count, total)}


def covered(entry: Row, fits: str) -> float:
    """Return the share of data sets whose interval contains the true gain, in percent."""
    covers = entry[fits]["covers"]
    return float(100 * covers["count"] / covers["of"])


def summarize(
    populations: Sequence[Population], rows: Mapping[str, Sequence[Row]], noise: Sequence[Row]
) -> Row:
    """Return all numbers of the page as plain values."""
    settings, looks, repeats_planned, plans = [], [], [], []
    for population in populations:
        found = rows[population.name]
        for name, treatment in population.treatments.items():
            pairs = [row["pairs"][name] for row in found]
            if not pairs:
                continue
            truth = true_gain(pairs, treatment)
            entry = {"setting": population.name, "pair": name, "half": population.half, "truth": truth}
            entry |= {"learner": population.learner, "no_gain": treatment.no_gain}
            for fits, repeats in FITS.items():
                kept = [pair["repeats"][repeats] for pair in pairs if repeats in pair["repeats"]]
                if kept:
                    entry[fits] = summarize_intervals(kept, truth)
            settings.append(entry)
            watched = [pair for pair in pairs if "looks" in pair]
            if watched:
                looks.append(summarize_looks(population, name, [pair["looks"] for pair in watched], truth))
                repeats_planned += [
                    summarize_repeats(population, name, watched, effect)
                    for effect in dict.fromkeys((treatment.effect, 0.0))
                ]
            planned = [pair["planned"] for pair in pairs if pair.get("planned")]
            if planned:
                plans.append(summarize_samples(population, name, planned, treatment))
    return {
        "settings": settings,
        "looks": looks,
        "repeats": repeats_planned,
        "plans": plans,
        "noise": summarize_noise(noise) if noise else None,
    }


def true_gain(pairs: Sequence[Row], treatment: Treatment) -> float:
    """Return the true gain: 0 by construction, or the mean over data sets on samples that no fit saw."""
    return 0.0 if treatment.no_gain else float(np.nanmean([pair["fresh"] for pair in pairs]))


def summarize_intervals(kept: Sequence[Row], truth: float) -> Row:
    """Return coverage, widths and decisions of some intervals.

    An interval without ends decides nothing and counts as one that covers.
    """
    mean = np.array([row["mean"] for row in kept], dtype=float)
    half = np.array([np.inf if row["half"] is None else row["half"] for row in kept])
    plain = np.array([np.inf if row["plain"] is None else row["plain"] for row in kept])
    both = np.isfinite(half) & np.isfinite(plain)
    away = np.abs(mean) > half
    right = np.sign(mean) == np.sign(truth)
    return {
        "covers": share(~(np.abs(mean - truth) > half)),
        "width": float(half[both].mean()),
        "plain_width": float(plain[both].mean()),
        "relative": float(half[both].mean() / plain[both].mean()),
        "plain_covers": share(~(np.abs(mean - truth) > plain)),
        "sd": float(np.nanstd(mean, ddof=1)) if len(mean) > 1 else 0.0,
        "false": share(away & ~right if truth else away),
        "shown": share(away & right) if truth else None,
        "plain_shown": share((np.abs(mean) > plain) & right) if truth else None,
    }


def summarize_looks(population: Population, name: str, watched: Sequence[Row], truth: float) -> Row:
    """Return how studies end that go on until they are decided."""
    misses, wrong, decided, stops, ends_at = [], [], [], [], []
    for row in watched:
        mean, margin = np.array(row["mean"], dtype=float), row["margin"]
        bound, _ = bounds_of_looks(row)
        misses.append(bool((np.abs(mean - truth) > bound).any()))
        ends = np.flatnonzero((np.abs(mean) > bound) | (np.abs(mean) + bound <= margin))
        decided.append(len(ends) > 0)
        stop = int(ends[0]) if len(ends) else len(mean) - 1
        stops.append(row["first"] + stop)
        ends_at.append(mean[stop])
        away = abs(mean[stop]) > bound[stop]
        right = truth != 0 and np.sign(mean[stop]) == np.sign(truth) if away else abs(truth) <= margin
        wrong.append(len(ends) > 0 and not right)
    return {
        "setting": population.name,
        "pair": name,
        "truth": truth,
        "misses": share(misses),
        "false": share(wrong),
        "decided": share(decided),
        "repeats": float(np.mean(stops)),
        "estimate": float(np.mean(ends_at)),
    }


def summarize_repeats(population: Population, name: str, pairs: Sequence[Row], effect: float) -> Row:
    """Return how plans of numbers of repeats do.

    Args:
        population: of the pilots.
        name: of the treatment.
        pairs: the first two repeats are the pilot; fewer or more repeats of the same data set show how the
            plan ends.
        effect: gain that is planned for; 0 for the pilot's own estimate, if the pilot decides nothing.
    """
    absent, planned, beyond = [], [], 0
    for pair in pairs:
        row, parts = pair["looks"], components_of(pair["repeats"]["2"])
        mean, (_, half) = np.array(row["mean"], dtype=float), bounds_of_looks(row)
        decides = (np.abs(mean) > half) | (np.abs(mean) + half <= row["margin"])
        if effect:
            decides = mean > half
        if parts is None or (not effect and decides[0]):
            continue
        if effect:
            repeats = repeats_for(effect, parts)
        else:
            repeats = repeats_to_decide(mean[0], parts, margin=row["margin"])
        if repeats is None:
            absent.append(bool(decides[-1]))
        elif repeats - row["first"] >= len(mean):
            beyond += 1
        else:
            planned.append(
                bool(decides[repeats - row["first"]]) if repeats > 1 else shows(pair["repeats"]["1"])
            )
    return {
        "setting": population.name,
        "pair": name,
        "effect": effect,
        "absent": share(absent),
        "beyond": beyond,
        "planned": share(planned),
    }


def shows(row: Row) -> bool:
    """Return whether an interval is above 0."""
    return row["half"] is not None and row["mean"] > row["half"]


def components_of(row: Row) -> Components | None:
    """Return the components of an interval of two repeats; None without any."""
    if row["half"] is None or "samples" not in row:
        return None
    names = ("samples", "noise", "trainings", "size", "num_units")
    return Components(*(row[name] for name in names), repeats=2, folds=FOLDS, test_over_train=row["ratio"])


def bounds_of_looks(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Return half-widths by look: of the interval that decides, and of the 95% interval; inf without one."""
    error, degrees = (
        np.array([np.nan if value is None else value for value in row[name]], dtype=float)
        for name in ("error", "degrees")
    )
    most = row["first"] + len(error) - 1
    level = special.erf(np.array(_bounds(row["first"], most)) / np.sqrt(2))
    found = (special.stdtrit(degrees, (1 + one) / 2) * error for one in (level, 0.95))
    return tuple(np.where(np.isnan(half), np.inf, half) for half in found)  # type: ignore[return-value]


@cache
def _bounds(first: int, most: int) -> list[float]:
    return bounds(planned_fractions(most, most, first=first))


def summarize_samples(population: Population, name: str, planned: Sequence[Row], treatment: Treatment) -> Row:
    """Return how often studies of a planned number of samples show the gain that they were planned for."""
    made = [row for row in planned if "mean" in row]
    return {
        "setting": population.name,
        "pair": name,
        "effect": treatment.effect,
        "truth": float(np.mean([row["fresh"] for row in made])) if made else None,
        "samples": float(np.median([row["size"] for row in planned])),
        "not_made": len(planned) - len(made),
        "shown": share([shows(row) for row in made]),
    }


def summarize_noise(rows: Sequence[Row]) -> Row:
    """Return how studies of pure noise end."""
    ends = ("help", "hurt", "no-effect", "abstain")
    found: Row = {"of": len(rows)} | {end: sum(row["verdict"] == end for row in rows) for end in ends}
    decided = [row["verdict"] in ("help", "hurt") for row in rows]
    found["decided"] = share(decided)
    found["narrow"] = sum(
        d and row["metric"] == "accuracy" and row["width"] < row["weight"]
        for d, row in zip(decided, rows, strict=True)
    )
    for column in ("kind", "design", "fits", "metric"):
        found[f"by_{column}"] = {
            str(value): share([d for d, row in zip(decided, rows, strict=True) if row[column] == value])
            for value in sorted({row[column] for row in rows})
        }
    return found
